/* http.c: connections and their requests, by libmicrohttpd: received, let in or refused, suspended while the leader
 * works, answered.
 *
 * The library calls `receive` for a request when its headers are there, for each part of its body, at its end, and once
 * more when the connection is woken. Refusals that need no body go out before one is read.
 */
#include "base/checked.h"
#include "base/log.h"
#include "base/memory.h"
#include "launch/serve/reply.h"
#include "launch/serve/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

typedef struct tsr_http {
    struct MHD_Daemon *daemon;
} tsr_http;

/* What belongs to one request of the library. */
typedef struct visit {
    tsr_server *server;
    tsr_exchange *exchange;
    const tsr_route *route;
    bool admitted;
    char method[12];
} visit;

/* --- Answers --- */

static void add_headers(visit *v, struct MHD_Response *response, int status, const char *content_type)
{
    MHD_add_response_header(response, "Content-Type", content_type);
    MHD_add_response_header(response, "X-Request-Id", v->exchange->id);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    /* The page loads nothing from elsewhere, and stands in no other. */
    MHD_add_response_header(
        response, "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    if (status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 429 || status == 503) MHD_add_response_header(response, "Retry-After", "1");
}

static enum MHD_Result queue(visit *v, struct MHD_Response *response, int status, const char *content_type)
{
    if (!response) return MHD_NO;
    add_headers(v, response, status, content_type);
    v->exchange->status = status;
    enum MHD_Result result = MHD_queue_response(v->exchange->connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(visit *v, int status, const char *content_type, tsr_text *text)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer((size_t)text->length, text->data, MHD_RESPMEM_MUST_COPY);
    return queue(v, r, status, content_type);
}

/* `allow`: the methods there are, of a 405. */
static enum MHD_Result refuse(visit *v, const tsr_refusal *why, const char *allow)
{
    tsr_text text = {0};
    bool lmi = v->route && v->route->api == TSR_API_INVOCATIONS;
    v->exchange->failure = *why;
    tsr_status s = tsr_text_init(&text, 1 << 16);
    if (s == TSR_OK) s = lmi ? tsr_refusal_print_lmi(why, &text) : tsr_refusal_print_openai(why, &text);
    if (s == TSR_OK) s = tsr_text_puts(&text, "\n");
    enum MHD_Result result = MHD_NO;
    if (s == TSR_OK) {
        struct MHD_Response *r =
            MHD_create_response_from_buffer((size_t)text.length, text.data, MHD_RESPMEM_MUST_COPY);
        if (r && allow) MHD_add_response_header(r, "Allow", allow);
        result = queue(v, r, why->http, "application/json");
    }
    tsr_text_free(&text);
    return result;
}

static enum MHD_Result answer_get(visit *v)
{
    tsr_text text = {0};
    const char *content_type = "text/plain";
    int status = tsr_text_init(&text, 1 << 22) == TSR_OK ? v->route->get(v->server, &text, &content_type) : 0;
    enum MHD_Result result = status ? answer_text(v, status, content_type, &text) : MHD_NO;
    tsr_text_free(&text);
    return result;
}

/* --- Streams --- */

/* Fills `out` with what is new; false if it cannot. */
static bool fill(tsr_exchange *x)
{
    const tsr_reply *reply = x->reply;
    tsr_text_clear(&x->out);
    x->out_sent = 0;
    if (reply->pieces(x, &x->out) != TSR_OK) return false;
    if (x->finished && x->failure.http && reply->failure(&x->failure, &x->out) != TSR_OK) return false;
    x->stream_ended = x->finished;
    if (x->out.length == 0 && x->stirred && reply->sign_of_life && reply->sign_of_life(&x->out) != TSR_OK)
        return false;
    x->stirred = false;
    return true;
}

static ssize_t read_stream(void *cls, uint64_t position, char *buffer, size_t most)
{
    tsr_exchange *x = cls;
    ssize_t n = 0;
    (void)position;
    pthread_mutex_lock(&x->lock);
    if (x->out_sent == x->out.length && !x->stream_ended && !fill(x)) n = MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == 0 && x->out_sent < x->out.length) {
        n = (ssize_t)tsr_min((int64_t)most, x->out.length - x->out_sent);
        memcpy(buffer, x->out.data + x->out_sent, (size_t)n);
        x->out_sent += n;
    } else if (n == 0 && x->stream_ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (n == 0) {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->lock);
    return n;
}

static enum MHD_Result begin_stream(visit *v)
{
    tsr_exchange *x = v->exchange;
    if (tsr_text_init(&x->out, TSR_TEXT_NO_CAP) != TSR_OK) return MHD_NO;
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, x, NULL);
    return queue(v, r, 200, x->reply->content_type);
}

/* What is to be done with a connection whose request is the leader's, or was. */
typedef enum turn { SLEEP, LEAVE, REFUSE, BEGIN_STREAM, ANSWER } turn;

/* Under the lock; a connection that is to sleep is suspended. */
static turn decide(tsr_exchange *x)
{
    if (x->gone) return LEAVE;
    if (x->failure.http && x->finished) return REFUSE;
    if (x->reply->streams && x->accepted) return BEGIN_STREAM;
    if (!x->reply->streams && x->finished) return ANSWER;
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    return SLEEP;
}

/* Without the lock, since the library has locks of its own around a response and its reader. */
static enum MHD_Result act(visit *v, turn what)
{
    tsr_exchange *x = v->exchange;
    tsr_refusal why;
    switch (what) {
    case SLEEP:
        return MHD_YES;
    case REFUSE:
        why = x->failure;
        return refuse(v, &why, NULL);
    case BEGIN_STREAM:
        return begin_stream(v);
    case ANSWER:
        if (tsr_text_init(&x->out, TSR_TEXT_NO_CAP) != TSR_OK || x->reply->whole(x, &x->out) != TSR_OK)
            return MHD_NO;
        return answer_text(v, 200, x->reply->content_type, &x->out);
    default:
        return MHD_NO;
    }
}

static enum MHD_Result answer_or_sleep(visit *v)
{
    pthread_mutex_lock(&v->exchange->lock);
    turn what = decide(v->exchange);
    pthread_mutex_unlock(&v->exchange->lock);
    return act(v, what);
}

/* --- Requests --- */

static void drop_body(visit *v)
{
    atomic_fetch_sub(&v->server->body_bytes, v->exchange->body_bytes);
    v->exchange->body_bytes = 0;
    tsr_text_free(&v->exchange->body);
    v->exchange->body = (tsr_text){0};
}

/* What is too much is read and dropped: an answer can be given at the end only. */
static void add_body(visit *v, const char *bytes, size_t n)
{
    tsr_exchange *x = v->exchange;
    int64_t most = tsr_max(TSR_SERVE_BODY_BYTES, TSR_SERVE_BODIES * v->server->settings.body_bytes);
    if (x->too_large || x->crowded) return;
    x->too_large = x->body.length + (int64_t)n > v->server->settings.body_bytes;
    x->body_bytes += (int64_t)n;
    x->crowded = atomic_fetch_add(&v->server->body_bytes, (long long)n) + (int64_t)n > most;
    if (!x->too_large && !x->crowded && !x->body.data)
        x->crowded = tsr_text_init(&x->body, TSR_TEXT_NO_CAP) != TSR_OK;
    if (!x->too_large && !x->crowded) x->crowded = tsr_text_append(&x->body, bytes, (int64_t)n) != TSR_OK;
    if (x->too_large || x->crowded) drop_body(v);
}

static enum MHD_Result admit(visit *v)
{
    tsr_refusal why;
    tsr_exchange *x = v->exchange;
    turn what = SLEEP;
    v->admitted = true;
    tsr_watch_busy(v->server->watch, x->client, true);
    tsr_status s = tsr_admit(v->server, x, v->route->api, &why);
    drop_body(v);
    if (s != TSR_OK) return refuse(v, &why, NULL);
    /* Under the lock, so that the leader does not wake what does not sleep yet. */
    pthread_mutex_lock(&x->lock);
    s = tsr_desk_hand_over(&v->server->desk, x, &why);
    if (s == TSR_OK) what = decide(x);
    pthread_mutex_unlock(&x->lock);
    return s == TSR_OK ? act(v, what) : refuse(v, &why, NULL);
}

static const char *header(visit *v, const char *name)
{
    return MHD_lookup_connection_value(v->exchange->connection, MHD_HEADER_KIND, name);
}

static bool is_type(const char *content_type, const char *name)
{
    size_t n = strlen(name);
    return strncasecmp(content_type, name, n) == 0 && (!content_type[n] || strchr("; \t", content_type[n]));
}

/* LMI's clients may say which model they mean beside the body. */
static tsr_status check_model_name(visit *v, tsr_refusal *why)
{
    const char *name =
        MHD_lookup_connection_value(v->exchange->connection, MHD_GET_ARGUMENT_KIND, "model_name");
    if (!name) name = header(v, "model_name");
    return name ? tsr_admit_model(v->server, name, why) : TSR_OK;
}

static tsr_status check_body(visit *v, tsr_refusal *why)
{
    const char *type = header(v, "Content-Type"), *length = header(v, "Content-Length"),
               *accept = header(v, "Accept");
    int64_t most = v->server->settings.body_bytes;
    v->exchange->events = accept && strstr(accept, "text/event-stream");
    bool invocation = v->route->api == TSR_API_INVOCATIONS;
    v->exchange->plain = invocation && type && is_type(type, "text/plain");
    v->exchange->csv = invocation && type && is_type(type, "text/csv");
    if (type && !v->exchange->plain && !v->exchange->csv && !is_type(type, "application/json"))
        return tsr_refuse(why, 415, NULL, "Content-Type must be application/json%s, found \"%.60s\"",
                          invocation ? ", text/plain or text/csv" : "", type);
    if (invocation) TSR_TRY(check_model_name(v, why));
    if (length && strtoull(length, NULL, 10) > (unsigned long long)most)
        return tsr_refuse(why, 413, NULL, "the body is larger than %lld bytes", (long long)most);
    return tsr_admit_any(v->server, why);
}

/* /predictions/MODEL and /models/MODEL/invoke are further names of /invocations. */
static const char *canonical(const char *path, const char *model)
{
    static const char predictions[] = "/predictions/", models[] = "/models/";
    size_t n = strlen(model), a = sizeof predictions - 1, b = sizeof models - 1;
    if (strncmp(path, predictions, a) == 0 && strcmp(path + a, model) == 0) return "/invocations";
    if (strncmp(path, models, b) == 0 && strncmp(path + b, model, n) == 0 &&
        strcmp(path + b + n, "/invoke") == 0)
        return "/invocations";
    return path;
}

/* What the headers alone decide. */
static tsr_status check_headers(visit *v, const char *path, tsr_refusal *why, const char **allow)
{
    const char *key = v->server->settings.api_key;
    v->route = tsr_route_find(v->method, canonical(path, v->server->settings.model), allow);
    v->exchange->route = v->route ? v->route->path : "none";
    bool open = v->route && v->route->open;
    if (key[0] && !open && !tsr_admit_key(key, header(v, "Authorization")))
        return tsr_refuse(why, 401, NULL,
                          "the key of the Authorization header (Bearer KEY) is missing or wrong");
    if (!v->route && *allow)
        return tsr_refuse(why, 405, NULL, "the method must be %s, found %s", *allow, v->method);
    if (!v->route) return tsr_refuse(why, 404, NULL, "there is no such path");
    return v->route->api ? check_body(v, why) : TSR_OK;
}

/* The client's own name of the request, if it is one that fits in a header and a log. */
static void name_request(visit *v)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    const char *given = header(v, "X-Request-Id");
    tsr_exchange *x = v->exchange;
    unsigned char bytes[16];
    if (given && *given && strlen(given) < sizeof x->id && strspn(given, allowed) == strlen(given)) {
        memcpy(x->id, given, strlen(given) + 1);
        return;
    }
    if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != sizeof bytes)
        memcpy(bytes, &x->began, sizeof x->began);
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(x->id + 2 * i, 3, "%02x", bytes[i]);
}

