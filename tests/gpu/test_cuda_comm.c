/* test_cuda_comm.c: sums over the GPUs of a job, held against loops on the CPU. Every rank knows the numbers of all
 * (they are a function of rank and place), so each checks its results alone; that all have the same bits is checked by
 * comparing digests. Under mpirun -n N with N GPUs; alone it tests what a single rank does. TSR_TEST_ONLY: a pattern of
 * test names. */
#include "support_gpu.h"

#include "base/memory.h"
#include "support_comm.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static rank_gpu_setup gpu;

enum { MOST_BYTES = 32 << 20, GUARD = 64 };

/* The numbers of the test ------------------------------------------------------------------------------- */

static uint32_t mix(uint32_t seed, uint32_t i)
{
    uint32_t h = seed * 0x9E3779B9u ^ i * 0x85EBCA6Bu;
    h ^= h >> 16, h *= 0x7FEB352Du, h ^= h >> 15, h *= 0x846CA68Bu;
    return h ^ h >> 16;
}

static float drawn(uint32_t seed, uint32_t i)
{
    return (float)(int32_t)mix(seed, i) * 0x1p-31f;
}

/* n values of `dtype`, as the GPU gets them and as numbers. */
static void draw(uint32_t seed, tsr_dtype dtype, void *raw, float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) values[i] = drawn(seed, (uint32_t)i);
    tsr_from_f32(dtype, values, raw, n);
    tsr_to_f32(dtype, raw, values, n);
}

/* sum[i] = x_0[i] + x_1[i] + ..., where x_q has seed + q. */
static void draw_sum(uint32_t seed, tsr_dtype dtype, void *raw, float *x, float *sum, int64_t n)
{
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int q = 0; q < gpu.size; q++) {
        draw(seed + (uint32_t)q, dtype, raw, x, n);
        for (int64_t i = 0; i < n; i++) sum[i] += x[i];
    }
}

static void round_to(tsr_dtype dtype, void *raw, float *x, int64_t n)
{
    tsr_from_f32(dtype, x, raw, n);
    tsr_to_f32(dtype, raw, x, n);
}

static double resolution(tsr_dtype dtype)
{
    return dtype == TSR_F32 ? 0x1p-23 : dtype == TSR_F16 ? 0x1p-10 : 0x1p-7;
}

static void ok(tsr_status status)
{
    if (status != TSR_OK) tsr_world_abort(gpu.world, status, NULL); /* the others wait for this rank */
}

static void same_on_all_ranks(const void *data, int64_t bytes)
{
    uint64_t own = 1469598103934665603u, all[64];
    const unsigned char *p = data;
    for (int64_t i = 0; i < bytes; i++) own = (own ^ p[i]) * 1099511628211u;
    ok(tsr_world_all_gather(gpu.world, &own, sizeof own, all));
    for (int q = 0; q < gpu.size; q++)
        if (all[q] != own) fail_msg("ranks %d and %d have different bits", gpu.rank, q);
}

/* Plain sums -------------------------------------------------------------------------------------------- */

/* exact: the order of summation is ours. */
static void check_sums(tsr_cuda_comm *comm, tsr_dtype dtype, int64_t n, bool exact)
{
    int64_t bytes = n * tsr_dtype_bytes(dtype);
    char *raw = malloc((size_t)bytes + GUARD);
    float *x = malloc((size_t)n * sizeof *x), *sum = malloc((size_t)n * sizeof *sum);
    draw((uint32_t)n * 31 + (uint32_t)gpu.rank, dtype, raw, x, n);
    memset(raw + bytes, 0x5A, GUARD);
    char *data = to_device(raw, (size_t)bytes + GUARD);
    cuda_ok(cudaDeviceSynchronize()); /* our stream does not wait for the copy */
    ok(call_all_reduce(&gpu, comm, data, dtype, n));
    ok(wait_all(&gpu, comm));
    draw_sum((uint32_t)n * 31, dtype, raw, x, sum, n);
    round_to(dtype, raw, sum, n);
    to_host(raw, data, (size_t)bytes + GUARD);
    tsr_to_f32(dtype, raw, x, n);
    for (int64_t i = 0; i < n; i++) {
        double error = fabs((double)x[i] - sum[i]), most = exact ? 0 : 2 * gpu.size * resolution(dtype);
        if (!(error <= most))
            fail_msg("%s, %lld elements: element %lld is %g, not %g", tsr_dtype_name(dtype), (long long)n,
                     (long long)i, x[i], sum[i]);
    }
    for (int i = 0; i < GUARD; i++) assert_int_equal(raw[bytes + i], 0x5A);
    same_on_all_ranks(raw, bytes);
    cudaFree(data), free(raw), free(x), free(sum);
}

