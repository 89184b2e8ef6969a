/* test_ops.c: the row-wise and element-wise ops against float64 loops, for every instruction set, thread
 * count and many shapes, in place and out of place. (linear and attention: test_ops_linear.c,
 * test_ops_attention.c) */
#include "ops_common.h"

static const int64_t shapes[][2] = {{1, 1},   {1, 31},  {1, 576}, {1, 5000}, {2, 33},  {3, 4097},
                                    {17, 97}, {33, 31}, {17, 80}, {100, 33}, {5, 128}, {100, 576}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };
#define FOR_EACH_SHAPE(rows, cols)                                                                           \
    for (size_t shape_ = 0; shape_ < SHAPES; shape_++)                                                       \
        for (int64_t rows = shapes[shape_][0], cols = shapes[shape_][1], once_ = 1; once_; once_ = 0)

/* Runs `call` (its inputs are kept) on every set and with 1 to 3 threads, out of place and over input `over`
 * (-1: out of place only), and compares output 0 with want. */
static void check_call(const char *what, const tsr_call *call, const tsr_step *step, int over,
                       const double *want, double floor, double tolerance)
{
    int64_t rows = tsr_rows_of(&call->out[0], step);
    FOR_EACH_SET (set)
        for (int threads = 1; threads <= 3; threads++)
            for (int in = -1; in <= over; in++) {
                if (in >= 0 && in != over) continue;
                tsr_call c = *call;
                tsr_operand out =
                    in >= 0 ? copy_operand(&call->in[in], rows) : make_operand(rows, call->out[0].cols, 9);
                out.selected = call->out[0].selected;
                if (in >= 0) c.in[in] = out;
                c.out[0] = out;
                run_call(set, &c, step, threads);
                check_close(what, set->isa, &out, want, rows, floor, tolerance);
                free(out.data);
            }
}

/* --- Activations --- */

static double activation(tsr_activation kind, double x)
{
    switch (kind) {
    case TSR_ACT_GELU:
        return 0.5 * x * erfc(-x / sqrt(2));
    case TSR_ACT_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TSR_ACT_QUICK_GELU:
        return x / (1 + exp(-1.702 * x));
    case TSR_ACT_SILU:
        return x / (1 + exp(-x));
    case TSR_ACT_RELU:
        return x > 0 ? x : 0;
    case TSR_ACT_TANH:
        return tanh(x);
    case TSR_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case TSR_ACT_RELU2:
        return x > 0 ? x * x : 0;
    default:
        return x;
    }
}

static void check_activation(tsr_activation kind, int64_t rows, int64_t cols, float amplitude)
{
    tsr_step step = make_step((int32_t)rows);
    tsr_operand a = make_operand(rows, cols, amplitude), b = make_operand(rows, cols, 2);
    double *act = aligned(rows * cols * 8), *gated = aligned(rows * cols * 8);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            act[r * cols + c] = activation(kind, a.data[r * a.ld + c]);
            gated[r * cols + c] = act[r * cols + c] * b.data[r * b.ld + c];
        }
    /* relative error, but the argument of exp loses |argument| * 2^-24 and tiny results may be flushed to
     * zero */
    tsr_call call = {.op = TSR_OP_ACT, .in = {a}, .out = {{.cols = cols}}, .attrs.act.kind = kind};
    check_call("act", &call, &step, 0, act, 1e-9, 4e-6);
    call = (tsr_call){.op = TSR_OP_GATED, .in = {a, b}, .out = {{.cols = cols}}, .attrs.act.kind = kind};
    check_call("gated", &call, &step, 0, gated, 1e-9, 4e-6);
    check_call("gated", &call, &step, 1, gated, 1e-9, 4e-6);
    free(a.data);
    free(b.data);
    free(act);
    free(gated);
    free_step(&step);
}

