/* log.c: one write(2) a line, so that lines of several ranks never mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static tsr_log_level shown = TSR_LOG_INFO;
static int own_rank = -1;

void tsr_log_setup(tsr_log_level threshold, int rank)
{
    shown = threshold;
    own_rank = rank;
}

void tsr_log(tsr_log_level level, const char *format, ...)
{
    if (level > shown) return;
    if (own_rank > 0 && level != TSR_LOG_ERROR && shown != TSR_LOG_DEBUG) return;
    char line[2048];
    int n = own_rank < 0 ? snprintf(line, sizeof line, "tessera: ")
                         : snprintf(line, sizeof line, "tessera[%d]: ", own_rank);
    va_list args;
    va_start(args, format);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, format, args);
    va_end(args);
    if (m < 0) return;
    n += m;
    if (n > (int)sizeof line - 2) n = (int)sizeof line - 2;
    line[n++] = '\n';
    /* A log line that cannot be written has nowhere to be reported. */
    if (write(STDERR_FILENO, line, (size_t)n) < 0) return;
}

double tsr_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