static const tsr_dtype dtypes[] = {TSR_F32, TSR_F16, TSR_BF16};

static void check_all_sums(const tsr_cuda_comm_options *o, bool exact)
{
    static const int64_t sizes[] = {1,      2,      3,      7,       8,       9,          31,
                                    255,    2048,   4096,   4097,    16384,   65537,      131072,
                                    262145, 524287, 524289, 1048579, 2097152, 8388608 - 1};
    tsr_cuda_comm *comm;
    ok(tsr_cuda_comm_create(gpu.world, o, &comm));
    for (int d = 0; d < 3; d++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            check_sums(comm, dtypes[d], sizes[i], exact);
    check_sums(comm, TSR_BF16, MOST_BYTES / 2, exact);
    tsr_cuda_comm_destroy(&comm);
}

/* Sizes at which one kernel is chosen reach the others through these. A message of 8 MiB goes in pieces. */
static const tsr_cuda_comm_options pushed = {.kind = "ipc", .deadline_seconds = 30, .push_bytes = 8 << 20},
                                   flagged = {.kind = "ipc",
                                              .deadline_seconds = 30,
                                              .push_bytes = 256,
                                              .max_bytes = 8 << 20},
                                   two_trips = {.kind = "ipc",
                                                .deadline_seconds = 30,
                                                .push_bytes = 256,
                                                .max_bytes = 8 << 20,
                                                .two_trips = true},
                                   as_chosen = {.deadline_seconds = 30, .max_bytes = 8 << 20},
                                   by_nccl = {.kind = "nccl", .deadline_seconds = 30};

static void sums_pushed(void **state)
{
    (void)state;
    check_all_sums(&pushed, true);
}

static void sums_in_one_trip(void **state)
{
    (void)state;
    check_all_sums(&flagged, true);
}

static void sums_in_two_trips(void **state)
{
    (void)state;
    check_all_sums(&two_trips, true);
}

static void sums_as_chosen(void **state)
{
    (void)state;
    if (getenv("TSR_TEST_SHARE_GPUS")) skip(); /* where arenas do not fit it would be NCCL */
    check_all_sums(&as_chosen, false);
}

static void sums_through_nccl(void **state)
{
    (void)state;
    if (getenv("TSR_TEST_SHARE_GPUS")) skip();
    check_all_sums(&by_nccl, false);
}

/* With residual and norm -------------------------------------------------------------------------------- */

typedef struct norm_case {
    tsr_dtype dtype;
    int64_t rows, cols, ld;
    tsr_norm_kind kind;
    bool in_place; /* the sum over the residual, the normed rows over x */
    int64_t shift; /* of all rows in memory, in elements */
} norm_case;

typedef struct norm_host {
    char *raw; /* of values of the test's dtype */
    float *x, *sum, *w, *b;
} norm_host;

static void expect_norm(const norm_case *c, const norm_host *h, const float *sum, int64_t row,
                        const char *normed)
{
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < c->cols && c->kind == TSR_NORM_LAYER; i++) mean += sum[i];
    mean /= (double)c->cols;
    for (int64_t i = 0; i < c->cols; i++) squares += (sum[i] - mean) * (sum[i] - mean);
    double scale = 1 / sqrt(squares / (double)c->cols + 1e-5);
    for (int64_t i = 0; i < c->cols; i++) {
        float found;
        double y = (sum[i] - mean) * scale * h->w[i] + (c->kind == TSR_NORM_LAYER ? h->b[i] : 0);
        tsr_to_f32(c->dtype, normed + i * tsr_dtype_bytes(c->dtype), &found, 1);
        double of = (fabs(sum[i]) + fabs(mean)) * scale * fabs(h->w[i]) +
                    fabs(h->b[i]); /* y is a difference of these */
        if (!(fabs(found - y) <= resolution(c->dtype) * fabs(y) + 1e-6 * of + 1e-7))
            fail_msg("%s, %lld x %lld: normed element (%lld, %lld) is %g, not %g", tsr_dtype_name(c->dtype),
                     (long long)c->rows, (long long)c->cols, (long long)row, (long long)i, found, y);
    }
}

