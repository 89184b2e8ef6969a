/* shape.h: small arithmetic on tensor shapes, shared by formats and views. Local, thread-safe. */
#ifndef TSR_CHECKPOINT_SHAPE_H
#define TSR_CHECKPOINT_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

/* The number of elements. False unless the product of all extents, zeros counted as ones, fits: so that
 * strides computed from an accepted shape never overflow, be there a zero among them or not. Negative
 * extents: false. */
bool tsr_shape_elements(int rank, const int64_t *shape, int64_t *out);

/* Row-major strides in elements, zero extents counted as ones: stride[rank - 1] = 1. The shape is an accepted
 * one. */
void tsr_shape_strides(int rank, const int64_t *shape, int64_t *stride);

bool tsr_shape_equal(int rank_a, const int64_t *a, int rank_b, const int64_t *b);

/* "[3, 64, 768]"; returns `text`. */
enum { TSR_SHAPE_TEXT = 192 };
const char *tsr_shape_text(int rank, const int64_t *shape, char text[TSR_SHAPE_TEXT]);

#endif
