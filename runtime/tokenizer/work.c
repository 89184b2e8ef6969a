/* work.c: creating, resetting and trimming the buffers of one call. */
#include "runtime/tokenizer/work.h"
#include "base/memory.h"

enum { KEEP_BYTES = 1 << 20 };

tsr_status tsr_work_create(tsr_work **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_work), "a tokenizer's buffers", &p));
    tsr_work *w = p;
    tsr_status status = tsr_regex_work_create(&w->regex);
    if (status == TSR_OK) status = tsr_pieces_init(&w->now);
    if (status == TSR_OK) status = tsr_pieces_init(&w->next);
    for (int i = 0; i < 2 && status == TSR_OK; i++) status = tsr_text_init(&w->text[i], TSR_TEXT_NO_CAP);
    if (status != TSR_OK) tsr_work_destroy(&w);
    *out = w;
    return status;
}

void tsr_work_destroy(tsr_work **work)
{
    tsr_work *w = *work;
    if (!w) return;
    tsr_regex_work_destroy(&w->regex);
    tsr_pieces_free(&w->now);
    tsr_pieces_free(&w->next);
    for (int i = 0; i < 2; i++) tsr_text_free(&w->text[i]);
    tsr_free(w->spans.span);
    tsr_free(w);
    *work = NULL;
}

void tsr_work_reset(tsr_work *w, int64_t n)
{
    /* No sound normalizer grows a text beyond this; a hostile one ends in TSR_ERR_CAPACITY. */
    int64_t cap = (1 << 20) + 32 * n;
    w->now.text.cap = w->next.text.cap = w->text[0].cap = w->text[1].cap = cap;
    tsr_pieces_clear(&w->now);
    tsr_pieces_clear(&w->next);
    for (int i = 0; i < 2; i++) tsr_text_clear(&w->text[i]);
    tsr_regex_work_reset(w->regex, n);
}

static void trim_text(tsr_text *t)
{
    if (t->capacity <= KEEP_BYTES) return;
    int64_t cap = t->cap;
    tsr_text fresh;
    if (tsr_text_init(&fresh, cap) != TSR_OK) return;
    tsr_text_free(t);
    *t = fresh;
}

static void trim_pieces(tsr_pieces *p)
{
    trim_text(&p->text);
    if (p->capacity * (int64_t)sizeof *p->piece <= KEEP_BYTES) return;
    tsr_free(p->piece);
    p->piece = NULL;
    p->capacity = p->count = 0;
}

void tsr_work_trim(tsr_work *w)
{
    trim_pieces(&w->now);
    trim_pieces(&w->next);
    for (int i = 0; i < 2; i++) trim_text(&w->text[i]);
    if (w->spans.capacity * (int64_t)sizeof *w->spans.span <= KEEP_BYTES) return;
    tsr_free(w->spans.span);
    w->spans = (tsr_spans){0};
}
