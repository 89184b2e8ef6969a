/* lead.c: the leader of a server: between two steps of the engine it takes new requests, lets go of those whose client
 * has left or whose time is over, and hands out what the last step brought.
 *
 * Where there is nothing to do it sleeps until somebody rings, and once a second tells the other ranks that it lives,
 * by which a lost one is noticed too.
 */
#include "base/checked.h"
#include "base/log.h"
#include "base/memory.h"
#include "launch/serve/leavers.h"
#include "launch/serve/reply.h"
#include "launch/serve/server.h"

#include <math.h>
#include <poll.h>
#include <string.h>

typedef struct leader {
    tsr_server *server;
    tsr_engine *engine;
    const tsr_serve_signals *signals;
    tsr_exchange **active; /* [n_active] in order of arrival */
    int64_t n_active, capacity;
    int leavers;
    uint64_t taken;           /* exchanges, so far */
    double drain_until, told; /* told: when the ranks last heard of this one */
    double drain_seconds;
    bool drain_is_over;
    tsr_host_seconds host;
} leader;

/* --- Ends --- */

static void release_jobs(leader *l, tsr_exchange *x)
{
    for (int64_t i = 0; i < x->n_jobs; i++) {
        tsr_job *job = &x->jobs[i];
        if (job->request) tsr_engine_release(l->engine, job->request);
        job->request = 0;
        if (!job->done) tsr_metrics_finished(&l->server->metrics, TSR_FINISH_CANCELLED);
        job->done = true;
    }
}

/* The exchange gets its end: all answers, or the refusal (NULL: none), and is the HTTP thread's alone. */
static void end_exchange(leader *l, int64_t at, const tsr_refusal *why)
{
    tsr_exchange *x = l->active[at];
    release_jobs(l, x);
    pthread_mutex_lock(&x->lock);
    if (why && !x->failure.http) x->failure = *why;
    x->finished = true;
    pthread_mutex_unlock(&x->lock);
    tsr_exchange_wake(x);
    tsr_desk_forget(&l->server->desk, x->n_jobs);
    memmove(l->active + at, l->active + at + 1, (size_t)(l->n_active - at - 1) * sizeof *l->active);
    l->n_active--;
    tsr_exchange_release(&x);
}

static void end_all(leader *l, int http, const char *text)
{
    tsr_refusal why;
    tsr_refuse(&why, http, NULL, "%s", text);
    while (l->n_active > 0) end_exchange(l, l->n_active - 1, &why);
}

/* --- Beginnings --- */

static tsr_request_options request_options(const tsr_exchange *x, const tsr_job *job)
{
    const tsr_api_call *call = &x->call;
    tsr_request_options r = TSR_REQUEST_OPTIONS_INIT;
    r.ids = job->prompt.ids;
    r.n_ids = job->prompt.count;
    r.max_new_tokens = x->max_tokens;
    r.temperature = call->temperature;
    r.top_k = call->top_k;
    r.top_p = call->top_p;
    r.min_p = call->min_p;
    r.repetition_penalty = call->repetition_penalty;
    r.frequency_penalty = call->frequency_penalty;
    r.presence_penalty = call->presence_penalty;
    r.logit_bias = call->logit_bias;
    r.n_logit_bias = call->n_logit_bias;
    r.no_repeat_ngram = call->no_repeat_ngram;
    r.min_new_tokens = call->min_tokens;
    r.seed = job->seed;
    r.stop = (const char *const *)call->stop;
    r.n_stop = call->n_stop;
    r.ignore_eos = call->ignore_eos;
    r.logprobs = call->logprobs >= 0;
    r.alternatives = call->logprobs > 0 ? call->logprobs : 0;
    r.score = call->echo && (call->logprobs >= 0 || x->max_tokens == 0);
    r.classify = call->api & (TSR_API_LABELS | TSR_API_ENTITIES);
    return r;
}

static tsr_status submit_all(leader *l, tsr_exchange *x, tsr_refusal *why)
{
    for (int64_t i = 0; i < x->n_jobs; i++) {
        tsr_job *job = &x->jobs[i];
        tsr_request_options r = request_options(x, job);
        tsr_status s = tsr_engine_submit(l->engine, &r, &job->request);
        if (s != TSR_OK) return tsr_refuse_for(why, s);
        job->handed = x->began;
    }
    return TSR_OK;
}

static tsr_status make_room(leader *l)
{
    void *p = l->active;
    tsr_status s = tsr_grow(&p, &l->capacity, l->n_active + 1, sizeof *l->active, "requests");
    l->active = p;
    return s;
}

static tsr_status take_new(leader *l)
{
    tsr_refusal why;
    tsr_exchange *x;
    while ((x = tsr_desk_take(&l->server->desk))) {
        TSR_TRY(make_room(l));
        l->active[l->n_active++] = x;
        if (submit_all(l, x, &why) != TSR_OK) {
            end_exchange(l, l->n_active - 1, &why);
            continue;
        }
        x->latest = tsr_now();
        x->number = ++l->taken;
        pthread_mutex_lock(&x->lock);
        if (!x->gone && x->socket >= 0) tsr_leavers_watch(l->leavers, x->socket, x->number);
        x->accepted = true;
        pthread_mutex_unlock(&x->lock);
        if (x->reply->streams) tsr_exchange_wake(x);
    }
    return TSR_OK;
}

