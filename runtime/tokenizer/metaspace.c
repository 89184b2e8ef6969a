/* metaspace.c: the options of Metaspace, and its pre-tokenizer; the decoder is in decoder_tokens.c. */
#include "runtime/tokenizer/metaspace.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/unicode.h"
#include "base/utf8.h"

#include <string.h>

tsr_status tsr_metaspace_load(tsr_object o, tsr_arena *arena, void **state)
{
    static const char *const schemes[] = {"always", "first", "never"};
    const char *scheme;
    uint32_t c;
    bool add_prefix_space;
    TSR_TRY(tsr_arena_alloc(arena, sizeof(tsr_metaspace), state));
    tsr_metaspace *m = *state;
    TSR_TRY(tsr_component_char(o, "replacement", 0x2581, &c));
    m->replacement_length = tsr_utf8_encode(c, m->replacement);
    TSR_TRY(tsr_object_bool(o, "split", true, &m->split));
    /* Older files say add_prefix_space, which "always" and "never" replaced. */
    TSR_TRY(tsr_object_bool(o, "add_prefix_space", true, &add_prefix_space));
    TSR_TRY(tsr_object_string(o, "prepend_scheme", add_prefix_space ? "always" : "never", &scheme));
    for (int i = 0; i < 3; i++)
        if (strcmp(scheme, schemes[i]) == 0) return m->prepend = (tsr_prepend_scheme)i, TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"prepend_scheme\" must be always, first or never, found \"%.40s\"",
                    o.where, scheme);
}

static bool starts_with_mark(const tsr_metaspace *m, const char *text, int64_t n)
{
    return n >= m->replacement_length && memcmp(text, m->replacement, (size_t)m->replacement_length) == 0;
}

/* Ends the piece that began at *begin, if anything is in it. */
static tsr_status end_piece(tsr_pieces *next, int64_t *begin, bool at_start, int64_t first)
{
    TSR_TRY(tsr_pieces_add(next, *begin, next->text.length, -1, at_start && *begin == first));
    *begin = next->text.length;
    return TSR_OK;
}

/* Cutting joins a mark to what follows; of several in a row only the last one finds something to join, and
 * those before it stand alone: the same as cutting before each mark. */
static tsr_status rewrite(const void *state, tsr_work *work, const char *text, int64_t n, bool at_start)
{
    const tsr_metaspace *m = state;
    tsr_pieces *next = &work->next;
    int64_t first = next->text.length, begin = first;
    bool marked = text[0] == ' ' || starts_with_mark(m, text, n);
    if (!marked && (m->prepend == TSR_PREPEND_ALWAYS || (m->prepend == TSR_PREPEND_FIRST && at_start)))
        TSR_TRY(tsr_text_append(&next->text, m->replacement, m->replacement_length));
    for (int64_t i = 0; i < n;) {
        int used = tsr_char_length(text[i]);
        bool blank = text[i] == ' ';
        if (m->split && i > 0 && (blank || starts_with_mark(m, text + i, n - i)))
            TSR_TRY(end_piece(next, &begin, at_start, first));
        TSR_TRY(tsr_text_append(&next->text, blank ? m->replacement : text + i,
                                blank ? m->replacement_length : used));
        i += used;
    }
    return end_piece(next, &begin, at_start, first);
}

tsr_status tsr_metaspace_pre_tokenize(const void *state, tsr_work *work)
{
    return tsr_pieces_rewrite(state, work, rewrite);
}
