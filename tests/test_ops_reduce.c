/* test_ops_reduce.c: reduce_add_norm against a float64 loop, for every instruction set, thread count and many shapes,
 * in place and out of place, through a communicator that takes rows and through one that only sums vectors. */
#include "ops_common.h"

enum { RANKS = 3, SELF = 1 };

static const int64_t shapes[][2] = {{1, 2}, {1, 576}, {2, 33}, {3, 4097}, {17, 31}, {100, 80}};

/* The other ranks' partial sums. takes: the job is given to finish, one row in n_threads to each thread. */
typedef struct fake_comm {
    tsr_comm comm;
    const float *part[RANKS]; /* [rows][cols]; that of SELF is not looked at */
    bool takes, dealt_seen, whole_seen;
    int status, calls;
} fake_comm;

static int sum_vector(tsr_comm *comm, float *data, int64_t n, int thread, int n_threads)
{
    fake_comm *c = (fake_comm *)comm;
    (void)n_threads;
    c->calls++;
    for (int64_t i = 0; i < n && thread == 0; i++) data[i] = c->part[0][i] + data[i] + c->part[2][i];
    return c->status;
}

static bool takes_rows(const tsr_comm *comm, int64_t rows, int64_t cols, bool dealt)
{
    (void)rows, (void)cols, (void)dealt;
    return ((const fake_comm *)comm)->takes;
}

static int reduce_rows(tsr_comm *comm, const tsr_row_job *job, int thread, int n_threads)
{
    fake_comm *c = (fake_comm *)comm;
    assert_int_equal(job->n_out, 2);
    assert_true(job->out[0].whole);
    c->calls++;
    c->dealt_seen = job->dealt;
    c->whole_seen = job->out[1].whole;
    for (int64_t row = thread; row < job->rows; row += n_threads) {
        const float *part[RANKS];
        for (int q = 0; q < RANKS; q++) part[q] = (q == SELF ? job->x : c->part[q]) + row * job->cols;
        job->finish(job, row, part);
    }
    return c->status;
}

static const tsr_comm_ops fake_ops = {
    .name = "fake", .all_reduce = sum_vector, .takes_rows = takes_rows, .reduce_rows = reduce_rows};

/* Rows end to end, as partial sums lie. */
static tsr_operand dense(int64_t rows, int64_t cols, float amplitude)
{
    tsr_operand v = {.ld = cols, .cols = cols, .data = aligned((rows * cols + 16) * 4)};
    for (int64_t i = 0; i < rows * cols + 16; i++)
        v.data[i] = i < rows * cols ? amplitude * random_unit() : GUARD;
    return v;
}

typedef struct example {
    int64_t rows, cols;
    tsr_operand x[RANKS], r, w;
    tsr_weight_data weight, bias;
    double *sum, *norm; /* what must come out */
    tsr_attrs attrs;
    tsr_step step;
} example;

static void make_expected(example *e)
{
    for (int64_t row = 0; row < e->rows; row++) {
        double *s = e->sum + row * e->cols, mean = 0, square = 0;
        for (int64_t c = 0; c < e->cols; c++) {
            s[c] = e->r.data[row * e->r.ld + c];
            for (int q = 0; q < RANKS; q++) s[c] += e->x[q].data[row * e->cols + c];
            mean += s[c] / (double)e->cols;
        }
        if (e->attrs.norm.kind == TSR_NORM_RMS) mean = 0;
        for (int64_t c = 0; c < e->cols; c++) square += (s[c] - mean) * (s[c] - mean) / (double)e->cols;
        for (int64_t c = 0; c < e->cols; c++)
            e->norm[row * e->cols + c] =
                (s[c] - mean) / sqrt(square + (double)e->attrs.norm.eps) * e->w.data[c] +
                e->w.data[e->w.ld + c];
    }
}

