/* bandwidth.c: timed sums over a large buffer. */
#include "runtime/bandwidth.h"
#include "base/log.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stdint.h>

enum { PASSES = 5, LANES = 64 };

typedef struct read_job {
    uint64_t *data; /* [words] */
    int64_t words;
    volatile uint64_t sink; /* keeps the sums alive */
    bool fill;
} read_job;

static void read_part(void *arg, int thread, int n_threads)
{
    read_job *job = arg;
    int64_t part = job->words / n_threads / LANES * LANES;
    uint64_t *p = job->data + part * thread, sum[LANES] = {0};
    if (job->fill) { /* first touch by the thread that will read */
        for (int64_t i = 0; i < part; i++) p[i] = (uint64_t)i;
        return;
    }
    for (int64_t i = 0; i < part; i += LANES) {
        __builtin_prefetch(p + i + 8 * LANES);
        for (int k = 0; k < LANES; k++) sum[k] += p[i + k];
    }
    for (int k = 1; k < LANES; k++) sum[0] += sum[k];
    job->sink = sum[0];
}

tsr_status tsr_measure_bandwidth(tsr_pool *pool, long long buffer_bytes, double *bytes_per_second)
{
    void *p;
    *bytes_per_second = 0;
    TSR_TRY(tsr_alloc_large(buffer_bytes, "the bandwidth probe", &p));
    read_job job = {.data = p, .words = buffer_bytes / 8, .fill = true};
    tsr_pool_run(pool, read_part, &job);
    job.fill = false;
    for (int i = 0; i < PASSES; i++) {
        double start = tsr_now();
        tsr_pool_run(pool, read_part, &job);
        double rate = (double)buffer_bytes / (tsr_now() - start);
        if (rate > *bytes_per_second) *bytes_per_second = rate;
    }
    tsr_free_large(p, buffer_bytes);
    return TSR_OK;
}
