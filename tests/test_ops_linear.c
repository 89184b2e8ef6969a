/* test_ops_linear.c: linear against float64 sums, for every dtype, instruction set, thread count and many
 * shapes. */
#include "ops_common.h"

#include "layers/cpu/pack.h"
#include "layers/cpu/tuning.h"

typedef struct matrix {
    tsr_weight_data data;
    float *values; /* [rows][cols], as rounded to the dtype */
} matrix;

static matrix make_matrix(tsr_dtype dtype, int64_t rows, int64_t cols)
{
    int64_t size = tsr_dtype_bytes(dtype);
    matrix m = {.data = {.dtype = dtype, .pack = TSR_PACK_PANELS, .rows = rows, .cols = cols}};
    char *raw = aligned(rows * cols * size), *packed = aligned(tsr_packed_bytes(dtype, rows, cols));
    m.values = aligned(rows * cols * 4);
    for (int64_t i = 0; i < rows * cols; i++) m.values[i] = random_unit();
    tsr_from_f32(dtype, m.values, raw, rows * cols);
    tsr_to_f32(dtype, raw, m.values, rows * cols);
    for (int64_t r = 0; r < rows; r += TSR_PANEL)
        tsr_pack_panel(dtype, raw + r * cols * size, rows - r < TSR_PANEL ? rows - r : TSR_PANEL, cols,
                       packed + r / TSR_PANEL * tsr_panel_bytes(dtype, cols));
    free(raw);
    m.data.data = packed;
    return m;
}

static void free_matrix(matrix *m)
{
    free((void *)m->data.data);
    free(m->values);
}

/* out[r][n] = sum x[r][k] w[n][k] + b[n]; round_x: with x rounded to bf16 first */
static void reference(const tsr_operand *x, const matrix *m, const float *bias, int64_t rows, bool round_x,
                      double *out)
{
    int64_t n_out = m->data.rows, cols = m->data.cols;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t n = 0; n < n_out; n++) {
            double sum = bias ? bias[n] : 0;
            for (int64_t k = 0; k < cols; k++) {
                float a = x->data[r * x->ld + k];
                sum += (double)(round_x ? tsr_bf16_to_f32(tsr_f32_to_bf16(a)) : a) * m->values[n * cols + k];
            }
            out[r * n_out + n] = sum;
        }
}

/* With bf16 weights these sets round x to bf16, for any number of rows: all of it and to nearest. */
static bool rounds(const char *isa)
{
    return strcmp(isa, "amx") == 0 || (strcmp(isa, "avx512bf16") == 0 && tsr_cpu_dot_choice == TSR_DOT);
}

/* Sums of K products of numbers below 1 in float32: error far below 1e-6 sqrt(K). */
static void check_product(const char *isa, const tsr_operand *out, const double *exact, const double *rounded,
                          int64_t rows, int64_t cols)
{
    check_close("linear", isa, out, rounded && rounds(isa) ? rounded : exact, rows, sqrt((double)cols), 1e-6);
}

typedef struct shape {
    int64_t rows, out, cols;
} shape;

static void check_shape(tsr_dtype dtype, shape s, bool with_bias)
{
    matrix m = make_matrix(dtype, s.out, s.cols);
    tsr_operand x = make_operand(s.rows, s.cols, 1), b = make_operand(1, s.out, 1);
    tsr_weight_data bias = {
        .dtype = TSR_F32, .pack = TSR_PACK_ROWS, .rows = s.out, .cols = 1, .data = b.data};
    double *exact = aligned(s.rows * s.out * 8), *rounded = aligned(s.rows * s.out * 8);
    reference(&x, &m, with_bias ? b.data : NULL, s.rows, false, exact);
    reference(&x, &m, with_bias ? b.data : NULL, s.rows, true, rounded);
    tsr_step step = make_step((int32_t)s.rows);
    FOR_EACH_SET (set)
        for (int threads = 1; threads <= 3; threads++) {
            tsr_operand out = make_operand(s.rows, s.out, 9);
            tsr_call call = {
                .op = TSR_OP_LINEAR, .in = {x}, .out = {out}, .weight = {&m.data, with_bias ? &bias : NULL}};
            run_call(set, &call, &step, threads);
            check_product(set->isa, &out, exact, dtype == TSR_BF16 ? rounded : NULL, s.rows, s.cols);
            free(out.data);
        }
    free_step(&step);
    free(exact);
    free(rounded);
    free(x.data);
    free(b.data);
    free_matrix(&m);
}

