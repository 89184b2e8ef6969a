/* print.h: values as text: str(), repr() and JSON, as Python writes them. */
#ifndef TSR_TEMPLATE_PRINT_H
#define TSR_TEMPLATE_PRINT_H

#include "runtime/template/render.h"

tsr_status tsr_tpl_print(tpl_render *r, tpl_value v, tsr_text *out); /* str() */
tsr_status tsr_tpl_repr(tpl_render *r, tpl_value v, tsr_text *out);
/* str() as a string of the rendering's; a string is itself. */
tsr_status tsr_tpl_to_string(tpl_render *r, tpl_value v, tpl_value *out);
/* The shortest digits that read back as the same number; "1e+16", "0.1", "inf". Python's repr. */
void tsr_tpl_float_text(double d, char out[40]);

typedef struct tpl_json_style {
    bool ascii, sort;
    tpl_value indent;              /* NONE, or a string */
    tpl_value between, after_name; /* ", " and ": " */
} tpl_json_style;
/* json.dumps */
tsr_status tsr_tpl_json(tpl_render *r, tpl_value v, const tpl_json_style *style, int level, tsr_text *out);

#endif
