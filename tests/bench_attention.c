/* bench_attention.c: how fast one thread attends: a prompt at once (GFLOP/s), and one token after a long context (GB/s of
 * cache read). Several cache layers take turns, so that a decode step finds its keys and values in memory.
 *
 *     bench_attention [ISA [SECONDS]]
 */
#include "base/log.h"
#include "base/memory.h"
#include "layers/cpu/cpu_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 16, CONTEXT = 4096, PAGES = CONTEXT / TSR_PAGE_TOKENS, PROMPT = 512 };

typedef struct shape {
    int heads, kv_heads, dim;
} shape;

typedef struct bench {
    const tsr_cpu_kernels *set;
    shape s;
    tsr_cache_data cache[LAYERS];
    float *q, *kv, *out; /* [PROMPT][heads * dim], [PROMPT][kv_heads * dim] */
    void *scratch;
    double seconds;
} bench;

/* Seconds of the best call with n tokens from `position` on. */
static double time_calls(const bench *b, int32_t n, int32_t position)
{
    int32_t pages[PAGES], sequence[PROMPT] = {0};
    for (int p = 0; p < PAGES; p++) pages[p] = (p * 37) % PAGES;
    tsr_step_sequence s = {.n_tokens = n, .position = position, .pages = pages, .prompt = n > 1};
    tsr_step step = {.n_tokens = n, .n_sequences = 1, .sequence = sequence, .sequences = &s};
    int64_t width = b->s.heads * b->s.dim, kv_width = b->s.kv_heads * b->s.dim;
    double best = 1e9, end = tsr_now() + b->seconds;
    for (int layer = 0; tsr_now() < end; layer = (layer + 1) % LAYERS) {
        tsr_call call = {.op = TSR_OP_ATTENTION, .cache = &b->cache[layer]};
        call.in[0] = (tsr_operand){b->q, width, width, 0};
        call.in[1] = call.in[2] = (tsr_operand){b->kv, kv_width, kv_width, 0};
        call.out[0] = (tsr_operand){b->out, width, width, 0};
        call.attrs.attention.heads = b->s.heads;
        call.attrs.attention.kv_heads = b->s.kv_heads;
        call.attrs.attention.head_dim = call.attrs.attention.value_dim = b->s.dim;
        call.attrs.attention.group = b->s.heads / b->s.kv_heads;
        call.attrs.attention.scale = 0.1f;
        double begin = tsr_now();
        for (int phase = 0; phase < 2; phase++) {
            tsr_worker worker = {.n_threads = 1, .phase = phase, .scratch = b->scratch};
            b->set->kernel[TSR_OP_ATTENTION](&call, &step, &worker);
        }
        double t = tsr_now() - begin;
        if (t < best) best = t;
    }
    return best;
}

static tsr_status prepare(bench *b, tsr_dtype dtype)
{
    int64_t slots = (int64_t)CONTEXT * b->s.kv_heads, bytes = slots * b->s.dim * tsr_dtype_bytes(dtype);
    for (int i = 0; i < LAYERS; i++) {
        b->cache[i] = (tsr_cache_data){dtype, NULL, NULL, TSR_PAGE_TOKENS, b->s.kv_heads, b->s.dim, b->s.dim};
        TSR_TRY(tsr_alloc_large(bytes, "keys", &b->cache[i].k));
        TSR_TRY(tsr_alloc_large(bytes, "values", &b->cache[i].v));
        memset(b->cache[i].k, 0x3C, (size_t)bytes);
        memset(b->cache[i].v, 0x3C, (size_t)bytes);
    }
    TSR_TRY(tsr_alloc_large((int64_t)PROMPT * b->s.heads * b->s.dim * 4, "q", (void **)&b->q));
    TSR_TRY(tsr_alloc_large((int64_t)PROMPT * b->s.heads * b->s.dim * 4, "out", (void **)&b->out));
    TSR_TRY(tsr_alloc_large((int64_t)PROMPT * b->s.kv_heads * b->s.dim * 4, "k, v", (void **)&b->kv));
    for (int64_t i = 0; i < (int64_t)PROMPT * b->s.heads * b->s.dim; i++)
        b->q[i] = (float)(i % 17 - 8) * 0.1f;
    for (int64_t i = 0; i < (int64_t)PROMPT * b->s.kv_heads * b->s.dim; i++)
        b->kv[i] = (float)(i % 13 - 6) * 0.1f;
    return TSR_OK;
}

static void release(bench *b)
{
    int64_t slots = (int64_t)CONTEXT * b->s.kv_heads,
            bytes = slots * b->s.dim * tsr_dtype_bytes(b->cache[0].dtype);
    for (int i = 0; i < LAYERS; i++) {
        tsr_free_large(b->cache[i].k, bytes);
        tsr_free_large(b->cache[i].v, bytes);
    }
    tsr_free_large(b->q, (int64_t)PROMPT * b->s.heads * b->s.dim * 4);
    tsr_free_large(b->out, (int64_t)PROMPT * b->s.heads * b->s.dim * 4);
    tsr_free_large(b->kv, (int64_t)PROMPT * b->s.kv_heads * b->s.dim * 4);
}

static tsr_status run(bench *b, tsr_dtype dtype)
{
    TSR_TRY(prepare(b, dtype));
    double all = time_calls(b, PROMPT, 0), later = time_calls(b, PROMPT, 2048),
           one = time_calls(b, 1, CONTEXT - 1);
    /* causal: each token sees half of the prompt; 2 flops for q.k and 2 for p v, per dimension */
    double flops = 4.0 * b->s.heads * b->s.dim * PROMPT;
    double bytes = 2.0 * CONTEXT * b->s.kv_heads * b->s.dim * tsr_dtype_bytes(dtype);
    printf("%-10s %2d/%d heads of %3d, cache %-8s  prompt of %d: %5.0f us %4.0f GF; from 2048 on: %4.0f GF; "
           "token at %d: "
           "%4.0f us %.1f GB/s\n",
           b->set->isa, b->s.heads, b->s.kv_heads, b->s.dim, tsr_dtype_name(dtype), PROMPT, all * 1e6,
           flops * PROMPT / 2 / all / 1e9, flops * (2048 + PROMPT / 2) / later / 1e9, CONTEXT, one * 1e6,
           bytes / one / 1e9);
    release(b);
    return TSR_OK;
}

int main(int argc, char **argv)
{
    static const shape shapes[] = {{9, 3, 64}, {32, 8, 64}, {12, 12, 64}, {8, 2, 128}};
    static const tsr_dtype dtypes[] = {TSR_BF16, TSR_F32};
    bench b = {.set = argc > 1 ? tsr_cpu_kernels_named(argv[1]) : tsr_cpu_kernels_best(),
               .seconds = argc > 2 ? atof(argv[2]) : 0.1};
    if (!b.set) return fprintf(stderr, "this instruction set is unknown or does not run here\n"), 1;
    if (tsr_alloc_large(TSR_WORKER_SCRATCH, "scratch", &b.scratch) != TSR_OK) return 1;
    if (b.set->thread_init) b.set->thread_init();
    for (int d = 0; d < 2; d++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            b.s = shapes[i];
            if (run(&b, dtypes[d]) != TSR_OK) return fprintf(stderr, "%s\n", tsr_error_text()), 1;
        }
    tsr_free_large(b.scratch, TSR_WORKER_SCRATCH);
    return 0;
}
