/* lower.c: a region of a view is carried down the tree until it is a set of strided boxes in the leaves.
 *
 * A region is a point of the view and a few walks from it: walk w takes `extent` steps of `step` elements
 * along one axis, while the output position advances by `dst`. Permute renames axes, slice moves the point,
 * concat cuts walks at its seams, strides scale them. Reshape is the one with work in it: the region becomes walks over the
 * row-major order, and these are read off in the digits of the other shape, like a count in mixed radix.
 * Where a walk would carry into the next digit it is cut, or becomes two walks, one a digit. Whatever fits no
 * pattern is cut to single steps in the end, so every reshape works, and the ones that occur (splitting and
 * joining axes) give a handful of boxes.
 */
#include "checkpoint/lower.h"
#include "base/checked.h"
#include "checkpoint/shape.h"

#include <string.h>

typedef struct walk {
    int axis;
    int64_t extent, step, dst;
} walk;

typedef struct region {
    int64_t at[TSR_MAX_RANK];
    int64_t dst;
    int walks;
    walk walk[TSR_MAX_LOOPS];
} region;

typedef struct lowering {
    tsr_piece_sink *sink;
    void *context;
} lowering;

static tsr_status lower(const lowering *to, const tsr_view *v, int leaf, const region *r);

/* The part of r whose walk w takes steps begin..end-1 only. */
static region cut(const region *r, int w, int64_t begin, int64_t end)
{
    region c = *r;
    c.at[r->walk[w].axis] += begin * r->walk[w].step;
    c.dst += begin * r->walk[w].dst;
    c.walk[w].extent = end - begin;
    if (end - begin == 1) c.walk[w] = c.walk[--c.walks];
    return c;
}

/* How far the walks along an axis lead from its point. */
static int64_t reach(const region *r, int axis)
{
    int64_t sum = 0;
    for (int w = 0; w < r->walks; w++)
        if (r->walk[w].axis == axis) sum += (r->walk[w].extent - 1) * r->walk[w].step;
    return sum;
}

static int longest_walk(const region *r, int axis)
{
    int best = -1;
    for (int w = 0; w < r->walks; w++)
        if (r->walk[w].axis == axis && (best < 0 || r->walk[w].step > r->walk[best].step)) best = w;
    return best;
}

/* Steps of the walk, from a point at `low` on, until its companions (which reach `other` further) would touch
 * `limit`; at least one. */
static int64_t steps_within(int64_t low, int64_t other, int64_t limit, const walk *w)
{
    int64_t room = limit - 1 - other - low;
    return room < 0 ? 1 : room / w->step + 1;
}

/* --- Reshape --- */

static tsr_status unflatten(const lowering *to, const tsr_view *v, int leaf, const region *flat);

/* Joins walks that continue each other, on a region over one axis. */
static void join_walks(region *flat)
{
    for (int a = 0; a < flat->walks; a++)
        for (int b = 0; b < flat->walks; b++) {
            walk *in = &flat->walk[a], *over = &flat->walk[b];
            if (a == b || over->step != in->step * in->extent || over->dst != in->dst * in->extent) continue;
            in->extent *= over->extent;
            *over = flat->walk[--flat->walks];
            a = -1; /* the last walk has moved: look again from the start */
            break;
        }
}

static tsr_status lower_reshape(const lowering *to, const tsr_view *v, int leaf, const region *r)
{
    int64_t stride[TSR_MAX_RANK];
    region flat = {.dst = r->dst, .walks = r->walks};
    tsr_shape_strides(v->rank, v->shape, stride);
    for (int a = 0; a < v->rank; a++) flat.at[0] += r->at[a] * stride[a];
    for (int w = 0; w < r->walks; w++) {
        flat.walk[w] = r->walk[w];
        flat.walk[w].axis = 0;
        flat.walk[w].step *= stride[r->walk[w].axis];
    }
    join_walks(&flat);
    return unflatten(to, v->child, leaf, &flat);
}

/* The walk, cut wherever it must: it visits i = 0, m, 2m, .. each time as far as digit `axis` allows. */
static tsr_status step_by_step(const lowering *to, const tsr_view *v, int leaf, const region *flat, int w,
                               int axis, int64_t stride, int64_t other)
{
    const walk *long_walk = &flat->walk[w];
    const walk in_digit = {.step = tsr_max(long_walk->step / stride, 1)};
    for (int64_t i = 0, m; i < long_walk->extent; i += m) {
        int64_t digit = (flat->at[0] + i * long_walk->step) / stride % v->shape[axis];
        bool aligned = long_walk->step % stride == 0;
        m = aligned ? steps_within(digit, other, v->shape[axis], &in_digit) : 1;
        m = tsr_min(m, long_walk->extent - i);
        region part = cut(flat, w, i, i + m);
        TSR_TRY(unflatten(to, v, leaf, &part));
    }
    return TSR_OK;
}

