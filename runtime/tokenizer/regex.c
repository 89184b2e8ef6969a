/* regex.c: compiling and running patterns on PCRE2, within bounds of memory and time. */
#include "runtime/tokenizer/regex.h"
#include "runtime/tokenizer/unicode.h"
#include "base/memory.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string.h>
#include <time.h>

enum {
    WINDOW_BYTES = 256, /* starting points tried by one call of PCRE2, after which the clock is looked at */
    HEAP_KIB = 64 << 10,
    JIT_STACK_LEAST = 32 << 10,
    JIT_STACK_MOST = 64 << 20, /* address space; pages are taken as needed */
};

struct tsr_regex {
    pcre2_code *code;
    char *where;
};

struct tsr_regex_work {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    double wall_start, cpu_start, cpu_budget;
};

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static tsr_status compile(tsr_regex *r, const tsr_text *translated)
{
    int error;
    PCRE2_SIZE at;
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                             PCRE2_USE_OFFSET_LIMIT | PCRE2_NO_UTF_CHECK;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return tsr_fail(TSR_ERR_MEMORY, "no memory for a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    r->code = pcre2_compile((PCRE2_SPTR)translated->data, (PCRE2_SIZE)translated->length, options, &error,
                            &at, context);
    pcre2_compile_context_free(context);
    if (!r->code) {
        char text[128] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
        return tsr_fail(TSR_ERR_FORMAT, "%s: not a regular expression we can run: %s", r->where, text);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where there is no JIT, PCRE2 interprets */
    return TSR_OK;
}

tsr_status tsr_regex_compile(const char *pattern, int64_t n, const char *where, tsr_regex **out)
{
    void *p;
    tsr_text translated = {0};
    *out = NULL;
    if (n > TSR_REGEX_PATTERN_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a pattern of %lld bytes, at most %d are accepted", where,
                        (long long)n, TSR_REGEX_PATTERN_CAP);
    TSR_TRY(tsr_calloc(1, sizeof(tsr_regex), "a pattern", &p));
    tsr_regex *r = p;
    tsr_status status = tsr_alloc((int64_t)strlen(where) + 1, "a pattern", &p);
    if (status != TSR_OK) goto out;
    r->where = memcpy(p, where, strlen(where) + 1);
    TSR_TRY_OUT(tsr_text_init(&translated, 64 * TSR_REGEX_PATTERN_CAP));
    status = tsr_regex_translate(pattern, n, &translated);
    if (status != TSR_OK) {
        tsr_fail_in(status, "%s", where);
        goto out;
    }
    TSR_TRY_OUT(compile(r, &translated));
out:
    tsr_text_free(&translated);
    if (status != TSR_OK) tsr_regex_destroy(&r);
    *out = r;
    return status;
}

void tsr_regex_destroy(tsr_regex **regex)
{
    if (!*regex) return;
    pcre2_code_free((*regex)->code);
    tsr_free((*regex)->where);
    tsr_free(*regex);
    *regex = NULL;
}

tsr_status tsr_regex_work_create(tsr_regex_work **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_regex_work), "a pattern matcher", &p));
    tsr_regex_work *w = p;
    w->data = pcre2_match_data_create(1, NULL); /* only the whole match is of interest */
    w->context = pcre2_match_context_create(NULL);
    if (!w->data || !w->context) {
        tsr_regex_work_destroy(&w);
        return tsr_fail(TSR_ERR_MEMORY, "no memory for a pattern matcher");
    }
    w->stack = pcre2_jit_stack_create(JIT_STACK_LEAST, JIT_STACK_MOST, NULL);
    if (w->stack) pcre2_jit_stack_assign(w->context, NULL, w->stack);
    pcre2_set_heap_limit(w->context, HEAP_KIB);
    tsr_regex_work_reset(w, 0);
    *out = w;
    return TSR_OK;
}

void tsr_regex_work_destroy(tsr_regex_work **work)
{
    if (!*work) return;
    pcre2_match_data_free((*work)->data);
    pcre2_match_context_free((*work)->context);
    pcre2_jit_stack_free((*work)->stack);
    tsr_free(*work);
    *work = NULL;
}