static void test_activations(void **state)
{
    (void)state;
    for (int kind = 0; kind < TSR_ACT_COUNT; kind++) {
        FOR_EACH_SHAPE (rows, cols) check_activation((tsr_activation)kind, rows, cols, 8);
        check_activation((tsr_activation)kind, 2, 1000, 0.5f);
        check_activation((tsr_activation)kind, 2, 1000, 1e-4f);
        check_activation((tsr_activation)kind, 2, 1000, 200);
    }
}

/* Infinite and NaN inputs behave as the formulas do. */
static void check_clamp(int64_t rows, int64_t cols, float limit)
{
    tsr_step step = make_step((int32_t)rows);
    tsr_operand x = make_operand(rows, cols, 3);
    double *want = aligned(rows * cols * 8);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            want[r * cols + c] = fmin(fmax(x.data[r * x.ld + c], -limit), limit);
    tsr_call call = {.op = TSR_OP_CLAMP, .in = {x}, .out = {{.cols = cols}}, .attrs.clamp.limit = limit};
    check_call("clamp", &call, &step, 0, want, 1e-9, 0);
    free(x.data);
    free(want);
    free_step(&step);
}

static void test_clamp(void **state)
{
    (void)state;
    FOR_EACH_SHAPE (rows, cols) {
        check_clamp(rows, cols, 0.75f);
        check_clamp(rows, cols, 2);
    }
}

static void test_activation_specials(void **state)
{
    (void)state;
    tsr_step step = make_step(1);
    FOR_EACH_SET (set)
        for (int kind = 0; kind < TSR_ACT_COUNT; kind++) {
            float x[20] = {INFINITY, NAN, -1e30f, 1e30f, 0}, out[20];
            tsr_call call = {.op = TSR_OP_ACT,
                             .in = {{.data = x, .ld = 20, .cols = 20}},
                             .out = {{.data = out, .ld = 20, .cols = 20}},
                             .attrs.act.kind = (tsr_activation)kind};
            run_call(set, &call, &step, 1);
            assert_true(isnan(out[1]));
            for (int i = 0; i < 5; i++) {
                double want = activation((tsr_activation)kind, x[i]);
                if (i != 1 && isfinite(want) && fabs(want) < 1e35)
                    assert_true(fabs(out[i] - want) <= 1e-5 * fabs(want));
                else if (i != 1)
                    assert_true(out[i] > 1e35f);
            }
        }
    free_step(&step);
}

/* --- Sums and norms --- */

static void norm_reference(tsr_norm_kind kind, double eps, const double *x, const float *w, const float *b,
                           double *out, int64_t n)
{
    double mean = 0, var = 0;
    for (int64_t c = 0; kind == TSR_NORM_LAYER && c < n; c++) mean += x[c] / (double)n;
    for (int64_t c = 0; c < n; c++) var += (x[c] - mean) * (x[c] - mean) / (double)n;
    for (int64_t c = 0; c < n; c++)
        out[c] = (x[c] - mean) / sqrt(var + eps) * (w ? w[c] : 1) + (b ? b[c] : 0);
}

static void check_add_norm(tsr_call *call, const tsr_step *step, const double *sum, const double *normed)
{
    int64_t rows = step->n_tokens;
    FOR_EACH_SET (set)
        for (int threads = 1; threads <= 3; threads++)
            for (int over = -1; over < 2; over++) {
                tsr_call c = *call;
                c.op = TSR_OP_ADD_NORM;
                c.out[0] = make_operand(rows, call->out[0].cols, 9);
                c.out[1] =
                    over < 0 ? make_operand(rows, call->out[0].cols, 9) : copy_operand(&call->in[over], rows);
                if (over >= 0) c.in[over] = c.out[1];
                run_call(set, &c, step, threads);
                check_close("add_norm", set->isa, &c.out[0], normed, rows, 1, 2e-6);
                check_close("add_norm (sum)", set->isa, &c.out[1], sum, rows, 1, 1e-7);
                free(c.out[0].data);
                free(c.out[1].data);
            }
}

