/* source_made.c: reading bytes of a tensor that is made of parts of others. */
#include "base/checked.h"
#include "checkpoint/gather.h"
#include "checkpoint/state.h"

#include <string.h>

typedef struct made_read {
    const tsr_view *flat; /* the tensor's elements in their order */
    const tsr_tensor_info **leaf;
    tsr_gather gather;
    void *dst;
} made_read;

static void find_leaves(const tsr_view *v, const tsr_tensor_info **leaf)
{
    while (v->kind != TSR_VIEW_TENSOR && v->kind != TSR_VIEW_CONCAT) v = v->child;
    if (v->kind == TSR_VIEW_TENSOR) *leaf = v->stored;
    for (int i = 0; v->kind == TSR_VIEW_CONCAT && i < v->parts; i++)
        find_leaves(v->part[i], leaf + v->part_leaf[i]);
}

static tsr_status read_piece(void *context, const tsr_piece *p)
{
    made_read *r = context;
    return tsr_gather_piece(&r->gather, r->leaf[p->leaf], p, r->dst);
}

static tsr_status read_elements(made_read *r, int64_t begin, int64_t end, void *dst)
{
    r->dst = dst;
    return tsr_view_lower(r->flat, begin, end, read_piece, r);
}

/* Elements may be cut at both ends, and may go where numbers of their size must not: those pass through a buffer. */
static tsr_status read_bytes(made_read *r, int64_t element, int64_t offset, int64_t n, char *dst)
{
    enum { BUFFER = 4096 };
    _Alignas(8) char buffer[BUFFER];
    while (n > 0) {
        int64_t index = offset / element, skip = offset % element, whole = n / element * element;
        if (skip == 0 && whole > 0 && (uintptr_t)dst % (uintptr_t)element == 0) {
            TSR_TRY(read_elements(r, index, index + whole / element, dst));
        } else {
            whole = tsr_min(BUFFER - skip, n);
            TSR_TRY(read_elements(r, index, index + (skip + whole + element - 1) / element, buffer));
            memcpy(dst, buffer + skip, (size_t)whole);
        }
        offset += whole;
        dst += whole;
        n -= whole;
    }
    return TSR_OK;
}

tsr_status tsr_source_read_made(const tsr_source *s, const tsr_tensor_info *t, int64_t byte_offset, int64_t n,
                                void *dst)
{
    made_read r = {.gather = {.source = s}};
    tsr_arena *arena = NULL;
    void *leaves = NULL;
    tsr_status status = TSR_OK;
    int64_t elements = tsr_view_elements(t->made_of);
    if (n == 0) return TSR_OK;
    TSR_TRY_OUT(tsr_arena_create("reading a tensor", &arena));
    TSR_TRY_OUT(tsr_calloc(t->made_of->leaves, sizeof *r.leaf, "the parts of a tensor", &leaves));
    r.leaf = leaves;
    find_leaves(t->made_of, r.leaf);
    r.gather.as = r.leaf[0]->dtype;
    TSR_TRY_OUT(tsr_view_reshape(arena, t->made_of, 1, &elements, &r.flat));
    TSR_TRY_OUT(read_bytes(&r, t->bytes / elements, byte_offset, n, dst));
out:
    tsr_gather_free(&r.gather);
    tsr_free(leaves);
    tsr_arena_destroy(&arena);
    return status == TSR_OK ? TSR_OK : tsr_fail_in(status, "tensor \"%.200s\"", t->name);
}
