/* access_log.c: one line of JSON on stderr for each request, when its answer has gone out or its client has left. */
#include "base/log.h"
#include "launch/serve/server.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static tsr_status put_time(tsr_text *out)
{
    struct timespec now;
    struct tm utc;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    return tsr_text_format(out, "{\"ts\":\"%s.%03ldZ\",\"level\":\"info\",\"rank\":0,\"event\":\"request\"",
                           text, now.tv_nsec / 1000000);
}

static tsr_status put_tokens(const tsr_exchange *x, tsr_text *out)
{
    int64_t given = 0, made = 0;
    for (int64_t i = 0; i < x->n_jobs; i++) {
        given += x->jobs[i].prompt.count;
        made += x->jobs[i].n_tokens;
    }
    return tsr_text_format(out, ",\"answers\":%lld,\"prompt_tokens\":%lld,\"generated_tokens\":%lld",
                           (long long)x->n_jobs, (long long)given, (long long)made);
}

static tsr_status put_line(const tsr_exchange *x, const char *method, tsr_text *out)
{
    TSR_TRY(put_time(out));
    TSR_TRY(tsr_text_format(out, ",\"id\":\"%s\",\"method\":", x->id));
    TSR_TRY(tsr_text_json(out, method, (int64_t)strlen(method)));
    TSR_TRY(tsr_text_format(out, ",\"route\":\"%s\",\"status\":%d,\"seconds\":%.6f", x->route, x->status,
                            tsr_now() - x->began));
    if (x->n_jobs > 0) TSR_TRY(put_tokens(x, out));
    if (x->failure.http) {
        TSR_TRY(tsr_text_puts(out, ",\"error\":"));
        TSR_TRY(tsr_text_json(out, x->failure.message, (int64_t)strlen(x->failure.message)));
    }
    return tsr_text_puts(out, "}\n");
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long long lost; /* lines, since the last one that was written; under the lock */

/* Where nobody reads the log, and its pipe is full, lines are lost: the server would stand still otherwise. A pipe that
 * says it can be written takes PIPE_BUF bytes at once. */
static void write_line(const tsr_text *line)
{
    char note[64];
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (line->length > PIPE_BUF - (int64_t)sizeof note || poll(&log, 1, 0) != 1 || !(log.revents & POLLOUT)) {
        lost++;
        return;
    }
    /* One write a line, so that those of several processes stay whole. */
    int n = lost > 0 ? snprintf(note, sizeof note, "{\"event\":\"lost_lines\",\"count\":%lld}\n", lost) : 0;
    struct iovec parts[] = {{note, (size_t)n}, {line->data, (size_t)line->length}};
    if (writev(STDERR_FILENO, parts, 2) >= 0) lost = 0;
}

void tsr_access_log(const tsr_server *server, const tsr_exchange *x, const char *method)
{
    tsr_text line = {0};
    if (server->settings.quiet || tsr_text_init(&line, 1 << 16) != TSR_OK) return;
    if (put_line(x, method, &line) == TSR_OK) {
        pthread_mutex_lock(&lock);
        write_line(&line);
        pthread_mutex_unlock(&lock);
    }
    tsr_text_free(&line);
}