static void make_example(example *e, int64_t rows, int64_t cols, tsr_norm_kind kind)
{
    *e = (example){.rows = rows, .cols = cols, .attrs.norm = {.kind = kind, .eps = 1e-5f}};
    for (int q = 0; q < RANKS; q++) e->x[q] = dense(rows, cols, 2);
    e->r = make_operand(rows, cols, 3);
    e->w = make_operand(2, cols, 2);
    e->weight = (tsr_weight_data){.rows = cols, .cols = 1, .data = e->w.data};
    e->bias = (tsr_weight_data){.rows = cols, .cols = 1, .data = e->w.data + e->w.ld};
    e->sum = aligned(rows * cols * 8);
    e->norm = aligned(rows * cols * 8);
    e->step = make_step((int32_t)rows);
    make_expected(e);
}

static void free_example(example *e)
{
    for (int q = 0; q < RANKS; q++) free(e->x[q].data);
    free(e->r.data);
    free(e->w.data);
    free(e->sum);
    free(e->norm);
    free_step(&e->step);
}

static void check(const example *e, const tsr_cpu_kernels *set, int threads, bool takes, bool over)
{
    fake_comm comm = {.comm = {.ops = &fake_ops, .rank = SELF, .size = RANKS},
                      .part = {e->x[0].data, NULL, e->x[2].data},
                      .takes = takes};
    tsr_call call = {.op = TSR_OP_REDUCE_ADD_NORM, .attrs = e->attrs, .comm = &comm.comm};
    call.weight[0] = &e->weight;
    call.weight[1] = &e->bias;
    call.in[0] = dense(e->rows, e->cols, 0);
    memcpy(call.in[0].data, e->x[SELF].data, (size_t)(e->rows * e->cols) * 4);
    call.in[1] = copy_operand(&e->r, e->rows);
    call.out[0] = over ? call.in[0] : make_operand(e->rows, e->cols, 9);
    call.out[1] = over ? call.in[1] : make_operand(e->rows, e->cols, 9);
    assert_int_equal(run_call(set, &call, &e->step, threads), 0);
    assert_int_equal(comm.calls, threads);
    check_close("reduce_add_norm", set->isa, &call.out[0], e->norm, e->rows, 1,
                e->attrs.norm.kind == TSR_NORM_LAYER ? 1e-5 : 2e-6);
    check_close("reduce_add_norm (sum)", set->isa, &call.out[1], e->sum, e->rows, 1, 4e-7);
    free(call.in[0].data);
    free(call.in[1].data);
    if (!over) free(call.out[0].data), free(call.out[1].data);
}

static void test_against_float64(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int kind = TSR_NORM_LAYER; kind <= TSR_NORM_RMS; kind++) {
            example e;
            make_example(&e, shapes[s][0], shapes[s][1], (tsr_norm_kind)kind);
            FOR_EACH_SET (set)
                for (int threads = 1; threads <= 3; threads++)
                    for (int way = 0; way < 4; way++) check(&e, set, threads, way & 1, way & 2);
            free_example(&e);
        }
}

/* Attributes reach the job, failures the worker. */
static void test_attributes_and_failures(void **state)
{
    (void)state;
    example e;
    make_example(&e, 4, 16, TSR_NORM_RMS);
    FOR_EACH_SET (set)
        for (int way = 0; way < 8; way++) {
            fake_comm comm = {.comm = {.ops = &fake_ops, .rank = SELF, .size = RANKS},
                              .part = {e.x[0].data, NULL, e.x[2].data},
                              .takes = way & 1,
                              .status = TSR_ERR_RANK_LOST};
            tsr_call call = {.op = TSR_OP_REDUCE_ADD_NORM, .attrs = e.attrs, .comm = &comm.comm};
            call.attrs.norm.dealt = way & 2;
            call.attrs.norm.whole_sum = way & 4;
            call.in[0] = call.out[0] = dense(4, 16, 1);
            call.in[1] = call.out[1] = make_operand(4, 16, 1);
            assert_int_equal(run_call(set, &call, &e.step, 2), TSR_ERR_RANK_LOST);
            if (comm.takes) assert_int_equal(comm.dealt_seen, call.attrs.norm.dealt);
            if (comm.takes) assert_int_equal(comm.whole_seen, call.attrs.norm.whole_sum);
            free(call.in[0].data);
            free(call.in[1].data);
        }
    free_example(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_float64),
        cmocka_unit_test(test_attributes_and_failures),
    };
    return cmocka_run_group_tests(tests, report_isas, NULL);
}
