/* test_checkpoint_view_random.c: thousands of random chains of view operations against a dense reference. */
#include "base/dtype.h"
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

/* --- A dense reference: the view beside the numbers it should show --- */

enum { RANK = TSR_MAX_RANK };

typedef struct dense {
    const tsr_view *view;
    int rank;
    int64_t shape[RANK], n;
    float *x; /* [n] */
} dense;

static int64_t product(int rank, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    return n;
}

static dense dense_new(int rank, const int64_t *shape)
{
    dense d = {.rank = rank, .n = product(rank, shape)};
    memcpy(d.shape, shape, (size_t)rank * sizeof *shape);
    d.x = calloc((size_t)d.n + 1, sizeof *d.x);
    assert_non_null(d.x);
    return d;
}

static int64_t flat_index(int rank, const int64_t *shape, const int64_t *at)
{
    int64_t i = 0;
    for (int a = 0; a < rank; a++) i = i * shape[a] + at[a];
    return i;
}

static void multi_index(int rank, const int64_t *shape, int64_t i, int64_t *at)
{
    for (int a = rank - 1; a >= 0; a--) {
        at[a] = i % shape[a];
        i /= shape[a];
    }
}

static dense dense_permute(const dense *v, const int *order)
{
    int64_t shape[RANK], at[RANK], from[RANK];
    for (int a = 0; a < v->rank; a++) shape[a] = v->shape[order[a]];
    dense d = dense_new(v->rank, shape);
    for (int64_t i = 0; i < d.n; i++) {
        multi_index(d.rank, d.shape, i, at);
        for (int a = 0; a < d.rank; a++) from[order[a]] = at[a];
        d.x[i] = v->x[flat_index(v->rank, v->shape, from)];
    }
    return d;
}

static dense dense_slice(const dense *v, int axis, int64_t begin, int64_t end)
{
    int64_t shape[RANK], at[RANK];
    memcpy(shape, v->shape, sizeof shape);
    shape[axis] = end - begin;
    dense d = dense_new(v->rank, shape);
    for (int64_t i = 0; i < d.n; i++) {
        multi_index(d.rank, d.shape, i, at);
        at[axis] += begin;
        d.x[i] = v->x[flat_index(v->rank, v->shape, at)];
    }
    return d;
}

static dense dense_concat(int axis, const dense *a, const dense *b)
{
    int64_t shape[RANK], at[RANK];
    memcpy(shape, a->shape, sizeof shape);
    shape[axis] += b->shape[axis];
    dense d = dense_new(a->rank, shape);
    for (int64_t i = 0; i < d.n; i++) {
        multi_index(d.rank, d.shape, i, at);
        const dense *from = at[axis] < a->shape[axis] ? a : b;
        if (from == b) at[axis] -= a->shape[axis];
        d.x[i] = from->x[flat_index(from->rank, from->shape, at)];
    }
    return d;
}

/* --- Random views --- */

static uint64_t seed;

static int64_t pick(int64_t low, int64_t high) /* inclusive */
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return low + (int64_t)(seed % (uint64_t)(high - low + 1));
}

enum { LEAVES = 8 };

typedef struct world {
    char folder[ST_PATH];
    tsr_source *source;
    tsr_arena *arena;
    dense leaf[LEAVES]; /* the numbers as float32; view unset */
    char name[LEAVES][16];
} world;

static const char *const file_dtypes[] = {"F32", "BF16", "F16", "F64"};

/* Random extents for a tensor of about n elements. */
static int random_shape(int64_t n, int64_t *shape)
{
    int rank = (int)pick(1, 4);
    for (int a = 0; a < rank; a++) {
        shape[a] = a == rank - 1 ? n : pick(1, n < 12 ? n : 12);
        n = n / shape[a] > 0 ? n / shape[a] : 1;
    }
    return rank;
}

static void make_world(world *w, int64_t elements, uint64_t start)
{
    st_tensor t[LEAVES];
    seed = start;
    st_folder_create(w->folder);
    for (int i = 0; i < LEAVES; i++) {
        int64_t shape[RANK];
        int rank = random_shape(elements, shape);
        dense *d = &w->leaf[i];
        *d = dense_new(rank, shape);
        sprintf(w->name[i], "leaf.%d", i);
        t[i] = (st_tensor){.name = w->name[i], .dtype = file_dtypes[i % 4], .rank = rank};
        memcpy(t[i].shape, shape, sizeof shape);
        char *bytes = malloc((size_t)st_tensor_bytes(&t[i]));
        assert_non_null(bytes);
        tsr_dtype dtype;
        assert_true(tsr_dtype_from_safetensors(t[i].dtype, &dtype));
        for (int64_t k = 0; k < d->n; k++)
            d->x[k] = (float)(dtype == TSR_BF16 ? pick(-255, 255) : pick(-2047, 2047));
        assert_true(tsr_from_f32(dtype, d->x, bytes, d->n));
        t[i].data = bytes;
    }
    st_write(w->folder, "model.safetensors", t, LEAVES);
    for (int i = 0; i < LEAVES; i++) free((void *)t[i].data);
    OK(tsr_source_open(w->folder, &w->source));
    OK(tsr_arena_create("views under test", &w->arena));
}

