/* convert.h: bulk conversion between float formats, in loops that compilers vectorise. Private to
 * checkpoint/. Bit for bit what base/dtype.h does element by element. Local, thread-safe.
 */
#ifndef TSR_CHECKPOINT_CONVERT_H
#define TSR_CHECKPOINT_CONVERT_H

#include "base/dtype.h"

/* Can it be read from a file? F32, F16, BF16, F64. */
bool tsr_convert_from_ok(tsr_dtype from);
/* Can it be asked for? F32, F16, BF16. */
bool tsr_convert_to_ok(tsr_dtype to);

/* out[i] = in[i] for n elements, rounded to nearest even (F64 by way of float32); equal formats are copied.
 * Both formats must be ok; in and out are aligned to their elements and do not overlap. */
void tsr_convert(tsr_dtype from, const void *in, tsr_dtype to, void *out, int64_t n);

#endif
