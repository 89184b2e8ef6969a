/* output.c: JSON pieces, and writing results. */
#include "launch/command.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

tsr_status tsr_put(const char *bytes, int64_t n)
{
    if (fwrite(bytes, 1, (size_t)n, stdout) != (size_t)n || fflush(stdout) != 0)
        return tsr_fail(TSR_ERR_IO, "standard output cannot be written: %s", strerror(errno));
    return TSR_OK;
}

tsr_status tsr_json_ids(tsr_text *t, const int32_t *ids, int64_t n)
{
    TSR_TRY(tsr_text_puts(t, "["));
    for (int64_t i = 0; i < n; i++) TSR_TRY(tsr_text_format(t, i ? ",%d" : "%d", ids[i]));
    return tsr_text_puts(t, "]");
}

tsr_status tsr_json_logprobs(tsr_text *t, const float *values, int64_t n)
{
    TSR_TRY(tsr_text_puts(t, "["));
    for (int64_t i = 0; i < n; i++) {
        if (i) TSR_TRY(tsr_text_puts(t, ","));
        if (isfinite(values[i]))
            TSR_TRY(tsr_text_format(t, "%.9g", (double)values[i]));
        else
            TSR_TRY(tsr_text_puts(t, "null"));
    }
    return tsr_text_puts(t, "]");
}
