/* prefix.h: models that read the beginning of a text in both directions and number its positions in two rows.
 *
 * The prompt holds a mask token, whose place is to be filled, and ends in a start token, behind which the filling is
 * written one token after the other. With C the place of the start token and M that of the mask:
 *   tokens below C see each other, whatever their order; those from C on see C's and what is before them
 *   first row of positions    p below C, M from C on
 *   second row                0 below C, then 1, 2, 3, ...
 * Formula: Du et al. 2022, "GLM: General Language Model Pretraining with Autoregressive Blank Infilling". Local.
 */
#ifndef TSR_LAYERS_PREFIX_H
#define TSR_LAYERS_PREFIX_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_MAX_MASKS = 4 };

/* The tokens that say where. Ids of -1 are not known. */
typedef struct tsr_prefix_ids {
    bool enabled;
    bool required;   /* a text without a start token is no prompt; else it is plain, read in one direction */
    bool first_mask; /* the first of any mask counts; else any of the kind that stands first in the list */
    int32_t start;
    int32_t mask[TSR_MAX_MASKS];
    int n_masks;
} tsr_prefix_ids;

/* Where in a text. A length of 0: plain. */
typedef struct tsr_prefix {
    int32_t length; /* C */
    int32_t mask;   /* M */
} tsr_prefix;

/* TSR_ERR_USAGE with a line for the user where a prompt lacks what it needs. */
tsr_status tsr_prefix_find(const tsr_prefix_ids *rules, const int32_t *ids, int64_t n, tsr_prefix *out);

/* The two rows of the token at position p. */
static inline int32_t tsr_prefix_first_row(const tsr_prefix *x, int32_t p)
{
    return x->length == 0 || p < x->length ? p : x->mask;
}

static inline int32_t tsr_prefix_second_row(const tsr_prefix *x, int32_t p)
{
    return x->length == 0 || p < x->length ? 0 : p - x->length + 1;
}

#endif
