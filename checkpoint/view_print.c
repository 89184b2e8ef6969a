/* view_print.c: what a view is made of: its shape, its leaves, its text. */
#include "base/checked.h"
#include "checkpoint/shape.h"
#include "checkpoint/view_node.h"

int tsr_view_rank(const tsr_view *v)
{
    return v->rank;
}

const int64_t *tsr_view_shape(const tsr_view *v)
{
    return v->shape;
}

int64_t tsr_view_elements(const tsr_view *v)
{
    return v->elements;
}

int64_t tsr_view_rows(const tsr_view *v)
{
    return v->rank ? v->shape[0] : 1;
}

int64_t tsr_view_cols(const tsr_view *v)
{
    int64_t cols = 1;
    for (int i = 1; i < v->rank; i++)
        cols *= v->shape[i]; /* cannot overflow: tsr_shape_elements accepted it */
    return cols;
}

int tsr_view_leaf_count(const tsr_view *v)
{
    return v->leaves;
}

const char *tsr_view_leaf_name(const tsr_view *v, int i)
{
    while (v->kind != TSR_VIEW_TENSOR) {
        if (v->kind != TSR_VIEW_CONCAT) {
            v = v->child;
            continue;
        }
        int part = v->parts - 1;
        while (v->part_leaf[part] > i) part--;
        i -= v->part_leaf[part];
        v = v->part[part];
    }
    return v->name;
}

static tsr_status print_shape(const tsr_view *v, tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, ".reshape["));
    for (int i = 0; i < v->rank; i++)
        TSR_TRY(tsr_text_format(out, "%s%lld", i ? "," : "", (long long)v->shape[i]));
    return tsr_text_puts(out, "]");
}

static tsr_status print_strides(const tsr_view *v, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, ".strided[%lld;", (long long)v->offset));
    for (int i = 0; i < v->rank; i++)
        TSR_TRY(tsr_text_format(out, "%s%lldx%lld", i ? "," : "", (long long)v->shape[i],
                                (long long)v->stride[i]));
    return tsr_text_puts(out, "]");
}

static tsr_status print_order(const tsr_view *v, tsr_text *out)
{
    if (v->rank == 2) return tsr_text_puts(out, ".T");
    TSR_TRY(tsr_text_puts(out, ".permute("));
    for (int i = 0; i < v->rank; i++) TSR_TRY(tsr_text_format(out, "%s%d", i ? "," : "", v->order[i]));
    return tsr_text_puts(out, ")");
}

/* "[:,3:5]": axes that are taken whole show as ":", and not at all at the end. */
static tsr_status print_ranges(const tsr_view *v, tsr_text *out)
{
    int last = v->rank - 1;
    while (last > 0 && v->shape[last] == v->child->shape[last]) last--;
    for (int i = 0; i <= last; i++) {
        TSR_TRY(tsr_text_puts(out, i ? "," : "["));
        if (v->shape[i] == v->child->shape[i])
            TSR_TRY(tsr_text_puts(out, ":"));
        else
            TSR_TRY(tsr_text_format(out, "%lld:%lld", (long long)v->begin[i],
                                    (long long)(v->begin[i] + v->shape[i])));
    }
    return tsr_text_puts(out, "]");
}

/* "concat(a, b, c)"; the axis is shown unless it is 0; long lists are shortened. */
static tsr_status print_parts(const tsr_view *v, tsr_text *out)
{
    enum { SHOWN = 6 };
    TSR_TRY(v->axis ? tsr_text_format(out, "concat%d(", v->axis) : tsr_text_puts(out, "concat("));
    for (int i = 0; i < v->parts; i++) {
        if (v->parts > SHOWN && i == 2) {
            i = v->parts - 1;
            TSR_TRY(tsr_text_format(out, ", ... %d more", v->parts - 3));
        }
        if (i) TSR_TRY(tsr_text_puts(out, ", "));
        TSR_TRY(tsr_view_print(v->part[i], out));
    }
    return tsr_text_puts(out, ")");
}

tsr_status tsr_view_print(const tsr_view *v, tsr_text *out)
{
    if (v->kind == TSR_VIEW_TENSOR) return tsr_text_puts(out, v->name);
    if (v->kind == TSR_VIEW_CONCAT) return print_parts(v, out);
    TSR_TRY(tsr_view_print(v->child, out));
    if (v->kind == TSR_VIEW_RESHAPE) return print_shape(v, out);
    if (v->kind == TSR_VIEW_PERMUTE) return print_order(v, out);
    if (v->kind == TSR_VIEW_STRIDED) return print_strides(v, out);
    return print_ranges(v, out);
}
