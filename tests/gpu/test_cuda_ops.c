/* test_cuda_ops.c: the ops of a GPU but attention, products and collectives, against the CPU's on the same rounded numbers: a
 * table of ops, each in every number format over every shape and placing of its values: unaligned rows, windows of wider
 * values, selected rows, bounds above the counts. Nothing may be written around an output. Also made-up weights. */
#include "support_ops.h"

#include "layers/cuda/fill.h"

static const struct {
    int32_t rows, slack;
    int64_t cols;
} shapes[] = {{1, 0, 1},  {1, 3, 4096},   {2, 0, 97},    {3, 1, 768},  {5, 0, 5000},
              {7, 0, 64}, {16, 0, 11008}, {33, 2, 1000}, {300, 0, 40}, {2, 0, 40000}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], LARGE = 1000, QUICK = 2500 };

/* An op whose values are as wide as each other. Of several outputs and inputs the first is placed as the shape says. */
typedef struct op_row {
    const char *name;
    tsr_op op;
    tsr_attrs attrs;
    int inputs, outputs, vectors; /* vectors: weights that are as wide as a row */
    bool table;                   /* a weight of VOCABULARY rows */
    bool selects;                 /* outputs are of the selected rows */
    bool large;                   /* over wide rows as well */
    float amplitude;              /* of the first input */
    double slackness;
} op_row;

/* clang-format off */
#define NORM_ROW(NAME, values, KIND, label, n, eps_)                                                         \
    {label, TSR_OP_##NAME, {.norm = {.kind = TSR_NORM_##KIND, .eps = eps_}}, .inputs = values, .outputs = values, \
     .vectors = n, .large = true, .amplitude = 2, .slackness = 2},
#define NORM_ROWS(NAME, values, KIND, label)                                                                 \
    NORM_ROW(NAME, values, KIND, label, 0, 1e-5f)                                                            \
    NORM_ROW(NAME, values, KIND, label ", weight", 1, 1e-3f)                                                 \
    NORM_ROW(NAME, values, KIND, label ", weight and bias", 2, 1e-5f)
