/* sum.h: a tensor that is the sum or the mean, element by element, of tensors of one shape and number format.
 *
 * For what the ranks of a training run keep each for itself although the model has it once: summands of one bias, norms
 * that have drifted apart. Such tensors are vectors, so they are computed whenever they are read: in float64, rounded
 * to float32 and to the number format of the parts. The mean of equal parts is what they are. Private to checkpoint/.
 */
#ifndef TSR_CHECKPOINT_SUM_H
#define TSR_CHECKPOINT_SUM_H

#include "checkpoint/format.h"
#include "checkpoint/view.h"

typedef struct tsr_sum {
    int n;
    const tsr_tensor_info *part; /* [n] */
    bool mean;
} tsr_sum;

/* The sum (or mean) of n >= 1 views as a view of a tensor that is not listed; in the source's arena. `name` is for
 * messages. TSR_ERR_FORMAT: parts of different shapes, or none of F32, F16 and BF16. Local. */
tsr_status tsr_sum_view(tsr_source *source, const char *name, int n, const tsr_view *const *parts, bool mean,
                        const tsr_view **out);

/* tsr_source_read for a tensor with sum_of. Thread-safe. */
tsr_status tsr_sum_read(const tsr_source *source, const tsr_tensor_info *tensor, int64_t byte_offset,
                        int64_t n, void *dst);

#endif
