/* cmd_serve.c: `tessera serve`: the model behind HTTP. Rank 0 listens and leads; the other ranks follow. */
#include "base/checked.h"
#include "base/log.h"
#include "base/memory.h"
#include "launch/command.h"
#include "launch/option_row.h"
#include "launch/serve/server.h"
#include "parallel/affinity.h"
#include "runtime/step_limits.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* Signals that ask for an end, on rank 0. The others count theirs and wait for rank 0 to end the job: launchers send
 * them to every rank. */
static volatile sig_atomic_t signals;
static tsr_desk *bell;

static void on_signal(int number)
{
    signals++;
    if (bell) tsr_desk_ring(bell);
    if (signals > 2) signal(number, SIG_DFL);
}

static void catch_signals(void)
{
    static const int caught[] = {SIGTERM, SIGINT, SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) sigaction(caught[i], &action, NULL);
}

/* The name of the model's folder, or of the model in the Hugging Face cache, unless one is given. */
static const char *served_name(const tsr_options *o, char *name, size_t size)
{
    const char *given = o->text[TSR_OPT_SERVED_MODEL_NAME], *model = o->text[TSR_OPT_MODEL];
    if (given && given[0]) return given;
    snprintf(name, size, "%s", model);
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/';) name[--n] = '\0';
    const char *slash = strrchr(name, '/');
    return slash && slash[1] ? slash + 1 : name;
}

static tsr_serve_settings settings_of(const tsr_options *o, char *name, size_t size)
{
    bool rolling = tsr_cli_rolls(o);
    tsr_serve_settings s = {.host = o->text[TSR_OPT_HOST],
                            .port = (int)o->integer[TSR_OPT_PORT],
                            .api_key = o->text[TSR_OPT_API_KEY] ? o->text[TSR_OPT_API_KEY] : "",
                            .model = served_name(o, name, size),
                            .max_connections = (int)o->integer[TSR_OPT_MAX_CONNECTIONS],
                            .body_bytes = o->integer[TSR_OPT_MAX_REQUEST_SIZE],
                            .queue = o->integer[TSR_OPT_JOB_QUEUE_SIZE],
                            .slots = (int)o->integer[rolling ? TSR_OPT_MAX_SEQUENCES : TSR_OPT_BATCH_SIZE],
                            .drain_seconds = o->real[TSR_OPT_DRAIN_TIMEOUT],
                            .request_seconds = o->real[TSR_OPT_REQUEST_TIMEOUT],
                            .loading_seconds = (double)o->integer[TSR_OPT_MODEL_LOADING_TIMEOUT],
                            .send_seconds = (double)o->integer[TSR_OPT_CHUNKED_READ_TIMEOUT],
                            .deadline = o->real[TSR_OPT_DEADLINE],
                            .stream = strcmp(o->text[TSR_OPT_ENABLE_STREAMING], "false") != 0,
                            .array = !rolling,
                            .quiet = o->flag[TSR_OPT_QUIET]};
    return s;
}

/* As many connections as are wanted must be able to be open, beside files. */
static tsr_status raise_descriptors(int wanted)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)wanted + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need) return TSR_OK;
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= need) return TSR_OK;
    return tsr_fail(TSR_ERR_USAGE,
                    "--max-connections %d needs %llu open files, and the system allows %llu (ulimit -n)",
                    wanted, (unsigned long long)need, (unsigned long long)limit.rlim_cur);
}

static tsr_status check_formatter(const tsr_options *o, tsr_serve_settings *s)
{
    const char *name = o->text[TSR_OPT_OUTPUT_FORMATTER];
    if (tsr_formatter_from_name(name, &s->formatter)) return TSR_OK;
    return tsr_fail(TSR_ERR_INTERNAL, "output-formatter %s has no code", name);
}

/* The threads of HTTP inherit what this one is while it starts them: they may run on all CPUs of the rank, not on the one
 * alone that a launcher bound it to, and do not take a core from a rank's thread in the moment they are woken: what
 * connections need is done in a few goes and not one by one. */