/* sums: the rows as they came back. exact: one kernel made them, in our order. */
static void expect_rows(const norm_case *c, norm_host *h, uint32_t seed, const char *sums, const char *normed,
                        bool exact)
{
    int64_t n = c->rows * c->ld, bytes = tsr_dtype_bytes(c->dtype);
    draw_sum(seed, c->dtype, h->raw, h->x, h->sum, n);
    if (!exact) round_to(c->dtype, h->raw, h->sum, n);
    draw(seed + 1000, c->dtype, h->raw, h->x, n);
    for (int64_t i = 0; i < n; i++) h->sum[i] += h->x[i];
    round_to(c->dtype, h->raw, h->sum, n);
    for (int64_t r = 0; r < c->rows; r++) {
        const float *sum = h->sum + r * c->ld;
        tsr_to_f32(c->dtype, sums + r * c->ld * bytes, h->x, c->cols);
        for (int64_t i = 0; i < c->cols; i++)
            if (!(fabs((double)h->x[i] - sum[i]) <= (exact ? 0 : 8 * resolution(c->dtype))))
                fail_msg("%s, %lld x %lld: sum (%lld, %lld) is %g, not %g", tsr_dtype_name(c->dtype),
                         (long long)c->rows, (long long)c->cols, (long long)r, (long long)i, h->x[i], sum[i]);
        memcpy(h->x, exact ? sum : h->x, (size_t)c->cols * sizeof(float));
        expect_norm(c, h, h->x, r, normed + r * c->ld * bytes);
    }
}

static tsr_cuda_weight weight_of(float *host, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) host[i] = drawn(seed, (uint32_t)i);
    return (tsr_cuda_weight){TSR_F32, n, 1, to_device(host, (size_t)n * sizeof *host)};
}

static void check_norm(tsr_cuda_comm *comm, const norm_case *c, bool exact)
{
    int64_t n = c->rows * c->ld, each = tsr_dtype_bytes(c->dtype), bytes = n * each, shift = c->shift * each;
    uint32_t seed = (uint32_t)(c->rows * 7919 + c->cols);
    norm_host h = {malloc((size_t)bytes), malloc((size_t)n * 4), malloc((size_t)n * 4),
                   malloc((size_t)c->cols * 4), malloc((size_t)c->cols * 4)};
    char *sums = malloc((size_t)bytes), *normed = malloc((size_t)bytes);
    tsr_cuda_weight w = weight_of(h.w, c->cols, seed + 2000), b = weight_of(h.b, c->cols, seed + 2001);
    char *memory[4];
    for (int i = 0; i < 4; i++) {
        memory[i] = to_device(NULL, (size_t)(bytes + shift));
        cuda_ok(cudaMemset(memory[i], 0xFF, (size_t)(bytes + shift))); /* NaN in all formats */
        memory[i] += shift;
    }
    draw(seed + (uint32_t)gpu.rank, c->dtype, h.raw, h.x, n);
    cuda_ok(cudaMemcpy(memory[0], h.raw, (size_t)bytes, cudaMemcpyHostToDevice));
    draw(seed + 1000, c->dtype, h.raw, h.x, n);
    cuda_ok(cudaMemcpy(memory[1], h.raw, (size_t)bytes, cudaMemcpyHostToDevice));
    norm_call call = {.x = memory[0],
                      .residual = memory[1],
                      .sum = memory[c->in_place ? 1 : 2],
                      .normed = memory[c->in_place ? 0 : 3],
                      .w = &w,
                      .b = c->kind == TSR_NORM_LAYER ? &b : NULL,
                      .dtype = c->dtype,
                      .rows = c->rows,
                      .cols = c->cols,
                      .ld = c->ld,
                      .kind = c->kind};
    cuda_ok(cudaDeviceSynchronize());
    ok(call_reduce_add_norm(&gpu, comm, &call));
    ok(wait_all(&gpu, comm));
    to_host(sums, call.sum, (size_t)bytes);
    to_host(normed, call.normed, (size_t)bytes);
    expect_rows(c, &h, seed, sums, normed, exact);
    if (c->ld == c->cols) {
        same_on_all_ranks(sums, bytes);
        same_on_all_ranks(normed, bytes);
    }
    for (int i = 0; i < 4; i++) cudaFree(memory[i] - shift);
    cudaFree((void *)w.data), cudaFree((void *)b.data);
    free(h.raw), free(h.x), free(h.sum), free(h.w), free(h.b), free(sums), free(normed);
}

