/* test_checkpoint_read.c: reading views: how many bytes it costs, in which formats, panel by panel, by many
 * threads, and when memory or the file fails. */
#include "base/memory.h"
#include "checkpoint/convert.h"
#include "checkpoint/view.h"
#include "support_safetensors.h"

#include <math.h>
#include <pthread.h>
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

/* A checkpoint with matrices of real size: [E, 3E] as GPT-2 has it, [3E, E] as NeoX, a bias, mixed dtypes. */
enum { E = 768, HEADS = 12, HEAD = 64 };

static tsr_arena *arena;
static char folder[ST_PATH];
static tsr_source *source;
static uint16_t *bits; /* [3E, E] random bfloat16 */

static int set_up(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    bits = malloc(3 * E * E * sizeof *bits);
    st_need(bits != NULL, "malloc");
    for (int i = 0; i < 3 * E * E; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        bits[i] = (uint16_t)((x & 0x80FF) | 0x3F00); /* magnitudes from 0.5 to 2 */
    }
    float *wide = malloc(E * E * sizeof *wide);
    st_need(wide != NULL, "malloc");
    for (int i = 0; i < E * E; i++) wide[i] = tsr_bf16_to_f32(bits[i]);
    const st_tensor t[] = {{"conv1d", "BF16", 2, {E, 3 * E}, bits},
                           {"neox", "BF16", 2, {3 * E, E}, bits},
                           {"bias", "BF16", 1, {3 * E}, bits},
                           {"wide", "F32", 2, {E, E}, wide}};
    st_folder_create(folder);
    st_write(folder, "model.safetensors", t, 4);
    free(wide);
    OK(tsr_source_open(folder, &source));
    OK(tsr_arena_create("views under test", &arena));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tsr_source_destroy(&source);
    tsr_arena_destroy(&arena);
    st_folder_remove(folder);
    free(bits);
    return 0;
}

static const tsr_view *tensor(const char *name, int rank, const int64_t *shape)
{
    const tsr_view *v;
    OK(tsr_view_tensor(arena, name, rank, shape, &v));
    return v;
}

static const tsr_view *conv1d(void) /* [3E, E] */
{
    const tsr_view *v;
    OK(tsr_view_transpose(arena, tensor("conv1d", SHAPE(E, 3 * E)), &v));
    return v;
}

/* Rows of q, k and v for heads begin..end-1 of conv1d: [3 * heads * HEAD, E]. */
static const tsr_view *conv1d_heads(int begin, int end)
{
    const tsr_view *v = conv1d();
    OK(tsr_view_reshape(arena, v, SHAPE(3, HEADS, HEAD, E), &v));
    OK(tsr_view_slice(arena, v, 1, begin, end, &v));
    OK(tsr_view_reshape(arena, v, SHAPE(3 * (end - begin) * HEAD, E), &v));
    return v;
}

static const tsr_view *neox_heads(int begin, int end)
{
    const tsr_view *v = tensor("neox", SHAPE(3 * E, E));
    OK(tsr_view_reshape(arena, v, SHAPE(HEADS, 3, HEAD, E), &v));
    OK(tsr_view_permute(arena, v, (int[]){1, 0, 2, 3}, &v));
    OK(tsr_view_slice(arena, v, 1, begin, end, &v));
    OK(tsr_view_reshape(arena, v, SHAPE(3 * (end - begin) * HEAD, E), &v));
    return v;
}

/* Reads the view in panels; returns the bytes that took, and the numbers in *out (to be freed). */
static int64_t read_in_panels(const tsr_view *v, int64_t panel, tsr_dtype as, void **out)
{
    tsr_view_reader *reader;
    int64_t rows = tsr_view_rows(v), row_bytes = tsr_view_cols(v) * tsr_dtype_bytes(as);
    int64_t before = tsr_source_bytes_read(source);
    char *dst = malloc((size_t)(rows * row_bytes));
    assert_non_null(dst);
    OK(tsr_view_reader_create(v, source, NULL, as, &reader));
    for (int64_t r = 0; r < rows; r += panel) {
        int64_t end = r + panel < rows ? r + panel : rows;
        OK(tsr_view_reader_rows(reader, r, end, dst + r * row_bytes));
    }
    tsr_view_reader_destroy(&reader);
    if (out)
        *out = dst;
    else
        free(dst);
    return tsr_source_bytes_read(source) - before;
}