/* The walk carries out of a digit after every `period` steps, and its first one starts at 0: one walk within
 * the digit and one over the carries; then what is left over. */
static tsr_status walk_by_period(const lowering *to, const tsr_view *v, int leaf, const region *flat, int w,
                                 int64_t period)
{
    const walk *long_walk = &flat->walk[w];
    int64_t turns = long_walk->extent / period, whole = turns * period;
    region body = cut(flat, w, 0, turns == 1 ? period : whole);
    if (turns > 1 && period > 1) {
        body.walk[w].extent = period;
        body.walk[body.walks++] = (walk){
            .axis = 0, .extent = turns, .step = long_walk->step * period, .dst = long_walk->dst * period};
    }
    TSR_TRY(unflatten(to, v, leaf, &body));
    if (whole == long_walk->extent) return TSR_OK;
    region tail = cut(flat, w, whole, long_walk->extent);
    return unflatten(to, v, leaf, &tail);
}

/* Digit `axis` of region r overflows: cuts the longest walk on it. */
static tsr_status carry(const lowering *to, const tsr_view *v, int leaf, const region *flat, const region *r,
                        int axis, int64_t stride)
{
    int w = longest_walk(r, axis);
    const walk *in_digit = &r->walk[w];
    int64_t base = v->shape[axis], step = in_digit->step, low = r->at[axis];
    int64_t other = reach(r, axis) - (in_digit->extent - 1) * step;
    bool periodic = base % step == 0 && low % step + other < step && flat->walks < TSR_MAX_LOOPS;
    if (!periodic) return step_by_step(to, v, leaf, flat, w, axis, stride, other);
    int64_t period = base / step, head = period - low / step;
    if (head == period) return walk_by_period(to, v, leaf, flat, w, period);
    region first = cut(flat, w, 0, head), rest = cut(flat, w, head, in_digit->extent);
    TSR_TRY(unflatten(to, v, leaf, &first));
    return unflatten(to, v, leaf, &rest);
}

/* The axis with the largest stride that is at most `step`; axes of extent 1 have no digit to count in. */
static int digit_of(const tsr_view *v, const int64_t *stride, int64_t step)
{
    int axis = -1;
    for (int a = v->rank - 1; a >= 0; a--)
        if (v->shape[a] > 1 && stride[a] <= step) axis = a;
    return axis;
}

/* A region over the row-major order of v's elements becomes regions of v. */
static tsr_status unflatten(const lowering *to, const tsr_view *v, int leaf, const region *flat)
{
    int64_t stride[TSR_MAX_RANK];
    region r = {.dst = flat->dst, .walks = flat->walks};
    tsr_shape_strides(v->rank, v->shape, stride);
    for (int a = 0; a < v->rank; a++) r.at[a] = flat->at[0] / stride[a] % v->shape[a];
    for (int w = 0; w < flat->walks; w++) {
        int axis = digit_of(v, stride, flat->walk[w].step);
        r.walk[w] = flat->walk[w];
        r.walk[w].axis = axis;
        r.walk[w].step /= stride[axis];
        if (flat->walk[w].step % stride[axis] != 0)
            return step_by_step(to, v, leaf, flat, w, axis, stride[axis], 0);
    }
    for (int a = 0; a < v->rank; a++)
        if (r.at[a] + reach(&r, a) >= v->shape[a]) return carry(to, v, leaf, flat, &r, a, stride[a]);
    return lower(to, v, leaf, &r);
}

/* --- The other nodes --- */

static tsr_status lower_permute(const lowering *to, const tsr_view *v, int leaf, const region *r)
{
    region c = *r;
    for (int a = 0; a < v->rank; a++) c.at[v->order[a]] = r->at[a];
    for (int w = 0; w < r->walks; w++) c.walk[w].axis = v->order[r->walk[w].axis];
    return lower(to, v->child, leaf, &c);
}

static tsr_status lower_slice(const lowering *to, const tsr_view *v, int leaf, const region *r)
{
    region c = *r;
    for (int a = 0; a < v->rank; a++) c.at[a] += v->begin[a];
    return lower(to, v->child, leaf, &c);
}