static void check_norms_of(tsr_cuda_comm *comm, tsr_dtype dtype, bool exact)
{
    static const int64_t cols[] = {1, 7, 64, 576, 1600, 4096, 4100, 5120, 8192, 12289, 16384, 40000};
    static const int64_t rows[] = {1, 2, 3, 5, 16, 63, 129, 700, 2048};
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            norm_case c = {dtype,      rows[r], cols[i], cols[i], (i + r) % 2 ? TSR_NORM_LAYER : TSR_NORM_RMS,
                           r % 3 == 1, 0};
            bool one_kernel = exact && tsr_reduce_fits(dtype, c.cols);
            if (c.rows * c.cols <= 1 << 20 || (c.cols == 4096 && c.rows == 2048))
                check_norm(comm, &c, one_kernel);
            c.ld += 3, c.shift = 1;
            if (c.rows * c.ld <= 1 << 16) check_norm(comm, &c, one_kernel);
        }
}

static void check_all_norms(const tsr_cuda_comm_options *o, bool exact)
{
    tsr_cuda_comm *comm;
    ok(tsr_cuda_comm_create(gpu.world, o, &comm));
    for (int d = 0; d < 3; d++) check_norms_of(comm, dtypes[d], exact);
    tsr_cuda_comm_destroy(&comm);
}

static void norms_pushed(void **state)
{
    (void)state;
    check_all_norms(&pushed, true);
}

static void norms_in_one_trip(void **state)
{
    (void)state;
    check_all_norms(&flagged, true);
}

static void norms_in_two_trips(void **state)
{
    (void)state;
    check_all_norms(&two_trips, true);
}

static void norms_through_nccl(void **state)
{
    (void)state;
    if (getenv("TSR_TEST_SHARE_GPUS")) skip();
    check_all_norms(&by_nccl, false);
}

/* Races ------------------------------------------------------------------------------------------------- */

/* Whole numbers in float32 are summed exactly in any order: r += x_0 + x_1 + ... again and again, each time of another x
 * and another size, and the CPU does the same. Numbers left over from an earlier sum would show. */
enum { SOURCES = 13, ACC = 300 * 4096, WAYS = 4 };

/* Small sums are pushed, larger ones not, at different sizes; every other way with kernels that overlap. */
static const tsr_cuda_comm_options ways[WAYS] = {
    {.kind = "ipc", .deadline_seconds = 30, .max_bytes = 8 << 20},
    {.kind = "ipc", .deadline_seconds = 30, .max_bytes = 8 << 20},
    {.kind = "ipc", .deadline_seconds = 30, .max_bytes = 2 << 20, .push_bytes = 1 << 16, .two_trips = true},
    {.kind = "ipc", .deadline_seconds = 30, .max_bytes = 2 << 20, .push_bytes = 1 << 16, .two_trips = true},
};

typedef struct race {
    tsr_cuda_comm *comm;
    float *x[SOURCES], *acc, *normed; /* on the GPU */
    float *sum[SOURCES], *expected;   /* on the CPU */
    tsr_cuda_weight w;
} race;

static void race_call(race *t, uint32_t i, bool expect_only)
{
    static const int64_t cols[] = {64, 1000, 4096, 4096, 8192};
    uint32_t h = mix(77, i), source = h % SOURCES;
    int64_t c = cols[h / 16 % 5], most = h / 256 % 8 == 0 ? ACC / c : h / 256 % 8 < 4 ? 4 : 40;
    norm_call call = {.x = t->x[source],
                      .residual = t->acc,
                      .sum = t->acc,
                      .normed = t->normed,
                      .w = &t->w,
                      .dtype = TSR_F32,
                      .rows = 1 + h / 4096 % (uint32_t)(most - 1),
                      .cols = c,
                      .ld = c,
                      .kind = TSR_NORM_RMS};
    for (int64_t k = 0; k < call.rows * c; k++) t->expected[k] += t->sum[source][k];
    if (!expect_only) ok(call_reduce_add_norm(&gpu, t->comm, &call));
}

