/* regex_class.h: sets of characters in Oniguruma patterns (\s, \p{L}, [a-z&&[^aeiou]]), spelled for PCRE2.
 *
 * A set is [items] or any of the alternatives, then perhaps negated. Nested unions stay one PCRE2 class; what
 * a class cannot say (an intersection, a negated set inside a union) becomes an alternative with a
 * look-ahead.
 */
#ifndef TSR_TOKENIZER_REGEX_CLASS_H
#define TSR_TOKENIZER_REGEX_CLASS_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_regex_set {
    tsr_text items;        /* inside of a PCRE2 class */
    tsr_text alternatives; /* expressions of one character, joined by '|' */
    bool negated;
} tsr_regex_set;

tsr_status tsr_regex_set_init(tsr_regex_set *set);
void tsr_regex_set_free(tsr_regex_set *set);
/* Appends an expression that matches exactly the set's characters. */
tsr_status tsr_regex_set_render(const tsr_regex_set *set, tsr_text *out);

/* *at points behind the '['; reads up to and including the closing ']'. */
tsr_status tsr_regex_class_parse(const char **at, const char *end, int depth, tsr_regex_set *set);

/* *at points behind a backslash. If the escape is a set (\s \S \w \W \d \D \h \H \p \P), reads it, adds it to
 * the empty set and sets *is_set; otherwise leaves *at alone. */
tsr_status tsr_regex_escaped_set(const char **at, const char *end, tsr_regex_set *set, bool *is_set);

/* *at points behind a backslash: reads an escape that stands for one character. */
tsr_status tsr_regex_escaped_char(const char **at, const char *end, uint32_t *c);

#endif