/* Over strides of 0 a walk stays where it is: each of its steps becomes a region of its own. */
static tsr_status lower_strided(const lowering *to, const tsr_view *v, int leaf, const region *r)
{
    region flat = {.at = {v->offset}, .dst = r->dst, .walks = r->walks};
    for (int a = 0; a < v->rank; a++) flat.at[0] += r->at[a] * v->stride[a];
    for (int w = 0; w < r->walks; w++) {
        flat.walk[w] = r->walk[w];
        flat.walk[w].axis = 0;
        flat.walk[w].step *= v->stride[r->walk[w].axis];
        if (flat.walk[w].step > 0) continue;
        for (int64_t i = 0; i < r->walk[w].extent; i++) {
            region one = cut(r, w, i, i + 1);
            one.at[r->walk[w].axis] = r->at[r->walk[w].axis];
            TSR_TRY(lower_strided(to, v, leaf, &one));
        }
        return TSR_OK;
    }
    return lower(to, v->child, leaf, &flat);
}

static tsr_status lower_concat(const lowering *to, const tsr_view *v, int leaf, const region *r)
{
    int axis = v->axis, part = tsr_view_part_at(v, r->at[axis]);
    int64_t whole = reach(r, axis);
    if (r->at[axis] + whole < v->part_begin[part + 1]) {
        region c = *r;
        c.at[axis] -= v->part_begin[part];
        return lower(to, v->part[part], leaf + v->part_leaf[part], &c);
    }
    int w = longest_walk(r, axis);
    const walk *long_walk = &r->walk[w];
    int64_t other = whole - (long_walk->extent - 1) * long_walk->step;
    for (int64_t i = 0, m; i < long_walk->extent; i += m) {
        int64_t low = r->at[axis] + i * long_walk->step;
        m = steps_within(low, other, v->part_begin[tsr_view_part_at(v, low) + 1], long_walk);
        m = tsr_min(m, long_walk->extent - i);
        region c = cut(r, w, i, i + m);
        TSR_TRY(lower_concat(to, v, leaf, &c));
    }
    return TSR_OK;
}

void tsr_join_loops(tsr_loop *loop, int *loops)
{
    int kept = 0;
    for (int i = 1; i < *loops; i++) {
        tsr_loop *over = &loop[kept], *in = &loop[i];
        if (over->src == in->src * in->extent && over->dst == in->dst * in->extent)
            *over = (tsr_loop){over->extent * in->extent, in->src, in->dst};
        else
            loop[++kept] = *in;
    }
    if (*loops > 0) *loops = kept + 1;
}

/* Sorts by src stride, the largest first, and joins loops that continue each other. */
static void tidy(tsr_piece *p)
{
    for (int i = 1; i < p->loops; i++) {
        tsr_loop l = p->loop[i];
        int j = i;
        for (; j > 0 && p->loop[j - 1].src < l.src; j--) p->loop[j] = p->loop[j - 1];
        p->loop[j] = l;
    }
    tsr_join_loops(p->loop, &p->loops);
}

static tsr_status lower_tensor(const lowering *to, const tsr_view *v, int leaf, const region *r)
{
    int64_t stride[TSR_MAX_RANK];
    tsr_piece p = {.leaf = leaf, .dst = r->dst, .loops = r->walks};
    tsr_shape_strides(v->rank, v->shape, stride);
    for (int a = 0; a < v->rank; a++) p.src += r->at[a] * stride[a];
    for (int w = 0; w < r->walks; w++)
        p.loop[w] = (tsr_loop){r->walk[w].extent, r->walk[w].step * stride[r->walk[w].axis], r->walk[w].dst};
    tidy(&p);
    return to->sink(to->context, &p);
}

static tsr_status lower(const lowering *to, const tsr_view *v, int leaf, const region *r)
{
    switch (v->kind) {
    case TSR_VIEW_TENSOR:
        return lower_tensor(to, v, leaf, r);
    case TSR_VIEW_RESHAPE:
        return lower_reshape(to, v, leaf, r);
    case TSR_VIEW_PERMUTE:
        return lower_permute(to, v, leaf, r);
    case TSR_VIEW_SLICE:
        return lower_slice(to, v, leaf, r);
    case TSR_VIEW_STRIDED:
        return lower_strided(to, v, leaf, r);
    default:
        return lower_concat(to, v, leaf, r);
    }
}

tsr_status tsr_view_lower(const tsr_view *v, int64_t row_begin, int64_t row_end, tsr_piece_sink *sink,
                          void *context)
{
    lowering to = {sink, context};
    int64_t stride[TSR_MAX_RANK];
    region r = {.dst = 0};
    if (row_begin == row_end || v->elements == 0) return TSR_OK;
    tsr_shape_strides(v->rank, v->shape, stride);
    for (int a = 0; a < v->rank; a++) {
        int64_t extent = a == 0 ? row_end - row_begin : v->shape[a];
        if (a == 0) r.at[0] = row_begin;
        if (extent > 1) r.walk[r.walks++] = (walk){a, extent, 1, stride[a]};
    }
    return lower(&to, v, 0, &r);
}
