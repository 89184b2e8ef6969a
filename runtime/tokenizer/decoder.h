/* decoder.h: from the pieces of tokens back to text, as a stream: the "decoder" of a tokenizer.json.
 *
 * Decoders are stages of a chain. A stage is given tokens one after the other: text (any number of parts,
 * each of whole characters), then end; after the last token, finish. It passes on what is certain and holds
 * what a later token may change. So the text of a stream is, by construction, the text of all tokens decoded
 * at once.
 *
 * A chain belongs to one thread at a time; the list of decoders it is made from is only read.
 */
#ifndef TSR_TOKENIZER_DECODER_H
#define TSR_TOKENIZER_DECODER_H

#include "runtime/tokenizer/components.h"
#include "runtime/tokenizer/pieces.h"
#include "runtime/tokenizer/regex.h"

typedef struct tsr_decode_chain tsr_decode_chain;
typedef struct tsr_decode_stage tsr_decode_stage;

typedef struct tsr_decoder_kind {
    tsr_component_kind base;
    tsr_status (*text)(tsr_decode_stage *stage, const char *bytes, int64_t n);
    tsr_status (*end)(tsr_decode_stage *stage);
    /* Passes on what is held; the chain then finishes the next stage. NULL: holds nothing. */
    tsr_status (*finish)(tsr_decode_stage *stage);
} tsr_decoder_kind;

/* What the stages keep; each uses what it needs. */
struct tsr_decode_stage {
    const tsr_decoder_kind *kind;
    const void *options;
    tsr_decode_chain *chain;
    tsr_decode_stage *next;
    tsr_text held, bytes; /* text not passed on yet; bytes not characters yet */
    int64_t tokens;       /* ended so far */
    int64_t seen;         /* characters of the current token, or bytes, by kind */
    bool open;            /* the current token has text */
};

struct tsr_decode_chain {
    tsr_decode_stage stage[TSR_COMPONENTS_CAP + 1]; /* the last one appends to *out */
    int count;
    int32_t id;               /* of the token being fed, for decoders that ask what kind of token it is */
    bool skip_special_tokens; /* for the same decoders */
    tsr_text *out;
    tsr_regex_work *regex;
    tsr_spans spans;
};

/* o.object may be NULL: tokens are joined by blanks, which is what the reference does without a decoder. */
tsr_status tsr_decoders_load(tsr_object o, tsr_arena *arena, tsr_components *out);

tsr_status tsr_decode_chain_create(const tsr_components *decoders, bool skip_special_tokens,
                                   tsr_decode_chain **out);
void tsr_decode_chain_destroy(tsr_decode_chain **chain);
/* One token. Appends what has become certain to *out. */
tsr_status tsr_decode_chain_token(tsr_decode_chain *chain, int32_t id, const char *piece, int64_t n,
                                  tsr_text *out);
/* No further token: appends the rest. The chain is then as new. */
tsr_status tsr_decode_chain_finish(tsr_decode_chain *chain, tsr_text *out);

/* For stages: passing on to the next. */
tsr_status tsr_pass_text(tsr_decode_stage *stage, const char *bytes, int64_t n);
tsr_status tsr_pass_end(tsr_decode_stage *stage);
tsr_status tsr_pass_token(tsr_decode_stage *stage, const char *bytes, int64_t n); /* text and end */
/* A stage that needs whole tokens: its `text`. */
tsr_status tsr_hold_text(tsr_decode_stage *stage, const char *bytes, int64_t n);

/* The rows: decoder_bytes.c, decoder_tokens.c, decoder_text.c, sentencepiece_decoder.c. */
extern const tsr_decoder_kind tsr_decoder_byte_level, tsr_decoder_byte_fallback;
extern const tsr_decoder_kind tsr_decoder_bytes; /* the pieces are the bytes; not in a tokenizer.json */
extern const tsr_decoder_kind tsr_decoder_metaspace, tsr_decoder_bpe, tsr_decoder_word_piece,
    tsr_decoder_joined;
extern const tsr_decoder_kind tsr_decoder_fuse, tsr_decoder_strip, tsr_decoder_replace;

#endif
