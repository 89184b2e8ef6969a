/* test_cuda_ops.c: every op but attention and the collectives on a GPU against its CPU kernel, on the same rounded
 * inputs, for every dtype: windows of wider values, odd sizes, one row and many, counts below the bounds. */
#include "../ops_common.h"
#include "support_gpu.h"

#include "layers/cpu/pack.h"
#include "layers/cuda/gemm.h"

enum {
    SLACK = 3,
    TABLE = 64
}; /* rows that a launch is sized for beyond the true ones; entries of the rope table's rows */

static tsr_cuda_gemm *gemm;

/* A value on both sides. */
typedef struct twin {
    tsr_operand host;
    tsr_cuda_operand device;
} twin;

static void *rounded_to(tsr_dtype dtype, float *values, int64_t n)
{
    char *raw = aligned(n * 4);
    tsr_from_f32(dtype, values, raw, n);
    tsr_to_f32(dtype, raw, values, n);
    return raw;
}

/* ld = cols + apart; random numbers of `amplitude`, as the dtype has them. */
static twin make_twin(tsr_dtype dtype, int64_t rows, int64_t cols, int64_t apart, float amplitude)
{
    int64_t ld = cols + apart, n = (rows + SLACK) * ld;
    twin t = {.host = {.ld = ld, .cols = cols}, .device = {.ld = ld, .cols = cols, .dtype = dtype}};
    t.host.data = aligned(n * 4);
    for (int64_t i = 0; i < n; i++) t.host.data[i] = amplitude * random_unit();
    void *raw = rounded_to(dtype, t.host.data, n);
    t.device.data = to_device(raw, (size_t)(n * tsr_dtype_bytes(dtype)));
    free(raw);
    return t;
}

static void free_twin(twin *t)
{
    free(t->host.data);
    cudaFree(t->device.data);
}

/* A weight on both sides: matrices in rows there, here in rows or panels; vectors in float32. */
typedef struct weight_twin {
    tsr_weight_data host;
    tsr_cuda_weight device;
} weight_twin;

static weight_twin make_weight(tsr_dtype dtype, int64_t rows, int64_t cols, bool panels)
{
    float *values = aligned(rows * cols * 4);
    for (int64_t i = 0; i < rows * cols; i++) values[i] = random_unit();
    void *raw = rounded_to(dtype, values, rows * cols);
    weight_twin w = {.host = {TSR_F32, panels ? TSR_PACK_PANELS : TSR_PACK_ROWS, rows, cols, values},
                     .device = {dtype, rows, cols, NULL}};
    w.device.data = to_device(raw, (size_t)(rows * cols * tsr_dtype_bytes(dtype)));
    free(raw);
    if (!panels) return w;
    char *packed = aligned(tsr_packed_bytes(TSR_F32, rows, cols));
    for (int64_t r = 0; r < rows; r += TSR_PANEL)
        tsr_pack_panel(TSR_F32, values + r * cols, rows - r < TSR_PANEL ? rows - r : TSR_PANEL, cols,
                       packed + r / TSR_PANEL * tsr_panel_bytes(TSR_F32, cols));
    free(values);
    w.host.data = packed;
    return w;
}

static void free_weight(weight_twin *w)
{
    free((void *)(uintptr_t)w->host.data);
    cudaFree((void *)(uintptr_t)w->device.data);
}

/* --- Steps --- */

typedef struct step_twin {
    tsr_step host;
    tsr_cuda_step device;
    const float *rope_host[1], *rope_device[1];
    void *block; /* ids, positions, sequence, rows */
} step_twin;

