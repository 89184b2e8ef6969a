/* functions.h: the table of functions that every template has, by name. */
#ifndef TSR_TEMPLATE_FUNCTIONS_H
#define TSR_TEMPLATE_FUNCTIONS_H

#include "runtime/template/render.h"

/* *out is ABSENT if there is none of this name. */
tsr_status tsr_tpl_function(tpl_render *r, const char *name, tpl_value *out);

#endif