static void check_norms(tsr_norm_kind kind, int64_t rows, int64_t cols, int affine)
{
    tsr_step step = make_step((int32_t)rows);
    tsr_operand a = make_operand(rows, cols, 3), b = make_operand(rows, cols, 1),
                w = make_operand(2, cols, 2);
    for (int64_t i = 0; kind == TSR_NORM_LAYER && i < rows * a.ld; i++)
        if (i % a.ld < cols) a.data[i] += 10; /* a mean well away from zero */
    tsr_weight_data weight = {.rows = cols, .cols = 1, .data = w.data}, bias = weight;
    bias.data = w.data + w.ld;
    const float *wd = affine > 0 ? weight.data : NULL, *bd = affine > 1 ? bias.data : NULL;
    double *sum = aligned(rows * cols * 8), *normed = aligned(rows * cols * 8), *x = aligned(cols * 8);
    double *norm = aligned(rows * cols * 8);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < cols; c++) {
            x[c] = a.data[r * a.ld + c];
            sum[r * cols + c] = x[c] + b.data[r * b.ld + c];
        }
        norm_reference(kind, 1e-5, x, wd, bd, norm + r * cols, cols);
        norm_reference(kind, 1e-5, sum + r * cols, wd, bd, normed + r * cols, cols);
    }
    tsr_call call = {
        .op = TSR_OP_NORM, .in = {a, b}, .out = {{.cols = cols}}, .attrs.norm = {.kind = kind, .eps = 1e-5f}};
    if (affine > 0) call.weight[0] = &weight;
    if (affine > 1) call.weight[1] = &bias;
    if (cols > 1) { /* a row of one has no variance: 0 / sqrt(eps) magnifies rounding */
        check_call("norm", &call, &step, 0, norm, 1, kind == TSR_NORM_LAYER ? 1e-5 : 2e-6);
        if (kind == TSR_NORM_RMS) check_add_norm(&call, &step, sum, normed);
    }
    call = (tsr_call){.op = TSR_OP_ADD, .in = {a, b}, .out = {{.cols = cols}}};
    check_call("add", &call, &step, 0, sum, 1, 1e-7);
    check_call("add", &call, &step, 1, sum, 1, 1e-7);
    free(a.data);
    free(b.data);
    free(w.data);
    free(sum);
    free(normed);
    free(norm);
    free(x);
    free_step(&step);
}

static void test_norms(void **state)
{
    (void)state;
    FOR_EACH_SHAPE (rows, cols)
        for (int affine = 0; affine < 3; affine++) {
            check_norms(TSR_NORM_LAYER, rows, cols, affine);
            check_norms(TSR_NORM_RMS, rows, cols, affine);
        }
}

/* --- Rotary embedding --- */

static void rope_reference(const tsr_attrs *a, const float *angles, const float *x, double *out)
{
    int d = a->rope.rotary_dim;
    for (int i = 0; i < a->rope.head_dim; i++) out[i] = x[i];
    for (int i = 0; i < d / 2; i++) {
        int p = a->rope.style == TSR_ROPE_HALF ? i : 2 * i,
            q = a->rope.style == TSR_ROPE_HALF ? i + d / 2 : 2 * i + 1;
        double c = angles[i], s = angles[d / 2 + i];
        out[p] = x[p] * c - x[q] * s;
        out[q] = x[q] * c + x[p] * s;
    }
}

