/* decoder_text.c: decoders that edit the text of tokens: Fuse, Strip and Replace. */
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/unicode.h"

#include <string.h>

/* Fuse: all tokens become one. */
static tsr_status fuse_end(tsr_decode_stage *s)
{
    (void)s;
    return TSR_OK;
}

const tsr_decoder_kind tsr_decoder_fuse = {{"Fuse", NULL, NULL}, tsr_pass_text, fuse_end, tsr_pass_end};

/* Strip: up to `start` of a character go from the front of each token, up to `stop` from its end. */
typedef struct strip {
    uint32_t content;
    int64_t start, stop;
} strip;

static tsr_status load_strip(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(strip), state));
    strip *s = *state;
    TSR_TRY(tsr_component_char(o, "content", ' ', &s->content));
    TSR_TRY(tsr_object_int(o, "start", 0, 0, INT32_MAX, &s->start));
    return tsr_object_int(o, "stop", 0, 0, INT32_MAX, &s->stop);
}

/* Held: the last characters, at most `stop`, if all are the one to strip. `seen` counts those stripped in
 * front, and becomes INT64_MAX at the first that is not. */
static tsr_status strip_text(tsr_decode_stage *s, const char *text, int64_t n)
{
    const strip *options = s->options;
    for (int64_t i = 0; i < n;) {
        uint32_t c;
        int used = tsr_char_decode(text + i, &c);
        if (c == options->content && s->seen < options->start) {
            s->seen++;
        } else if (c == options->content && options->stop > 0) {
            s->seen = INT64_MAX;
            TSR_TRY(tsr_text_append(&s->held, text + i, used));
            if (s->held.length > options->stop * used) {
                TSR_TRY(tsr_pass_text(s, text + i, used));
                s->held.length -= used;
            }
        } else {
            s->seen = INT64_MAX;
            TSR_TRY(tsr_pass_text(s, s->held.data, s->held.length));
            tsr_text_clear(&s->held);
            TSR_TRY(tsr_pass_text(s, text + i, used));
        }
        i += used;
    }
    return TSR_OK;
}

static tsr_status strip_end(tsr_decode_stage *s)
{
    s->seen = 0;
    tsr_text_clear(&s->held);
    return tsr_pass_end(s);
}

const tsr_decoder_kind tsr_decoder_strip = {{"Strip", load_strip, NULL}, strip_text, strip_end, NULL};

typedef struct replace {
    tsr_pattern pattern;
    const char *content;
    int64_t content_length;
} replace;

static tsr_status load_replace(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(replace), state));
    replace *r = *state;
    TSR_TRY(tsr_component_string(o, "content", arena, &r->content, &r->content_length));
    return tsr_pattern_load(o, arena, &r->pattern);
}

static void release_replace(void *state)
{
    tsr_pattern_release(&((replace *)state)->pattern);
}

/* Length of the longest end of text[0..n) with which the literal may begin. */
static int64_t possible_beginning(const char *text, int64_t n, const char *literal, int64_t length)
{
    for (int64_t k = n < length - 1 ? n : length - 1; k > 0; k--)
        if (memcmp(text + n - k, literal, (size_t)k) == 0) return k;
    return 0;
}

/* A string: what cannot be part of a match is passed on at once. A regular expression sees the token whole.
 */
static tsr_status replace_text(tsr_decode_stage *s, const char *text, int64_t n)
{
    const replace *r = s->options;
    const tsr_pattern *p = &r->pattern;
    TSR_TRY(tsr_text_append(&s->held, text, n));
    if (p->regex) return TSR_OK;
    const char *at = s->held.data, *end = at + s->held.length, *found;
    while (at < end &&
           (found = memmem(at, (size_t)(end - at), p->literal, (size_t)p->literal_length)) != NULL) {
        TSR_TRY(tsr_pass_text(s, at, found - at));
        TSR_TRY(tsr_pass_text(s, r->content, r->content_length));
        at = found + p->literal_length;
    }
    int64_t kept = possible_beginning(at, end - at, p->literal, p->literal_length);
    TSR_TRY(tsr_pass_text(s, at, end - at - kept));
    memmove(s->held.data, end - kept, (size_t)kept);
    s->held.length = kept;
    return TSR_OK;
}

static tsr_status replace_regex(tsr_decode_stage *s, const replace *r)
{
    tsr_decode_chain *chain = s->chain;
    if (!chain->regex) TSR_TRY(tsr_regex_work_create(&chain->regex));
    tsr_regex_work_reset(chain->regex, s->held.length);
    tsr_text_clear(&s->bytes);
    TSR_TRY(tsr_pattern_replace(&r->pattern, chain->regex, s->held.data, s->held.length, r->content,
                                r->content_length, &chain->spans, &s->bytes));
    return tsr_pass_text(s, s->bytes.data, s->bytes.length);
}

static tsr_status replace_end(tsr_decode_stage *s)
{
    const replace *r = s->options;
    if (r->pattern.regex)
        TSR_TRY(replace_regex(s, r));
    else
        TSR_TRY(tsr_pass_text(s, s->held.data, s->held.length));
    tsr_text_clear(&s->held);
    return tsr_pass_end(s);
}

const tsr_decoder_kind tsr_decoder_replace = {
    {"Replace", load_replace, release_replace}, replace_text, replace_end, NULL};