static void make_step_twin(int32_t tokens, step_twin *s)
{
    int32_t *index = calloc((size_t)(tokens + SLACK), 4);
    float *angles = aligned((tokens + SLACK) * (int64_t)TABLE * 4);
    s->host = make_step(tokens);
    for (int32_t t = 0; t < tokens; t++) index[t] = (t * 7 + 3) % 11;
    memcpy((void *)(uintptr_t)s->host.ids, index, (size_t)tokens * 4);
    for (int64_t i = 0; i < (tokens + SLACK) * (int64_t)TABLE; i++) angles[i] = random_unit();
    s->rope_host[0] = angles;
    s->rope_device[0] = to_device(angles, (size_t)((tokens + SLACK) * (int64_t)TABLE * 4));
    s->host.rope = s->rope_host;
    tsr_cuda_counts counts = {tokens, 1, tokens};
    tsr_cuda_step *d = &s->device;
    *d = (tsr_cuda_step){.overlap = true,
                         .bound_tokens = tokens + SLACK,
                         .bound_sequences = 1,
                         .bound_rows = tokens + SLACK,
                         .n_processors = 132};
    cuda_ok(cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking));
    d->counts = to_device(&counts, sizeof counts);
    d->ids = to_device(index, (size_t)(tokens + SLACK) * 4);
    memset(index, 0, (size_t)(tokens + SLACK) * 4);
    d->sequence = to_device(index, (size_t)(tokens + SLACK) * 4);
    for (int32_t t = 0; t < tokens; t++) index[t] = t;
    d->positions = to_device(index, (size_t)(tokens + SLACK) * 4);
    d->rows = to_device(index, (size_t)(tokens + SLACK) * 4);
    d->rope = s->rope_device;
    free(index);
}

static void free_step_twin(step_twin *s)
{
    free_step(&s->host);
    free((void *)(uintptr_t)s->rope_host[0]);
    cudaFree((void *)(uintptr_t)s->rope_device[0]);
    cudaFree((void *)(uintptr_t)s->device.counts);
    cudaFree((void *)(uintptr_t)s->device.ids);
    cudaFree((void *)(uintptr_t)s->device.sequence);
    cudaFree((void *)(uintptr_t)s->device.positions);
    cudaFree((void *)(uintptr_t)s->device.rows);
    cudaStreamDestroy(s->device.stream);
}

/* --- Comparing --- */

static double tolerance_of(tsr_dtype dtype)
{
    return dtype == TSR_F32 ? 2e-5 : dtype == TSR_F16 ? 2e-3 : 1.6e-2;
}

/* Row by row, relative to the largest of the row: sums of many numbers cancel. */
static void compare(const char *what, const tsr_operand *want, const tsr_cuda_operand *got, int64_t rows)
{
    int64_t n = rows * got->ld;
    char *raw = aligned(n * 4);
    float *values = aligned(n * 4);
    to_host(raw, got->data, (size_t)(n * tsr_dtype_bytes(got->dtype)));
    tsr_to_f32(got->dtype, raw, values, n);
    for (int64_t r = 0; r < rows; r++) {
        double largest = 1e-3;
        for (int64_t c = 0; c < got->cols; c++)
            largest = fmax(largest, fabs((double)want->data[r * want->ld + c]));
        for (int64_t c = 0; c < got->cols; c++) {
            double w = want->data[r * want->ld + c], g = values[r * got->ld + c];
            if (!(fabs(g - w) <= tolerance_of(got->dtype) * largest))
                fail_msg("%s in %s: row %lld of %lld, column %lld of %lld: got %.7g, want %.7g", what,
                         tsr_dtype_name(got->dtype), (long long)r, (long long)rows, (long long)c,
                         (long long)got->cols, g, w);
        }
    }
    free(raw);
    free(values);
}

/* One op on both sides. in[k], out[k], weight[k] NULL where it has none. */
typedef struct op_case {
    const char *what;
    tsr_op op;
    tsr_attrs attrs;
    twin *in[2], *out[2];
    weight_twin *weight[2];
} op_case;

static void run_case(const op_case *k, const step_twin *s, int64_t rows)
{
    tsr_call host = {.op = k->op, .attrs = k->attrs};
    tsr_cuda_call device = {.op = k->op, .attrs = k->attrs, .gemm = gemm};
    for (int i = 0; i < 2; i++) {
        if (k->in[i]) host.in[i] = k->in[i]->host, device.in[i] = k->in[i]->device, host.n_inputs = i + 1;
        if (k->out[i]) host.out[i] = k->out[i]->host, device.out[i] = k->out[i]->device;
        if (k->weight[i]) host.weight[i] = &k->weight[i]->host, device.weight[i] = &k->weight[i]->device;
    }
    device.n_inputs = host.n_inputs;
    device.workspace_bytes = tsr_cuda_workspace_bytes(&device, rows + SLACK, rows + SLACK, 132);
    device.workspace = to_device(NULL, (size_t)device.workspace_bytes);
    run_call(tsr_cpu_kernels_named("portable"), &host, &s->host, 1);
    if (tsr_cuda_kernels[k->op](&device, &s->device) != TSR_OK) fail_msg("%s: %s", k->what, tsr_error_text());
    cuda_ok(cudaStreamSynchronize(s->device.stream));
    for (int i = 0; i < 2; i++)
        if (k->out[i]) compare(k->what, &k->out[i]->host, &k->out[i]->device, rows);
    cudaFree(device.workspace);
}

