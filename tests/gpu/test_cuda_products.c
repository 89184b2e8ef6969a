/* test_cuda_products.c: linear and gated_linear of a GPU against the CPU's, by few rows and many, wherever their values lie;
 * also what is captured, and chains of kernels that overlap. */
#include "support_ops.h"

typedef struct product_case {
    int32_t rows, slack;
    int64_t n, k;
} product_case;

static const product_case products[] = {
    {1, 0, 1, 1},        {1, 0, 33, 31},    {1, 2, 97, 576},     {1, 0, 4096, 4096},  {2, 0, 31, 33},
    {2, 1, 1000, 1024},  {3, 0, 64, 96},    {4, 4, 300, 2056},   {5, 0, 129, 8},      {7, 0, 96, 257},
    {8, 0, 1376, 4096},  {8, 0, 72, 11008}, {9, 3, 40, 512},     {12, 0, 65, 40},     {16, 0, 520, 4096},
    {16, 0, 264, 11008}, {16, 1, 9, 1032},  {17, 0, 64, 576},    {31, 1, 256, 64},    {32, 0, 512, 1024},
    {33, 0, 97, 33},     {48, 0, 128, 1},   {64, 0, 264, 2048},  {100, 28, 97, 576},  {131, 0, 160, 1025},
    {300, 0, 72, 2104},  {3, 0, 35000, 72}, {16, 0, 27000, 136}, {10, 0, 4096, 1000}, {16, 0, 4100, 520},
    {8, 0, 2000, 4104},  {13, 2, 32, 8192},
};
enum { PRODUCTS = sizeof products / sizeof products[0], QUICK = 200000 };

/* Quickly: small ones, and of those that the library does, which tries its ways, one in four. */
static bool left_out(const product_case *c)
{
    return quick && (c->rows * c->n * c->k > QUICK || (c->rows > 1 && (c - products) % 4));
}

/* Sums of about unit size. */
static float weight_amplitude(int64_t k)
{
    return 3 / sqrtf((float)k);
}

static void check_linear(tsr_dtype dtype, int i, placing at, bool selected)
{
    const product_case *c = &products[i];
    scene s;
    begin(&s, TSR_OP_LINEAR, selected ? 2 * c->rows : c->rows, c->slack, 0, i % 2);
    add_input(&s, c->k, at, dtype, selected, 1);
    add_weight(&s, make_matrix(dtype, c->n, c->k, weight_amplitude(c->k)), true);
    if (i % 3) add_weight(&s, make_vector(c->n, 0), false);
    bool wide = (i + at.pad) % 4 == 3; /* as the output of a graph */
    add_output(&s, c->n, at, wide ? TSR_F32 : dtype, selected);
    finish(&s, "linear", 1);
}

static void test_linear(void **state)
{
    (void)state;
    FOR_EACH_DTYPE(dtype)
    for (int i = 0; i < PRODUCTS; i++) {
        if (left_out(&products[i])) continue;
        check_linear(dtype, i, placings[i % PLACINGS], i % 5 == 4);
        check_linear(dtype, i, placings[0], false);
    }
}

static void test_gated_linear(void **state)
{
    (void)state;
    FOR_EACH_DTYPE(dtype)
    for (int i = 0; i < PRODUCTS; i++) {
        const product_case *c = &products[i];
        if (left_out(c)) continue;
        placing at = placings[(i + 1) % PLACINGS];
        scene s;
        begin(&s, TSR_OP_GATED_LINEAR, c->rows, c->slack, 0, i % 2);
        add_input(&s, c->k, at, dtype, false, 1);
        add_weight(&s, make_matrix(dtype, 2 * c->n, c->k, weight_amplitude(c->k)), true);
        if (i % 3 == 1) add_weight(&s, make_vector(2 * c->n, 0), false);
        add_output(&s, c->n, at, dtype, false);
        set_attrs(&s, (tsr_attrs){.act = {i % 4 == 3 ? TSR_ACT_GELU_TANH : TSR_ACT_SILU}});
        finish(&s, "gated_linear", 2); /* the halves may be rounded before they meet */
    }
}

