/* gather.c: how a strided box of a tensor is read: which bytes in one call, what goes through the buffer. */
#include "checkpoint/gather.h"
#include "base/checked.h"
#include "base/memory.h"
#include "checkpoint/convert.h"
#include "checkpoint/copy.h"

#include <string.h>

/* A call costs about as much as copying 4 KiB from the page cache. Gaps are read along
 *  - in tensors of at most SMALL_TENSOR bytes, such as biases,
 *  - between runs shorter than TINY_RUN bytes, if a gap is cheaper than a call and at most TINY_GAP times a run,
 *  - if they are at most 1/WASTE of what is wanted. */
enum {
    RAW_BYTES = 256 << 10,
    SMALL_TENSOR = 64 << 10,
    TINY_RUN = 64,
    CALL_BYTES = 4 << 10,
    TINY_GAP = 4,
    WASTE = 16
};

typedef struct plan {
    int block;      /* loops [block, loops) are read by one call.. */
    int64_t span;   /* ..of this many elements */
    int fill;       /* loops [fill, loops) lie in the buffer together, the blocks behind each other.. */
    int64_t filled; /* ..as this many elements.. */
    int64_t chunk;  /* ..and so many steps of loop fill - 1 (1 if there is none) */
    bool one_call;  /* those steps are part of the same call, with the gaps between them */
} plan;

int64_t tsr_piece_elements(const tsr_piece *p)
{
    int64_t n = 1;
    for (int i = 0; i < p->loops; i++) n *= p->loop[i].extent;
    return n;
}

int64_t tsr_piece_runs(const tsr_piece *p)
{
    int64_t run = 1;
    for (int i = p->loops - 1; i >= 0 && p->loop[i].src == run; i--) run *= p->loop[i].extent;
    return tsr_piece_elements(p) / run;
}

static bool worth_reading(int64_t span, int64_t wanted, int64_t runs)
{
    int64_t waste = span - wanted;
    return waste <= wanted / WASTE ||
           (wanted / runs < TINY_RUN && waste / runs <= CALL_BYTES && waste / TINY_GAP <= wanted);
}

static plan make_plan(const tsr_piece *p, const tsr_tensor_info *t)
{
    int64_t element = tsr_dtype_bytes(t->dtype), cap = RAW_BYTES / element, wanted = 1, runs = 1;
    plan plan = {.block = p->loops, .span = 1, .chunk = 1};
    bool small = t->bytes <= SMALL_TENSOR;
    while (plan.block > 0) {
        const tsr_loop *l = &p->loop[plan.block - 1];
        bool dense = plan.span == wanted && l->src == plan.span;
        int64_t span = plan.span + (l->extent - 1) * l->src;
        wanted *= l->extent;
        runs *= dense ? 1 : l->extent;
        if (!small && !worth_reading(span * element, wanted * element, runs)) break;
        if (span > cap) {
            plan.one_call = true;
            plan.chunk = tsr_max((cap - plan.span) / l->src + 1, 1);
            break;
        }
        plan.span = span;
        plan.block--;
    }
    plan.fill = plan.block;
    plan.filled = plan.span;
    if (plan.one_call) return plan;
    while (plan.fill > 0 && plan.filled * p->loop[plan.fill - 1].extent <= cap)
        plan.filled *= p->loop[--plan.fill].extent;
    if (plan.fill > 0) plan.chunk = cap / plan.filled;
    return plan;
}

/* Loop indices from loop 0 on, counted like an odometer. */
typedef struct odometer {
    int64_t index[TSR_MAX_LOOPS], src, dst;
} odometer;

/* Advances loop i by `by` steps and carries; false after the last position. */
static bool advance(odometer *o, const tsr_loop *loop, int i, int64_t by)
{
    for (; i >= 0; i--, by = 1) {
        o->index[i] += by;
        o->src += by * loop[i].src;
        o->dst += by * loop[i].dst;
        if (o->index[i] < loop[i].extent) return true;
        o->src -= o->index[i] * loop[i].src;
        o->dst -= o->index[i] * loop[i].dst;
        o->index[i] = 0;
    }
    return false;
}

/* Runs that need neither conversion nor rearranging. */
static tsr_status read_direct(const tsr_gather *g, const tsr_tensor_info *t, const tsr_piece *p, char *dst)
{
    int64_t element = tsr_dtype_bytes(t->dtype), run = p->loop[p->loops - 1].extent * element;
    odometer o = {.src = p->src, .dst = p->dst};
    do {
        TSR_TRY(tsr_source_read(g->source, t, o.src * element, run, dst + o.dst * element));
    } while (advance(&o, p->loop, p->loops - 2, 1));
    return TSR_OK;
}

