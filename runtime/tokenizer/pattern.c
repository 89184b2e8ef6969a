/* pattern.c: finding, replacing and cutting. */
#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/unicode.h"

#include <string.h>

tsr_status tsr_pattern_load(tsr_object o, tsr_arena *arena, tsr_pattern *out)
{
    tsr_object pattern;
    *out = (tsr_pattern){0};
    TSR_TRY(tsr_object_child(o, "pattern", &pattern));
    const json_t *literal = pattern.object ? json_object_get(pattern.object, "String") : NULL;
    const json_t *regex = pattern.object ? json_object_get(pattern.object, "Regex") : NULL;
    if (!json_is_string(literal) == !json_is_string(regex))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"pattern\" must be {\"String\": ..} or {\"Regex\": ..}",
                        o.where);
    if (json_is_string(regex))
        return tsr_regex_compile(json_string_value(regex), (int64_t)json_string_length(regex), o.where,
                                 &out->regex);
    void *p;
    int64_t n = (int64_t)json_string_length(literal);
    if (n == 0) return tsr_fail(TSR_ERR_FORMAT, "%s: \"pattern\" is an empty string", o.where);
    TSR_TRY(tsr_arena_alloc(arena, n, &p));
    out->literal = memcpy(p, json_string_value(literal), (size_t)n);
    out->literal_length = n;
    return TSR_OK;
}

tsr_status tsr_pattern_from_regex(const char *regex, const char *where, tsr_pattern *out)
{
    *out = (tsr_pattern){0};
    return tsr_regex_compile(regex, (int64_t)strlen(regex), where, &out->regex);
}

void tsr_pattern_release(tsr_pattern *p)
{
    tsr_regex_destroy(&p->regex);
}

/* Adds the match, and before it what lies between the last one and this. */
static tsr_status add_match(tsr_spans *s, int64_t begin, int64_t end)
{
    int64_t last = s->count > 0 ? s->span[s->count - 1].end : 0;
    if (begin > last) TSR_TRY(tsr_spans_add(s, last, begin, false));
    return tsr_spans_add(s, begin, end, true);
}

static tsr_status regex_spans(const tsr_regex *regex, tsr_regex_work *work, const char *text, int64_t n,
                              tsr_spans *s)
{
    tsr_regex_scan scan = tsr_regex_scan_begin(regex, work, text, n);
    bool found;
    int64_t begin, end;
    for (;;) {
        TSR_TRY(tsr_regex_next(&scan, &found, &begin, &end));
        if (!found) return TSR_OK;
        TSR_TRY(add_match(s, begin, end));
    }
}

static tsr_status literal_spans(const tsr_pattern *p, const char *text, int64_t n, tsr_spans *s)
{
    for (int64_t at = 0; at < n;) {
        const char *found = memmem(text + at, (size_t)(n - at), p->literal, (size_t)p->literal_length);
        if (!found) return TSR_OK;
        at = found - text + p->literal_length;
        TSR_TRY(add_match(s, found - text, at));
    }
    return TSR_OK;
}

static tsr_status test_spans(tsr_char_test test, const char *text, int64_t n, tsr_spans *s)
{
    for (int64_t at = 0; at < n;) {
        uint32_t c;
        int used = tsr_char_decode(text + at, &c);
        if (test(c)) TSR_TRY(add_match(s, at, at + used));
        at += used;
    }
    return TSR_OK;
}

tsr_status tsr_pattern_spans(const tsr_pattern *p, tsr_regex_work *work, const char *text, int64_t n,
                             tsr_spans *spans)
{
    spans->count = 0;
    if (n == 0) return TSR_OK;
    if (p->regex)
        TSR_TRY(regex_spans(p->regex, work, text, n, spans));
    else if (p->literal)
        TSR_TRY(literal_spans(p, text, n, spans));
    else
        TSR_TRY(test_spans(p->test, text, n, spans));
    int64_t last = spans->count > 0 ? spans->span[spans->count - 1].end : 0;
    return last < n ? tsr_spans_add(spans, last, n, false) : TSR_OK;
}

tsr_status tsr_pattern_replace(const tsr_pattern *p, tsr_regex_work *work, const char *text, int64_t n,
                               const char *content, int64_t content_length, tsr_spans *spans, tsr_text *out)
{
    TSR_TRY(tsr_pattern_spans(p, work, text, n, spans));
    for (int64_t i = 0; i < spans->count; i++) {
        const tsr_span *s = &spans->span[i];
        if (s->match)
            TSR_TRY(tsr_text_append(out, content, content_length));
        else
            TSR_TRY(tsr_text_append(out, text + s->begin, s->end - s->begin));
    }
    return TSR_OK;
}

/* Only the boundaries change, so the buffer stays and the lists of pieces are exchanged. */
tsr_status tsr_pattern_cut(const tsr_pattern *p, tsr_split_behavior behavior, bool invert, tsr_work *work)
{
    tsr_pieces *now = &work->now, *next = &work->next;
    next->count = 0;
    for (int64_t i = 0; i < now->count; i++) {
        tsr_piece piece = now->piece[i];
        if (piece.id >= 0) {
            TSR_TRY(tsr_pieces_add(next, piece.begin, piece.end, piece.id, piece.at_start));
            continue;
        }
        TSR_TRY(tsr_pattern_spans(p, work->regex, now->text.data + piece.begin, piece.end - piece.begin,
                                  &work->spans));
        tsr_spans_split(&work->spans, behavior, invert);
        for (int64_t k = 0; k < work->spans.count; k++) {
            tsr_span s = work->spans.span[k];
            if (s.match) continue;
            TSR_TRY(tsr_pieces_add(next, piece.begin + s.begin, piece.begin + s.end, -1,
                                   piece.at_start && s.begin == 0));
        }
    }
    tsr_piece *list = now->piece;
    int64_t capacity = now->capacity;
    now->piece = next->piece, now->capacity = next->capacity, now->count = next->count;
    next->piece = list, next->capacity = capacity, next->count = 0;
    return TSR_OK;
}
