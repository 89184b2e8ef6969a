/* bpe.c: encoding a word by ranked merges. */
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/merge_queue.h"
#include "runtime/tokenizer/pair_table.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/word_cache.h"

/* What work->model points to. */
typedef struct bpe_work {
    tsr_merge_queue queue;
    tsr_word_cache cache;
} bpe_work;

static tsr_status get_work(tsr_work *work, bpe_work **out)
{
    if (!work->model) {
        void *p;
        TSR_TRY(tsr_calloc(1, sizeof(bpe_work), "a BPE model", &p));
        work->model = p;
    }
    *out = work->model;
    return (*out)->cache.slot ? TSR_OK : tsr_word_cache_init(&(*out)->cache);
}

static void release_work(void *work_model)
{
    bpe_work *w = work_model;
    if (!w) return;
    tsr_merge_queue_free(&w->queue);
    tsr_word_cache_free(&w->cache);
    tsr_free(w);
}

static void trim_work(void *work_model)
{
    bpe_work *w = work_model;
    if (w) tsr_merge_queue_trim(&w->queue);
}

/* A character of a word, with prefix and suffix where they belong. */
typedef struct spelling {
    char text[4 + 2 * TSR_AFFIX_CAP];
    int length;
} spelling;

static void spell(const tsr_bpe *b, const char *text, int n, bool first, bool last, spelling *s)
{
    s->length = 0;
    if (!first) memcpy(s->text, b->prefix, (size_t)(s->length = b->prefix_length));
    memcpy(s->text + s->length, text, (size_t)n);
    s->length += n;
    if (last) memcpy(s->text + s->length, b->suffix, (size_t)b->suffix_length), s->length += b->suffix_length;
}

static tsr_status add_symbol(tsr_merge_queue *q, int32_t id)
{
    int32_t at = (int32_t)q->symbols; /* places stand for bytes: all that matters is which symbols are gone */
    return tsr_merge_queue_add(q, (tsr_symbol){.id = id, .begin = at, .end = at + 1});
}

/* The bytes of a spelling as tokens; *done = false if one of them has none. */
static tsr_status add_bytes(const tsr_bpe *b, tsr_merge_queue *q, const spelling *s, bool *done)
{
    *done = false;
    for (int i = 0; i < s->length; i++)
        if (b->byte_id[(unsigned char)s->text[i]] < 0) return TSR_OK;
    for (int i = 0; i < s->length; i++) TSR_TRY(add_symbol(q, b->byte_id[(unsigned char)s->text[i]]));
    *done = true;
    return TSR_OK;
}

static int32_t spelling_id(const tsr_model *model, const spelling *s)
{
    const tsr_bpe *b = model->state;
    uint32_t c;
    if (s->length <= 2 && tsr_char_decode(s->text, &c) == s->length &&
        c < sizeof b->char_id / sizeof b->char_id[0])
        return b->char_id[c];
    return tsr_vocabulary_id(model->vocabulary, s->text, s->length);
}

/* The characters of a word as symbols. An unknown one waits (*pending): a second one may fuse with it, and
 * bytes that follow come first, as in the reference. */
static tsr_status add_symbols(const tsr_model *model, tsr_merge_queue *q, const char *text, int64_t n)
{
    const tsr_bpe *b = model->state;
    bool pending = false;
    spelling s;
    for (int64_t i = 0, used; i < n; i += used) {
        used = tsr_char_length(text[i]);
        spell(b, text + i, (int)used, i == 0, i + used == n, &s);
        int32_t id = spelling_id(model, &s);
        bool done = false;
        if (id >= 0) {
            if (pending) TSR_TRY(add_symbol(q, b->unk_id));
            pending = false;
            TSR_TRY(add_symbol(q, id));
            continue;
        }
        if (b->byte_fallback) TSR_TRY(add_bytes(b, q, &s, &done));
        if (done || b->unk_id == -1) continue;
        if (b->unk_id < 0)
            return tsr_fail(TSR_ERR_FORMAT, "the unk_token of the tokenizer is no piece of its vocabulary");
        if (pending && !b->fuse_unk) TSR_TRY(add_symbol(q, b->unk_id));
        pending = true;
    }
    return pending ? add_symbol(q, b->unk_id) : TSR_OK;
}

/* Queues the merge of the symbol at `left` with the next one, if there is such a merge. */
static tsr_status push_pair(const tsr_bpe *b, tsr_merge_queue *q, int32_t left)
{
    int32_t right = left < 0 ? -1 : q->symbol[left].next;
    if (right < 0) return TSR_OK;
    const tsr_pair_merge *m = tsr_pair_table_get(b->merges, q->symbol[left].id, q->symbol[right].id);
    return m ? tsr_merge_queue_push(q, m->rank, left, m->id, 0) : TSR_OK;
}

static tsr_status merge_all(const tsr_bpe *b, tsr_merge_queue *q)
{
    tsr_merge m;
    int32_t left;
    for (int32_t i = 0; i < q->symbols; i++) TSR_TRY(push_pair(b, q, i));
    while (tsr_merge_queue_pop(q, &m, &left)) {
        const tsr_symbol *l = &q->symbol[left];
        if (l->begin == l->end || l->next < 0) continue; /* merged away since it was queued */
        const tsr_pair_merge *now = tsr_pair_table_get(b->merges, l->id, q->symbol[l->next].id);
        if (!now || now->id != m.id) continue;
        tsr_merge_queue_join(q, left, m.id);
        TSR_TRY(push_pair(b, q, l->prev));
        TSR_TRY(push_pair(b, q, left));
    }
    return TSR_OK;
}

static tsr_status encode_word(const tsr_model *model, tsr_merge_queue *q, const char *text, int64_t n,
                              tsr_token_list *out)
{
    const tsr_bpe *b = model->state;
    if (b->ignore_merges) {
        int32_t id = tsr_vocabulary_id(model->vocabulary, text, n);
        if (id >= 0) return tsr_token_list_add(out, id);
    }
    tsr_merge_queue_clear(q);
    TSR_TRY(add_symbols(model, q, text, n));
    TSR_TRY(merge_all(b, q));
    for (int32_t i = q->symbols > 0 ? 0 : -1; i >= 0; i = q->symbol[i].next)
        TSR_TRY(tsr_token_list_add(out, q->symbol[i].id));
    return TSR_OK;
}

static tsr_status encode(const tsr_model *model, tsr_work *work, const char *text, int64_t n,
                         tsr_token_list *out)
{
    bpe_work *w;
    TSR_TRY(get_work(work, &w));
    tsr_cached_word *slot = tsr_word_cache_slot(&w->cache, text, n);
    if (slot && tsr_cached_word_is(slot, text, n)) return tsr_token_list_append(out, slot->id, slot->tokens);
    int64_t before = out->count;
    TSR_TRY(encode_word(model, &w->queue, text, n, out));
    if (slot && out->count > before)
        tsr_cached_word_set(slot, text, n, out->ids + before, out->count - before);
    return TSR_OK;
}

const tsr_model_kind tsr_model_bpe = {"BPE",        tsr_bpe_load, encode, tsr_bpe_release,
                                      release_work, trim_work,    NULL};