static void a_shard_costs_its_own_bytes(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 6; ranks++)
        for (int64_t panel = 8; panel <= 4096; panel *= 8) {
            int64_t heads = HEADS / ranks, bytes = 3 * heads * HEAD * E * 2;
            const tsr_view *in, *column = neox_heads((int)heads * (ranks - 1), (int)heads * ranks);
            assert_int_equal(read_in_panels(column, panel, TSR_BF16, NULL), bytes);
            assert_int_equal(read_in_panels(conv1d_heads(0, (int)heads), panel, TSR_F32, NULL), bytes);
            OK(tsr_view_slice(arena, tensor("neox", SHAPE(3 * E, E)), 1, 0, heads * HEAD,
                              &in)); /* row-parallel */
            assert_int_equal(read_in_panels(in, panel, TSR_BF16, NULL), bytes);
        }
}

/* A transposed panel of 4 rows is 8 bytes of every file row: those are read one by one, a reader reads ahead.
 */
static void panels_do_not_change_what_is_read(void **state)
{
    (void)state;
    for (int64_t panel = 1; panel < 400; panel = panel * 3 + 1) {
        void *got;
        int64_t bytes = read_in_panels(conv1d(), panel, TSR_BF16, &got);
        assert_int_equal(bytes, 3 * E * E * 2);
        for (int64_t row = 0; row < 3 * E; row++)
            for (int64_t in = 0; in < E; in++)
                assert_int_equal(((uint16_t *)got)[row * E + in], bits[in * 3 * E + row]);
        free(got);
    }
}

static void a_reader_serves_rows_in_any_order(void **state)
{
    (void)state;
    static const int64_t ranges[][2] = {{100, 140},   {140, 141}, {130, 160}, {0, 8},
                                        {2300, 2304}, {4, 4},     {50, 2000}};
    tsr_view_reader *reader;
    uint16_t *got = malloc(3 * E * E * sizeof *got);
    assert_non_null(got);
    OK(tsr_view_reader_create(conv1d(), source, NULL, TSR_BF16, &reader));
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        OK(tsr_view_reader_rows(reader, ranges[i][0], ranges[i][1], got));
        for (int64_t row = ranges[i][0]; row < ranges[i][1]; row++)
            for (int64_t in = 0; in < E; in++)
                assert_int_equal(got[(row - ranges[i][0]) * E + in], bits[in * 3 * E + row]);
    }
    assert_int_equal(tsr_view_reader_rows(reader, -1, 1, got), TSR_ERR_INTERNAL);
    assert_int_equal(tsr_view_reader_rows(reader, 5, 4, got), TSR_ERR_INTERNAL);
    assert_int_equal(tsr_view_reader_rows(reader, 0, 3 * E + 1, got), TSR_ERR_INTERNAL);
    tsr_view_reader_destroy(&reader);
    assert_int_equal(tsr_view_reader_create(conv1d(), source, NULL, TSR_I8, &reader), TSR_ERR_INTERNAL);
    assert_int_equal(tsr_view_reader_create(conv1d(), source, NULL, TSR_F64, &reader), TSR_ERR_INTERNAL);
    free(got);
}

/* Interleaved biases are a few bytes every few hundred: one read of the span, not one per head. */
static void short_interleaved_tensors_are_read_whole(void **state)
{
    (void)state;
    const tsr_view *v;
    float got[E];
    OK(tsr_view_reshape(arena, tensor("bias", SHAPE(3 * E)), SHAPE(HEADS, 3, HEAD), &v));
    OK(tsr_view_slice(arena, v, 1, 1, 2, &v));
    OK(tsr_view_reshape(arena, v, SHAPE(E), &v));
    int64_t before = tsr_source_bytes_read(source);
    OK(tsr_view_read_f32(v, source, NULL, 0, E, got));
    assert_true(tsr_source_bytes_read(source) - before <= 3 * E * 2);
    for (int i = 0; i < E; i++)
        assert_true(got[i] == tsr_bf16_to_f32(bits[(i / HEAD * 3 + 1) * HEAD + i % HEAD]));
}

