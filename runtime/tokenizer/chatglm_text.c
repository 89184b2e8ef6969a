/* chatglm_text.c: white space of the first ChatGLM, to pieces and back. */
#include "runtime/tokenizer/chatglm_text.h"

#include <stdio.h>
#include <string.h>

enum { MOST_BLANKS = 80 };

static const char newline[] = "<n>", tab[] = "<|tab|>", blanks[] = "<|blank_";

/* Blanks in front of text[0..n). */
static int64_t run_of_blanks(const char *text, int64_t n)
{
    int64_t i = 0;
    while (i < n && text[i] == ' ') i++;
    return i;
}

static tsr_status write_blanks(int64_t count, tsr_text *out)
{
    for (; count >= MOST_BLANKS; count -= MOST_BLANKS)
        TSR_TRY(tsr_text_format(out, "%s%d|>", blanks, MOST_BLANKS));
    if (count >= 2) return tsr_text_format(out, "%s%d|>", blanks, (int)count);
    return count == 1 ? tsr_text_append(out, " ", 1) : TSR_OK;
}

static tsr_status normalize(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                            bool *at_start)
{
    (void)state, (void)work, (void)at_start;
    for (int64_t i = 0, used; i < n; i += used) {
        used = run_of_blanks(text + i, n - i);
        if (used > 0) {
            TSR_TRY(write_blanks(used, out));
            continue;
        }
        used = 1;
        if (text[i] == '\n' || text[i] == '\t')
            TSR_TRY(tsr_text_puts(out, text[i] == '\n' ? newline : tab));
        else
            TSR_TRY(tsr_text_append(out, text + i, 1));
    }
    return TSR_OK;
}

const tsr_normalizer_kind tsr_normalizer_chatglm = {{"ChatGLM", NULL, NULL}, normalize};

/* Whether text[0..n) begins with `mark` (1), may do so once it goes on (0), or not (-1). */
static int begins_with(const char *text, int64_t n, const char *mark, int64_t length)
{
    if (memcmp(text, mark, (size_t)(n < length ? n : length)) != 0) return -1;
    return n >= length;
}

/* The number and the end of a mark of blanks whose beginning is read: bytes used, 0: not yet told, -1: none. */
static int64_t read_count(const char *text, int64_t n, int *count)
{
    int64_t i = 0;
    for (*count = 0; i < n && i < 2 && text[i] >= (i ? '0' : '1') && text[i] <= '9'; i++)
        *count = *count * 10 + (text[i] - '0');
    if (i == n && i < 2) return 0;
    if (i == 0 || *count < 2 || *count > MOST_BLANKS) return i == n ? 0 : -1;
    int end = begins_with(text + i, n - i, "|>", 2);
    return end > 0 ? i + 2 : end;
}

/* What stands at text[0..n), which begins with '<': bytes of a mark and what it means (*count times `as`), 0: not yet
 * told, -1: no mark. */
static int64_t read_mark(const char *text, int64_t n, char *as, int *count)
{
    static const struct {
        const char *mark;
        int64_t length;
        char as;
    } marks[] = {{newline, 3, '\n'}, {tab, 7, '\t'}, {blanks, 8, ' '}};
    bool open = false;
    *count = 1;
    for (size_t i = 0; i < 3; i++) {
        int found = begins_with(text, n, marks[i].mark, marks[i].length);
        open |= found == 0;
        *as = marks[i].as;
        if (found > 0 && marks[i].as != ' ') return marks[i].length;
        if (found <= 0) continue;
        int64_t used = read_count(text + 8, n - 8, count);
        return used > 0 ? 8 + used : used;
    }
    return open ? 0 : -1;
}

static tsr_status pass_marks(tsr_decode_stage *s, bool ended)
{
    char *text = s->held.data;
    int64_t n = s->held.length, done = 0, i = 0;
    while (i < n) {
        char as;
        int count;
        int64_t used = text[i] == '<' ? read_mark(text + i, n - i, &as, &count) : -1;
        if (used == 0 && !ended) break;
        if (used <= 0) {
            i++;
            continue;
        }
        TSR_TRY(tsr_pass_text(s, text + done, i - done));
        for (int k = 0; k < count; k++) TSR_TRY(tsr_pass_text(s, &as, 1));
        done = i += used;
    }
    TSR_TRY(tsr_pass_text(s, text + done, i - done));
    memmove(text, text + i, (size_t)(n - i));
    s->held.length -= i;
    return TSR_OK;
}

/* Marks are read from the text, whatever tokens it came from. */
static tsr_status decode_text(tsr_decode_stage *s, const char *text, int64_t n)
{
    TSR_TRY(tsr_hold_text(s, text, n));
    return pass_marks(s, false);
}

static tsr_status decode_end(tsr_decode_stage *s)
{
    (void)s;
    return TSR_OK;
}

static tsr_status decode_finish(tsr_decode_stage *s)
{
    TSR_TRY(pass_marks(s, true));
    return tsr_pass_end(s);
}

const tsr_decoder_kind tsr_decoder_chatglm = {
    {"ChatGLM", NULL, NULL}, decode_text, decode_end, decode_finish};
