/* injected.c: the weights of injected layers, back in the families' own names and layouts. */
#include "base/checked.h"
#include "checkpoint/injected_family.h"

#include <stdio.h>
#include <string.h>

typedef enum weight_role {
    ROLE_QKV,
    ROLE_ATTENTION_OUT,
    ROLE_INTER,
    ROLE_MLP_OUT,
    ROLE_MLP_NORM,
    ROLE_NORM
} weight_role;

static const struct {
    const char *suffix;
    weight_role role;
    bool bias;
} weights[] = {
    {".attention.attn_qkvw", ROLE_QKV, false},
    {".attention.attn_qkvb", ROLE_QKV, true},
    {".attention.attn_ow", ROLE_ATTENTION_OUT, false},
    {".attention.attn_ob", ROLE_ATTENTION_OUT, true},
    {".mlp.inter_w", ROLE_INTER, false},
    {".mlp.inter_b", ROLE_INTER, true},
    {".mlp.output_w", ROLE_MLP_OUT, false},
    {".mlp.output_b", ROLE_MLP_OUT, true},
    {".mlp.attn_nw", ROLE_MLP_NORM, false},
    {".mlp.attn_nb", ROLE_MLP_NORM, true},
    {".norm_w", ROLE_NORM, false},
    {".norm_b", ROLE_NORM, true},
};
enum { WEIGHT_COUNT = sizeof weights / sizeof weights[0] };

int tsr_injected_find(const char *name, size_t *layer)
{
    size_t n = strlen(name);
    for (int i = 0; i < WEIGHT_COUNT; i++) {
        size_t m = strlen(weights[i].suffix);
        if (n <= m || strcmp(name + n - m, weights[i].suffix) != 0) continue;
        *layer = n - m;
        return i;
    }
    return -1;
}

/* --- Putting together --- */

/* One weight of one layer. */
typedef struct joining {
    const tsr_injected *injected;
    tsr_state *out;
    tsr_arena *arena;
    const char *name; /* of the weight */
    size_t layer;     /* bytes of it that are the layer's path */
    bool bias;
    int ranks;
    const tsr_view *const *pieces; /* [ranks] */
    const tsr_view **parts;        /* [3 * ranks], room for a list */
} joining;

static tsr_status bad(const joining *j, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\": %s", j->name, what);
}

/* As LAYER.BASE.weight or .bias; of a matrix that stands [in, out] here. */
static tsr_status add(const joining *j, const char *base, const tsr_view *v)
{
    char name[1280];
    if (!j->injected->family->in_out && tsr_view_rank(v) == 2) TSR_TRY(tsr_view_transpose(j->arena, v, &v));
    snprintf(name, sizeof name, "%.*s.%s.%s", (int)j->layer, j->name, base, j->bias ? "bias" : "weight");
    return tsr_state_add(j->out, name, v);
}

/* The axis of outputs: along it the ranks' pieces of q, k, v and of the first MLP matrix lie. */
static int out_axis(const joining *j)
{
    return j->bias ? 0 : 1;
}

/* Appends numbers begin .. end - 1 of `unit` equal shares of each rank's outputs to j->parts. */
static tsr_status take(const joining *j, int64_t unit, int64_t begin, int64_t end, const tsr_view **parts)
{
    int axis = out_axis(j);
    for (int r = 0; r < j->ranks; r++) {
        int64_t extent = tsr_view_shape(j->pieces[r])[axis];
        if (extent % unit != 0)
            return tsr_fail(TSR_ERR_FORMAT,
                            "tensor \"%.200s\": %lld outputs of rank %d are not %lld equal shares", j->name,
                            (long long)extent, r, (long long)unit);
        extent /= unit;
        TSR_TRY(tsr_view_slice(j->arena, j->pieces[r], axis, begin * extent, end * extent, &parts[r]));
    }
    return TSR_OK;
}

/* Of all ranks, one after the other, along an axis. */
static tsr_status join(const joining *j, const char *base, int axis)
{
    const tsr_view *whole;
    TSR_TRY(tsr_view_concat(j->arena, axis, j->ranks, j->pieces, &whole));
    return add(j, base, whole);
}

/* Each rank has `n` tensors side by side, of which tensor i has from share at[i] to at[i + 1] of its outputs. */
static tsr_status part(const joining *j, int n, const char *const *base, const int64_t *at)
{
    const tsr_view *whole;
    for (int i = 0; i < n; i++) {
        TSR_TRY(take(j, at[n], at[i], at[i + 1], j->parts));
        TSR_TRY(tsr_view_concat(j->arena, out_axis(j), j->ranks, j->parts, &whole));
        TSR_TRY(add(j, base[i], whole));
    }
    return TSR_OK;
}

static tsr_status join_qkv_together(const joining *j)
{
    const tsr_view *whole;
    for (int i = 0; i < 3; i++) TSR_TRY(take(j, 3, i, i + 1, j->parts + (size_t)i * (size_t)j->ranks));
    TSR_TRY(tsr_view_concat(j->arena, out_axis(j), 3 * j->ranks, j->parts, &whole));
    return add(j, j->injected->family->qkv[0], whole);
}