static void mixed_formats_convert_leaf_by_leaf(void **state)
{
    (void)state;
    const tsr_view *v, *parts[2] = {tensor("wide", SHAPE(E, E)), NULL};
    OK(tsr_view_slice(arena, tensor("neox", SHAPE(3 * E, E)), 0, 0, E, &parts[1]));
    OK(tsr_view_concat(arena, 1, 2, parts, &v)); /* both hold the same numbers */
    for (tsr_dtype as = 0; as <= TSR_BF16; as++) {
        void *got;
        float *row = malloc(2 * E * sizeof *row);
        assert_non_null(row);
        read_in_panels(v, 100, as, &got);
        for (int r = 0; r < E; r++) {
            assert_true(
                tsr_to_f32(as, (char *)got + (size_t)r * 2 * E * (size_t)tsr_dtype_bytes(as), row, 2 * E));
            for (int i = 0; i < E; i++)
                assert_true(row[i] == tsr_bf16_to_f32(bits[r * E + i]) && row[i] == row[E + i]);
        }
        free(row);
        free(got);
    }
}

/* --- Conversion against base/dtype.h, for every bit pattern --- */

static void expect_same_half(tsr_dtype to, float f, uint16_t got)
{
    uint16_t expected = to == TSR_F16 ? tsr_f32_to_f16(f) : tsr_f32_to_bf16(f);
    if (got != expected) fail_msg("%a: expected %04x, found %04x", (double)f, expected, got);
}

static void halves_convert_as_the_scalar_functions_do(void **state)
{
    (void)state;
    enum { N = 65536 };
    uint16_t *in = malloc(N * sizeof *in), *back = malloc(N * sizeof *back);
    float *out = malloc(N * sizeof *out);
    assert_true(in && out && back);
    for (int i = 0; i < N; i++) in[i] = (uint16_t)i;
    for (tsr_dtype from = TSR_F16; from <= TSR_BF16; from++) {
        tsr_convert(from, in, TSR_F32, out, N);
        for (int i = 0; i < N; i++) {
            float expected = from == TSR_F16 ? tsr_f16_to_f32(in[i]) : tsr_bf16_to_f32(in[i]);
            assert_memory_equal(&out[i], &expected, 4);
        }
        for (tsr_dtype to = TSR_F16; to <= TSR_BF16; to++) {
            tsr_convert(from, in, to, back, N);
            for (int i = 0; i < N; i++)
                if (from == to)
                    assert_int_equal(back[i], in[i]);
                else
                    expect_same_half(to, out[i], back[i]);
        }
    }
    free(in);
    free(out);
    free(back);
}

static void floats_round_as_the_scalar_functions_do(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    float *in = malloc(N * sizeof *in);
    double *wide = malloc(N * sizeof *wide);
    uint16_t *out = malloc(N * sizeof *out);
    assert_true(in && wide && out);
    for (uint32_t high = 0; high < 64; high++) { /* every exponent, odd low bits around the ties */
        for (uint32_t i = 0; i < N; i++) {
            uint32_t pattern = (i << 16) ^ (high * 0x0421u) ^ (high & 1 ? 0x8000u : 0x1000u);
            memcpy(&in[i], &pattern, 4);
            wide[i] = (double)in[i];
        }
        for (tsr_dtype to = TSR_F16; to <= TSR_BF16; to++) {
            tsr_convert(TSR_F32, in, to, out, N);
            for (int i = 0; i < N; i++) expect_same_half(to, in[i], out[i]);
            tsr_convert(TSR_F64, wide, to, out, N);
            for (int i = 0; i < N; i++)
                if (!isnan(in[i])) expect_same_half(to, in[i], out[i]);
        }
    }
    free(in);
    free(wide);
    free(out);
}

/* --- Threads and failures --- */

typedef struct job {
    const tsr_view *view;
    int failed;
} job;

static void *read_all(void *context)
{
    job *j = context;
    int64_t rows = tsr_view_rows(j->view);
    uint16_t *got = malloc((size_t)rows * E * sizeof *got);
    j->failed = !got || tsr_view_read(j->view, source, NULL, 0, rows, TSR_BF16, got) != TSR_OK;
    for (int64_t i = 0; !j->failed && i < rows * E; i++) j->failed = got[i] != bits[i % E * 3 * E + i / E];
    free(got);
    return NULL;
}