static void begin_race(race *t, const tsr_cuda_comm_options *o)
{
    float *host = malloc(ACC * sizeof *host);
    ok(tsr_cuda_comm_create(gpu.world, o, &t->comm));
    for (uint32_t j = 0; j < SOURCES; j++) {
        t->sum[j] = calloc(ACC, sizeof(float));
        for (uint32_t q = 0; q < (uint32_t)gpu.size; q++)
            for (uint32_t i = 0; i < ACC; i++) t->sum[j][i] += (float)(int)(mix(j * 64 + q, i) % 201) - 100;
        for (uint32_t i = 0; i < ACC; i++)
            host[i] = (float)(int)(mix(j * 64 + (uint32_t)gpu.rank, i) % 201) - 100;
        t->x[j] = to_device(host, ACC * sizeof *host);
    }
    memset(host, 0, ACC * sizeof *host);
    t->acc = to_device(host, ACC * sizeof *host);
    t->normed = to_device(host, ACC * sizeof *host);
    t->w = (tsr_cuda_weight){TSR_F32, 8192, 1, to_device(host, 8192 * sizeof *host)};
    t->expected = calloc(ACC, sizeof(float));
    cuda_ok(cudaDeviceSynchronize());
    free(host);
}

static void end_race(race *t)
{
    float *found = malloc(ACC * sizeof *found);
    ok(wait_all(&gpu, t->comm));
    to_host(found, t->acc, ACC * sizeof *found);
    for (int64_t i = 0; i < ACC; i++)
        if (found[i] != t->expected[i])
            fail_msg("element %lld is %g, not %g", (long long)i, found[i], t->expected[i]);
    tsr_cuda_comm_destroy(&t->comm);
    for (int j = 0; j < SOURCES; j++) cudaFree(t->x[j]), free(t->sum[j]);
    cudaFree(t->acc), cudaFree(t->normed), cudaFree((void *)t->w.data), free(t->expected), free(found);
}

static uint32_t fewer(uint32_t n)
{
    return getenv("TSR_TEST_SHARE_GPUS") ? n / 20 : n;
}

static void sums_back_to_back_with_changing_sizes(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        race t;
        gpu.step.overlap = way % 2;
        begin_race(&t, &ways[way]);
        for (uint32_t i = 0; i < fewer(4000); i++) {
            race_call(&t, i, false);
            if (mix((uint32_t)gpu.rank + 5, i) % 97 == 0)
                usleep(mix(6, i) % 300); /* now this rank is late, now that */
            if (i % 500 == 499) ok(wait_all(&gpu, t.comm));
        }
        end_race(&t);
    }
    gpu.step.overlap = false;
}

static void graphs_replayed(void **state)
{
    enum { CALLS = 40 };
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        race t;
        cudaGraph_t graph;
        cudaGraphExec_t exec;
        gpu.step.overlap = way % 2;
        begin_race(&t, &ways[way]);
        cuda_ok(cudaStreamBeginCapture(gpu.step.stream, cudaStreamCaptureModeThreadLocal));
        for (uint32_t i = 0; i < CALLS; i++) race_call(&t, i, false);
        cuda_ok(cudaStreamEndCapture(gpu.step.stream, &graph));
        cuda_ok(cudaGraphInstantiate(&exec, graph, 0));
        memset(t.expected, 0, ACC * sizeof(float));
        for (uint32_t round = 0; round < fewer(200); round++) {
            cuda_ok(cudaGraphLaunch(exec, gpu.step.stream));
            race_call(&t, 1000 + round, false); /* and eager ones between */
            for (uint32_t i = 0; i < CALLS; i++) race_call(&t, i, true);
            if (round % 16 == 0) ok(wait_all(&gpu, t.comm));
        }
        end_race(&t);
        cudaGraphExecDestroy(exec);
        cudaGraphDestroy(graph);
    }
    gpu.step.overlap = false;
}