#define ACT_ROWS(NAME, names, formula)                                                                       \
    {"act " #NAME, TSR_OP_ACT, {.act = {.kind = TSR_ACT_##NAME}}, .inputs = 1, .outputs = 1,                 \
     .large = TSR_ACT_##NAME == TSR_ACT_GELU, .amplitude = 4, .slackness = 1},                               \
    {"gated " #NAME, TSR_OP_GATED, {.act = {.kind = TSR_ACT_##NAME}}, .inputs = 2, .outputs = 1,             \
     .large = TSR_ACT_##NAME == TSR_ACT_SILU, .amplitude = 4, .slackness = 1},
#define EMBED_ROW(label, INDEX, offset_, scale_, first)                                                      \
    {label, TSR_OP_EMBED, {.embed = {.index = TSR_EMBED_##INDEX, .offset = offset_, .scale = scale_, .first_row = first}}, \
     .outputs = 1, .table = true, .large = true, .slackness = 1},

static const op_row rows[] = {
    NORM_ROWS(NORM, 1, LAYER, "layer norm")
    NORM_ROWS(NORM, 1, RMS, "RMS norm")
    NORM_ROWS(ADD_NORM, 2, LAYER, "add, layer norm")
    NORM_ROWS(ADD_NORM, 2, RMS, "add, RMS norm")
    TSR_ACTIVATION_TABLE(ACT_ROWS)
    EMBED_ROW("embed ids", IDS, 0, 1, 0)
    EMBED_ROW("embed ids, scaled, from row 4 on", IDS, 0, 7.5f, 4)
    EMBED_ROW("embed positions", POSITIONS, 2, 1, 0)
    EMBED_ROW("embed first row", FIRST_ROW, 0, 1, 0)
    EMBED_ROW("embed second row", SECOND_ROW, 1, 1, 3)
    {"add", TSR_OP_ADD, {.act = {.kind = 0}}, .inputs = 2, .outputs = 1, .large = true, .amplitude = 4, .slackness = 1},
    {"clamp", TSR_OP_CLAMP, {.clamp = {1.5f}}, .inputs = 1, .outputs = 1, .large = true, .amplitude = 4},
    {"select_rows", TSR_OP_SELECT_ROWS, {.act = {.kind = 0}}, .inputs = 1, .outputs = 1, .selects = true, .large = true,
     .amplitude = 1},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof rows[0] };

static void check_row(const op_row *r, tsr_dtype dtype, int i)
{
    int64_t cols = shapes[i / PLACINGS].cols;
    placing at = placings[i % PLACINGS];
    bool selected = r->selects || (r->table && i % 3 == 2);
    scene s;
    begin(&s, r->op, shapes[i / PLACINGS].rows, shapes[i / PLACINGS].slack, 0, i % 2);
    for (int k = 0; k < r->inputs; k++)
        add_input(&s, cols, k ? placings[0] : at, dtype, false, k ? 1 : r->amplitude);
    if (r->table) add_weight(&s, make_matrix(dtype, VOCABULARY, cols, 1), false);
    for (int k = 0; k < r->vectors; k++) add_weight(&s, make_vector(cols, k ? 0 : 1), false);
    for (int k = 0; k < r->outputs; k++) add_output(&s, cols, k ? placings[0] : at, dtype, selected);
    set_attrs(&s, r->attrs);
    finish(&s, r->name, r->slackness);
}

static void test_row(void **state)
{
    const op_row *r = *state;
    for (int i = 0; i < SHAPES * PLACINGS; i++) {
        int64_t cols = shapes[i / PLACINGS].cols;
        if ((cols > LARGE && !r->large) || (quick && cols * shapes[i / PLACINGS].rows > QUICK)) continue;
        for (int d = 0; d < DTYPES; d++)
            if (!quick || i % DTYPES == d) check_row(r, dtypes[d], i);
    }
}

static void test_rope(void **state)
{
    (void)state;
    static const struct {
        int heads, head_dim, rotary;
    } heads[] = {{1, 2, 2}, {4, 64, 64}, {3, 80, 20}, {5, 7, 6}, {32, 128, 128}};
    FOR_EACH_DTYPE(dtype)
    for (int i = 0; i < 5 * PLACINGS; i++) {
        scene s;
        int64_t cols = heads[i / PLACINGS].heads * heads[i / PLACINGS].head_dim;
        begin(&s, TSR_OP_ROPE, 1 + i * 3, i % 3, heads[i / PLACINGS].rotary, i % 2);
        add_input(&s, cols, placings[i % PLACINGS], dtype, false, 1);
        add_output(&s, cols, placings[(i + 1) % PLACINGS], dtype, false);
        set_attrs(&s, (tsr_attrs){.rope = {heads[i / PLACINGS].heads, heads[i / PLACINGS].head_dim,
                                           heads[i / PLACINGS].rotary,
                                           i % 2 ? TSR_ROPE_HALF : TSR_ROPE_INTERLEAVED, 0}});
        finish(&s, "rope", 1);
    }
}

/* --- Made-up weights: runtime/weights.c, once more --- */

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static void test_fill(void **state)
{
    (void)state;
    enum { N = 100003, FIRST = 77 };
    const uint64_t seed = 0x123456789ABCDEF0u;
    FOR_EACH_DTYPE(dtype)
    {
        int64_t size = tsr_dtype_bytes(dtype);
        char *got = aligned(N * size), *want = aligned(N * size);
        void *data = to_device(NULL, (size_t)(N * size));
        assert_int_equal(tsr_cuda_random_fill(data, dtype, FIRST, N, seed, 5, stream), TSR_OK);
        cuda_ok(cudaStreamSynchronize(stream));
        to_host(got, data, (size_t)(N * size));
        for (int64_t k = 0; k < N; k++) {
            float unit = (float)(mix(seed ^ (uint64_t)5 << 40 ^ (uint64_t)(FIRST + k)) >> 40) * 0x1p-23f;
            float number = (unit - 1) * 0.0346f;
            tsr_from_f32(dtype, &number, want + k * size, 1);
        }
        assert_memory_equal(got, want, (size_t)(N * size));
        free(got);
        free(want);
        cudaFree(data);
    }
}

int main(int argc, char **argv)
{
    need_gpus(1);
    quick = argc > 1 && strcmp(argv[1], "quick") == 0;
    struct CMUnitTest tests[ROWS + 2] = {cmocka_unit_test(test_rope), cmocka_unit_test(test_fill)};
    for (int i = 0; i < ROWS; i++)
        tests[2 + i] = (struct CMUnitTest){
            .name = rows[i].name, .test_func = test_row, .initial_state = (void *)(uintptr_t)&rows[i]};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
