/* stop_scan.c: earliest stop text, else the longest tail that could begin one. */
#include "runtime/stop_scan.h"

#include <string.h>

/* Whether text[0..length) begins with `stop`, as far as it goes; *whole: it holds all of it. */
static bool begins(const char *text, int64_t length, const char *stop, bool *whole)
{
    int64_t n = (int64_t)strlen(stop);
    *whole = n <= length;
    return n > 0 && memcmp(text, stop, (size_t)(*whole ? n : length)) == 0;
}

int64_t tsr_stop_scan(const char *text, int64_t length, int64_t shown, const char *const *stop,
                      int64_t n_stop, bool *found)
{
    int64_t held_from = length;
    *found = false;
    for (int64_t at = shown; at < length; at++)
        for (int64_t i = 0; i < n_stop; i++) {
            bool whole;
            if (!begins(text + at, length - at, stop[i], &whole)) continue;
            *found = whole;
            if (whole) return at;
            if (at < held_from) held_from = at;
        }
    return held_from;
}
