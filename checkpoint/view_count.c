/* view_count.c: how many elements of each slice of a tensor a view takes. */
#include "base/checked.h"
#include "base/memory.h"
#include "checkpoint/lower.h"

typedef struct counting {
    int leaf;
    int64_t inner, extent;
    int64_t *step; /* [extent + 1] the counts' differences: runs cost the same however long they are */
} counting;

/* n elements of each of the indices begin .. end - 1 */
static void add_indices(counting *c, int64_t begin, int64_t end, int64_t n)
{
    c->step[begin] += n;
    c->step[end] -= n;
}

/* `n` elements that follow one another in the tensor, from element x on. */
static void add_run(counting *c, int64_t x, int64_t n)
{
    int64_t cycles = n / (c->inner * c->extent);
    if (cycles > 0) add_indices(c, 0, c->extent, cycles * c->inner);
    n -= cycles * c->inner * c->extent;
    int64_t index = x / c->inner % c->extent, ragged = x % c->inner;
    while (n > 0) { /* at most four turns: a begun slice, whole ones, again from the first, a begun one */
        int64_t whole = tsr_min(n / c->inner, c->extent - index);
        int64_t take = tsr_min(n, c->inner - ragged);
        if (ragged == 0 && whole > 0) {
            add_indices(c, index, index + whole, c->inner);
            index += whole;
            n -= whole * c->inner;
        } else {
            add_indices(c, index, index + 1, take);
            index++;
            n -= take;
        }
        ragged = 0;
        if (index == c->extent) index = 0;
    }
}

static void walk(counting *c, const tsr_piece *p, int loop, int64_t x)
{
    bool last = loop == p->loops - 1;
    if (loop == p->loops) {
        add_run(c, x, 1);
    } else if (last && p->loop[loop].src == 1) {
        add_run(c, x, p->loop[loop].extent);
    } else {
        for (int64_t i = 0; i < p->loop[loop].extent; i++) walk(c, p, loop + 1, x + i * p->loop[loop].src);
    }
}

static tsr_status count_piece(void *context, const tsr_piece *p)
{
    counting *c = context;
    if (p->leaf == c->leaf) walk(c, p, 0, p->src);
    return TSR_OK;
}

tsr_status tsr_view_count(const tsr_view *v, int i, int64_t inner, int64_t extent, int64_t *count)
{
    void *p;
    TSR_TRY(tsr_calloc(extent + 1, sizeof(int64_t), "counting a view", &p));
    counting c = {i, inner, extent, p};
    tsr_status s = tsr_view_lower(v, 0, tsr_view_rows(v), count_piece, &c);
    int64_t now = 0;
    for (int64_t k = 0; k < extent && s == TSR_OK; k++) count[k] += now += c.step[k];
    tsr_free(p);
    return s;
}
