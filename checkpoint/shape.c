/* shape.c: see shape.h. */
#include "checkpoint/shape.h"
#include "base/checked.h"

#include <stdio.h>
#include <string.h>

bool tsr_shape_elements(int rank, const int64_t *shape, int64_t *out)
{
    int64_t product = 1;
    bool zero = false;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0 || !tsr_mul(product, tsr_max(shape[i], 1), &product)) return false;
        zero |= shape[i] == 0;
    }
    *out = zero ? 0 : product;
    return true;
}

void tsr_shape_strides(int rank, const int64_t *shape, int64_t *stride)
{
    int64_t s = 1;
    for (int i = rank - 1; i >= 0; i--) {
        stride[i] = s;
        s *= tsr_max(shape[i], 1);
    }
}

bool tsr_shape_equal(int rank_a, const int64_t *a, int rank_b, const int64_t *b)
{
    return rank_a == rank_b && (rank_a == 0 || memcmp(a, b, (size_t)rank_a * sizeof *a) == 0);
}

const char *tsr_shape_text(int rank, const int64_t *shape, char text[TSR_SHAPE_TEXT])
{
    int n = snprintf(text, TSR_SHAPE_TEXT, "[");
    for (int i = 0; i < rank && n < TSR_SHAPE_TEXT - 24; i++)
        n += snprintf(text + n, (size_t)(TSR_SHAPE_TEXT - n), "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(text + n, (size_t)(TSR_SHAPE_TEXT - n), "]");
    return text;
}