/* --- Cases --- */

static void check_rows(tsr_dtype dtype, int64_t rows, int64_t cols, int64_t apart)
{
    step_twin s;
    make_step_twin((int32_t)rows, &s);
    twin a = make_twin(dtype, rows, cols, apart, 3), b = make_twin(dtype, rows, cols, 0, 3);
    twin out = make_twin(dtype, rows, cols, 0, 9), sum = make_twin(dtype, rows, cols, apart, 9);
    weight_twin w = make_weight(TSR_F32, cols, 1, false), shift = make_weight(TSR_F32, cols, 1, false);
    for (int kind = 0; kind < 4; kind++) {
        tsr_attrs norm = {.norm = {.kind = kind % 2 ? TSR_NORM_RMS : TSR_NORM_LAYER, .eps = 1e-3f}};
        weight_twin *scale = kind < 2 ? &w : NULL, *bias = kind == 0 ? &shift : NULL;
        run_case(&(op_case){"norm", TSR_OP_NORM, norm, {&a}, {&out}, {scale, bias}}, &s, rows);
        run_case(&(op_case){"add_norm", TSR_OP_ADD_NORM, norm, {&a, &b}, {&out, &sum}, {scale, bias}}, &s,
                 rows);
    }
    run_case(&(op_case){"add", TSR_OP_ADD, {{{0}}}, {&a, &b}, {&out}, {0}}, &s, rows);
    tsr_attrs clamp = {.clamp = {.limit = 1.25f}};
    run_case(&(op_case){"clamp", TSR_OP_CLAMP, clamp, {&a}, {&out}, {0}}, &s, rows);
    for (int kind = 0; kind < TSR_ACT_COUNT; kind++) {
        tsr_attrs act = {.act = {.kind = (tsr_activation)kind}};
        run_case(&(op_case){"act", TSR_OP_ACT, act, {&a}, {&out}, {0}}, &s, rows);
        run_case(&(op_case){"gated", TSR_OP_GATED, act, {&a, &b}, {&out}, {0}}, &s, rows);
    }
    out.host.selected = 1;
    out.device.selected = true;
    run_case(&(op_case){"select_rows", TSR_OP_SELECT_ROWS, {{{0}}}, {&a}, {&out}, {0}}, &s, rows);
    free_twin(&a), free_twin(&b), free_twin(&out), free_twin(&sum);
    free_weight(&w), free_weight(&shift);
    free_step_twin(&s);
}

static void check_products(tsr_dtype dtype, int64_t rows, int64_t cols, int64_t depth, int64_t apart)
{
    step_twin s;
    make_step_twin((int32_t)rows, &s);
    twin x = make_twin(dtype, rows, depth, apart, 1), out = make_twin(dtype, rows, cols, apart, 9);
    twin logits = make_twin(TSR_F32, rows, cols, 0, 9);
    weight_twin w = make_weight(dtype, cols, depth, true), both = make_weight(dtype, 2 * cols, depth, true);
    weight_twin bias = make_weight(TSR_F32, 2 * cols, 1, false);
    tsr_attrs act = {.act = {.kind = TSR_ACT_SILU}};
    run_case(&(op_case){"linear", TSR_OP_LINEAR, {{{0}}}, {&x}, {&out}, {&w}}, &s, rows);
    run_case(&(op_case){"linear with bias", TSR_OP_LINEAR, {{{0}}}, {&x}, {&out}, {&w, &bias}}, &s, rows);
    run_case(&(op_case){"gated_linear", TSR_OP_GATED_LINEAR, act, {&x}, {&out}, {&both}}, &s, rows);
    run_case(&(op_case){"gated_linear with bias", TSR_OP_GATED_LINEAR, act, {&x}, {&out}, {&both, &bias}}, &s,
             rows);
    /* Products of 16-bit numbers are exact: in float32 little is lost. */
    run_case(&(op_case){"linear to float32", TSR_OP_LINEAR, {{{0}}}, {&x}, {&logits}, {&w, &bias}}, &s, rows);
    free_twin(&x), free_twin(&out), free_twin(&logits);
    free_weight(&w), free_weight(&both), free_weight(&bias);
    free_step_twin(&s);
}