/* Buffer to output: loops as they lie in the buffer. */
static tsr_status deliver(tsr_gather *g, const tsr_tensor_info *t, tsr_loop *loop, int loops,
                          int64_t elements, char *dst)
{
    int bytes = tsr_dtype_bytes(g->as);
    tsr_join_loops(loop, &loops);
    if (t->dtype == g->as) {
        tsr_copy_strided(g->raw, dst, bytes, loop, loops);
        return TSR_OK;
    }
    if (loops == 0 || (loops == 1 && loop->src == 1 && loop->dst == 1)) {
        tsr_convert(t->dtype, g->raw, g->as, dst, loops ? loop->extent : 1);
        return TSR_OK;
    }
    if (!g->converted) {
        int64_t most = RAW_BYTES * 2; /* no conversion more than doubles the bytes */
        TSR_TRY(tsr_alloc(most, "converting weights", &g->converted));
    }
    tsr_convert(t->dtype, g->raw, g->as, g->converted, elements);
    tsr_copy_strided(g->converted, dst, bytes, loop, loops);
    return TSR_OK;
}

/* Reads `steps` steps of loop fill - 1 from source element `src` on into the buffer; sets the loops as they
 * lie in it. */
static tsr_status fill_buffer(const tsr_gather *g, const tsr_tensor_info *t, const tsr_piece *p,
                              const plan *plan, int64_t src, int64_t steps, tsr_loop *loop, int *loops,
                              int64_t *elements)
{
    int64_t element = tsr_dtype_bytes(t->dtype), packed = plan->span;
    int first = tsr_max(plan->fill - 1, 0), n = 0;
    for (int i = first; i < p->loops; i++) loop[n++] = p->loop[i];
    if (plan->fill > 0) loop[0].extent = steps;
    *loops = n;
    if (plan->one_call) {
        *elements = plan->span + (steps - 1) * loop[0].src;
        return tsr_source_read(g->source, t, src * element, *elements * element, g->raw);
    }
    for (int i = plan->block - 1; i >= first; i--) {
        loop[i - first].src = packed;
        packed *= loop[i - first].extent;
    }
    *elements = packed;
    tsr_loop calls[TSR_MAX_LOOPS];
    int outer = plan->block - first;
    for (int i = 0; i < outer; i++)
        calls[i] = (tsr_loop){loop[i].extent, p->loop[first + i].src, loop[i].src};
    odometer o = {.src = src};
    do {
        TSR_TRY(tsr_source_read(g->source, t, o.src * element, plan->span * element,
                                (char *)g->raw + o.dst * element));
    } while (advance(&o, calls, outer - 1, 1));
    return TSR_OK;
}

static tsr_status read_buffered(tsr_gather *g, const tsr_tensor_info *t, const tsr_piece *p, const plan *plan,
                                char *dst)
{
    int bytes = tsr_dtype_bytes(g->as), driver = plan->fill - 1;
    odometer o = {.src = p->src, .dst = p->dst};
    if (!g->raw) TSR_TRY(tsr_alloc(RAW_BYTES, "reading weights", &g->raw));
    do {
        tsr_loop loop[TSR_MAX_LOOPS];
        int loops;
        int64_t elements,
            steps = driver < 0 ? 1 : tsr_min(plan->chunk, p->loop[driver].extent - o.index[driver]);
        TSR_TRY(fill_buffer(g, t, p, plan, o.src, steps, loop, &loops, &elements));
        TSR_TRY(deliver(g, t, loop, loops, elements, dst + o.dst * bytes));
        if (driver < 0) break;
        if (!advance(&o, p->loop, driver, steps)) break;
    } while (true);
    return TSR_OK;
}

tsr_status tsr_gather_piece(tsr_gather *g, const tsr_tensor_info *t, const tsr_piece *piece, void *dst)
{
    tsr_piece p = *piece;
    if (p.loops == 0) p.loop[p.loops++] = (tsr_loop){1, 1, 1};
    plan plan = make_plan(&p, t);
    const tsr_loop *last = &p.loop[p.loops - 1];
    bool plain = t->dtype == g->as && last->src == 1 && last->dst == 1;
    if (plain && plan.block >= p.loops - 1) return read_direct(g, t, &p, dst);
    return read_buffered(g, t, &p, &plan, dst);
}

void tsr_gather_free(tsr_gather *g)
{
    tsr_free(g->raw);
    tsr_free(g->converted);
    g->raw = g->converted = NULL;
}
