/* all_reduce.c: out = sum of x over the ranks, in place, through the communicator the call was bound to. The
 * rows of the value lie end to end (ld == cols), so that it is one vector. */
#include "layers/cpu/kernels/kernels.h"

#include <assert.h>

TSR_KERNEL(all_reduce)
{
    const tsr_operand *v = &call->out[0];
    assert(v->data == call->in[0].data && v->ld == v->cols);
    int status = call->comm->ops->all_reduce(call->comm, v->data, tsr_rows_of(v, step) * v->cols,
                                             worker->thread, worker->n_threads);
    if (status) worker->failure = status;
}
