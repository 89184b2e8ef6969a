/* sentencepiece.h: a SentencePiece model of type BPE or UNIGRAM: its pieces, and the three parts made from it.
 *
 * The normalizer writes blanks as U+2581, perhaps puts one in front and drops superfluous ones. A model of type BPE
 * merges the neighbours that form the piece of the highest score, leftmost first, over the whole text; one of
 * type UNIGRAM searches the segmentation of the highest sum of scores (unigram.h). What is no piece becomes its bytes, or the unknown token. The decoder undoes both. (Kudo and Richardson 2018,
 * "SentencePiece".)
 */
#ifndef TSR_TOKENIZER_SENTENCEPIECE_H
#define TSR_TOKENIZER_SENTENCEPIECE_H

#include "runtime/tokenizer/charsmap.h"
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/model.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/trie.h"
#include "runtime/tokenizer/unigram.h"

typedef enum tsr_piece_type { /* the numbers of the file */
                              TSR_PIECE_NORMAL = 1,
                              TSR_PIECE_UNKNOWN = 2,
                              TSR_PIECE_CONTROL = 3,
                              TSR_PIECE_USER_DEFINED =
                                  4,                /* always one token, never changed by the normalizer */
                              TSR_PIECE_UNUSED = 5, /* formed by merging, but then taken apart again */
                              TSR_PIECE_BYTE = 6,
} tsr_piece_type;

/* Which id the n-th piece of the file has: n + offset; or as fairseq numbers them, <s> 0, </s> 2, <unk> 3 (1 is its
 * <pad>, which is no piece) and n + 1 for all others. */
typedef struct tsr_piece_ids {
    int32_t offset;
    bool fairseq;
} tsr_piece_ids;

typedef struct tsr_sentencepiece {
    const tsr_vocabulary *pieces;
    float *score;  /* [size] */
    uint8_t *type; /* [size], 0: no piece has the id */
    int64_t score_capacity, type_capacity;
    int32_t size;
    int32_t unk_id, bos_id, eos_id; /* bos, eos: -1 if the model has none */
    int32_t byte_id[256];
    tsr_trie *user_defined; /* NULL: none */
    tsr_unigram unigram;    /* type UNIGRAM only */
    tsr_charsmap *charsmap; /* NULL: characters stay as they are */
    const char *unk_surface;
    bool byte_fallback, add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_as_suffix;
    bool has_unused;
    bool prefix_once; /* the blank in front only where the text begins, not behind every added token */
} tsr_sentencepiece;

/* Reads the file into model->vocabulary and a new model->state (a tsr_sentencepiece). TSR_ERR_FORMAT. */
tsr_status tsr_sentencepiece_load(const char *bytes, int64_t n, const char *where, const tsr_piece_ids *ids,
                                  tsr_arena *arena, tsr_model *model);
void tsr_sentencepiece_release(tsr_model *model);

/* Of both types: the tokens of a piece that is none (neighbouring ones are one token); whether an id is of type
 * CONTROL; and for UNIGRAM, what its search needs. */
tsr_status tsr_sentencepiece_add_unknown(const tsr_sentencepiece *s, bool *after_unknown, const char *text,
                                         int64_t n, tsr_token_list *out);
bool tsr_sentencepiece_is_control(const tsr_model *model, int32_t id);
tsr_status tsr_sentencepiece_prepare_unigram(tsr_sentencepiece *s, const char *where);

/* Rows of the families, whose options are the tsr_sentencepiece. */
extern const tsr_normalizer_kind tsr_normalizer_sentencepiece;
extern const tsr_decoder_kind tsr_decoder_sentencepiece;

#endif