static void free_world(world *w)
{
    for (int i = 0; i < LEAVES; i++) free(w->leaf[i].x);
    tsr_source_destroy(&w->source);
    tsr_arena_destroy(&w->arena);
    st_folder_remove(w->folder);
}

static dense random_leaf(world *w)
{
    int i = (int)pick(0, LEAVES - 1);
    dense d = dense_new(w->leaf[i].rank, w->leaf[i].shape);
    memcpy(d.x, w->leaf[i].x, (size_t)d.n * sizeof *d.x);
    OK(tsr_view_tensor(w->arena, w->name[i], d.rank, d.shape, &d.view));
    return d;
}

static void replace(dense *v, dense by, const tsr_view *view)
{
    free(v->x);
    *v = by;
    v->view = view;
}

static void apply_reshape(world *w, dense *v)
{
    int64_t shape[RANK], n = v->n;
    int rank = 0;
    if (n == 0) return;
    for (int64_t f = 2; f <= n && rank < 5; f++) /* some of the prime factors, in clumps */
        if (n % f == 0 && pick(0, 2)) {
            shape[rank++] = f;
            n /= f--;
        }
    if (n > 1 || rank == 0) shape[rank++] = n;
    if (pick(0, 3) == 0) shape[rank++] = 1;
    for (int a = rank - 1; a > 0; a--) { /* in random order, sometimes with neighbours joined */
        int b = (int)pick(0, a);
        int64_t s = shape[a];
        shape[a] = shape[b], shape[b] = s;
    }
    while (rank > 1 && pick(0, 2) == 0) {
        shape[rank - 2] *= shape[rank - 1];
        rank--;
    }
    OK(tsr_view_reshape(w->arena, v->view, rank, shape, &v->view));
    v->rank = rank;
    memcpy(v->shape, shape, sizeof shape);
}

static void apply_permute(world *w, dense *v)
{
    int order[RANK];
    const tsr_view *view;
    for (int a = 0; a < v->rank; a++) order[a] = a;
    for (int a = v->rank - 1; a > 0; a--) {
        int b = (int)pick(0, a), o = order[a];
        order[a] = order[b], order[b] = o;
    }
    OK(v->rank == 2 && order[0] == 1 ? tsr_view_transpose(w->arena, v->view, &view)
                                     : tsr_view_permute(w->arena, v->view, order, &view));
    replace(v, dense_permute(v, order), view);
}

static void apply_slice(world *w, dense *v)
{
    const tsr_view *view;
    if (v->rank == 0) return;
    int axis = (int)pick(0, v->rank - 1);
    int64_t begin = pick(0, v->shape[axis]), end = pick(begin, v->shape[axis]);
    if (begin == end && pick(0, 20)) begin = 0, end = v->shape[axis]; /* empty views now and then */
    OK(tsr_view_slice(w->arena, v->view, axis, begin, end, &view));
    replace(v, dense_slice(v, axis, begin, end), view);
}

/* With a slice of itself, or with a leaf brought to a fitting shape. */
static void apply_concat(world *w, dense *v)
{
    const tsr_view *view;
    if (v->rank == 0 || v->n > 100000) return;
    int axis = (int)pick(0, v->rank - 1);
    int64_t cross = v->shape[axis] ? v->n / v->shape[axis] : 0;
    dense other = random_leaf(w);
    int64_t flat[1] = {other.n}, shape[RANK];
    memcpy(shape, v->shape, sizeof shape);
    if (cross > 0 && other.n >= cross && pick(0, 1)) {
        shape[axis] = other.n / cross;
        OK(tsr_view_reshape(w->arena, other.view, 1, flat, &other.view));
        OK(tsr_view_slice(w->arena, other.view, 0, 0, cross * shape[axis], &other.view));
        OK(tsr_view_reshape(w->arena, other.view, v->rank, shape, &other.view));
        other.rank = v->rank;
        other.n = cross * shape[axis];
        memcpy(other.shape, shape, sizeof shape);
    } else {
        int64_t begin = pick(0, v->shape[axis]);
        const tsr_view *part;
        OK(tsr_view_slice(w->arena, v->view, axis, begin, v->shape[axis], &part));
        replace(&other, dense_slice(v, axis, begin, v->shape[axis]), part);
    }
    dense joined = dense_concat(axis, v, &other);
    OK(tsr_view_concat(w->arena, axis, 2, (const tsr_view *[]){v->view, other.view}, &view));
    free(other.x);
    replace(v, joined, view);
}