static visit *begin_visit(tsr_server *server, struct MHD_Connection *connection, const char *method)
{
    void *p;
    if (tsr_calloc(1, sizeof(visit), "a request", &p) != TSR_OK) return NULL;
    visit *v = p;
    v->server = server;
    snprintf(v->method, sizeof v->method, "%s", method);
    if (tsr_exchange_create(connection, &v->exchange) != TSR_OK) {
        tsr_free(v);
        return NULL;
    }
    const union MHD_ConnectionInfo *socket =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *context =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (socket) v->exchange->socket = socket->connect_fd;
    if (context) v->exchange->client = context->socket_context;
    v->exchange->model = server->settings.model;
    atomic_fetch_add(&server->exchanges, 1);
    name_request(v);
    return v;
}

static enum MHD_Result receive(void *cls, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data, size_t *n_data,
                               void **context)
{
    tsr_refusal why;
    const char *allow = NULL;
    visit *v = *context;
    (void)version;
    if (!v) {
        v = begin_visit(cls, connection, method);
        *context = v;
        if (!v) return MHD_NO;
        return check_headers(v, path, &why, &allow) == TSR_OK ? MHD_YES : refuse(v, &why, allow);
    }
    if (*n_data > 0) {
        if (v->route->api) add_body(v, data, *n_data);
        *n_data = 0;
        return MHD_YES;
    }
    if (!v->route->api) return answer_get(v);
    return v->admitted ? answer_or_sleep(v) : admit(v);
}

