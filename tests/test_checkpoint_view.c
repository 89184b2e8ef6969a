/* test_checkpoint_view.c: what views say of themselves, the layouts of real families, shapes and names that
 * do not fit. */
#include "checkpoint/view.h"
#include "support_safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define OK(expression)                                                                                       \
    do {                                                                                                     \
        tsr_status ok_ = (expression);                                                                       \
        if (ok_ != TSR_OK) fail_msg("%s: %s: %s", #expression, tsr_status_name(ok_), tsr_error_text());      \
    } while (0)

#define SHAPE(...)                                                                                           \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])                                   \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

static tsr_arena *arena;
static char folder[ST_PATH];
static tsr_source *source;
static float numbers[4096];

static int set_up(void **state)
{
    (void)state;
    OK(tsr_arena_create("views under test", &arena));
    st_folder_create(folder);
    for (int i = 0; i < 4096; i++) numbers[i] = (float)i;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tsr_source_destroy(&source);
    tsr_arena_destroy(&arena);
    st_folder_remove(folder);
    return 0;
}

static const tsr_view *tensor(const char *name, int rank, const int64_t *shape)
{
    const tsr_view *v;
    OK(tsr_view_tensor(arena, name, rank, shape, &v));
    return v;
}

static const tsr_view *reshape(const tsr_view *v, int rank, const int64_t *shape)
{
    OK(tsr_view_reshape(arena, v, rank, shape, &v));
    return v;
}

static const tsr_view *slice(const tsr_view *v, int axis, int64_t begin, int64_t end)
{
    OK(tsr_view_slice(arena, v, axis, begin, end, &v));
    return v;
}

static const tsr_view *transpose(const tsr_view *v)
{
    OK(tsr_view_transpose(arena, v, &v));
    return v;
}

static void expect_text(const tsr_view *v, const char *expected)
{
    tsr_text text;
    OK(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    OK(tsr_view_print(v, &text));
    assert_string_equal(text.data, expected);
    tsr_text_free(&text);
}

static void views_print_as_what_they_are(void **state)
{
    (void)state;
    const tsr_view *w = tensor("h.0.attn.c_attn.weight", SHAPE(768, 2304)), *v;
    expect_text(w, "h.0.attn.c_attn.weight");
    expect_text(slice(transpose(w), 0, 0, 320), "h.0.attn.c_attn.weight.T[0:320]");
    expect_text(slice(slice(transpose(w), 0, 0, 320), 1, 5, 7), "h.0.attn.c_attn.weight.T[0:320,5:7]");
    v = reshape(w, SHAPE(768, 3, 12, 64));
    expect_text(slice(v, 2, 3, 6), "h.0.attn.c_attn.weight.reshape[768,3,12,64][:,:,3:6]");
    OK(tsr_view_permute(arena, v, (int[]){1, 2, 3, 0}, &v));
    expect_text(v, "h.0.attn.c_attn.weight.reshape[768,3,12,64].permute(1,2,3,0)");
    const tsr_view *parts[9];
    for (int i = 0; i < 9; i++) parts[i] = tensor((char[]){'p', (char)('0' + i), 0}, SHAPE(2, 3));
    OK(tsr_view_concat(arena, 1, 2, parts, &v));
    expect_text(v, "concat1(p0, p1)");
    OK(tsr_view_concat(arena, 0, 9, parts, &v));
    expect_text(v, "concat(p0, p1, ... 6 more, p8)");
}

static void operations_that_undo_each_other_vanish(void **state)
{
    (void)state;
    const tsr_view *w = tensor("w", SHAPE(6, 4)), *v;
    assert_ptr_equal(transpose(transpose(w)), w);
    assert_ptr_equal(reshape(reshape(w, SHAPE(3, 8)), SHAPE(6, 4)), w);
    assert_ptr_equal(slice(w, 1, 0, 4), w);
    OK(tsr_view_concat(arena, 1, 1, &w, &v));
    assert_ptr_equal(v, w);
    expect_text(slice(slice(w, 0, 1, 5), 0, 1, 3), "w[2:4]");
}

/* A rank that needs the third of four pieces never hears of the others. */
static void slicing_a_concat_forgets_the_other_parts(void **state)
{
    (void)state;
    const tsr_view *parts[4], *v;
    for (int i = 0; i < 4; i++) parts[i] = tensor((char[]){'p', (char)('0' + i), 0}, SHAPE(8, 2));
    OK(tsr_view_concat(arena, 0, 4, parts, &v));
    assert_int_equal(tsr_view_leaf_count(v), 4);
    assert_string_equal(tsr_view_leaf_name(v, 2), "p2");
    expect_text(slice(v, 0, 16, 24), "p2");
    expect_text(slice(v, 0, 17, 20), "p2[1:4]");
    expect_text(slice(v, 0, 6, 18), "concat(p0[6:8], p1, p2[0:2])");
    const tsr_view *some = slice(v, 0, 6, 18);
    assert_int_equal(tsr_view_leaf_count(some), 3);
    assert_string_equal(tsr_view_leaf_name(some, 0), "p0");
    assert_string_equal(tsr_view_leaf_name(some, 2), "p2");
    assert_int_equal(tsr_view_rows(slice(v, 0, 8, 8)), 0);
}

/* --- Layouts of real families, element by element --- */

static void open_one(const char *name, int rank, const int64_t *shape)
{
    st_tensor t = {.name = name, .dtype = "F32", .rank = rank, .data = numbers};
    memcpy(t.shape, shape, (size_t)rank * sizeof *shape);
    st_write(folder, "model.safetensors", &t, 1);
    OK(tsr_source_open(folder, &source));
}

static void read_all(const tsr_view *v, float *out)
{
    OK(tsr_view_read_f32(v, source, NULL, 0, tsr_view_rows(v), out));
}

/* GPT-2: c_attn is [in, q|k|v]; heads 2..3 of k. */
static void conv1d_heads(void **state)
{
    (void)state;
    enum { E = 10, H = 5, D = 2 };
    float out[2 * D * E];
    open_one("w", SHAPE(E, 3 * E));
    const tsr_view *v = reshape(transpose(tensor("w", SHAPE(E, 3 * E))), SHAPE(3, H, D, E));
    v = reshape(slice(slice(v, 0, 1, 2), 1, 2, 4), SHAPE(2 * D, E));
    read_all(v, out);
    for (int row = 0; row < 2 * D; row++)
        for (int in = 0; in < E; in++)
            assert_true(out[row * E + in] == numbers[in * 3 * E + E + 2 * D + row]);
}

/* BLOOM and NeoX: query_key_value is [H, 3, D] x in; all q, then all k, then all v. */
static void interleaved_heads(void **state)
{
    (void)state;
    enum { E = 12, H = 4, D = 3 };
    float out[3 * E * E];
    open_one("w", SHAPE(3 * E, E));
    const tsr_view *v = reshape(tensor("w", SHAPE(3 * E, E)), SHAPE(H, 3, D, E));
    OK(tsr_view_permute(arena, v, (int[]){1, 0, 2, 3}, &v));
    read_all(reshape(v, SHAPE(3 * E, E)), out);
    for (int i = 0; i < 3; i++)
        for (int h = 0; h < H; h++)
            for (int d = 0; d < D; d++)
                for (int e = 0; e < E; e++)
                    assert_true(out[((i * H + h) * D + d) * E + e] == numbers[((h * 3 + i) * D + d) * E + e]);
}

/* Falcon: K groups of q heads, one k, one v; the q of groups 1..2. */
static void grouped_heads(void **state)
{
    (void)state;
    enum { K = 3, Q = 4, D = 2, E = 8 };
    float out[2 * Q * D * E];
    open_one("w", SHAPE(K * (Q + 2) * D, E));
    const tsr_view *v = reshape(tensor("w", SHAPE(K * (Q + 2) * D, E)), SHAPE(K, Q + 2, D, E));
    v = reshape(slice(slice(v, 1, 0, Q), 0, 1, 3), SHAPE(2 * Q * D, E));
    read_all(v, out);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < Q * D * E; i++)
            assert_true(out[k * Q * D * E + i] == numbers[(k + 1) * (Q + 2) * D * E + i]);
}

/* CodeGen: four shards, each q, v, k of its heads; all of v in head order. */
static void sharded_heads(void **state)
{
    (void)state;
    enum { S = 4, E = 16, P = E / S };
    float out[E * E];
    open_one("w", SHAPE(3 * E, E));
    const tsr_view *v = slice(reshape(tensor("w", SHAPE(3 * E, E)), SHAPE(S, 3, P, E)), 1, 1, 2);
    read_all(reshape(v, SHAPE(E, E)), out);
    for (int s = 0; s < S; s++)
        for (int i = 0; i < P * E; i++) assert_true(out[s * P * E + i] == numbers[(s * 3 + 1) * P * E + i]);
}

/* Pieces of a training run at degree 2, row-parallel, resharded to degree 3. */
static void pieces_of_another_degree(void **state)
{
    (void)state;
    enum { O = 5, I = 12 };
    const st_tensor t[] = {{"rank0", "F32", 2, {O, I / 2}, numbers},
                           {"rank1", "F32", 2, {O, I / 2}, numbers + 100}};
    float out[O * I / 3];
    st_write(folder, "model.safetensors", t, 2);
    OK(tsr_source_open(folder, &source));
    const tsr_view *parts[] = {tensor("rank0", SHAPE(O, I / 2)), tensor("rank1", SHAPE(O, I / 2))}, *v;
    OK(tsr_view_concat(arena, 1, 2, parts, &v));
    read_all(slice(v, 1, 4, 8), out);
    for (int o = 0; o < O; o++)
        for (int i = 0; i < 4; i++) {
            int in = 4 + i;
            assert_true(out[o * 4 + i] == (in < 6 ? numbers[o * 6 + in] : numbers[100 + o * 6 + in - 6]));
        }
}

static void ranks_0_and_1_and_empty_views_read(void **state)
{
    (void)state;
    float out[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    open_one("w", SHAPE(2, 3));
    const tsr_view *flat = reshape(tensor("w", SHAPE(2, 3)), SHAPE(6));
    assert_int_equal(tsr_view_rows(flat), 6);
    assert_int_equal(tsr_view_cols(flat), 1);
    OK(tsr_view_read_f32(flat, source, NULL, 2, 5, out));
    assert_memory_equal(out, numbers + 2, 12);
    assert_true(out[3] == -1);
    const tsr_view *scalar = reshape(slice(flat, 0, 4, 5), 0, NULL);
    assert_int_equal(tsr_view_rows(scalar), 1);
    assert_int_equal(tsr_view_cols(scalar), 1);
    read_all(scalar, out);
    assert_true(out[0] == 4 && out[1] == 3);
    const tsr_view *empty = slice(tensor("w", SHAPE(2, 3)), 1, 2, 2);
    assert_int_equal(tsr_view_rows(empty), 2);
    assert_int_equal(tsr_view_cols(empty), 0);
    read_all(empty, out);
    assert_true(out[0] == 4 && out[1] == 3);
}

/* --- What does not fit --- */

static void expect_error(tsr_status status, tsr_status expected, const char *text)
{
    if (status != expected || !strstr(tsr_error_text(), text))
        fail_msg("expected %s with \"%s\", found %s: %s", tsr_status_name(expected), text,
                 tsr_status_name(status), tsr_error_text());
}

/* An operation that writes `v`: it must leave NULL there. */
#define REFUSED(operation, expected, text)                                                                   \
    do {                                                                                                     \
        v = w;                                                                                               \
        expect_error(operation, expected, text);                                                             \
        assert_null(v);                                                                                      \
    } while (0)

static void operations_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    const tsr_view *w = tensor("w", SHAPE(6, 4)), *u = tensor("u", SHAPE(6, 5)), *v;
    const int64_t big[] = {INT64_MAX / 2, 4}, wraps[] = {1LL << 32, 1LL << 32, 24},
                  nine[] = {24, 1, 1, 1, 1, 1, 1, 1, 1};
    REFUSED(tsr_view_tensor(arena, "t", 2, big, &v), TSR_ERR_FORMAT, "tensor \"t\"");
    REFUSED(tsr_view_tensor(arena, "t", SHAPE(3, -1), &v), TSR_ERR_FORMAT, "[3, -1]");
    REFUSED(tsr_view_tensor(arena, "t", 9, nine, &v), TSR_ERR_INTERNAL, "rank 9");
    REFUSED(tsr_view_reshape(arena, w, SHAPE(5, 5), &v), TSR_ERR_FORMAT,
            "w of shape [6, 4]: cannot reshape to [5, 5]");
    REFUSED(tsr_view_reshape(arena, w, SHAPE(-6, -4), &v), TSR_ERR_FORMAT, "[-6, -4]");
    REFUSED(tsr_view_reshape(arena, w, 3, wraps, &v), TSR_ERR_FORMAT, "cannot reshape");
    REFUSED(tsr_view_reshape(arena, w, 9, nine, &v), TSR_ERR_INTERNAL, "rank 9");
    REFUSED(tsr_view_permute(arena, w, (int[]){0, 0}, &v), TSR_ERR_INTERNAL, "2 axes");
    REFUSED(tsr_view_permute(arena, w, (int[]){0, 2}, &v), TSR_ERR_INTERNAL, "2 axes");
    REFUSED(tsr_view_transpose(arena, reshape(w, SHAPE(24)), &v), TSR_ERR_INTERNAL, "rank 1");
    REFUSED(tsr_view_slice(arena, w, 2, 0, 1, &v), TSR_ERR_INTERNAL, "axis 2");
    REFUSED(tsr_view_slice(arena, w, 0, -1, 1, &v), TSR_ERR_FORMAT, "[0, -1, 1]");
    REFUSED(tsr_view_slice(arena, w, 0, 3, 2, &v), TSR_ERR_FORMAT, "cannot slice");
    REFUSED(tsr_view_slice(arena, transpose(w), 0, 0, 5, &v), TSR_ERR_FORMAT, "w.T of shape [4, 6]");
    REFUSED(tsr_view_concat(arena, 0, 2, (const tsr_view *[]){w, u}, &v), TSR_ERR_FORMAT, "[6, 5]");
    REFUSED(tsr_view_concat(arena, 0, 2, (const tsr_view *[]){w, reshape(w, SHAPE(24))}, &v), TSR_ERR_FORMAT,
            "[24]");
    const tsr_view *long_one = tensor("long", SHAPE(INT64_MAX / 2 + 1)),
                   *wide_one = tensor("wide", SHAPE(1 << 30, 1LL << 32));
    REFUSED(tsr_view_concat(arena, 0, 2, (const tsr_view *[]){long_one, long_one}, &v), TSR_ERR_FORMAT,
            "too large");
    REFUSED(tsr_view_concat(arena, 0, 2, (const tsr_view *[]){wide_one, wide_one}, &v), TSR_ERR_FORMAT,
            "too large");
    REFUSED(tsr_view_concat(arena, 2, 2, (const tsr_view *[]){w, w}, &v), TSR_ERR_INTERNAL, "axis 2");
    REFUSED(tsr_view_concat(arena, 0, 0, (const tsr_view *[]){w}, &v), TSR_ERR_INTERNAL, "0 views");
}

static void nesting_and_leaves_are_bounded(void **state)
{
    (void)state;
    const tsr_view *v = tensor("w", SHAPE(0, 1));
    tsr_status status = TSR_OK;
    int steps = 0;
    for (; status == TSR_OK && steps < 100; steps++)
        status =
            tsr_view_concat(arena, 0, 2, (const tsr_view *[]){v, v}, &v); /* empty, but twice the leaves */
    assert_int_equal(status, TSR_ERR_INTERNAL);
    assert_int_equal(steps, 21);
    v = tensor("w", SHAPE(2, 3));
    for (steps = 0, status = TSR_OK; status == TSR_OK && steps < 100; steps++)
        status = steps % 2 ? tsr_view_reshape(arena, v, SHAPE(2, 3), &v) : tsr_view_transpose(arena, v, &v);
    assert_int_equal(status, TSR_ERR_INTERNAL);
    assert_int_equal(steps, 64);
}

static void a_view_must_match_its_source(void **state)
{
    (void)state;
    const st_tensor t[] = {{"transformer.w", "BF16", 2, {2, 3}, numbers},
                           {"f32", "F32", 2, {2, 3}, numbers},
                           {"f64", "F64", 2, {2, 3}, numbers},
                           {"ids", "I64", 1, {2}, numbers},
                           {"f8", "F8_E4M3", 1, {2}, numbers}};
    st_write(folder, "model.safetensors", t, 5);
    OK(tsr_source_open(folder, &source));
    const tsr_view *w = tensor("w", SHAPE(2, 3)), *f32 = tensor("f32", SHAPE(2, 3)),
                   *f64 = tensor("f64", SHAPE(2, 3)), *v;
    OK(tsr_view_check(w, source, "transformer."));
    OK(tsr_view_check(tensor("transformer.w", SHAPE(2, 3)), source, NULL));
    expect_error(tsr_view_check(w, source, NULL), TSR_ERR_FORMAT, "\"w\" is missing");
    expect_error(tsr_view_check(tensor("x", SHAPE(1)), source, "model."), TSR_ERR_FORMAT,
                 "\"x\" is missing, with and without \"model.\"");
    expect_error(tsr_view_check(tensor("f32", SHAPE(3, 2)), source, NULL), TSR_ERR_FORMAT,
                 "model.safetensors: tensor \"f32\": expected shape [3, 2], found [2, 3]");
    expect_error(tsr_view_check(tensor("f32", SHAPE(6)), source, NULL), TSR_ERR_FORMAT, "found [2, 3]");
    expect_error(tsr_view_check(tensor("ids", SHAPE(2)), source, NULL), TSR_ERR_FORMAT, "found I64");
    expect_error(tsr_view_check(tensor("f8", SHAPE(2)), source, NULL), TSR_ERR_FORMAT, "found F8_E4M3");
    tsr_dtype dtype;
    int64_t bytes;
    OK(tsr_view_dtype(w, source, "transformer.", &dtype));
    assert_int_equal(dtype, TSR_BF16);
    OK(tsr_view_concat(arena, 0, 2, (const tsr_view *[]){w, f32}, &v));
    OK(tsr_view_dtype(v, source, "transformer.", &dtype));
    assert_int_equal(dtype, TSR_F32);
    OK(tsr_view_stored_bytes(v, source, "transformer.", &bytes));
    assert_int_equal(bytes, 6 * 2 + 6 * 4);
    OK(tsr_view_stored_bytes(slice(v, 1, 1, 3), source, "transformer.", &bytes));
    assert_int_equal(bytes, 4 * 2 + 4 * 4);
    OK(tsr_view_concat(arena, 0, 2, (const tsr_view *[]){w, f64}, &v));
    OK(tsr_view_dtype(v, source, "transformer.", &dtype));
    assert_int_equal(dtype, TSR_F64);
    OK(tsr_view_stored_bytes(slice(f32, 0, 0, 1), source, NULL, &bytes));
    assert_int_equal(bytes, 12);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(views_print_as_what_they_are),
        TEST(operations_that_undo_each_other_vanish),
        TEST(slicing_a_concat_forgets_the_other_parts),
        TEST(conv1d_heads),
        TEST(interleaved_heads),
        TEST(grouped_heads),
        TEST(sharded_heads),
        TEST(pieces_of_another_degree),
        TEST(ranks_0_and_1_and_empty_views_read),
        TEST(operations_that_do_not_fit_are_refused),
        TEST(nesting_and_leaves_are_bounded),
        TEST(a_view_must_match_its_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
