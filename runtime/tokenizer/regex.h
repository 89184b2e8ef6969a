/* regex.h: the regular expressions of tokenizer files, on PCRE2, with bounds that no pattern can pass.
 *
 * Patterns are written for Oniguruma; regex_translate.c rewrites them for PCRE2, so that classes mean the
 * same characters (which differ in \s, \w, \h, \v, scripts, nested classes and the version of Unicode).
 *
 * Bounds: patterns of at most 64 KiB; 64 MiB of memory for one match; and for all matches of one
 * tsr_regex_work, since the last tsr_regex_work_reset, processor time (30 s and 1 s more per MiB of text).
 * Past a bound the match is TSR_ERR_FORMAT: a pattern that needs more is broken or hostile.
 *
 * A compiled tsr_regex may be used by many threads at once, a tsr_regex_work by one.
 */
#ifndef TSR_TOKENIZER_REGEX_H
#define TSR_TOKENIZER_REGEX_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_REGEX_PATTERN_CAP = 64 << 10 };

typedef struct tsr_regex tsr_regex;
typedef struct tsr_regex_work tsr_regex_work;

/* `where` names the pattern in errors and is copied. TSR_ERR_FORMAT: not a pattern we can run. */
tsr_status tsr_regex_compile(const char *pattern, int64_t n, const char *where, tsr_regex **out);
void tsr_regex_destroy(tsr_regex **regex);

tsr_status tsr_regex_work_create(tsr_regex_work **out);
void tsr_regex_work_destroy(tsr_regex_work **work);
void tsr_regex_work_reset(tsr_regex_work *work, int64_t text_bytes);

/* Finds the matches in text[0..n) (valid UTF-8) from left to right. An empty match right after a match is
 * skipped. */
typedef struct tsr_regex_scan {
    const tsr_regex *regex;
    tsr_regex_work *work;
    const char *text;
    int64_t n, from, last_end; /* last_end: -1 before the first match */
} tsr_regex_scan;

static inline tsr_regex_scan tsr_regex_scan_begin(const tsr_regex *regex, tsr_regex_work *work,
                                                  const char *text, int64_t n)
{
    return (tsr_regex_scan){regex, work, text, n, 0, -1};
}

/* Sets *found, and text[*begin..*end) if so. */
tsr_status tsr_regex_next(tsr_regex_scan *scan, bool *found, int64_t *begin, int64_t *end);

/* Appends the PCRE2 spelling of an Oniguruma pattern (options UTF, UCP, MULTILINE). For regex.c and tests. */
tsr_status tsr_regex_translate(const char *pattern, int64_t n, tsr_text *out);

#endif
