/* routes.c: the paths of the server, one row each, and the answers of those that are read. */
#include "base/log.h"
#include "launch/serve/server.h"

#include <stdio.h>
#include <string.h>

/* A step that takes longer than its deadline is one that nobody will end well. */
static bool is_stuck(const tsr_server *server)
{
    long long beat = atomic_load(&server->beat);
    return beat > 0 && tsr_now() - (double)beat / 1000 > server->settings.deadline;
}

/* {"MODEL":{"status":"Healthy"}} */
static int get_ping(tsr_server *server, tsr_text *out, const char **content_type)
{
    static const char *const names[] = {[TSR_SERVE_LOADING] = "PENDING",
                                        [TSR_SERVE_READY] = "Healthy",
                                        [TSR_SERVE_DRAINING] = "Unhealthy",
                                        [TSR_SERVE_BROKEN] = "FAILED"};
    int state = is_stuck(server) ? TSR_SERVE_BROKEN : atomic_load(&server->state);
    const char *model = server->settings.model;
    *content_type = "application/json";
    tsr_status s = tsr_text_puts(out, "{\n  ");
    if (s == TSR_OK) s = tsr_text_json(out, model, (int64_t)strlen(model));
    if (s == TSR_OK) s = tsr_text_format(out, ": {\n    \"status\": \"%s\"\n  }\n}\n", names[state]);
    return s != TSR_OK ? 0 : state == TSR_SERVE_READY ? 200 : 503;
}

static int get_health(tsr_server *server, tsr_text *out, const char **content_type)
{
    static const char *const names[] = {[TSR_SERVE_LOADING] = "loading",
                                        [TSR_SERVE_READY] = "ok",
                                        [TSR_SERVE_DRAINING] = "draining",
                                        [TSR_SERVE_BROKEN] = "failed"};
    int state = is_stuck(server) ? TSR_SERVE_BROKEN : atomic_load(&server->state);
    *content_type = "application/json";
    tsr_status s = tsr_text_format(out, "{\"status\":\"%s\"}\n", names[state]);
    return s != TSR_OK ? 0 : state == TSR_SERVE_READY ? 200 : 503;
}

static int get_metrics(tsr_server *server, tsr_text *out, const char **content_type)
{
    bool ready = atomic_load(&server->state) == TSR_SERVE_READY;
    *content_type = "text/plain; version=0.0.4; charset=utf-8";
    return tsr_metrics_print(&server->metrics, server->settings.model, &server->info, ready, out) == TSR_OK
               ? 200
               : 0;
}

static int get_models(tsr_server *server, tsr_text *out, const char **content_type)
{
    const char *model = server->settings.model;
    *content_type = "application/json";
    tsr_status s = tsr_text_puts(out, "{\"object\":\"list\",\"data\":[{\"id\":");
    if (s == TSR_OK) s = tsr_text_json(out, model, (int64_t)strlen(model));
    if (s == TSR_OK)
        s = tsr_text_format(
            out,
            ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"tessera\",\"max_model_len\":%lld}]}\n",
            (long long)server->created, (long long)server->info.context);
    return s == TSR_OK ? 200 : 0;
}

/* page.html, made C by cmake/embed.cmake */
extern const unsigned char tsr_page[];
extern const unsigned long tsr_page_bytes;

static int get_page(tsr_server *server, tsr_text *out, const char **content_type)
{
    (void)server;
    *content_type = "text/html; charset=utf-8";
    return tsr_text_append(out, (const char *)tsr_page, (int64_t)tsr_page_bytes) == TSR_OK ? 200 : 0;
}

/* What LMI's server says to whoever asks what may be asked. */
static int get_options(tsr_server *server, tsr_text *out, const char **content_type)
{
    (void)server;
    *content_type = "application/json";
    return tsr_text_puts(out, "{}\n") == TSR_OK ? 200 : 0;
}

static const tsr_route options = {"OPTIONS", "*", true, 0, get_options};

static const tsr_route routes[] = {
    {"GET", "/", true, 0, get_page},
    {"GET", "/ping", true, 0, get_ping},
    {"GET", "/health", true, 0, get_health},
    {"GET", "/metrics", false, 0, get_metrics},
    {"GET", "/v1/models", false, 0, get_models},
    {"POST", "/v1/completions", false, TSR_API_COMPLETIONS, NULL},
    {"POST", "/v1/chat/completions", false, TSR_API_CHAT, NULL},
    {"POST", "/invocations", false, TSR_API_INVOCATIONS, NULL},
};

const tsr_route *tsr_route_find(const char *method, const char *path, const char **allow)
{
    *allow = NULL;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        const tsr_route *r = &routes[i];
        if (strcmp(r->path, path) != 0) continue;
        if (strcmp(method, "OPTIONS") == 0) return &options;
        if (strcmp(r->method, method) == 0 || (r->get && strcmp(method, "HEAD") == 0)) return r;
        *allow = r->get ? "GET, HEAD" : "POST";
    }
    return NULL;
}
