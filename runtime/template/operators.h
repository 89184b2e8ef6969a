/* operators.h: what operators do with values, as Python does. */
#ifndef TSR_TEMPLATE_OPERATORS_H
#define TSR_TEMPLATE_OPERATORS_H

#include "runtime/template/render.h"

tsr_status tsr_tpl_binary(tpl_render *r, int op, tpl_value a, tpl_value b, tpl_value *out);
tsr_status tsr_tpl_negative(tpl_render *r, tpl_value v, tpl_value *out);
tsr_status tsr_tpl_slice(tpl_render *r, const tpl_node *node, tpl_value *out);
/* str() of all, with `between` between them. */
tsr_status tsr_tpl_join(tpl_render *r, tpl_value between, const tpl_list *list, tpl_value *out);
/* format % arguments */
tsr_status tsr_tpl_format(tpl_render *r, tpl_value format, tpl_value arguments, tpl_value *out);

#endif
