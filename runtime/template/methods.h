/* methods.h: the tables of methods of strings, lists, dicts and loops. Those that would change a value are refused. */
#ifndef TSR_TEMPLATE_METHODS_H
#define TSR_TEMPLATE_METHODS_H

#include "runtime/template/render.h"

/* *out is ABSENT if values of this kind have none of this name, and UNDEFINED if it is one that is refused. */
tsr_status tsr_tpl_method(tpl_render *r, tpl_value v, const char *name, tpl_value *out);

extern const tpl_row tsr_tpl_string_methods[]; /* the last has no name */

#endif
