/* checks.h: the table of tests: x is name(..), by name. */
#ifndef TSR_TEMPLATE_CHECKS_H
#define TSR_TEMPLATE_CHECKS_H

#include "runtime/template/render.h"

int tsr_tpl_check_row(const char *name); /* -1: there is none */
const tpl_row *tsr_tpl_check(int row);

#endif
