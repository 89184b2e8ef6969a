/* cmd_bench.c: `tessera bench`: speed of prefill and decode beside the machine's read bandwidth, and memory.
 *
 * A warm-up run, then timed runs; medians are reported. Prefill: from the first step until every request has
 * its first token. Decode: from then until the end. The first token of an answer belongs to prefill, so
 * answers of one token have no decode figure. --profile adds tables of stages (bench_profile.h); on GPUs the
 * figures above them then suffer from the measuring.
 */
#include "base/log.h"
#include "base/memory.h"
#include "launch/bench_profile.h"
#include "launch/command.h"
#include "runtime/bandwidth.h"
#include "runtime/gpu.h"
#include "runtime/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_RUNS = 1000 };

typedef struct run_times {
    double prefill, decode; /* seconds */
} run_times;

/* What each rank reports at the end. */
typedef struct rank_report {
    double bandwidth; /* bytes per second, measured while all ranks measured */
    int64_t weight_bytes, streamed_bytes, bytes_read, peak_bytes, cache_bytes;
} rank_report;

typedef struct bench {
    const tsr_options *options;
    tsr_engine *engine;
    tsr_engine_info info;
    run_times median;
    rank_report *ranks; /* [size] */
    int n_ranks;
} bench;

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static tsr_status submit_one(bench *b, int32_t *ids, int64_t n, uint64_t *random, int64_t *id)
{
    tsr_request_options r = TSR_REQUEST_OPTIONS_INIT;
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)(next_random(random) % (uint64_t)b->info.vocabulary);
    r.ids = ids;
    r.n_ids = n;
    r.max_new_tokens = b->options->integer[TSR_OPT_NEW_TOKENS];
    r.ignore_eos = true;
    return tsr_engine_submit(b->engine, &r, id);
}

static tsr_status all_started(const bench *b, const int64_t *ids, int64_t n, bool *out)
{
    tsr_result r;
    *out = true;
    for (int64_t i = 0; i < n && *out; i++) {
        TSR_TRY(tsr_engine_result(b->engine, ids[i], &r));
        *out = r.n_ids > 0;
    }
    return TSR_OK;
}

static tsr_status timed_run(bench *b, int64_t *ids, int64_t n, run_times *out)
{
    bool more = true, started = false;
    double start = tsr_now(), first = start;
    while (more) {
        TSR_TRY(tsr_engine_step(b->engine, &more));
        if (started) continue;
        TSR_TRY(all_started(b, ids, n, &started));
        first = tsr_now();
    }
    *out = (run_times){first - start, tsr_now() - first};
    for (int64_t i = 0; i < n; i++) tsr_engine_release(b->engine, ids[i]);
    return TSR_OK;
}

