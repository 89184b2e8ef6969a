/* bpe.h: byte pair encoding by ranked merges: the model of GPT-2 and its heirs, and of Llama's
 * tokenizer.json.
 *
 * A word begins as its characters; of all neighbours that merge, those with the lowest rank, leftmost first,
 * do. Built either from a "model" object or step by step from other files.
 */
#ifndef TSR_TOKENIZER_BPE_H
#define TSR_TOKENIZER_BPE_H

#include "runtime/tokenizer/model.h"

enum { TSR_MERGES_CAP = 4 << 20, TSR_AFFIX_CAP = 64 };

typedef struct tsr_bpe_options {
    const char *unk_token;                 /* or NULL: unknown characters vanish */
    const char *continuing_subword_prefix; /* put before every character of a word but the first; or NULL */
    const char *end_of_word_suffix;        /* put behind the last one; or NULL */
    bool fuse_unk;                         /* neighbouring unknown characters become one token */
    bool byte_fallback;                    /* unknown characters become the tokens <0xHH> of their bytes */
    bool ignore_merges;                    /* a word that is a piece is that piece */
} tsr_bpe_options;

/* model->vocabulary must be complete. `pairs` is the number of merges to come. Strings are copied. */
tsr_status tsr_bpe_create(tsr_model *model, const char *where, const tsr_bpe_options *options, int64_t pairs);
/* The next merge in order of rank. TSR_ERR_FORMAT if one of the two or the result is no piece. */
tsr_status tsr_bpe_add_merge(tsr_model *model, const char *where, const char *left, int64_t left_length,
                             const char *right, int64_t right_length);
/* The same from one line "left right". */
tsr_status tsr_bpe_add_merge_line(tsr_model *model, const char *where, const char *line, int64_t n);

/* The bpe.c and bpe_load.c view of it. */
typedef struct tsr_bpe {
    struct tsr_pair_table *merges;
    uint32_t next_rank;
    int32_t unk_id; /* -1: none; -2: named, but no piece */
    bool fuse_unk, byte_fallback, ignore_merges;
    char prefix[TSR_AFFIX_CAP], suffix[TSR_AFFIX_CAP];
    int prefix_length, suffix_length;
    int32_t byte_id[256];   /* of <0xHH>, -1 if none */
    int32_t char_id[0x180]; /* of a character alone, for the first ones */
} tsr_bpe;

/* "vocab": {piece: id, ..}; key NULL: o itself is the vocabulary. */
tsr_status tsr_vocabulary_load(tsr_object o, const char *key, tsr_vocabulary *v);

tsr_status tsr_bpe_load(tsr_object o, tsr_model *model);
void tsr_bpe_release(tsr_model *model);

#endif