static void check_rope(int32_t tokens, int heads, int head_dim, int rotary_dim, tsr_rope_style style)
{
    tsr_step step = make_step(tokens);
    tsr_operand x = make_operand(tokens, heads * head_dim, 2),
                angles = make_operand(1, tokens * rotary_dim, 1);
    const float *tables[2] = {NULL, angles.data};
    step.rope = tables;
    tsr_call call = {.op = TSR_OP_ROPE,
                     .in = {x},
                     .out = {{.cols = heads * head_dim}},
                     .attrs.rope = {heads, head_dim, rotary_dim, style, 1}};
    double *want = aligned((int64_t)tokens * heads * head_dim * 8);
    for (int t = 0; t < tokens; t++)
        for (int h = 0; h < heads; h++)
            rope_reference(&call.attrs, angles.data + t * rotary_dim, x.data + t * x.ld + h * head_dim,
                           want + (t * heads + h) * head_dim);
    check_call("rope", &call, &step, 0, want, 1, 1e-6);
    free(want);
    free(x.data);
    free(angles.data);
    free_step(&step);
}

static void test_rope(void **state)
{
    (void)state;
    static const int dims[][2] = {{4, 4}, {10, 10}, {10, 6}, {64, 64}, {80, 32}, {128, 128}, {96, 2}};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (int style = 0; style < 2; style++) {
            check_rope(1, 1, dims[i][0], dims[i][1], (tsr_rope_style)style);
            check_rope(1, 9, dims[i][0], dims[i][1], (tsr_rope_style)style);
            check_rope(2, 5, dims[i][0], dims[i][1], (tsr_rope_style)style);
            check_rope(33, 3, dims[i][0], dims[i][1], (tsr_rope_style)style);
        }
}

/* --- Embedding, selection, reduction --- */

#include "layers/cpu/pack.h"

/* A table of n rows in `dtype`, as rows or panels; values[] receives what it holds after rounding. */
static tsr_weight_data make_table(tsr_dtype dtype, tsr_pack pack, int64_t n, int64_t cols, float *values)
{
    int64_t size = tsr_dtype_bytes(dtype);
    char *rows = aligned(n * cols * size), *packed = aligned(tsr_packed_bytes(dtype, n, cols));
    for (int64_t i = 0; i < n * cols; i++) values[i] = random_unit();
    tsr_from_f32(dtype, values, rows, n * cols);
    tsr_to_f32(dtype, rows, values, n * cols);
    for (int64_t r = 0; r < n; r += TSR_PANEL)
        tsr_pack_panel(dtype, rows + r * cols * size, n - r < TSR_PANEL ? n - r : TSR_PANEL, cols,
                       packed + r / TSR_PANEL * tsr_panel_bytes(dtype, cols));
    free(pack == TSR_PACK_ROWS ? packed : rows);
    return (tsr_weight_data){dtype, pack, n, cols, pack == TSR_PACK_ROWS ? rows : packed};
}

/* A table that holds rows 20 .. 56 of a vocabulary; ids and positions around both ends. */
static void check_embed(tsr_dtype dtype, tsr_pack pack, tsr_embed_index index, int64_t cols, float scale)
{
    enum { TOKENS = 19, FIRST = 20, TABLE = 37, OFFSET = 2 };
    float values[TABLE * 100];
    tsr_weight_data table = make_table(dtype, pack, TABLE, cols, values);
    tsr_step step = make_step(TOKENS);
    double *want = aligned(TOKENS * cols * 8);
    int32_t *ids = (int32_t *)step.ids, *positions = (int32_t *)step.positions;
    for (int t = 0; t < TOKENS; t++) {
        ids[t] = t * 4;
        positions[t] = t * 5;
        int64_t row = (index == TSR_EMBED_IDS ? ids[t] : positions[t] + OFFSET) - FIRST;
        bool inside = row >= 0 && row < TABLE;
        for (int64_t c = 0; c < cols; c++)
            want[t * cols + c] = inside ? scale * (double)values[row * cols + c] : 0;
    }
    tsr_call call = {.op = TSR_OP_EMBED,
                     .out = {{.cols = cols}},
                     .weight = {&table},
                     .attrs.embed = {index, OFFSET, scale, FIRST}};
    check_call("embed", &call, &step, -1, want, 1, 1e-7);
    free((void *)table.data);
    free(want);
    free_step(&step);
}

