/* text_case.h: what filters and methods do with strings alike. */
#ifndef TSR_TEMPLATE_TEXT_CASE_H
#define TSR_TEMPLATE_TEXT_CASE_H

#include "runtime/template/render.h"

typedef enum tpl_case { TPL_LOWER, TPL_UPPER, TPL_SWAPPED, TPL_CAPITALIZED, TPL_TITLE, TPL_WORDS } tpl_case;

/* TITLE: str.title(); WORDS: the filter `title`, whose words begin behind blanks and -([{<. */
tsr_status tsr_tpl_change_case(tpl_render *r, tpl_value s, tpl_case how, tpl_value *out);
/* chars ABSENT or NONE: whitespace. */
tsr_status tsr_tpl_strip(tpl_render *r, tpl_value s, tpl_value chars, bool left, bool right, tpl_value *out);
tsr_status tsr_tpl_replace(tpl_render *r, tpl_value s, tpl_value old, tpl_value new, tpl_value count,
                           tpl_value *out);
tsr_status tsr_tpl_split_lines(tpl_render *r, tpl_value s, bool keep_ends, tpl_value *out);
/* Blanks around to be `width` characters; as str.center with left and right. */
tsr_status tsr_tpl_pad(tpl_render *r, tpl_value s, tpl_value width, tpl_value fill, bool left, bool right,
                       tpl_value *out);
/* Whether a character belongs into words: letters, numbers and '_'; *n is its bytes. */
bool tsr_tpl_is_word(const char *at, const char *end, int *n);
/* Whether it is a string, else the error that `who` needs one. */
tsr_status tsr_tpl_need_string(tpl_render *r, tpl_value v, const char *who);
/* An integer argument; ABSENT: otherwise. */
tsr_status tsr_tpl_need_integer(tpl_render *r, tpl_value v, int64_t otherwise, const char *who, int64_t *out);

#endif
