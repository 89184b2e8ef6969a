/* filters.h: the table of filters: x|name(..), by name. */
#ifndef TSR_TEMPLATE_FILTERS_H
#define TSR_TEMPLATE_FILTERS_H

#include "runtime/template/render.h"

int tsr_tpl_filter_row(const char *name); /* -1: there is none */
const tpl_row *tsr_tpl_filter(int row);

#endif