static void nccl_in_graphs(void **state)
{
    enum { N = 5000 };
    static float ones[N];
    tsr_cuda_comm_options o = {.kind = "nccl", .deadline_seconds = 30};
    tsr_cuda_comm *comm;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    (void)state;
    if (getenv("TSR_TEST_SHARE_GPUS")) skip();
    for (int i = 0; i < N; i++) ones[i] = 1;
    ok(tsr_cuda_comm_create(gpu.world, &o, &comm));
    float *data = to_device(ones, sizeof ones);
    cuda_ok(cudaDeviceSynchronize());
    cuda_ok(cudaStreamBeginCapture(gpu.step.stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < 4; i++) ok(call_all_reduce(&gpu, comm, data, TSR_F32, N));
    cuda_ok(cudaStreamEndCapture(gpu.step.stream, &graph));
    cuda_ok(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 4; i++) cuda_ok(cudaGraphLaunch(exec, gpu.step.stream));
    ok(wait_all(&gpu, comm));
    to_host(ones, data, sizeof ones);
    for (int i = 0; i < N; i++) assert_true(ones[i] == powf((float)gpu.size, 16));
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    cudaFree(data);
    tsr_cuda_comm_destroy(&comm);
}

/* A single rank ----------------------------------------------------------------------------------------- */

static void one_rank_needs_no_communicator(void **state)
{
    tsr_cuda_comm *comm;
    float host[4] = {1, 2, 3, 4}, back[4];
    (void)state;
    ok(tsr_cuda_comm_create(gpu.world, NULL, &comm));
    assert_null(comm);
    ok(tsr_cuda_comm_poll(comm));
    float *data = to_device(host, sizeof host);
    ok(call_all_reduce(&gpu, comm, data, TSR_F32, 4));
    ok(wait_all(&gpu, comm));
    to_host(back, data, sizeof back);
    assert_memory_equal(host, back, sizeof host);
    cudaFree(data);
    tsr_cuda_comm_destroy(&comm);
}

static void one_rank_adds_and_norms(void **state)
{
    (void)state;
    for (int d = 0; d < 3; d++) {
        norm_case c = {dtypes[d], 5, 576, 576, TSR_NORM_RMS, false, 0};
        check_norm(NULL, &c, false);
    }
}

static void unknown_kinds_are_refused(void **state)
{
    tsr_cuda_comm_options o = {.kind = "carrier pigeon"};
    tsr_cuda_comm *comm;
    (void)state;
    assert_int_equal(tsr_cuda_comm_create(gpu.world, &o, &comm), TSR_ERR_USAGE);
    assert_null(comm);
}

int main(void)
{
    const struct CMUnitTest of_many[] = {
        cmocka_unit_test(unknown_kinds_are_refused),
        cmocka_unit_test(sums_pushed),
        cmocka_unit_test(sums_in_one_trip),
        cmocka_unit_test(sums_in_two_trips),
        cmocka_unit_test(sums_as_chosen),
        cmocka_unit_test(norms_pushed),
        cmocka_unit_test(norms_in_one_trip),
        cmocka_unit_test(norms_in_two_trips),
        cmocka_unit_test(sums_back_to_back_with_changing_sizes),
        cmocka_unit_test(graphs_replayed),
        cmocka_unit_test(sums_through_nccl),
        cmocka_unit_test(norms_through_nccl),
        cmocka_unit_test(nccl_in_graphs),
    };
    const struct CMUnitTest of_one[] = {
        cmocka_unit_test(unknown_kinds_are_refused),
        cmocka_unit_test(one_rank_needs_no_communicator),
        cmocka_unit_test(one_rank_adds_and_norms),
    };
    const char *ranks = getenv("TSR_TEST_RANKS");
    need_gpus(ranks && !getenv("TSR_TEST_SHARE_GPUS") ? atoi(ranks) : 1);
    begin_rank(&gpu);
    if (getenv("TSR_TEST_ONLY")) cmocka_set_test_filter(getenv("TSR_TEST_ONLY"));
    int failed = gpu.size > 1 ? cmocka_run_group_tests(of_many, NULL, NULL)
                              : cmocka_run_group_tests(of_one, NULL, NULL);
    end_rank(&gpu);
    return failed;
}
