/* filters_sequence.h: the filters that work on elements; rows of filters.c. */
#ifndef TSR_TEMPLATE_FILTERS_SEQUENCE_H
#define TSR_TEMPLATE_FILTERS_SEQUENCE_H

#include "runtime/template/render.h"

#define FILTER(name) tsr_status name(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
#define FILTER_ANY(name)                                                                                     \
    tsr_status name(tpl_render *r, tpl_value v, const tpl_arguments *given, tpl_value *out)

FILTER(tsr_tpl_batch);
FILTER(tsr_tpl_dictsort);
FILTER(tsr_tpl_first);
FILTER(tsr_tpl_items);
FILTER(tsr_tpl_join_filter);
FILTER(tsr_tpl_last);
FILTER(tsr_tpl_list);
FILTER(tsr_tpl_max);
FILTER(tsr_tpl_min);
FILTER(tsr_tpl_reverse);
FILTER(tsr_tpl_sort);
FILTER(tsr_tpl_sum);
FILTER(tsr_tpl_unique);
FILTER_ANY(tsr_tpl_map);
FILTER_ANY(tsr_tpl_select);
FILTER_ANY(tsr_tpl_reject);
FILTER_ANY(tsr_tpl_selectattr);
FILTER_ANY(tsr_tpl_rejectattr);

#endif
