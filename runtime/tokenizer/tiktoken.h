/* tiktoken.h: byte pair encoding by a file of ranks: lines "BASE64 RANK", a token's bytes and its id.
 *
 * A word begins as its bytes; of all neighbours that together are a token, those with the lowest id, leftmost
 * first, merge. A word that is a token is that token.
 */
#ifndef TSR_TOKENIZER_TIKTOKEN_H
#define TSR_TOKENIZER_TIKTOKEN_H

#include "runtime/tokenizer/model.h"

/* Whether a file begins as such a file does. */
bool tsr_tiktoken_is(const char *bytes, int64_t n);
/* Reads the file into model->vocabulary. TSR_ERR_FORMAT names the line. */
tsr_status tsr_tiktoken_load(const char *bytes, int64_t n, const char *where, tsr_model *model);

#endif
