/* pattern.h: what a Split or Replace looks for: a string, a regular expression, or a kind of character. */
#ifndef TSR_TOKENIZER_PATTERN_H
#define TSR_TOKENIZER_PATTERN_H

#include "runtime/tokenizer/work.h"
#include "base/json.h"
#include "base/memory.h"

typedef bool (*tsr_char_test)(uint32_t c);

/* Exactly one of the three is set. */
typedef struct tsr_pattern {
    tsr_regex *regex;
    const char *literal; /* [literal_length], not empty */
    int64_t literal_length;
    tsr_char_test test; /* each such character is a match of its own */
} tsr_pattern;

/* Reads "pattern": {"String": ..} or {"Regex": ..} of o. The literal is copied to the arena. */
tsr_status tsr_pattern_load(tsr_object o, tsr_arena *arena, tsr_pattern *out);
tsr_status tsr_pattern_from_regex(const char *regex, const char *where, tsr_pattern *out);
void tsr_pattern_release(tsr_pattern *p);

/* Sets *spans to the matches in text[0..n) and what lies between them. */
tsr_status tsr_pattern_spans(const tsr_pattern *p, tsr_regex_work *work, const char *text, int64_t n,
                             tsr_spans *spans);

/* Appends the text with every match replaced. `spans` is overwritten. */
tsr_status tsr_pattern_replace(const tsr_pattern *p, tsr_regex_work *work, const char *text, int64_t n,
                               const char *content, int64_t content_length, tsr_spans *spans, tsr_text *out);

/* Cuts every piece of work->now that is no token yet. */
tsr_status tsr_pattern_cut(const tsr_pattern *p, tsr_split_behavior behavior, bool invert, tsr_work *work);

#endif