static void check_tables(tsr_dtype dtype, int64_t rows, int64_t cols)
{
    step_twin s;
    make_step_twin((int32_t)rows, &s);
    twin out = make_twin(dtype, rows, cols, 0, 9);
    weight_twin table = make_weight(dtype, rows + 7, cols, false);
    tsr_attrs ids = {.embed = {TSR_EMBED_IDS, 0, 2.5f, 4}},
              positions = {.embed = {TSR_EMBED_POSITIONS, 2, 1, 0}};
    run_case(&(op_case){"embed by id", TSR_OP_EMBED, ids, {0}, {&out}, {&table}}, &s, rows);
    run_case(&(op_case){"embed by position", TSR_OP_EMBED, positions, {0}, {&out}, {&table}}, &s, rows);
    free_twin(&out);
    free_weight(&table);
    free_step_twin(&s);
}

static void check_rotations(tsr_dtype dtype, int64_t rows, int heads, int head_dim, int rotary_dim)
{
    step_twin s;
    make_step_twin((int32_t)rows, &s);
    twin x = make_twin(dtype, rows, (int64_t)heads * head_dim, 8, 3),
         out = make_twin(dtype, rows, x.host.cols, 0, 9);
    for (int style = 0; style < 2; style++) {
        tsr_attrs rope = {
            .rope = {heads, head_dim, rotary_dim, style ? TSR_ROPE_INTERLEAVED : TSR_ROPE_HALF, 0}};
        run_case(&(op_case){"rope", TSR_OP_ROPE, rope, {&x}, {&out}, {0}}, &s, rows);
    }
    free_twin(&x), free_twin(&out);
    free_step_twin(&s);
}

static void check_dtype(tsr_dtype dtype)
{
    static const int64_t rows[][3] = {{1, 1, 0},    {1, 4096, 0}, {3, 97, 5},   {17, 576, 8},
                                      {2, 5120, 0}, {300, 33, 3}, {100, 64, 0}, {5, 11008, 0}};
    static const int64_t products[][4] = {{1, 96, 64, 0},   {1, 97, 4096, 0}, {1, 33, 31, 1},
                                          {1, 5, 1000, 8},  {2, 96, 64, 0},   {3, 31, 33, 0},
                                          {8, 128, 576, 8}, {16, 70, 257, 0}, {33, 256, 512, 0},
                                          {64, 65, 66, 2},  {300, 96, 576, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_rows(dtype, rows[i][0], rows[i][1], rows[i][2]);
        check_tables(dtype, rows[i][0], rows[i][1]);
    }
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++)
        check_products(dtype, products[i][0], products[i][1], products[i][2], products[i][3]);
    check_rotations(dtype, 1, 32, 64, 64);
    check_rotations(dtype, 19, 3, 10, 6);
    check_rotations(dtype, 40, 5, 80, 32);
}

static void test_f32(void **state)
{
    (void)state;
    check_dtype(TSR_F32);
}

static void test_f16(void **state)
{
    (void)state;
    check_dtype(TSR_F16);
}

static void test_bf16(void **state)
{
    (void)state;
    check_dtype(TSR_BF16);
}

int main(void)
{
    need_gpus(1);
    if (tsr_cuda_gemm_create(&gemm) != TSR_OK) return fprintf(stderr, "%s\n", tsr_error_text()), 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_f16),
                                       cmocka_unit_test(test_bf16)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tsr_cuda_gemm_destroy(&gemm);
    return failed;
}