void tsr_regex_work_reset(tsr_regex_work *work, int64_t text_bytes)
{
    work->wall_start = seconds(CLOCK_MONOTONIC_COARSE);
    work->cpu_start = seconds(CLOCK_THREAD_CPUTIME_ID);
    work->cpu_budget = 30 + (double)text_bytes / (1 << 20);
    /* Steps from one starting point; a sound pattern needs a few per byte. */
    int64_t steps = 100000 + 16 * text_bytes;
    pcre2_set_match_limit(work->context, steps < INT32_MAX ? (uint32_t)steps : INT32_MAX);
    pcre2_set_depth_limit(work->context, INT32_MAX);
}

/* Processor time costs a system call to ask for, so first the cheap clock. */
static bool out_of_time(const tsr_regex_work *w)
{
    if (seconds(CLOCK_MONOTONIC_COARSE) - w->wall_start < w->cpu_budget) return false;
    return seconds(CLOCK_THREAD_CPUTIME_ID) - w->cpu_start > w->cpu_budget;
}

static tsr_status match_error(const tsr_regex *r, int error)
{
    char text[128] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
    if (error == PCRE2_ERROR_NOMEMORY) return tsr_fail(TSR_ERR_MEMORY, "%s: no memory for a match", r->where);
    return tsr_fail(TSR_ERR_FORMAT, "%s: the pattern is not usable on this text: %s", r->where, text);
}

/* One search that starts at s->from or at most WINDOW_BYTES later. */
static int search_window(tsr_regex_scan *s, int64_t from, int64_t *limit)
{
    *limit = from + WINDOW_BYTES < s->n ? from + WINDOW_BYTES : s->n;
    pcre2_set_offset_limit(s->work->context, (PCRE2_SIZE)*limit);
    int rc = pcre2_match(s->regex->code, (PCRE2_SPTR)s->text, (PCRE2_SIZE)s->n, (PCRE2_SIZE)from,
                         PCRE2_NO_UTF_CHECK, s->work->data, s->work->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(s->regex->code, (PCRE2_SPTR)s->text, (PCRE2_SIZE)s->n, (PCRE2_SIZE)from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->work->data, s->work->context);
    return rc;
}

static bool inside_char(const tsr_regex_scan *s, int64_t at)
{
    return at < s->n && ((unsigned char)s->text[at] & 0xC0) == 0x80;
}

/* The first match at or after s->from; *found = false if there is none. */
static tsr_status search(tsr_regex_scan *s, bool *found, int64_t *begin, int64_t *end)
{
    int64_t limit;
    *found = false;
    for (int64_t from = s->from; from <= s->n;) {
        int rc = search_window(s, from, &limit);
        if (rc >= 0) {
            const PCRE2_SIZE *o = pcre2_get_ovector_pointer(s->work->data);
            *begin = (int64_t)o[0];
            *end = (int64_t)o[1];
            if (*end < *begin) /* \K inside a look-ahead can do this */
                return tsr_fail(TSR_ERR_FORMAT, "%s: the pattern ends a match before its beginning",
                                s->regex->where);
            *found = true;
            break;
        }
        if (rc != PCRE2_ERROR_NOMATCH) return match_error(s->regex, rc);
        for (from = limit + 1; inside_char(s, from);) from++;
    }
    if (out_of_time(s->work))
        return tsr_fail(TSR_ERR_FORMAT, "%s: the pattern takes too long", s->regex->where);
    return TSR_OK;
}

tsr_status tsr_regex_next(tsr_regex_scan *s, bool *found, int64_t *begin, int64_t *end)
{
    for (;;) {
        TSR_TRY(search(s, found, begin, end));
        if (!*found) return TSR_OK;
        if (*begin < s->last_end) /* \K or a look-behind must not send us back */
            return tsr_fail(TSR_ERR_FORMAT, "%s: the pattern matches backwards", s->regex->where);
        bool skip = *begin == *end && *end == s->last_end;
        s->from = s->last_end = *end;
        if (!skip) return TSR_OK;
        if (*end >= s->n) {
            *found = false;
            return TSR_OK;
        }
        s->from += tsr_char_length(s->text[*end]);
    }
}
