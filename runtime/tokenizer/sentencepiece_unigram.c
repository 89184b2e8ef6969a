/* sentencepiece_unigram.c: encoding a text with a SentencePiece model of type UNIGRAM. */
#include "runtime/tokenizer/sentencepiece.h"

#include <float.h>
#include <math.h>

static const float UNKNOWN_PENALTY = 10;

typedef struct spm_work {
    tsr_unigram_work search;
} spm_work;

static void release_work(void *work_model)
{
    spm_work *w = work_model;
    if (!w) return;
    tsr_unigram_work_free(&w->search);
    tsr_free(w);
}

static void trim_work(void *work_model)
{
    spm_work *w = work_model;
    if (w) tsr_unigram_work_trim(&w->search);
}

/* A user-defined piece of n bytes has a score above 0 and so beats whatever else there is. Only normal pieces count for the lowest score. */
static float fill_scores(const tsr_sentencepiece *s, double *score, bool *usable)
{
    float lowest = FLT_MAX;
    for (int32_t id = 0; id < s->size; id++) {
        bool user_defined = s->type[id] == TSR_PIECE_USER_DEFINED;
        int64_t n = 0;
        tsr_vocabulary_piece(s->pieces, id, &n);
        usable[id] = user_defined || s->type[id] == TSR_PIECE_NORMAL;
        score[id] = user_defined ? (float)(0.1 * (double)(n - 1)) : s->score[id];
        if (s->type[id] == TSR_PIECE_NORMAL) lowest = fminf(lowest, s->score[id]);
    }
    return lowest - UNKNOWN_PENALTY;
}

tsr_status tsr_sentencepiece_prepare_unigram(tsr_sentencepiece *s, const char *where)
{
    void *score, *usable = NULL;
    TSR_TRY(tsr_alloc(s->size * (int64_t)sizeof(double), "a SentencePiece model", &score));
    tsr_status status = tsr_alloc(s->size, "a SentencePiece model", &usable);
    if (status != TSR_OK) {
        tsr_free(score);
        return status;
    }
    float unknown = fill_scores(s, score, usable);
    status = tsr_unigram_init(&s->unigram, where, s->pieces, score, usable);
    s->unigram.unk_score = unknown;
    s->unigram.single = true;
    tsr_free(usable);
    return status;
}

static tsr_status encode(const tsr_model *model, tsr_work *work, const char *text, int64_t n,
                         tsr_token_list *out)
{
    const tsr_sentencepiece *s = model->state;
    bool after_unknown = false;
    void *p;
    if (!work->model) {
        TSR_TRY(tsr_calloc(1, sizeof(spm_work), "a SentencePiece model", &p));
        work->model = p;
    }
    spm_work *w = work->model;
    TSR_TRY(tsr_unigram_search(&s->unigram, &w->search, text, n));
    for (int64_t i = w->search.parts; i-- > 0;) {
        tsr_unigram_part part = w->search.part[i];
        if (part.id < 0) {
            TSR_TRY(tsr_sentencepiece_add_unknown(s, &after_unknown, text + part.begin, part.end - part.begin,
                                                  out));
            continue;
        }
        after_unknown = false;
        TSR_TRY(tsr_token_list_add(out, part.id));
    }
    return TSR_OK;
}

const tsr_model_kind tsr_model_sentencepiece_unigram = {"SentencePiece Unigram",     NULL,         encode,
                                                        tsr_sentencepiece_release,   release_work, trim_work,
                                                        tsr_sentencepiece_is_control};
