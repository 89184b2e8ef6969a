/* string_escape.h: escapes of string literals, as Python's. */
#ifndef TSR_TEMPLATE_STRING_ESCAPE_H
#define TSR_TEMPLATE_STRING_ESCAPE_H

#include "base/memory.h"

/* The text of a literal between its quotes, in the arena, NUL behind it. TSR_ERR_FORMAT. */
tsr_status tsr_tpl_unescape(const char *bytes, int64_t n, tsr_arena *arena, const char **out, int64_t *out_n);

#endif
