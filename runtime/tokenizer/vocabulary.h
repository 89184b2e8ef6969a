/* vocabulary.h: pieces by id, and ids by piece. Ids may have holes; pieces are byte strings, perhaps empty.
 *
 * Built once, then read by many threads. Memory: the bytes, 8 for each id up to the largest, 4 to 8 for each
 * piece.
 */
#ifndef TSR_TOKENIZER_VOCABULARY_H
#define TSR_TOKENIZER_VOCABULARY_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_TOKEN_ID_CAP = 4 << 20 }; /* ids lie in 0..TSR_TOKEN_ID_CAP-1 */

typedef struct tsr_vocabulary tsr_vocabulary;

tsr_status tsr_vocabulary_create(tsr_vocabulary **out);
void tsr_vocabulary_destroy(tsr_vocabulary **v);

/* `where` names the file in errors. TSR_ERR_FORMAT: an id out of range, or an id or a piece that exists
 * already. */
tsr_status tsr_vocabulary_add(tsr_vocabulary *v, const char *where, int64_t id, const char *piece, int64_t n);

/* One more than the largest id. */
int32_t tsr_vocabulary_size(const tsr_vocabulary *v);
/* Number of pieces, which holes make smaller than the size. */
int32_t tsr_vocabulary_count(const tsr_vocabulary *v);
/* The id of a piece, -1 if it is none. */
int32_t tsr_vocabulary_id(const tsr_vocabulary *v, const char *piece, int64_t n);
/* The piece of an id (borrowed, not terminated), NULL if there is none; *n = its bytes. */
const char *tsr_vocabulary_piece(const tsr_vocabulary *v, int64_t id, int64_t *n);
int64_t tsr_vocabulary_longest(const tsr_vocabulary *v); /* bytes of the longest piece */

#endif
