/* pieces.c: pieces, spans, and the five ways to split at matches. */
#include "runtime/tokenizer/pieces.h"
#include "base/memory.h"

tsr_status tsr_pieces_init(tsr_pieces *p)
{
    *p = (tsr_pieces){0};
    return tsr_text_init(&p->text, TSR_TEXT_NO_CAP);
}

void tsr_pieces_free(tsr_pieces *p)
{
    tsr_text_free(&p->text);
    tsr_free(p->piece);
    *p = (tsr_pieces){0};
}

void tsr_pieces_clear(tsr_pieces *p)
{
    tsr_text_clear(&p->text);
    p->count = 0;
}

tsr_status tsr_pieces_add(tsr_pieces *p, int64_t begin, int64_t end, int32_t id, bool at_start)
{
    if (begin >= end) return TSR_OK;
    TSR_TRY(
        tsr_grow((void **)&p->piece, &p->capacity, p->count + 1, sizeof *p->piece, "the pieces of a text"));
    p->piece[p->count++] = (tsr_piece){begin, end, id, at_start};
    return TSR_OK;
}

tsr_status tsr_pieces_append(tsr_pieces *p, const char *bytes, int64_t n, int32_t id, bool at_start)
{
    int64_t begin = p->text.length;
    TSR_TRY(tsr_text_append(&p->text, bytes, n));
    return tsr_pieces_add(p, begin, p->text.length, id, at_start);
}

tsr_status tsr_spans_add(tsr_spans *s, int64_t begin, int64_t end, bool match)
{
    TSR_TRY(
        tsr_grow((void **)&s->span, &s->capacity, s->count + 1, sizeof *s->span, "the matches in a text"));
    s->span[s->count++] = (tsr_span){begin, end, match};
    return TSR_OK;
}

/* Neighbours that are both matches, or both not, become one. */
static void join_equal(tsr_spans *s)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        if (kept > 0 && s->span[i].match == s->span[kept - 1].match)
            s->span[kept - 1].end = s->span[i].end;
        else
            s->span[kept++] = s->span[i];
    }
    s->count = kept;
}

/* A match joins the span before it, unless that is a match too. */
static void join_previous(tsr_spans *s)
{
    int64_t kept = 0;
    bool previous = false;
    for (int64_t i = 0; i < s->count; i++) {
        tsr_span span = s->span[i];
        if (span.match && !previous && kept > 0)
            s->span[kept - 1].end = span.end;
        else
            s->span[kept++] = span;
        previous = span.match;
    }
    s->count = kept;
}

static void join_next(tsr_spans *s)
{
    int64_t kept = s->count;
    bool previous = false;
    for (int64_t i = s->count - 1; i >= 0; i--) {
        tsr_span span = s->span[i];
        if (span.match && !previous && kept < s->count)
            s->span[kept].begin = span.begin;
        else
            s->span[--kept] = span;
        previous = span.match;
    }
    s->count -= kept;
    for (int64_t i = 0; i < s->count; i++) s->span[i] = s->span[i + kept];
}

void tsr_spans_split(tsr_spans *s, tsr_split_behavior behavior, bool invert)
{
    for (int64_t i = 0; invert && i < s->count; i++) s->span[i].match = !s->span[i].match;
    switch (behavior) {
    case TSR_SPLIT_REMOVED:
        return;
    case TSR_SPLIT_ISOLATED:
        break;
    case TSR_SPLIT_WITH_PREVIOUS:
        join_previous(s);
        break;
    case TSR_SPLIT_WITH_NEXT:
        join_next(s);
        break;
    case TSR_SPLIT_CONTIGUOUS:
        join_equal(s);
        break;
    }
    for (int64_t i = 0; i < s->count; i++) s->span[i].match = false;
}