static tsr_status one_run(bench *b, uint64_t *random, run_times *out)
{
    int64_t n = b->options->integer[TSR_OPT_BATCH], length = b->options->integer[TSR_OPT_PROMPT_TOKENS];
    void *prompt = NULL, *ids = NULL;
    tsr_status s = tsr_alloc(length * (int64_t)sizeof(int32_t), "a prompt", &prompt);
    if (s == TSR_OK) s = tsr_alloc(n * (int64_t)sizeof(int64_t), "request ids", &ids);
    for (int64_t i = 0; i < n && s == TSR_OK; i++)
        s = submit_one(b, prompt, length, random, (int64_t *)ids + i);
    if (s == TSR_OK) s = timed_run(b, ids, n, out);
    tsr_free(prompt);
    tsr_free(ids);
    return s;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static tsr_status measure(bench *b)
{
    static double prefill[MAX_RUNS], decode[MAX_RUNS];
    int repeats = (int)b->options->integer[TSR_OPT_REPEAT];
    uint64_t random = (uint64_t)b->options->integer[TSR_OPT_SEED] + 88172645463325252u;
    run_times t;
    TSR_TRY(one_run(b, &random, &t)); /* pages touched, branches learnt */
    tsr_engine_reset_times(b->engine);
    for (int i = 0; i < repeats; i++) {
        TSR_TRY(one_run(b, &random, &t));
        prefill[i] = t.prefill;
        decode[i] = t.decode;
    }
    b->median = (run_times){median(prefill, repeats), median(decode, repeats)};
    return TSR_OK;
}

/* --- Printing --- */

static double prefill_rate(const bench *b)
{
    return (double)(b->options->integer[TSR_OPT_BATCH] * b->options->integer[TSR_OPT_PROMPT_TOKENS]) /
           b->median.prefill;
}

/* NaN if the answers have one token. */
static double decode_rate(const bench *b)
{
    int64_t steps = b->options->integer[TSR_OPT_NEW_TOKENS] - 1;
    return steps > 0 ? (double)(b->options->integer[TSR_OPT_BATCH] * steps) / b->median.decode : NAN;
}

static double total_bandwidth(const bench *b)
{
    double sum = 0;
    for (int r = 0; r < b->n_ranks; r++) sum += b->ranks[r].bandwidth;
    return sum;
}

/* Bytes of weights that all ranks read in a second of decoding: each step reads them once, whatever the
 * batch. */
static double decode_bytes_per_second(const bench *b)
{
    int64_t bytes = 0;
    for (int r = 0; r < b->n_ranks; r++) bytes += b->ranks[r].streamed_bytes;
    return (double)bytes * decode_rate(b) / (double)b->options->integer[TSR_OPT_BATCH];
}

static tsr_status put_number(tsr_text *t, const char *key, double value)
{
    return isfinite(value) ? tsr_text_format(t, ",\"%s\":%.6g", key, value)
                           : tsr_text_format(t, ",\"%s\":null", key);
}

static tsr_status put_ranks(const bench *b, tsr_text *t)
{
    TSR_TRY(tsr_text_puts(t, ",\"per_rank\":["));
    for (int r = 0; r < b->n_ranks; r++) {
        const rank_report *k = &b->ranks[r];
        TSR_TRY(tsr_text_format(t,
                                "%s{\"weight_bytes\":%lld,\"bytes_read\":%lld,\"peak_resident_bytes\":%lld,"
                                "\"cache_bytes\":%lld}",
                                r ? "," : "", (long long)k->weight_bytes, (long long)k->bytes_read,
                                (long long)k->peak_bytes, (long long)k->cache_bytes));
    }
    return tsr_text_puts(t, "]");
}

static tsr_status put_json(const bench *b, tsr_text *t)
{
    const tsr_engine_info *i = &b->info;
    TSR_TRY(tsr_text_format(
        t,
        "{\"model_type\":\"%s\",\"parameters\":%lld,\"dtype\":\"%s\",\"isa\":\"%s\",\"ranks\":%d,"
        "\"threads\":%d,\"batch\":%lld,\"prompt_tokens\":%lld,\"new_tokens\":%lld",
        i->family, (long long)i->parameters, i->dtype, i->isa, i->ranks, i->threads,
        (long long)b->options->integer[TSR_OPT_BATCH], (long long)b->options->integer[TSR_OPT_PROMPT_TOKENS],
        (long long)b->options->integer[TSR_OPT_NEW_TOKENS]));
    TSR_TRY(put_number(t, "prefill_tokens_per_s", prefill_rate(b)));
    TSR_TRY(put_number(t, "decode_tokens_per_s", decode_rate(b)));
    TSR_TRY(put_number(t, "time_to_first_token_s", b->median.prefill));
    TSR_TRY(put_number(t, "decode_gb_per_s", decode_bytes_per_second(b) / 1e9));
    TSR_TRY(put_number(t, "read_bandwidth_gb_s", total_bandwidth(b) / 1e9));
    TSR_TRY(put_number(t, "load_s", i->load_seconds));
    TSR_TRY(put_ranks(b, t));
    return tsr_text_puts(t, "}\n");
}

static tsr_status put_plain(const bench *b, tsr_text *t)
{
    double rate = decode_rate(b), ceiling = total_bandwidth(b);
    TSR_TRY(tsr_text_format(t, "%s, %.1f M parameters, %s, %d ranks of %d threads, %s\n", b->info.family,
                            (double)b->info.parameters / 1e6, b->info.dtype, b->info.ranks, b->info.threads,
                            b->info.isa));
    TSR_TRY(tsr_text_format(t, "prefill              %10.1f tokens/s (%lld x %lld tokens)\n", prefill_rate(b),
                            (long long)b->options->integer[TSR_OPT_BATCH],
                            (long long)b->options->integer[TSR_OPT_PROMPT_TOKENS]));
    TSR_TRY(tsr_text_format(t, "time to first token  %10.4f s\n", b->median.prefill));
    if (isfinite(rate))
        TSR_TRY(tsr_text_format(
            t, "decode               %10.1f tokens/s, weights at %.1f GB/s, %.0f %% of the bandwidth\n", rate,
            decode_bytes_per_second(b) / 1e9, 100 * decode_bytes_per_second(b) / ceiling));
    TSR_TRY(tsr_text_format(t, "read bandwidth       %10.1f GB/s, measured on all ranks at once\n",
                            ceiling / 1e9));
    for (int r = 0; r < b->n_ranks; r++)
        TSR_TRY(
            tsr_text_format(t, "rank %-3d read %.1f MB, holds %.1f MB of weights, peak resident %.1f MB\n", r,
                            (double)b->ranks[r].bytes_read / 1e6, (double)b->ranks[r].weight_bytes / 1e6,
                            (double)b->ranks[r].peak_bytes / 1e6));
    return tsr_bench_put_profile(b->engine, t);
}

static tsr_status print(const bench *b)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, TSR_TEXT_NO_CAP));
    tsr_status s = b->options->flag[TSR_OPT_JSON] ? put_json(b, &t) : put_plain(b, &t);
    if (s == TSR_OK) s = tsr_put(t.data, t.length);
    tsr_text_free(&t);
    return s;
}

