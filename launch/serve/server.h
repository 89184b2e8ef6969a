/* server.h: what the parts of a server share: its settings, its state, the desk between HTTP threads and the leader.
 *
 *     http.c       connections, routes, answers: MHD's threads
 *     lead.c       requests into the engine, tokens out of it: the thread that made the world
 *     watch.c      slow clients, a loading that takes too long: a thread of its own
 *
 * All run on rank 0. The state goes one way: LOADING, READY, DRAINING, and from each to BROKEN.
 */
#ifndef TSR_LAUNCH_SERVE_SERVER_H
#define TSR_LAUNCH_SERVE_SERVER_H

#include "launch/serve/desk.h"
#include "launch/serve/metrics.h"
#include "parallel/world.h"
#include "runtime/chat.h"
#include "runtime/engine.h"

#include <signal.h>
#include <stdatomic.h>

typedef enum tsr_serve_state {
    TSR_SERVE_LOADING,
    TSR_SERVE_READY,
    TSR_SERVE_DRAINING,
    TSR_SERVE_BROKEN
} tsr_serve_state;

typedef struct tsr_serve_settings {
    const char *host;
    int port;
    const char *api_key; /* "": none is asked for */
    const char *model;   /* the name it is served under */
    int max_connections;
    int64_t body_bytes; /* the largest body */
    int64_t queue;      /* answers that may wait */
    int slots;          /* answers made at once */
    double drain_seconds, request_seconds, loading_seconds, send_seconds,
        deadline;            /* request_seconds 0: no bound */
    tsr_formatter formatter; /* of /invocations, where a request does not say */
    bool stream,
        array; /* of /invocations: answer in pieces, or a single input by a list, where a request does not say */
    bool quiet;
} tsr_serve_settings;

typedef struct tsr_server {
    tsr_serve_settings settings;
    atomic_int state;
    tsr_world *world;
    tsr_engine *engine; /* NULL while loading; HTTP threads take nothing but its tokenizer and its info */
    tsr_engine_info info;
    int64_t most_tokens; /* of one request: the context, or what the cache can hold */
    tsr_chat *chat;      /* NULL: the model has no chat template */
    tsr_desk desk;
    tsr_metrics metrics;
    atomic_llong body_bytes; /* of all bodies in memory */
    atomic_llong exchanges;  /* that have no end yet */
    atomic_llong
        beat; /* milliseconds on tsr_now's clock: the leader's last sign of life; 0: it has no work */
    struct tsr_http *http;
    struct tsr_watch *watch;
    double began;
    int64_t created; /* seconds since 1970 */
} tsr_server;

/* http.c. Binds and answers from now on. TSR_ERR_USAGE: the address cannot be had. The server must be zeroed but for
 * its settings, world and desk. */
tsr_status tsr_http_start(tsr_server *server);
/* Ends all connections. The leader must have let go of all exchanges. */
void tsr_http_stop(tsr_server *server);

/* routes.c */
typedef struct tsr_route {
    const char *method, *path;
    bool open;   /* no key is asked for */
    tsr_api api; /* of those with a body; 0: GET */
    /* GET: writes the answer and its content type, returns its status; 0: it cannot be written. */
    int (*get)(tsr_server *server, tsr_text *out, const char **content_type);
} tsr_route;
/* NULL, with *allow the methods there are for the path (NULL: there is no such path). HEAD is GET. */
const tsr_route *tsr_route_find(const char *method, const char *path, const char **allow);

/* admit.c: a received body to a call with its jobs, all checked. Fills *why otherwise. */
tsr_status tsr_admit(tsr_server *server, tsr_exchange *x, tsr_api api, tsr_refusal *why);
/* Requests are taken, or *why says why not. */
tsr_status tsr_admit_any(const tsr_server *server, tsr_refusal *why);
/* The model is the one that is served. */
tsr_status tsr_admit_model(const tsr_server *server, const char *name, tsr_refusal *why);
/* The key of an Authorization header (NULL: there was none) is the server's. In constant time. */
bool tsr_admit_key(const char *key, const char *authorization);

/* lead.c. Serves until it is told to end: TSR_OK if everything accepted was answered, TSR_ERR_DEADLINE if the drain
 * time was over before, TSR_ERR_CANCELLED after a second signal; or what broke the job. */
tsr_status tsr_lead(tsr_server *server, const volatile sig_atomic_t *signals);

/* watch.c */
tsr_status tsr_watch_start(tsr_server *server);
void tsr_watch_stop(tsr_server *server);
/* A connection begins and ends; whether an answer is being made for it: then it is not looked at. */
struct tsr_client *tsr_watch_add(struct tsr_watch *watch, int socket);
void tsr_watch_remove(struct tsr_watch *watch, struct tsr_client *client);
void tsr_watch_busy(struct tsr_watch *watch, struct tsr_client *client, bool busy);

/* access_log.c: one line of JSON on stderr for an answered request. */
void tsr_access_log(const tsr_server *server, const tsr_exchange *x, const char *method);

#endif