static dense random_view(world *w)
{
    dense v = random_leaf(w);
    for (int64_t steps = pick(0, 9); steps > 0; steps--) {
        switch (pick(0, 6)) {
        case 0:
        case 1:
            apply_reshape(w, &v);
            break;
        case 2:
        case 3:
            apply_permute(w, &v);
            break;
        case 4:
        case 5:
            apply_slice(w, &v);
            break;
        default:
            apply_concat(w, &v);
            break;
        }
    }
    return v;
}

static void expect_rows(const dense *v, int64_t begin, int64_t end, const float *got)
{
    int64_t cols = tsr_view_cols(v->view);
    for (int64_t i = 0; i < (end - begin) * cols; i++) {
        if (got[i] == v->x[begin * cols + i]) continue;
        tsr_text text;
        OK(tsr_text_init(&text, TSR_TEXT_NO_CAP));
        OK(tsr_view_print(v->view, &text));
        fail_msg("%s: row %lld, element %lld: expected %g, found %g", text.data,
                 (long long)(begin + i / cols), (long long)(i % cols), (double)v->x[begin * cols + i],
                 (double)got[i]);
    }
}

static void expect_panels(const world *w, const dense *v, tsr_dtype as, int64_t panel)
{
    tsr_view_reader *reader;
    int64_t rows = tsr_view_rows(v->view), cols = tsr_view_cols(v->view);
    char *raw = malloc((size_t)(panel * cols * 4 + 1));
    float *got = malloc((size_t)(panel * cols + 1) * sizeof *got);
    assert_true(raw && got);
    OK(tsr_view_reader_create(v->view, w->source, NULL, as, &reader));
    for (int64_t r = 0; r < rows; r += panel) {
        int64_t end = r + panel < rows ? r + panel : rows;
        OK(tsr_view_reader_rows(reader, r, end, raw));
        assert_true(tsr_to_f32(as, raw, got, (end - r) * cols));
        expect_rows(v, r, end, got);
    }
    tsr_view_reader_destroy(&reader);
    assert_null(reader);
    free(got);
    free(raw);
}

static void check_view(const world *w, const dense *v)
{
    int64_t rows = tsr_view_rows(v->view), cols = tsr_view_cols(v->view);
    assert_int_equal(tsr_view_rank(v->view), v->rank);
    assert_memory_equal(tsr_view_shape(v->view), v->shape, (size_t)v->rank * sizeof(int64_t));
    assert_int_equal(tsr_view_elements(v->view), v->n);
    assert_int_equal(rows * cols, v->n);
    OK(tsr_view_check(v->view, w->source, NULL));
    float *got = malloc((size_t)(v->n + 1) * sizeof *got);
    assert_non_null(got);
    got[v->n] = 12345; /* nothing may be written behind the rows */
    OK(tsr_view_read_f32(v->view, w->source, NULL, 0, rows, got));
    expect_rows(v, 0, rows, got);
    assert_true(got[v->n] == 12345);
    int64_t begin = pick(0, rows), end = pick(begin, rows);
    OK(tsr_view_read_f32(v->view, w->source, NULL, begin, end, got));
    expect_rows(v, begin, end, got);
    free(got);
    expect_panels(w, v, TSR_F32, pick(1, rows / 3 + 1));
}

static void random_chains(int64_t elements, int chains, uint64_t start)
{
    world w;
    make_world(&w, elements, start);
    for (int i = 0; i < chains; i++) {
        dense v = random_view(&w);
        check_view(&w, &v);
        if (i % 8 == 0) { /* values up to 2047 are exact in float16 */
            expect_panels(&w, &v, TSR_F16, pick(1, tsr_view_rows(v.view) + 1));
        }
        free(v.x);
    }
    free_world(&w);
}

static void small_random_chains_show_what_the_reference_shows(void **state)
{
    (void)state;
    for (uint64_t start = 1; start <= 40; start++)
        random_chains((int64_t)(20 + start * 17), 200, start * 77777);
}

/* Large enough that runs, gaps and the buffer's limits all matter. */
static void large_random_chains_show_what_the_reference_shows(void **state)
{
    (void)state;
    random_chains(60000, 60, 4242);
    random_chains(300000, 12, 4243);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_random_chains_show_what_the_reference_shows),
        cmocka_unit_test(large_random_chains_show_what_the_reference_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
