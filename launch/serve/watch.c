/* watch.c: a thread that looks once a second at what takes too long: clients that do not get their request out, the
 * loading of the model.
 *
 * The HTTP library ends connections that are idle. One that sends a byte now and then is never idle: it is ended here,
 * TSR_SERVE_REQUEST_SECONDS after the connection began or the answer before had gone out. So is one that was closed in
 * the middle of a request: the library may miss that, and would wait for the rest. Where nearly all connections are taken,
 * those without a request have TSR_SERVE_CROWDED_SECONDS, so that others get in.
 */
#include "base/log.h"
#include "base/memory.h"
#include "launch/serve/server.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

typedef struct tsr_client {
    struct tsr_client *previous, *next;
    int socket;
    double since; /* when it became its turn to send; 0: an answer is being made */
} tsr_client;

typedef struct tsr_watch {
    tsr_server *server;
    pthread_t thread;
    pthread_mutex_t lock;
    tsr_client clients; /* a ring; this one is no client */
    int n_clients;
    sem_t end;
} tsr_watch;

tsr_client *tsr_watch_add(tsr_watch *w, int socket)
{
    void *p;
    if (tsr_calloc(1, sizeof(tsr_client), "a connection", &p) != TSR_OK) return NULL;
    tsr_client *c = p;
    c->socket = socket;
    c->since = tsr_now();
    pthread_mutex_lock(&w->lock);
    c->next = &w->clients;
    c->previous = w->clients.previous;
    c->previous->next = c->next->previous = c;
    w->n_clients++;
    pthread_mutex_unlock(&w->lock);
    return c;
}

void tsr_watch_remove(tsr_watch *w, tsr_client *c)
{
    if (!c) return;
    pthread_mutex_lock(&w->lock);
    c->previous->next = c->next;
    c->next->previous = c->previous;
    w->n_clients--;
    pthread_mutex_unlock(&w->lock);
    tsr_free(c);
}

void tsr_watch_busy(tsr_watch *w, tsr_client *c, bool busy)
{
    if (!c) return;
    pthread_mutex_lock(&w->lock);
    c->since = busy ? 0 : tsr_now();
    pthread_mutex_unlock(&w->lock);
}

static bool has_closed(const tsr_client *c)
{
    struct pollfd p = {.fd = c->socket, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* The lock keeps the sockets from being closed, and their numbers from being given to others, meanwhile. */
static void end_slow_clients(tsr_watch *w)
{
    double now = tsr_now();
    pthread_mutex_lock(&w->lock);
    bool crowded = w->n_clients > w->server->settings.max_connections / 10 * 9;
    double most = crowded ? TSR_SERVE_CROWDED_SECONDS : TSR_SERVE_REQUEST_SECONDS;
    for (tsr_client *c = w->clients.next; c != &w->clients; c = c->next) {
        double waited = c->since > 0 ? now - c->since : 0;
        bool closed = waited > 1 && has_closed(c);
        if (!closed && waited < most) continue;
        shutdown(c->socket, SHUT_RDWR);
        c->since = now;
    }
    pthread_mutex_unlock(&w->lock);
}

static void *look(void *arg)
{
    tsr_watch *w = arg;
    tsr_server *server = w->server;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    do {
        until.tv_sec++;
        end_slow_clients(w);
        if (atomic_load(&server->state) == TSR_SERVE_LOADING &&
            tsr_now() - server->began > server->settings.loading_seconds) {
            char text[96];
            snprintf(text, sizeof text, "loading took longer than %g s (--model-loading-timeout)",
                     server->settings.loading_seconds);
            tsr_world_abort(server->world, TSR_ERR_DEADLINE, text);
        }
    } while (sem_timedwait(&w->end, &until) != 0);
    return NULL;
}

tsr_status tsr_watch_start(tsr_server *server)
{
    void *p;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_watch), "the watch", &p));
    tsr_watch *w = p;
    w->server = server;
    w->clients.next = w->clients.previous = &w->clients;
    pthread_mutex_init(&w->lock, NULL);
    sem_init(&w->end, 0, 0);
    if (pthread_create(&w->thread, NULL, look, w) != 0) {
        tsr_free(w);
        return tsr_fail(TSR_ERR_MEMORY, "a thread cannot be started");
    }
    server->watch = w;
    return TSR_OK;
}

void tsr_watch_stop(tsr_server *server)
{
    tsr_watch *w = server->watch;
    if (!w) return;
    sem_post(&w->end);
    pthread_join(w->thread, NULL);
    sem_destroy(&w->end);
    pthread_mutex_destroy(&w->lock);
    tsr_free(w);
    server->watch = NULL;
}