/* [in, 3 * heads * D] to [in, heads * 3 * D] */
static tsr_status interleave(const joining *j, int64_t head_dim, const tsr_view *v, const tsr_view **out)
{
    int rank = tsr_view_rank(v), axis = out_axis(j);
    int64_t shape[2], outputs = tsr_view_shape(v)[axis];
    memcpy(shape, tsr_view_shape(v), (size_t)rank * sizeof *shape);
    if (head_dim == 0 || outputs % (3 * head_dim) != 0) return bad(j, "it does not hold whole heads");
    int64_t heads = outputs / (3 * head_dim);
    if (j->bias) {
        TSR_TRY(tsr_view_reshape(j->arena, v, 3, (int64_t[]){3, heads, head_dim}, &v));
        TSR_TRY(tsr_view_permute(j->arena, v, (int[]){1, 0, 2}, &v));
    } else {
        TSR_TRY(tsr_view_reshape(j->arena, v, 4, (int64_t[]){shape[0], 3, heads, head_dim}, &v));
        TSR_TRY(tsr_view_permute(j->arena, v, (int[]){0, 2, 1, 3}, &v));
    }
    return tsr_view_reshape(j->arena, v, rank, shape, out);
}

static tsr_status join_qkv_by_head(const joining *j)
{
    int axis = out_axis(j);
    int64_t outputs = 0, heads = j->injected->heads;
    const tsr_view *whole;
    for (int r = 0; r < j->ranks; r++)
        if (!tsr_add(outputs, tsr_view_shape(j->pieces[r])[axis], &outputs))
            return bad(j, "too large to exist");
    if (outputs % (3 * heads) != 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "tensor \"%.200s\": %lld outputs of all ranks, which are not q, k and v of "
                        "%lld heads",
                        j->name, (long long)outputs, (long long)heads);
    for (int r = 0; r < j->ranks; r++)
        TSR_TRY(interleave(j, outputs / (3 * heads), j->pieces[r], &j->parts[r]));
    TSR_TRY(tsr_view_concat(j->arena, axis, j->ranks, j->parts, &whole));
    return add(j, j->injected->family->qkv[0], whole);
}

static tsr_status join_qkv(const joining *j)
{
    const tsr_injected_family *f = j->injected->family;
    int64_t share = j->injected->heads / j->injected->kv_heads; /* heads of q to one of k and one of v */
    switch (f->layout) {
    case TSR_QKV_APART:
        return part(j, 3, f->qkv, (int64_t[]){0, share, share + 1, share + 2});
    case TSR_QKV_TOGETHER:
        return join_qkv_together(j);
    case TSR_QKV_BY_HEAD:
        return join_qkv_by_head(j);
    default:
        return join(j, f->qkv[0], out_axis(j));
    }
}

/* Every rank has it; that of the first is taken. */
static tsr_status same(const joining *j, const char *base)
{
    const tsr_view *first = j->pieces[0];
    for (int r = 1; r < j->ranks; r++)
        if (tsr_view_elements(j->pieces[r]) != tsr_view_elements(first))
            return bad(j, "every rank should have the whole of it, but their shapes differ");
    return add(j, base, first);
}

static tsr_status join_weight(const joining *j, weight_role role)
{
    const tsr_injected_family *f = j->injected->family;
    bool no_bias = j->bias && f->plain_norms;
    switch (role) {
    case ROLE_QKV:
        return join_qkv(j);
    case ROLE_ATTENTION_OUT:
        return j->bias ? same(j, f->attention_out) : join(j, f->attention_out, 0);
    case ROLE_INTER:
        if (no_bias) return TSR_OK;
        return f->inter[1] ? part(j, 2, f->inter, (int64_t[]){0, 1, 2}) : join(j, f->inter[0], out_axis(j));
    case ROLE_MLP_OUT:
        if (no_bias) return TSR_OK;
        return j->bias ? same(j, f->mlp_out) : join(j, f->mlp_out, 0);
    case ROLE_MLP_NORM:
        return no_bias || !f->mlp_norm ? TSR_OK : same(j, f->mlp_norm);
    default:
        return no_bias ? TSR_OK : same(j, f->attention_norm);
    }
}

tsr_status tsr_injected_add(const tsr_injected *injected, int which, const char *name, int ranks,
                            const tsr_view *const *pieces, tsr_state *out)
{
    void *parts;
    weight_role role = weights[which].role;
    bool matrix = !weights[which].bias && role != ROLE_MLP_NORM && role != ROLE_NORM;
    joining j = {.injected = injected,
                 .out = out,
                 .arena = out->source->arena,
                 .name = name,
                 .layer = strlen(name) - strlen(weights[which].suffix),
                 .bias = weights[which].bias,
                 .ranks = ranks,
                 .pieces = pieces};
    for (int r = 0; r < ranks; r++)
        if (tsr_view_rank(pieces[r]) != (matrix ? 2 : 1))
            return bad(&j, matrix ? "expected a matrix" : "expected a vector");
    TSR_TRY(tsr_calloc(3 * (int64_t)ranks, sizeof *j.parts, "pieces of a tensor", &parts));
    j.parts = parts;
    tsr_status status = join_weight(&j, role);
    tsr_free(parts);
    if (status == TSR_OK || strstr(tsr_error_text(), name)) return status;
    return tsr_fail_in(status, "tensor \"%.200s\"", name);
}
