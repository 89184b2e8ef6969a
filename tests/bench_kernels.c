/* bench_kernels.c: how fast one thread multiplies by packed weights, beside the read bandwidth measured in
 * the same run.
 *
 *     bench_kernels [ISA [DTYPE [MIN_SECONDS]]]      e.g. bench_kernels avx512 bf16 0.3
 *
 * For each matrix shape [out, in] and number of rows M: GFLOP/s of linear, and for few rows GB/s of weights
 * read, beside the GB/s that plain reading reached in passes between them. Copies of the matrix, 256 MiB in
 * all, take turns, as the layers of a model do, so that weights come from memory.
 */
#include "base/memory.h"
#include "layers/cpu/cpu_kernels.h"
#include "layers/cpu/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POOL_BYTES = 256 << 20, MOST_ROWS = 512 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Sums the pool as 64-bit words with many independent chains: GB/s. */
static double read_bandwidth(const uint64_t *words, int64_t n)
{
    volatile uint64_t sink;
    uint64_t sum[32] = {0};
    double begin = now();
    for (int64_t i = 0; i + 32 <= n; i += 32) {
        for (int j = 0; j < 32; j += 8) __builtin_prefetch(words + i + 256 + j);
        for (int j = 0; j < 32; j++) sum[j] += words[i + j];
    }
    double rate = (double)n * 8 / (now() - begin) / 1e9;
    for (int j = 0; j < 32; j++) sink = sum[j];
    (void)sink;
    return rate;
}

typedef struct bench {
    const tsr_cpu_kernels *set;
    tsr_dtype dtype;
    char *weights; /* POOL_BYTES of small random numbers, good in every dtype */
    float *x, *out;
    void *shared, *scratch;
    double seconds;
} bench;

/* One product of `rows` rows by copy number `copy` of an n x k matrix. */
static void product(const bench *b, int32_t rows, int64_t n, int64_t k, int64_t copy)
{
    tsr_step step = {.n_tokens = rows};
    tsr_weight_data w = {b->dtype, TSR_PACK_PANELS, n, k,
                         b->weights + copy * tsr_packed_bytes(b->dtype, n, k)};
    tsr_call call = {.op = TSR_OP_LINEAR,
                     .in = {{b->x, k, k, 0}},
                     .out = {{b->out, n, n, 0}},
                     .weight = {&w},
                     .shared = b->shared};
    for (int phase = 0; phase < 2; phase++) {
        tsr_worker worker = {.n_threads = 1, .phase = phase, .scratch = b->scratch};
        b->set->kernel[TSR_OP_LINEAR](&call, &step, &worker);
    }
}

/* Many rows: the best GFLOP/s of single products, over at least b->seconds. */
static void run_products(const bench *b, int32_t rows, int64_t n, int64_t k)
{
    int64_t copies = POOL_BYTES / tsr_packed_bytes(b->dtype, n, k), copy = 0;
    double best = 1e9, end = now() + b->seconds;
    do {
        double begin = now();
        product(b, rows, n, k, copy);
        double t = now() - begin;
        if (t < best) best = t;
        copy = (copy + 1) % copies;
    } while (now() < end);
    printf("  M=%d %.0f GF", rows, 2.0 * rows * (double)n * (double)k / best / 1e9);
}

/* Few rows: GB/s of weights over walks through the whole pool, alternating with plain reading; the best of
 * each. */
static void run_walks(const bench *b, int32_t rows, int64_t n, int64_t k)
{
    int64_t bytes = tsr_packed_bytes(b->dtype, n, k), copies = POOL_BYTES / bytes;
    double best = 0, best_read = 0;
    for (int pass = 0; pass < 5; pass++) {
        double begin = now();
        for (int64_t copy = 0; copy < copies; copy++) product(b, rows, n, k, copy);
        double rate = (double)(bytes * copies) / (now() - begin) / 1e9;
        double read = read_bandwidth((const uint64_t *)b->weights, POOL_BYTES / 8);
        if (rate > best) best = rate;
        if (read > best_read) best_read = read;
    }
    printf("  M=%d %.1f/%.1f GB/s", rows, best, best_read);
}

static void run(const bench *b)
{
    static const int64_t shapes[][2] = {{576, 576}, {1536, 576}, {576, 1536}, {2048, 2048}, {8192, 2048}};
    static const int32_t rows[] = {1, 2, 4, 6, 8, 16, 32, 128, 512};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        int64_t n = shapes[s][0], k = shapes[s][1];
        printf("%-10s %-8s %5lld x %4lld:", b->set->isa, tsr_dtype_name(b->dtype), (long long)n,
               (long long)k);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            if (rows[i] <= 16)
                run_walks(b, rows[i], n, k);
            else
                run_products(b, rows[i], n, k);
            fflush(stdout);
        }
        printf("\n");
    }
}

static bool prepare(bench *b)
{
    if (tsr_alloc_large(POOL_BYTES, "weights", (void **)&b->weights) != TSR_OK) return false;
    if (tsr_alloc_large((int64_t)MOST_ROWS * 2048 * 4, "x", (void **)&b->x) != TSR_OK) return false;
    if (tsr_alloc_large((int64_t)MOST_ROWS * 8192 * 4, "out", (void **)&b->out) != TSR_OK) return false;
    if (tsr_alloc_large((int64_t)MOST_ROWS * 2048 * 8, "shared", &b->shared) != TSR_OK) return false;
    if (tsr_alloc_large(TSR_WORKER_SCRATCH, "scratch", &b->scratch) != TSR_OK) return false;
    /* 16-bit words that are small numbers as f16, as bf16 and, in pairs, as f32 */
    uint32_t state = 1;
    for (int64_t i = 0; i < POOL_BYTES / 2; i++) {
        state = state * 1664525u + 1013904223u;
        uint16_t word = (uint16_t)(0x3000 | (state >> 16 & 0x8FFF));
        memcpy(b->weights + 2 * i, &word, 2);
    }
    for (int64_t i = 0; i < (int64_t)MOST_ROWS * 2048; i++) b->x[i] = (float)(i * 7919 % 2001 - 1000) * 1e-3f;
    return true;
}

int main(int argc, char **argv)
{
    bench b = {.set = argc > 1 ? tsr_cpu_kernels_named(argv[1]) : tsr_cpu_kernels_best(),
               .seconds = argc > 3 ? atof(argv[3]) : 0.2};
    if (!b.set) return fprintf(stderr, "this instruction set is unknown or does not run here\n"), 1;
    if (!prepare(&b)) return fprintf(stderr, "%s\n", tsr_error_text()), 1;
    if (b.set->thread_init) b.set->thread_init();
    static const tsr_dtype dtypes[] = {TSR_BF16, TSR_F16, TSR_F32};
    for (int d = 0; d < 3; d++) {
        tsr_dtype only = dtypes[d];
        if (argc > 2 && (!tsr_dtype_from_option(argv[2], &only) || only != dtypes[d])) continue;
        b.dtype = dtypes[d];
        run(&b);
    }
    return 0;
}