static void test_embed(void **state)
{
    (void)state;
    static const tsr_dtype dtypes[] = {TSR_F32, TSR_F16, TSR_BF16};
    for (int d = 0; d < 3; d++)
        for (int pack = 0; pack < 2; pack++)
            for (int index = 0; index < 2; index++) {
                check_embed(dtypes[d], (tsr_pack)pack, (tsr_embed_index)index, 33, 1);
                check_embed(dtypes[d], (tsr_pack)pack, (tsr_embed_index)index, 64, 8);
            }
}

static void test_select_rows(void **state)
{
    (void)state;
    enum { TOKENS = 23, COLS = 37 };
    static const int32_t rows[] = {0, 3, 4, 11, 22};
    tsr_step step = make_step(TOKENS);
    step.rows = rows;
    step.n_rows = 5;
    tsr_operand x = make_operand(TOKENS, COLS, 1);
    double want[5 * COLS];
    for (int r = 0; r < 5; r++)
        for (int c = 0; c < COLS; c++) want[r * COLS + c] = x.data[rows[r] * x.ld + c];
    tsr_call call = {.op = TSR_OP_SELECT_ROWS, .in = {x}, .out = {{.cols = COLS, .selected = 1}}};
    check_call("select_rows", &call, &step, -1, want, 1, 0);
    free(x.data);
    free_step(&step);
}

typedef struct recording_comm {
    tsr_comm comm;
    const float *data;
    int64_t n;
    int calls, threads_seen, status;
} recording_comm;

static int record(tsr_comm *comm, float *data, int64_t n, int thread, int n_threads)
{
    recording_comm *r = (recording_comm *)comm;
    r->data = data;
    r->n = n;
    r->calls++;
    r->threads_seen |= 1 << thread;
    assert_int_equal(n_threads, 3);
    return r->status;
}

/* Every thread makes the call, on the whole vector, and a failure reaches the worker. */
static void test_all_reduce(void **state)
{
    (void)state;
    static const tsr_comm_ops ops = {.name = "recording", .all_reduce = record};
    float data[7 * 11];
    tsr_step step = make_step(7);
    FOR_EACH_SET (set)
        for (int status = 0; status < 2; status++) {
            recording_comm comm = {.comm = {.ops = &ops, .size = 2}, .status = status ? TSR_ERR_DEADLINE : 0};
            tsr_operand v = {.data = data, .ld = 11, .cols = 11};
            tsr_call call = {.op = TSR_OP_ALL_REDUCE, .in = {v}, .out = {v}, .comm = &comm.comm};
            assert_int_equal(run_call(set, &call, &step, 3), comm.status);
            assert_ptr_equal(comm.data, data);
            assert_int_equal(comm.n, 77);
            assert_int_equal(comm.calls, 3);
            assert_int_equal(comm.threads_seen, 7);
        }
    free_step(&step);
}

/* The table of ops and the tables of kernels agree. */
static void test_tables(void **state)
{
    (void)state;
    assert_string_equal(tsr_op_table[TSR_OP_ADD_NORM].name, "add_norm");
    assert_int_equal(tsr_op_table[TSR_OP_ATTENTION].phases, 2);
    assert_int_equal(tsr_op_table[TSR_OP_ALL_REDUCE].shard, TSR_SHARD_COLLECTIVE);
    FOR_EACH_SET (set) {
        assert_string_equal(set->isa, all_isas[isa_]);
        for (int op = 0; op < TSR_OP_COUNT; op++) assert_non_null(set->kernel[op]);
    }
    assert_null(tsr_cpu_kernels_named("sse9"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_activation_specials),
        cmocka_unit_test(test_clamp),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_select_rows),
        cmocka_unit_test(test_all_reduce),
    };
    return cmocka_run_group_tests(tests, report_isas, NULL);
}
