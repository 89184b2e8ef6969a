/* sum.c: sums of tensors, computed block by block while they are read. */
#include "checkpoint/sum.h"
#include "base/checked.h"
#include "checkpoint/shape.h"
#include "checkpoint/state.h"

#include <string.h>

enum { BLOCK = 512 }; /* elements */

/* The view as a tensor that nobody lists. */
static tsr_status describe(const tsr_view *v, const char *name, tsr_tensor_info *out)
{
    *out = (tsr_tensor_info){.name = name, .rank = v->rank, .made_of = v};
    memcpy(out->shape, v->shape, sizeof out->shape);
    TSR_TRY(tsr_view_stored_dtype(v, name, &out->dtype, &out->dtype_label));
    const tsr_view *leaf = v;
    while (leaf->kind != TSR_VIEW_TENSOR) leaf = leaf->kind == TSR_VIEW_CONCAT ? leaf->part[0] : leaf->child;
    out->file = leaf->stored->file;
    if (out->dtype != TSR_F32 && out->dtype != TSR_F16 && out->dtype != TSR_BF16)
        return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\": %s cannot be added up, expected F32, F16 or BF16",
                        name, out->dtype_label);
    if (tsr_mul(v->elements, tsr_dtype_bytes(out->dtype), &out->bytes)) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\" is too large to exist", name);
}

tsr_status tsr_sum_view(tsr_source *source, const char *name, int n, const tsr_view *const *parts, bool mean,
                        const tsr_view **out)
{
    const tsr_tensor_info *kept;
    void *p, *sum;
    TSR_TRY(tsr_arena_strdup(source->arena, name, &name));
    TSR_TRY(tsr_arena_alloc(source->arena, n * (int64_t)sizeof *kept, &p));
    TSR_TRY(tsr_arena_alloc(source->arena, sizeof(tsr_sum), &sum));
    tsr_tensor_info *part = p, whole;
    for (int i = 0; i < n; i++) {
        TSR_TRY(describe(parts[i], name, &part[i]));
        if (part[i].dtype != part[0].dtype ||
            !tsr_shape_equal(part[i].rank, part[i].shape, part[0].rank, part[0].shape))
            return tsr_fail(TSR_ERR_FORMAT,
                            "tensor \"%.200s\": its pieces are of different shapes or number formats", name);
    }
    *(tsr_sum *)sum = (tsr_sum){.n = n, .part = part, .mean = mean};
    whole = part[0];
    whole.made_of = NULL;
    whole.sum_of = sum;
    TSR_TRY(tsr_source_keep(source, &whole, &kept));
    return tsr_view_stored(source->arena, kept, out);
}

/* Elements [at, at + n), n <= BLOCK, in the parts' number format. */
static tsr_status add_up(const tsr_source *s, const tsr_tensor_info *t, int64_t at, int n, void *out)
{
    float value[BLOCK];
    double total[BLOCK] = {0};
    _Alignas(8) char raw[BLOCK * sizeof(float)];
    const tsr_sum *sum = t->sum_of;
    int64_t element = tsr_dtype_bytes(t->dtype);
    for (int p = 0; p < sum->n; p++) {
        TSR_TRY(tsr_source_read(s, &sum->part[p], at * element, n * element, raw));
        tsr_to_f32(t->dtype, raw, value, n);
        for (int i = 0; i < n; i++) total[i] += value[i];
    }
    for (int i = 0; i < n; i++) value[i] = (float)(sum->mean ? total[i] / sum->n : total[i]);
    tsr_from_f32(t->dtype, value, out, n);
    return TSR_OK;
}

tsr_status tsr_sum_read(const tsr_source *s, const tsr_tensor_info *t, int64_t byte_offset, int64_t n,
                        void *dst)
{
    _Alignas(8) char block[BLOCK * sizeof(float)];
    char *to = dst;
    int64_t element = tsr_dtype_bytes(t->dtype);
    while (n > 0) {
        int64_t at = byte_offset / element, skip = byte_offset % element;
        int count = (int)tsr_min(BLOCK, (skip + n + element - 1) / element);
        int64_t bytes = tsr_min(n, count * element - skip);
        TSR_TRY(add_up(s, t, at, count, block));
        memcpy(to, block + skip, (size_t)bytes);
        byte_offset += bytes;
        to += bytes;
        n -= bytes;
    }
    return TSR_OK;
}