static void complete(void *cls, struct MHD_Connection *connection, void **context,
                     enum MHD_RequestTerminationCode code)
{
    visit *v = *context;
    tsr_server *server = cls;
    (void)connection;
    if (!v) return;
    tsr_exchange *x = v->exchange;
    drop_body(v);
    pthread_mutex_lock(&x->lock);
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && (x->gone || x->status == 0)) x->status = 499;
    x->gone = true;
    tsr_access_log(server, x, v->method);
    pthread_mutex_unlock(&x->lock);
    tsr_metrics_answered(&server->metrics, x->route, x->status);
    tsr_watch_busy(server->watch, x->client, false);
    if (v->admitted) tsr_desk_ring(&server->desk);
    tsr_exchange_release(&x);
    tsr_free(v);
    *context = NULL;
    atomic_fetch_sub(&server->exchanges, 1);
}

static void connected(void *cls, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode code)
{
    tsr_server *server = cls;
    tsr_thread_clocks_add_self(&server->metrics.http);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (code == MHD_CONNECTION_NOTIFY_STARTED && info)
        *context = tsr_watch_add(server->watch, info->connect_fd);
    else if (code == MHD_CONNECTION_NOTIFY_CLOSED)
        tsr_watch_remove(server->watch, *context);
}

/* --- Beginning and end --- */

