/* test_pack.c: panels hold every element where pack.h says, zeros elsewhere, and give rows back. */
#include "ops_common.h"

#include "layers/cpu/pack.h"

static int64_t expected_place(tsr_dtype dtype, int64_t cols, int64_t row, int64_t col)
{
    int64_t padded = dtype == TSR_BF16 ? (cols + 31) / 32 * 32 : cols, panel = row / 32 * 32 * padded;
    if (dtype == TSR_BF16) return panel + col / 2 * 64 + row % 32 * 2 + col % 2;
    return panel + col * 32 + row % 32;
}

static uint32_t element(const void *data, int64_t size, int64_t i)
{
    uint32_t x = 0;
    memcpy(&x, (const char *)data + i * size, (size_t)size);
    return x;
}

/* Element values are their own numbers + 1 (so never 0), as bit patterns. */
static void fill(void *data, int64_t size, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t x = (uint32_t)(i % 60000 + 1);
        memcpy((char *)data + i * size, &x, (size_t)size);
    }
}

static void pack_all(tsr_dtype dtype, const char *rows, int64_t n, int64_t cols, char *packed)
{
    for (int64_t r = 0; r < n; r += TSR_PANEL)
        tsr_pack_panel(dtype, rows + r * cols * tsr_dtype_bytes(dtype), n - r < TSR_PANEL ? n - r : TSR_PANEL,
                       cols, packed + r / TSR_PANEL * tsr_panel_bytes(dtype, cols));
}

static void check_shape(tsr_dtype dtype, int64_t n, int64_t cols, int misalign)
{
    int64_t size = tsr_dtype_bytes(dtype), bytes = tsr_packed_bytes(dtype, n, cols), nonzero = 0;
    char *rows = malloc((size_t)(n * cols * size + 1)), *packed = malloc((size_t)bytes);
    memset(packed, 0xEE, (size_t)bytes);
    fill(rows + misalign, size, n * cols);
    pack_all(dtype, rows + misalign, n, cols, packed);
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < cols; c++)
            assert_int_equal(element(packed, size, expected_place(dtype, cols, r, c)),
                             element(rows + misalign, size, r * cols + c));
    for (int64_t i = 0; i < bytes / size; i++) nonzero += element(packed, size, i) != 0;
    assert_int_equal(nonzero, n * cols);
    free(rows);
    free(packed);
}

static const int64_t shapes[][2] = {{1, 1}, {31, 33}, {32, 32}, {33, 31}, {64, 97}, {100, 64}, {5, 1000}};
static const tsr_dtype dtypes[] = {TSR_F32, TSR_F16, TSR_BF16};

static void test_places(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int d = 0; d < 3; d++)
            for (int misalign = 0; misalign < 2; misalign++)
                check_shape(dtypes[d], shapes[s][0], shapes[s][1], misalign);
}

static void test_unpack(void **state)
{
    (void)state;
    int64_t n = 70, cols = 45;
    float *source = malloc((size_t)(n * cols) * 4), row[45], want[45];
    for (int64_t i = 0; i < n * cols; i++) source[i] = random_unit();
    for (int d = 0; d < 3; d++) {
        int64_t size = tsr_dtype_bytes(dtypes[d]);
        char *rows = malloc((size_t)(n * cols * size)),
             *packed = malloc((size_t)tsr_packed_bytes(dtypes[d], n, cols));
        tsr_from_f32(dtypes[d], source, rows, n * cols);
        pack_all(dtypes[d], rows, n, cols, packed);
        for (int64_t r = 0; r < n; r++) {
            tsr_unpack_row(dtypes[d], packed, cols, r, row);
            tsr_to_f32(dtypes[d], rows + r * cols * size, want, cols);
            assert_memory_equal(row, want, sizeof want);
        }
        free(rows);
        free(packed);
    }
    free(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places), cmocka_unit_test(test_unpack)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