/* --- Between steps --- */

static void mark_gone(leader *l, uint64_t number)
{
    for (int64_t i = 0; i < l->n_active; i++) {
        tsr_exchange *x = l->active[i];
        if (x->number != number) continue;
        pthread_mutex_lock(&x->lock);
        x->gone = true;
        pthread_mutex_unlock(&x->lock);
    }
}

static void look_for_gone(leader *l)
{
    uint64_t numbers[64];
    int most = sizeof numbers / sizeof numbers[0], n;
    do {
        n = tsr_leavers_look(l->leavers, numbers, most);
        for (int i = 0; i < n; i++) mark_gone(l, numbers[i]);
    } while (n == most);
}

static void end_gone_and_late(leader *l)
{
    tsr_refusal why;
    double now = tsr_now();
    look_for_gone(l);
    for (int64_t i = l->n_active - 1; i >= 0; i--) {
        tsr_exchange *x = l->active[i];
        pthread_mutex_lock(&x->lock);
        bool gone = x->gone;
        pthread_mutex_unlock(&x->lock);
        if (gone)
            tsr_refuse(&why, 499, NULL, "the client has left");
        else if (x->deadline > 0 && now > x->deadline)
            tsr_refuse(&why, 504, NULL, "the request took longer than %g s",
                       l->server->settings.request_seconds);
        else
            continue;
        end_exchange(l, i, &why);
    }
}

/* Times of a job for the metrics: `fresh` tokens have come. */
static void measure(leader *l, tsr_job *job, bool waiting, int64_t fresh)
{
    tsr_metrics *m = &l->server->metrics;
    double now = tsr_now();
    if (!waiting && job->started == 0) {
        job->started = now;
        tsr_metrics_observe(m, &m->queue, now - job->handed);
    }
    if (fresh > 0 && job->latest == 0) tsr_metrics_observe(m, &m->first_token, now - job->handed);
    if (fresh > 0 && job->latest > 0)
        tsr_metrics_observe(m, &m->between, (now - job->latest) / (double)fresh);
    if (fresh > 0 && job->first == 0) job->first = now;
    if (fresh > 0) job->latest = now;
}

static void finish_job(leader *l, tsr_exchange *x, tsr_job *job)
{
    tsr_metrics *m = &l->server->metrics;
    tsr_engine_release(l->engine, job->request);
    job->request = 0;
    job->done = true;
    x->n_done++;
    tsr_metrics_finished(m, job->finish);
    tsr_metrics_observe(m, &m->whole, tsr_now() - job->handed);
}

/* LMI's clients know a model that fails by a status of its own. */
static bool asks_as_lmi(const tsr_exchange *x)
{
    return x->call.by_invocation || !(x->call.api & (TSR_API_COMPLETIONS | TSR_API_CHAT));
}

/* What the last step brought to one job, under the exchange's lock. */
static tsr_status update_job(leader *l, tsr_exchange *x, tsr_job *job, bool *news)
{
    tsr_result r;
    int64_t before = job->n_tokens;
    TSR_TRY(tsr_engine_result(l->engine, job->request, &r));
    TSR_TRY(tsr_job_update(job, &r, news));
    measure(l, job, r.waiting, job->n_tokens - before);
    if (job->finish != TSR_FINISH_NONE) finish_job(l, x, job);
    if (job->finish == TSR_FINISH_ERROR)
        tsr_refuse(&x->failure, asks_as_lmi(x) ? 424 : 500, NULL,
                   "the model gave no numbers for this request");
    return TSR_OK;
}

/* What the last step brought to all of its jobs; true if the exchange has its end. */
static bool update_exchange(leader *l, tsr_exchange *x, double now)
{
    tsr_status s = TSR_OK;
    bool any = false;
    pthread_mutex_lock(&x->lock);
    for (int64_t j = 0; j < x->n_jobs && s == TSR_OK; j++) {
        bool news = false;
        if (!x->jobs[j].done) s = update_job(l, x, &x->jobs[j], &news);
        any |= news;
    }
    if (s != TSR_OK) tsr_refuse_for(&x->failure, s);
    if (any) x->latest = now;
    if (now - x->latest > TSR_SERVE_KEEPALIVE_SECONDS) {
        x->stirred = any = true;
        x->latest = now;
    }
    bool ended = x->n_done == x->n_jobs || x->failure.http;
    x->finished = ended; /* at once with the last token: a stream ends once */
    x->has_news = any && x->reply->streams;
    pthread_mutex_unlock(&x->lock);
    return ended;
}

/* First what is new, then all wakes in a row: a woken thread may take this one's core at once, and then finds all that
 * its connections are to get instead of a part. */
