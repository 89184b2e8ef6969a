/* added_tokens.h: tokens beside the model's: "<s>", "<|im_end|>". They are cut out of a text before the model
 * sees it.
 *
 * Two passes: tokens that are not `normalized` are found in the text as it was given; the others in what the
 * normalizer made of the rest, in their own normalized form. At each place the longest one wins. Built once,
 * then only read.
 */
#ifndef TSR_TOKENIZER_ADDED_TOKENS_H
#define TSR_TOKENIZER_ADDED_TOKENS_H

#include "runtime/tokenizer/components.h"
#include "runtime/tokenizer/vocabulary.h"
#include "runtime/tokenizer/work.h"

enum { TSR_ADDED_TOKENS_CAP = 1 << 20, TSR_ADDED_TOKEN_BYTES_CAP = 1024 };

typedef struct tsr_added_token {
    const char *content; /* [length] */
    int32_t length, id;
    bool special;        /* left out of decoded text on request */
    bool normalized;     /* found after normalization, in normalized form */
    bool single_word;    /* found only where no word character is beside it */
    bool alone;          /* found only where nothing but blanks is beside it */
    bool hidden;         /* never found in a text: an id to be decoded, or put around texts */
    bool lstrip, rstrip; /* takes the white space to its left, right */
    const char *decoded; /* [decoded_length] what the decoder is given: the normalized form */
    int32_t decoded_length;
    bool skipped; /* whether "skip special tokens" skips it */
} tsr_added_token;

typedef struct tsr_added_tokens tsr_added_tokens;

/* `model_pieces`: content that is a piece of the model keeps that id. */
tsr_status tsr_added_tokens_create(const tsr_vocabulary *model_pieces, tsr_added_tokens **out);
void tsr_added_tokens_destroy(tsr_added_tokens **a);

/* Adds a token; content, flags and, if `keep_id`, id are read from `token`. Without keep_id, content that is
 * no piece of the model takes the next free id, as in the reference, whatever the file says. Empty content is
 * ignored. Adding the same content again changes the flags. */
tsr_status tsr_added_tokens_add(tsr_added_tokens *a, const char *where, const tsr_added_token *token,
                                bool keep_id);
/* The array "added_tokens" of a tokenizer.json; may be NULL. */
tsr_status tsr_added_tokens_load(tsr_added_tokens *a, const char *where, const json_t *list);
/* Reads the flags and the content of one entry; strings are borrowed from the JSON. */
tsr_status tsr_added_token_read(tsr_object o, tsr_added_token *out);
/* Turns single_word into `alone` for all, which is how the classes of transformers without a tokenizer.json read it. */
void tsr_added_tokens_stand_alone(tsr_added_tokens *a);
/* After the last one: prepares finding and decoding. */
tsr_status tsr_added_tokens_finish(tsr_added_tokens *a, const tsr_components *normalizers);

/* Cuts text[0..n) into *out (pieces of `text`, whose own buffer stays unused). */
tsr_status tsr_added_tokens_split(const tsr_added_tokens *a, bool normalized, const char *text, int64_t n,
                                  bool at_start, tsr_pieces *out);

/* NULL if the id is no added token. */
const tsr_added_token *tsr_added_token_of(const tsr_added_tokens *a, int32_t id);
int32_t tsr_added_token_id(const tsr_added_tokens *a, const char *content, int64_t n); /* -1: none */
int32_t tsr_added_tokens_size(const tsr_added_tokens *a); /* one more than the largest id */

#endif
