/* text_places.h: where in a text its tokens stand, counted in characters.
 *
 * What the tokens say, one behind the other, is laid beside the text they were made of. A tokenizer may change a text
 * before it cuts it (other forms of a letter, blanks that are put in front or joined): blanks are passed over on either
 * side, and behind a place where more than these differ nothing is known. Tokens that hold a part of a character have the
 * place of that character. Local; thread-safe.
 */
#ifndef TSR_LAUNCH_SERVE_TEXT_PLACES_H
#define TSR_LAUNCH_SERVE_TEXT_PLACES_H

#include "runtime/tokenizer/tokenizer.h"

typedef struct tsr_place {
    int64_t start, end;        /* characters [start, end); -1: not known */
    int64_t first_byte, bytes; /* the same in bytes of the text */
} tsr_place;

/* places [n_ids]. Special tokens have an empty place. */
tsr_status tsr_text_places(const tsr_tokenizer *tokenizer, const char *text, int64_t length,
                           const int32_t *ids, int64_t n_ids, tsr_place *places);

#endif
