/* sentencepiece_bpe.c: encoding a text by merges in order of score. */
#include "runtime/tokenizer/sentencepiece.h"
#include "runtime/tokenizer/merge_queue.h"
#include "runtime/tokenizer/unicode.h"

/* What work->model points to. */
typedef struct spm_work {
    tsr_merge_queue queue;
    const char *text;
    int32_t *left_bytes; /* [size] of an UNUSED piece: where it was last joined; 0: not in this text */
    bool after_unknown;
} spm_work;

static void release_work(void *work_model)
{
    spm_work *w = work_model;
    if (!w) return;
    tsr_merge_queue_free(&w->queue);
    tsr_free(w->left_bytes);
    tsr_free(w);
}

static void trim_work(void *work_model)
{
    spm_work *w = work_model;
    if (w) tsr_merge_queue_trim(&w->queue);
}

static tsr_status get_work(const tsr_sentencepiece *s, tsr_work *work, spm_work **out)
{
    void *p;
    if (!work->model) {
        TSR_TRY(tsr_calloc(1, sizeof(spm_work), "a SentencePiece model", &p));
        work->model = p;
    }
    *out = work->model;
    if (!s->has_unused) return TSR_OK;
    tsr_free((*out)->left_bytes);
    tsr_status status = tsr_calloc(s->size, sizeof(int32_t), "a SentencePiece model", &p);
    (*out)->left_bytes = p;
    return status;
}

/* Characters and user-defined pieces. */
static tsr_status add_symbols(const tsr_sentencepiece *s, tsr_merge_queue *q, const char *text, int64_t n)
{
    tsr_merge_queue_clear(q);
    for (int64_t i = 0; i < n;) {
        int32_t value;
        int64_t used = s->user_defined ? tsr_trie_longest(s->user_defined, text + i, n - i, &value) : 0;
        bool frozen = used > 0;
        if (!frozen) used = tsr_char_length(text[i]);
        TSR_TRY(tsr_merge_queue_add(
            q, (tsr_symbol){.begin = (int32_t)i, .end = (int32_t)(i + used), .frozen = frozen}));
        i += used;
    }
    return TSR_OK;
}

static bool can_be_formed(const tsr_sentencepiece *s, int32_t id)
{
    uint8_t type = s->type[id];
    return type == TSR_PIECE_NORMAL || type == TSR_PIECE_USER_DEFINED || type == TSR_PIECE_UNUSED;
}

/* An unsigned number that is lower for a higher score. */
static uint32_t priority_of(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, 4);
    return bits & 0x80000000u ? bits : ~bits & 0x7FFFFFFFu;
}

static tsr_status push_pair(const tsr_sentencepiece *s, spm_work *w, int32_t left)
{
    tsr_merge_queue *q = &w->queue;
    int32_t right = left < 0 ? -1 : q->symbol[left].next;
    if (right < 0 || q->symbol[left].frozen || q->symbol[right].frozen) return TSR_OK;
    int32_t begin = q->symbol[left].begin, size = q->symbol[right].end - begin;
    int32_t id = tsr_vocabulary_id(s->pieces, w->text + begin, size);
    if (id < 0 || !can_be_formed(s, id)) return TSR_OK;
    if (s->type[id] == TSR_PIECE_UNUSED) w->left_bytes[id] = q->symbol[left].end - begin;
    return tsr_merge_queue_push(q, priority_of(s->score[id]), left, id, size);
}

static tsr_status merge_all(const tsr_sentencepiece *s, spm_work *w)
{
    tsr_merge_queue *q = &w->queue;
    tsr_merge m;
    int32_t left;
    for (int32_t i = 0; i < q->symbols; i++) TSR_TRY(push_pair(s, w, i));
    while (tsr_merge_queue_pop(q, &m, &left)) {
        const tsr_symbol *l = &q->symbol[left];
        if (l->begin == l->end || l->next < 0 || q->symbol[l->next].end - l->begin != m.size)
            continue; /* outdated */
        tsr_merge_queue_join(q, left, m.id);
        TSR_TRY(push_pair(s, w, l->prev));
        TSR_TRY(push_pair(s, w, left));
    }
    return TSR_OK;
}

/* Neighbouring unknown pieces are one token. */
tsr_status tsr_sentencepiece_add_unknown(const tsr_sentencepiece *s, bool *after_unknown, const char *text,
                                         int64_t n, tsr_token_list *out)
{
    bool merge = *after_unknown;
    *after_unknown = true;
    if (!s->byte_fallback) return merge ? TSR_OK : tsr_token_list_add(out, s->unk_id);
    for (int64_t i = 0; i < n; i++) TSR_TRY(tsr_token_list_add(out, s->byte_id[(unsigned char)text[i]]));
    return TSR_OK;
}

/* A symbol's token; an UNUSED piece is taken apart where it was joined. Depth is bounded by the piece's
 * length. */
static tsr_status add_piece(const tsr_sentencepiece *s, spm_work *w, const char *text, int64_t n,
                            tsr_token_list *out)
{
    int32_t id = tsr_vocabulary_id(s->pieces, text, n);
    if (id < 0 || id == s->unk_id) return tsr_sentencepiece_add_unknown(s, &w->after_unknown, text, n, out);
    if (s->type[id] == TSR_PIECE_UNUSED && w->left_bytes[id] > 0) {
        int64_t left = w->left_bytes[id];
        TSR_TRY(add_piece(s, w, text, left, out));
        return add_piece(s, w, text + left, n - left, out);
    }
    w->after_unknown = false;
    return tsr_token_list_add(out, id);
}

static tsr_status encode(const tsr_model *model, tsr_work *work, const char *text, int64_t n,
                         tsr_token_list *out)
{
    const tsr_sentencepiece *s = model->state;
    spm_work *w;
    TSR_TRY(get_work(s, work, &w));
    w->text = text;
    w->after_unknown = false;
    TSR_TRY(add_symbols(s, &w->queue, text, n));
    TSR_TRY(merge_all(s, w));
    for (int32_t i = w->queue.symbols > 0 ? 0 : -1; i >= 0; i = w->queue.symbol[i].next) {
        const tsr_symbol *symbol = &w->queue.symbol[i];
        TSR_TRY(add_piece(s, w, text + symbol->begin, symbol->end - symbol->begin, out));
    }
    return TSR_OK;
}

bool tsr_sentencepiece_is_control(const tsr_model *model, int32_t id)
{
    const tsr_sentencepiece *s = model->state;
    return id >= 0 && id < s->size && s->type[id] == TSR_PIECE_CONTROL;
}

const tsr_model_kind tsr_model_sentencepiece = {"SentencePiece BPE",         NULL,         encode,
                                                tsr_sentencepiece_release,   release_work, trim_work,
                                                tsr_sentencepiece_is_control};
