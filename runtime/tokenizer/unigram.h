/* unigram.h: the segmentation of a text into pieces whose scores have the highest sum: the Unigram model of
 * tokenizer.json and of SentencePiece.
 *
 * A score is a log-probability. A character with which no piece of its own length begins may stand as unknown, at
 * 10 below the lowest score. Among equal sums the first found wins, from the left and shorter pieces first. The
 * search goes once through the text (Viterbi): O(n L) for pieces of at most L bytes. (Kudo 2018, "Subword
 * regularization".)
 */
#ifndef TSR_TOKENIZER_UNIGRAM_H
#define TSR_TOKENIZER_UNIGRAM_H

#include "runtime/tokenizer/trie.h"
#include "runtime/tokenizer/vocabulary.h"

enum { TSR_UNIGRAM_PIECE_CAP = 1024 }; /* bytes */

typedef struct tsr_unigram {
    tsr_trie *trie;   /* of the pieces that can be found */
    double *score;    /* [size] by id */
    double unk_score; /* of an unknown character */
    int32_t size;
    bool single; /* every sum is rounded to single precision, as in SentencePiece 0.2.3 */
} tsr_unigram;

/* A part of the text: text[begin..end) is piece `id`, -1: unknown. */
typedef struct tsr_unigram_part {
    int32_t begin, end, id;
} tsr_unigram_part;

/* Buffers of a search. Zero-initialize. */
typedef struct tsr_unigram_work {
    double *best;           /* [n + 1] the highest sum of a way that ends here */
    int32_t *begin;         /* [n + 1] where the last piece of that way begins, -1: no way yet */
    int32_t *id;            /* [n + 1] that piece */
    tsr_unigram_part *part; /* [parts] the result, last part first */
    int64_t best_capacity, begin_capacity, id_capacity, part_capacity, parts;
    int64_t frontier; /* the last place that a way has reached */
} tsr_unigram_work;

/* Takes over `score` [size of v], freed with tsr_free. usable: [size of v] which pieces can be found.
 * TSR_ERR_FORMAT for a piece that is too long. On failure *u is still to be released. */
tsr_status tsr_unigram_init(tsr_unigram *u, const char *where, const tsr_vocabulary *v, double *score,
                            const bool *usable);
void tsr_unigram_release(tsr_unigram *u);

tsr_status tsr_unigram_search(const tsr_unigram *u, tsr_unigram_work *w, const char *text, int64_t n);
void tsr_unigram_work_free(tsr_unigram_work *w);
/* Gives back the memory of a long text. */
void tsr_unigram_work_trim(tsr_unigram_work *w);

#endif