static void hand_out(leader *l)
{
    double now = tsr_now();
    for (int64_t i = l->n_active - 1; i >= 0; i--)
        if (update_exchange(l, l->active[i], now)) end_exchange(l, i, NULL);
    for (int64_t i = 0; i < l->n_active; i++)
        if (l->active[i]->has_news) tsr_exchange_wake(l->active[i]);
}

/* --- The loop --- */

static void begin_draining(leader *l)
{
    tsr_server *server = l->server;
    if (l->drain_until > 0) return;
    l->drain_seconds = server->settings.drain_seconds;
    /* mpirun kills its ranks soon after its SIGTERM: until then there must have been clear errors at least. */
    if (atomic_load(&l->signals->by_parent) && server->settings.grace_seconds > 0)
        l->drain_seconds = fmin(l->drain_seconds, server->settings.grace_seconds);
    l->drain_until = tsr_now() + l->drain_seconds;
    atomic_store(&server->state, TSR_SERVE_DRAINING);
    tsr_desk_close(&server->desk);
    tsr_log(TSR_LOG_INFO, "draining: %lld requests have up to %g s; a second signal ends them at once",
            (long long)l->n_active, l->drain_seconds);
}

static void show_counts(leader *l)
{
    tsr_engine_counts counts = tsr_engine_get_counts(l->engine);
    tsr_host_times times = tsr_engine_get_host_times(l->engine);
    l->host.plan = times.plan;
    l->host.commit = times.commit;
    tsr_metrics_engine(&l->server->metrics, &counts, &l->host);
}

static tsr_status step(leader *l)
{
    bool more;
    tsr_server *server = l->server;
    double began = tsr_now();
    atomic_store(&server->beat, (long long)(began * 1000));
    tsr_status s = tsr_engine_step(l->engine, &more);
    atomic_store(&server->beat, 0);
    l->told = tsr_now();
    if (s != TSR_OK) return s;
    if (l->n_active > 0) tsr_metrics_observe(&server->metrics, &server->metrics.step, l->told - began);
    double used = tsr_thread_seconds();
    show_counts(l); /* before anybody is answered: who asks then finds himself counted */
    hand_out(l);
    l->host.hand_out += tsr_thread_seconds() - used;
    return TSR_OK;
}

/* TSR_OK while there is more to come; *done when all that was accepted has its end. */
static tsr_status turn(leader *l, bool *done)
{
    int signals = atomic_load(&l->signals->count);
    if (signals > 1) return tsr_fail(TSR_ERR_CANCELLED, "stopped by a second signal");
    if (signals > 0) begin_draining(l);
    double used = tsr_thread_seconds();
    TSR_TRY(take_new(l));
    end_gone_and_late(l);
    l->host.admit += tsr_thread_seconds() - used;
    if (l->n_active > 0) return step(l);
    *done = l->drain_until > 0;
    if (*done) return TSR_OK;
    show_counts(l);
    tsr_desk_wait(&l->server->desk, 1);
    return tsr_engine_ranks(l->engine) > 1 && tsr_now() - l->told > 1 ? step(l) : TSR_OK;
}

static tsr_status run(leader *l)
{
    bool done = false;
    while (!done) {
        TSR_TRY(turn(l, &done));
        l->drain_is_over = l->drain_until > 0 && l->n_active > 0 && tsr_now() > l->drain_until;
        if (l->drain_is_over)
            return tsr_fail(TSR_ERR_DEADLINE, "%lld requests were not done within the drain time of %g s",
                            (long long)l->n_active, l->drain_seconds);
    }
    return TSR_OK;
}

/* Answers that are on their way get out, as far as their clients take them; within what is left of the drain time, and a
 * second where nothing is. */
static void flush(const leader *l)
{
    double now = tsr_now(), until = now + TSR_SERVE_FLUSH_SECONDS;
    if (l->drain_until > 0 && l->drain_until < until)
        until = l->drain_until > now + 1 ? l->drain_until : now + 1;
    while (atomic_load(&l->server->exchanges) > 0 && tsr_now() < until) poll(NULL, 0, 5);
}

tsr_status tsr_lead(tsr_server *server, const tsr_serve_signals *signals)
{
    leader l = {.server = server, .engine = server->engine, .signals = signals, .told = tsr_now()};
    tsr_status s = tsr_leavers_open(&l.leavers);
    if (s == TSR_OK) s = run(&l);
    bool ending = s == TSR_OK || s == TSR_ERR_CANCELLED || l.drain_is_over;
    atomic_store(&server->state, ending ? TSR_SERVE_DRAINING : TSR_SERVE_BROKEN);
    tsr_desk_close(&server->desk);
    for (tsr_exchange *x; (x = tsr_desk_take(&server->desk)) && make_room(&l) == TSR_OK;)
        l.active[l.n_active++] = x;
    end_all(&l, 503, ending ? "the server is shutting down" : "the server has failed");
    flush(&l);
    tsr_free(l.active);
    tsr_leavers_close(l.leavers);
    return s;
}
