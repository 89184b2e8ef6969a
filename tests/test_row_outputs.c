/* test_row_outputs.c: rows of outputs come out whole on every rank, however their columns are dealt. */
#include "base/memory.h"
#include "runtime/row_outputs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 4 };

/* The ranks of a gather run one after the other, twice: first each leaves its messages, then each gets all of them. */
typedef struct exchange {
    bool collecting;
    int rank, calls; /* of this run */
    char *sent[RANKS][64];
    int64_t bytes[64];
    int most_calls;
} exchange;

static tsr_status gather(void *ctx, const void *in, int64_t bytes, void *out)
{
    exchange *x = ctx;
    int call = x->calls++;
    x->most_calls = x->calls > x->most_calls ? x->calls : x->most_calls;
    if (x->collecting) {
        if (x->rank > 0) assert_int_equal(bytes, x->bytes[call]);
        x->bytes[call] = bytes;
        x->sent[x->rank][call] = memcpy(malloc((size_t)bytes), in, (size_t)bytes);
        memset(out, 0, (size_t)bytes * RANKS);
        return TSR_OK;
    }
    for (int r = 0; r < RANKS; r++) memcpy((char *)out + r * bytes, x->sent[r][call], (size_t)bytes);
    return TSR_OK;
}

static float value_at(int32_t row, int32_t col)
{
    return (float)(row * 1000 + col) + 0.5f;
}

/* Runs every rank over its columns cut[r] .. cut[r + 1] - 1 of `cols`, rows `ld` apart. */
static void run_ranks(exchange *x, int32_t cols, const int32_t *cut, int32_t n_rows, bool check)
{
    for (x->rank = 0; x->rank < RANKS; x->rank++) {
        int32_t first = cut[x->rank], n = cut[x->rank + 1] - first, ld = n + 3;
        tsr_gather g = {x, x->rank, RANKS, gather};
        const tsr_sample_result *results;
        tsr_row_outputs *o;
        float *values = calloc((size_t)n_rows * (size_t)ld + 1, sizeof *values);
        for (int32_t r = 0; r < n_rows; r++)
            for (int32_t c = 0; c < n; c++) values[r * ld + c] = value_at(r, first + c);
        x->calls = 0;
        assert_int_equal(tsr_row_outputs_create(cols, first, n, &g, &o), TSR_OK);
        assert_int_equal(tsr_row_outputs_run(o, values, ld, n_rows, &results), TSR_OK);
        for (int32_t r = 0; check && r < n_rows; r++) {
            assert_false(results[r].failed);
            assert_int_equal(results[r].id, -1);
            for (int32_t c = 0; c < cols; c++) assert_true(results[r].outputs[c] == value_at(r, c));
        }
        tsr_row_outputs_destroy(&o);
        assert_null(o);
        free(values);
    }
}

static int check_cut(int32_t cols, const int32_t *cut, int32_t n_rows)
{
    exchange x = {.collecting = true};
    run_ranks(&x, cols, cut, n_rows, false);
    x.collecting = false;
    run_ranks(&x, cols, cut, n_rows, true);
    for (int r = 0; r < RANKS; r++)
        for (int c = 0; c < x.most_calls; c++) free(x.sent[r][c]);
    return x.most_calls;
}

static void columns_are_put_side_by_side(void **state)
{
    (void)state;
    assert_int_equal(check_cut(7, (int32_t[]){0, 2, 4, 6, 7}, 5), 1);
    assert_int_equal(check_cut(5, (int32_t[]){0, 1, 1, 4, 5}, 1), 1); /* a rank without columns */
    assert_int_equal(check_cut(3, (int32_t[]){0, 3, 3, 3, 3}, 9), 1); /* whole on rank 0 */
    assert_int_equal(check_cut(7, (int32_t[]){0, 2, 4, 6, 7}, 0), 0); /* no rows, no message */
}

static void long_messages_are_parted(void **state)
{
    (void)state;
    assert_int_equal(check_cut(60000, (int32_t[]){0, 15000, 30000, 45000, 60000}, 40), 3); /* 17 rows each */
}

static void alone_nothing_is_sent(void **state)
{
    (void)state;
    tsr_gather g = {NULL, 0, 1, NULL};
    const float values[2][3] = {{1, 2, 3}, {4, NAN, 6}};
    const tsr_sample_result *results;
    tsr_row_outputs *o;
    assert_int_equal(tsr_row_outputs_create(2, 0, 2, &g, &o), TSR_OK);
    assert_int_equal(tsr_row_outputs_run(o, values[0], 3, 2, &results), TSR_OK);
    assert_true(results[0].outputs[1] == 2 && results[1].outputs[0] == 4);
    assert_false(results[0].failed);
    assert_true(results[1].failed); /* NaN */
    tsr_row_outputs_destroy(&o);
    assert_int_equal(tsr_row_outputs_create(2, 1, 2, &g, &o), TSR_ERR_INTERNAL);
    assert_null(o);
}

static void memory_that_runs_out_is_an_error(void **state)
{
    (void)state;
    tsr_gather g = {NULL, 0, 1, NULL};
    const float values[3] = {1, 2, 3};
    const tsr_sample_result *results;
    int failures = 0;
    for (;; failures++) {
        tsr_row_outputs *o;
        tsr_memory_fail_after(failures + 1);
        tsr_status s = tsr_row_outputs_create(3, 0, 3, &g, &o);
        if (s == TSR_OK) s = tsr_row_outputs_run(o, values, 3, 1, &results);
        tsr_memory_fail_after(0);
        tsr_row_outputs_destroy(&o);
        if (s == TSR_OK) break;
        assert_int_equal(s, TSR_ERR_MEMORY);
    }
    assert_in_range(failures, 3, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_put_side_by_side),
        cmocka_unit_test(long_messages_are_parted),
        cmocka_unit_test(alone_nothing_is_sent),
        cmocka_unit_test(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