static const shape shapes[] = {
    {1, 1, 1},     {1, 33, 31},    {1, 97, 576},     {2, 31, 33},     {3, 64, 97},    {4, 32, 64},
    {5, 7, 300},   {7, 96, 257},   {8, 576, 97},     {9, 40, 512},    {12, 65, 31},   {13, 33, 600},
    {16, 32, 32},  {17, 64, 576},  {31, 31, 1},      {33, 97, 33},    {48, 128, 1},   {49, 1, 97},
    {64, 64, 545}, {100, 97, 576}, {131, 160, 1025}, {300, 70, 2100}, {500, 40, 300},
};

static void check_dtype(tsr_dtype dtype)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) check_shape(dtype, shapes[i], i % 2);
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

/* Both ways of the avx512bf16 set, whichever this processor would choose. */
static void test_bf16(void **state)
{
    (void)state;
    tsr_cpu_dot_choice = TSR_DOT_NOT;
    check_dtype(TSR_BF16);
    tsr_cpu_dot_choice = TSR_DOT;
    check_dtype(TSR_BF16);
}

/* A row's result does not depend on its neighbours or on the threads: the same bits. */
static void check_same_bits(const tsr_cpu_kernels *set, const matrix *m)
{
    enum { ROWS = 29, FEWER = 9 };
    int64_t n = m->data.rows;
    tsr_operand x = make_operand(ROWS, m->data.cols, 1), all = make_operand(ROWS, n, 1);
    tsr_step many = make_step(ROWS);
    tsr_call call = {.op = TSR_OP_LINEAR, .in = {x}, .out = {all}, .weight = {&m->data}};
    run_call(set, &call, &many, 3);
    for (int rows = 1; rows <= FEWER; rows++) {
        tsr_operand some = make_operand(rows, n, 1);
        tsr_step fewer = make_step(rows);
        for (int first = 0; first + rows <= ROWS; first += rows) {
            tsr_call part = {.op = TSR_OP_LINEAR, .in = {x}, .out = {some}, .weight = {&m->data}};
            part.in[0].data += first * x.ld;
            run_call(set, &part, &fewer, 1 + first % 2);
            for (int r = 0; r < rows; r++)
                assert_memory_equal(some.data + r * some.ld, all.data + (first + r) * all.ld, n * 4);
        }
        free_step(&fewer);
        free(some.data);
    }
    free_step(&many);
    free(all.data);
    free(x.data);
}

static void test_same_bits(void **state)
{
    (void)state;
    static const tsr_dtype dtypes[] = {TSR_F32, TSR_F16, TSR_BF16, TSR_BF16};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        tsr_cpu_dot_choice = i == 3 ? TSR_DOT_NOT : TSR_DOT;
        matrix wide = make_matrix(dtypes[i], 200, 600), odd = make_matrix(dtypes[i], 70, 543);
        FOR_EACH_SET (set) {
            check_same_bits(set, &wide);
            check_same_bits(set, &odd);
        }
        free_matrix(&wide);
        free_matrix(&odd);
    }
}

/* silu(gate) * up of the halves of a product. Errors of the product grow by at most its size, some sqrt(cols). */
static void check_gated(tsr_dtype dtype, shape s)
{
    matrix m = make_matrix(dtype, 2 * s.out, s.cols);
    tsr_operand x = make_operand(s.rows, s.cols, 1), b = make_operand(1, 2 * s.out, 1);
    tsr_weight_data bias = {
        .dtype = TSR_F32, .pack = TSR_PACK_ROWS, .rows = 2 * s.out, .cols = 1, .data = b.data};
    double *both = aligned(s.rows * 2 * s.out * 8), *want = aligned(s.rows * s.out * 8);
    reference(&x, &m, b.data, s.rows, false, both);
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t c = 0; c < s.out; c++) {
            double gate = both[r * 2 * s.out + c];
            want[r * s.out + c] = gate / (1 + exp(-gate)) * both[r * 2 * s.out + s.out + c];
        }
    tsr_step step = make_step((int32_t)s.rows);
    FOR_EACH_SET (set)
        for (int threads = 1; threads <= 3; threads++) {
            tsr_operand out = make_operand(s.rows, s.out, 9);
            tsr_call call = {.op = TSR_OP_GATED_LINEAR, .in = {x}, .out = {out}, .weight = {&m.data, &bias}};
            call.attrs.act.kind = TSR_ACT_SILU;
            run_call(set, &call, &step, threads);
            check_close("gated_linear", set->isa, &out, want, s.rows, (double)s.cols, 2e-6);
            free(out.data);
        }
    free_step(&step);
    free(both);
    free(want);
    free(x.data);
    free(b.data);
    free_matrix(&m);
}

static void test_gated(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i += 2) {
        check_gated(TSR_F32, shapes[i]);
        check_gated(TSR_F16, shapes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_f16),
                                       cmocka_unit_test(test_bf16), cmocka_unit_test(test_same_bits),
                                       cmocka_unit_test(test_gated)};
    return cmocka_run_group_tests(tests, report_isas, NULL);
}