static void threads_share_a_source(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    job jobs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){conv1d(), 0};
        assert_int_equal(pthread_create(&thread[i], NULL, read_all, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(jobs[i].failed, 0);
    }
    assert_int_equal(tsr_source_bytes_read(source), THREADS * 3 * E * E * 2);
}

/* Builds a view with every operation and reads it in panels. */
static tsr_status build_and_read(tsr_arena *a, float *dst)
{
    const tsr_view *v, *parts[2];
    tsr_view_reader *reader;
    tsr_dtype dtype;
    TSR_TRY(tsr_view_tensor(a, "conv1d", SHAPE(E, 3 * E), &v));
    TSR_TRY(tsr_view_transpose(a, v, &v));
    TSR_TRY(tsr_view_reshape(a, v, SHAPE(3, E, E), &v));
    TSR_TRY(tsr_view_slice(a, v, 0, 1, 2, &v));
    TSR_TRY(tsr_view_reshape(a, v, SHAPE(E, E), &parts[0]));
    TSR_TRY(tsr_view_tensor(a, "wide", SHAPE(E, E), &parts[1]));
    TSR_TRY(tsr_view_concat(a, 0, 2, parts, &v));
    TSR_TRY(tsr_view_dtype(v, source, NULL, &dtype));
    TSR_TRY(tsr_view_reader_create(v, source, NULL, TSR_F16, &reader));
    tsr_status status = tsr_view_reader_rows(reader, 0, 8, dst);
    if (status == TSR_OK) status = tsr_view_reader_rows(reader, E, E + 8, dst);
    tsr_view_reader_destroy(&reader);
    return status;
}

static void running_out_of_memory_is_an_error_at_every_allocation(void **state)
{
    (void)state;
    float *dst = malloc(8 * E * sizeof *dst);
    assert_non_null(dst);
    int failures = 0;
    for (int64_t n = 1;; n++) {
        tsr_arena *a;
        OK(tsr_arena_create("views under test", &a));
        tsr_memory_fail_after(n);
        tsr_status status = build_and_read(a, dst);
        tsr_memory_fail_after(0);
        tsr_arena_destroy(&a);
        if (status == TSR_OK) break;
        if (status != TSR_ERR_MEMORY) fail_msg("allocation %lld: %s", (long long)n, tsr_error_text());
        failures++;
    }
    assert_true(failures >= 6);
    free(dst);
}

static void a_file_cut_short_is_reported_by_every_way_of_reading(void **state)
{
    (void)state;
    char path[ST_PATH];
    st_path(path, folder, "model.safetensors");
    assert_int_equal(truncate(path, 4096), 0);
    uint16_t *got = malloc(3 * E * E * sizeof *got * 2);
    assert_non_null(got);
    const tsr_view *views[] = {conv1d(), neox_heads(0, 3), tensor("neox", SHAPE(3 * E, E))};
    for (int i = 0; i < 3; i++)
        for (tsr_dtype as = 0; as <= TSR_BF16; as++) {
            assert_int_equal(tsr_view_read(views[i], source, NULL, 0, tsr_view_rows(views[i]), as, got),
                             TSR_ERR_IO);
            assert_non_null(strstr(tsr_error_text(), "model.safetensors: ends at byte"));
        }
    tsr_view_reader *reader;
    OK(tsr_view_reader_create(conv1d(), source, NULL, TSR_BF16, &reader));
    for (int i = 0; i < 2; i++) /* a failed reading ahead leaves nothing behind that looks read */
        assert_int_equal(tsr_view_reader_rows(reader, 3 * E - 8, 3 * E, got), TSR_ERR_IO);
    tsr_view_reader_destroy(&reader);
    free(got);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_shard_costs_its_own_bytes),
        TEST(panels_do_not_change_what_is_read),
        TEST(a_reader_serves_rows_in_any_order),
        TEST(short_interleaved_tensors_are_read_whole),
        TEST(mixed_formats_convert_leaf_by_leaf),
        cmocka_unit_test(halves_convert_as_the_scalar_functions_do),
        cmocka_unit_test(floats_round_as_the_scalar_functions_do),
        TEST(threads_share_a_source),
        TEST(running_out_of_memory_is_an_error_at_every_allocation),
        TEST(a_file_cut_short_is_reported_by_every_way_of_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