static tsr_status find_address(const tsr_serve_settings *o, struct addrinfo **out)
{
    char port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    snprintf(port, sizeof port, "%d", o->port);
    int failed = getaddrinfo(o->host, port, &hints, out);
    if (failed) return tsr_fail(TSR_ERR_USAGE, "--host %s: %s", o->host, gai_strerror(failed));
    return TSR_OK;
}

static struct MHD_Daemon *start_daemon(tsr_server *server, const struct addrinfo *address)
{
    unsigned flags = MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME;
    if (address->ai_family == AF_INET6) flags |= MHD_USE_IPv6;
    return MHD_start_daemon(flags, 0, NULL, NULL, receive, server, MHD_OPTION_SOCK_ADDR, address->ai_addr,
                            MHD_OPTION_THREAD_POOL_SIZE, (unsigned)TSR_SERVE_THREADS,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)server->settings.max_connections,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)TSR_SERVE_HEADER_BYTES,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)server->settings.send_seconds,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, complete, server,
                            MHD_OPTION_NOTIFY_CONNECTION, connected, server, MHD_OPTION_END);
}

tsr_status tsr_http_start(tsr_server *server)
{
    void *p;
    struct addrinfo *address = NULL;
    const tsr_serve_settings *o = &server->settings;
    TSR_TRY(find_address(o, &address));
    tsr_status s = tsr_calloc(1, sizeof(tsr_http), "the HTTP server", &p);
    if (s == TSR_OK) {
        server->http = p;
        server->http->daemon = start_daemon(server, address);
        if (!server->http->daemon)
            s = tsr_fail(TSR_ERR_USAGE, "cannot listen on %s port %d: %s", o->host, o->port,
                         errno ? strerror(errno) : "the HTTP library refuses");
    }
    bool six = address->ai_family == AF_INET6;
    freeaddrinfo(address);
    if (s != TSR_OK) {
        tsr_http_stop(server);
        return s;
    }
    const union MHD_DaemonInfo *port = MHD_get_daemon_info(server->http->daemon, MHD_DAEMON_INFO_BIND_PORT);
    tsr_log(TSR_LOG_INFO, six ? "listening on http://[%s]:%d" : "listening on http://%s:%d", o->host,
            port ? port->port : o->port);
    return TSR_OK;
}

void tsr_http_stop(tsr_server *server)
{
    if (!server->http) return;
    if (server->http->daemon) MHD_stop_daemon(server->http->daemon);
    tsr_free(server->http);
    server->http = NULL;
}