static tsr_status start_http(tsr_server *server)
{
    static const struct sched_param none;
    tsr_affinity_widen_self(); /* the pool pins this thread */
    sched_setscheduler(0, SCHED_BATCH, &none);
    tsr_status s = tsr_http_start(server);
    sched_setscheduler(0, SCHED_OTHER, &none);
    return s;
}

static tsr_status open_server(tsr_server *server)
{
    server->began = tsr_now();
    server->created = (int64_t)time(NULL);
    tsr_metrics_init(&server->metrics);
    TSR_TRY(raise_descriptors(server->settings.max_connections));
    TSR_TRY(tsr_watch_start(server));
    return start_http(server);
}

static void close_server(tsr_server *server)
{
    tsr_http_stop(server);
    tsr_watch_stop(server);
    tsr_chat_destroy(&server->chat);
}

/* A template that is named must be there; that of the model may be missing, and then chats are refused. */
static tsr_status load_chat(tsr_server *server, const tsr_options *o)
{
    const char *file = o->text[TSR_OPT_CHAT_TEMPLATE];
    bool named = file && file[0];
    tsr_status s = tsr_chat_load(o->text[TSR_OPT_MODEL], named ? file : NULL, &server->chat);
    if (s == TSR_OK || named) return s;
    tsr_log(TSR_LOG_INFO, "no chats: %s", tsr_error_text());
    return TSR_OK;
}

/* Options that are about tokens mean nothing to a model that gives labels. */
static tsr_status check_classifier(const tsr_options *o, const char *task)
{
    static const struct {
        tsr_option_id id;
        const char *only;
    } checks[] = {{TSR_OPT_OUTPUT_FORMATTER, "json"}, {TSR_OPT_ENABLE_STREAMING, "false"}};
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        if (strcmp(o->text[checks[i].id], checks[i].only) != 0)
            return tsr_fail(TSR_ERR_USAGE, "option --%s %s (%s): a model for %s answers by %s alone",
                            tsr_option_row_of(checks[i].id)->name, o->text[checks[i].id],
                            o->place[checks[i].id], task, checks[i].only);
    return TSR_OK;
}

static tsr_status lead(tsr_server *server, tsr_engine *engine, const tsr_options *o)
{
    server->engine = engine;
    tsr_engine_get_info(engine, &server->info);
    TSR_TRY(server->info.n_labels > 0 ? check_classifier(o, server->info.task) : load_chat(server, o));
    tsr_engine_counts counts = tsr_engine_get_counts(engine);
    tsr_metrics_engine(&server->metrics, &counts, &(tsr_host_seconds){0});
    server->most_tokens = tsr_min(server->info.context, (int64_t)counts.pages_total * TSR_PAGE_TOKENS);
    atomic_store(&server->state, TSR_SERVE_READY);
    tsr_log(TSR_LOG_INFO, "ready: %s, context %lld", server->settings.model, (long long)server->info.context);
    return tsr_lead(server, &signals);
}

static tsr_status serve(tsr_world *world, const tsr_options *o, tsr_server *server)
{
    tsr_engine *engine = NULL;
    tsr_engine_options e = tsr_cli_engine_options(o);
    bool leads = tsr_world_rank(world) == 0;
    e.needs_tokenizer = true;
    tsr_status s = leads ? check_formatter(o, &server->settings) : TSR_OK;
    if (s == TSR_OK && leads) s = open_server(server);
    s = tsr_world_agree(world, s);
    if (s == TSR_OK) s = tsr_engine_create_in(world, &e, &engine);
    if (s == TSR_OK) s = leads ? lead(server, engine, o) : tsr_engine_follow(engine);
    if (leads) close_server(server);
    if (engine) tsr_engine_destroy(&engine);
    return s;
}

tsr_status tsr_cmd_serve(tsr_world *world, const tsr_options *o)
{
    static tsr_server server; /* large; one per process */
    char name[4096];
    tsr_memory_share_heap();
    server.world = world;
    server.settings = settings_of(o, name, sizeof name);
    tsr_desk_open(&server.desk, server.settings.queue + server.settings.slots);
    if (tsr_world_rank(world) == 0) bell = &server.desk;
    catch_signals();
    tsr_status s = serve(world, o, &server);
    bell = NULL;
    tsr_desk_free(&server.desk);
    return s;
}