/* The choices of many rows are made once: the second run takes the remembered one, a captured one too. */
static void test_captured(void **state)
{
    (void)state;
    FOR_EACH_DTYPE(dtype)
    {
        scene s;
        cudaGraph_t graph;
        cudaGraphExec_t executable;
        begin(&s, TSR_OP_LINEAR, 72, 0, 0, true);
        add_input(&s, 512, placings[0], dtype, false, 1);
        add_weight(&s, make_matrix(dtype, 320, 512, weight_amplitude(512)), true);
        add_output(&s, 320, placings[0], dtype, false);
        place_tables(&s.step);
        run_call(reference_kernels(), &s.host, &s.step.host, 1);
        cuda_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        assert_int_equal(tsr_cuda_linear(&s.device, &s.step.device), TSR_OK);
        cuda_ok(cudaStreamEndCapture(stream, &graph));
        cuda_ok(cudaGraphInstantiate(&executable, graph, 0));
        cuda_ok(cudaGraphLaunch(executable, stream));
        cuda_ok(cudaStreamSynchronize(stream));
        check_value("captured linear", &s.out[0], s.host.out[0].data, 72, 72, tolerance_of(dtype));
        cuda_ok(cudaGraphExecDestroy(executable));
        cuda_ok(cudaGraphDestroy(graph));
        free_scene(&s);
    }
}

/* A long chain of kernels that depend on each other gives the same bits with overlap as without. */
static void run_chain(scene *up, scene *down, scene *norm, bool overlap, float *out)
{
    enum { ROUNDS = 40 };
    scene *each[] = {up, down, norm};
    cuda_ok(cudaMemcpyAsync(up->in[0].base, norm->in[0].base, (size_t)(up->in[0].elements * 2),
                            cudaMemcpyDefault, stream));
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < 3; k++) {
            each[k]->step.device.overlap = overlap;
            if (tsr_cuda_kernels[each[k]->device.op](&each[k]->device, &each[k]->step.device) != TSR_OK)
                fail_msg("%s", tsr_error_text());
        }
    cuda_ok(cudaStreamSynchronize(stream));
    uint16_t *raw = aligned(up->in[0].elements * 2);
    to_host(raw, up->in[0].base, (size_t)(up->in[0].elements * 2));
    tsr_to_f32(TSR_BF16, raw, out, up->in[0].elements);
    free(raw);
}

static void check_chain(int32_t rows)
{
    enum { N = 2048, K = 1024 };
    scene up, down, norm;
    begin(&up, TSR_OP_GATED_LINEAR, rows, 0, 0, false);
    add_input(&up, K, placings[0], TSR_BF16, false, 1);
    add_weight(&up, make_matrix(TSR_BF16, 2 * N, K, weight_amplitude(K)), true);
    add_output(&up, N, placings[0], TSR_BF16, false);
    set_attrs(&up, (tsr_attrs){.act = {TSR_ACT_SILU}});
    give_workspace(&up);
    begin(&down, TSR_OP_LINEAR, rows, 0, 0, false);
    add_input(&down, N, placings[0], TSR_BF16, false, 1);
    add_weight(&down, make_matrix(TSR_BF16, K, N, weight_amplitude(N)), true);
    add_output(&down, K, placings[0], TSR_BF16, false);
    begin(&norm, TSR_OP_NORM, rows, 0, 0, false);
    add_input(&norm, K, placings[0], TSR_BF16, false, 1);
    add_output(&norm, K, placings[0], TSR_BF16, false);
    set_attrs(&norm, (tsr_attrs){.norm = {.kind = TSR_NORM_RMS, .eps = 1e-5f}});
    down.device.in[0] = up.device.out[0];
    norm.device.in[0] = down.device.out[0];
    norm.device.out[0] = up.device.in[0];
    float *apart = aligned(up.in[0].elements * 4), *overlapped = aligned(up.in[0].elements * 4);
    run_chain(&up, &down, &norm, false, apart);
    for (int i = 0; i < 5; i++) {
        run_chain(&up, &down, &norm, true, overlapped);
        assert_memory_equal(apart, overlapped, (size_t)rows * K * 4);
    }
    free(apart);
    free(overlapped);
    free_scene(&up);
    free_scene(&down);
    free_scene(&norm);
}

static void test_overlap(void **state)
{
    (void)state;
    for (int32_t rows = 1; rows <= (quick ? 1 : 16); rows = rows < 4 ? rows + 1 : rows * 2) check_chain(rows);
}

int main(int argc, char **argv)
{
    need_gpus(1);
    quick = argc > 1 && strcmp(argv[1], "quick") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_gated_linear),
        cmocka_unit_test(test_captured),
        cmocka_unit_test(test_overlap),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