/* --- All ranks --- */

static tsr_status probe_bandwidth(bench *b, double *out)
{
    enum { PROBE_BYTES = 256 << 20 };
    tsr_world *world = tsr_engine_world(b->engine);
    TSR_TRY(tsr_world_barrier(world));
    tsr_gpu *gpu = tsr_engine_gpu(b->engine);
    return tsr_world_agree(world, gpu ? tsr_gpu_bandwidth(gpu, out)
                                      : tsr_measure_bandwidth(tsr_engine_pool(b->engine), PROBE_BYTES, out));
}

/* The probe's buffer would count as peak memory, so peaks are read before it. */
static tsr_status gather_reports(bench *b)
{
    tsr_world *world = tsr_engine_world(b->engine);
    tsr_engine_get_info(b->engine, &b->info);
    const tsr_engine_info *i = &b->info;
    rank_report own = {.weight_bytes = i->weight_bytes,
                       .streamed_bytes = i->streamed_bytes,
                       .bytes_read = i->bytes_read,
                       .peak_bytes = i->peak_resident_bytes,
                       .cache_bytes = i->cache_bytes};
    void *p;
    TSR_TRY(probe_bandwidth(b, &own.bandwidth));
    b->n_ranks = tsr_world_size(world);
    TSR_TRY(tsr_calloc(b->n_ranks, sizeof(rank_report), "the reports", &p));
    b->ranks = p;
    return tsr_world_all_gather(world, &own, sizeof own, b->ranks);
}

static tsr_status run(bench *b, tsr_world *world)
{
    bool leads = tsr_world_rank(world) == 0;
    tsr_engine_get_info(b->engine, &b->info);
    tsr_status s = leads ? measure(b) : TSR_OK;
    TSR_TRY(leads ? tsr_engine_dismiss(b->engine) : tsr_engine_follow(b->engine));
    TSR_TRY(tsr_world_agree(world, s)); /* the others are not to wait for reports that never come */
    TSR_TRY(gather_reports(b));
    return leads ? print(b) : TSR_OK;
}

tsr_status tsr_cmd_bench(tsr_world *world, const tsr_options *o)
{
    bench b = {.options = o};
    tsr_engine_options e = tsr_cli_engine_options(o);
    e.random_weights = o->flag[TSR_OPT_RANDOM_WEIGHTS];
    e.profile = o->flag[TSR_OPT_PROFILE];
    e.prefix_cache = false; /* every prompt is to be read */
    if (e.max_sequences < o->integer[TSR_OPT_BATCH]) e.max_sequences = (int)o->integer[TSR_OPT_BATCH];
    TSR_TRY(tsr_engine_create_in(world, &e, &b.engine));
    tsr_status s = run(&b, world);
    tsr_engine_destroy(&b.engine);
    tsr_free(b.ranks);
    return s;
}
