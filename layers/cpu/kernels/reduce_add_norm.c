/* reduce_add_norm.c: sum = r + the sum of x over the ranks (output 1), out = norm(sum) (output 0): ops.h.
 *
 * Where the communicator takes rows, phase 0 is all: each row is summed, added and normed while it is in the cache,
 * straight from where the ranks have laid their parts. Elsewhere phase 0 is an all-reduce of x, in place, and phase 1
 * does all rows on every rank.
 */
#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/row_norm.h"

#include <assert.h>

/* out = r + part[0] + .. + part[n - 1], the parts first and in order; out may be r. */
static void add_parts(const float *const *part, int n, const float *r, float *out, int64_t cols)
{
    int64_t c = 0;
    for (; c + TSR_VL <= cols; c += TSR_VL) {
        vf sum = v_load(part[0] + c);
        for (int q = 1; q < n; q++) sum += v_load(part[q] + c);
        v_store(out + c, sum + v_load(r + c));
    }
    for (; c < cols; c++) {
        float sum = part[0][c];
        for (int q = 1; q < n; q++) sum += part[q][c];
        out[c] = sum + r[c];
    }
}

static void finish_row(const tsr_call *call, int64_t row, const float *const *part, int parts)
{
    const tsr_operand *r = &call->in[1], *out = &call->out[0];
    float *sum = call->out[1].data + row * call->out[1].ld;
    add_parts(part, parts, r->data + row * r->ld, sum, out->cols);
    tsr_row_norm(call->attrs.norm.kind, call->attrs.norm.eps, sum, tsr_vector_of(call->weight[0]),
                 tsr_vector_of(call->weight[1]), out->data + row * out->ld, out->cols);
}

static void finish(const tsr_row_job *job, int64_t row, const float *const *part)
{
    const tsr_call *call = job->arg;
    finish_row(call, row, part, call->comm->size);
}

static int reduce_rows(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    const tsr_operand *normed = &call->out[0], *sum = &call->out[1];
    tsr_row_job job = {
        .x = call->in[0].data,
        .rows = rows,
        .cols = normed->cols,
        .dealt = call->attrs.norm.dealt,
        .finish = finish,
        .n_out = 2,
        .out = {{normed->data, normed->ld, true}, {sum->data, sum->ld, call->attrs.norm.whole_sum}},
        .arg = call};
    return call->comm->ops->reduce_rows(call->comm, &job, worker->thread, worker->n_threads);
}

TSR_KERNEL(reduce_add_norm)
{
    const tsr_operand *x = &call->in[0];
    tsr_comm *comm = call->comm;
    int64_t rows = tsr_rows_of(x, step), row, end;
    bool takes = comm->ops->takes_rows && comm->ops->takes_rows(comm, rows, x->cols, call->attrs.norm.dealt);
    assert(x->ld == x->cols);
    if (worker->phase == 0) {
        int status =
            takes ? reduce_rows(call, rows, worker)
                  : comm->ops->all_reduce(comm, x->data, rows * x->cols, worker->thread, worker->n_threads);
        if (status) worker->failure = status;
    } else if (!takes) {
        tsr_share(rows, 1, worker, &row, &end);
        for (; row < end; row++) {
            const float *sum = x->data + row * x->ld;
            finish_row(call, row, &sum, 1);
        }
    }
}
