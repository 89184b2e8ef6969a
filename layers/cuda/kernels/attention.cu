/* attention.cu: which kernels do an attention call (attention.cuh lists them), and what workspace they need. */
#include "layers/cuda/kernels/attention.cuh"
#include "layers/cuda/kernels.h"

#include <limits.h>

static bool in_vectors(const tsr_cuda_operand *v)
{
    int64_t size = tsr_dtype_bytes(v->dtype);
    return (uintptr_t)v->data % 16 == 0 && v->ld * size % 16 == 0;
}

static bool is_fast_size(int dim)
{
#define TSR_IS_SIZE(D) dim == D ||
    return TSR_ATTENTION_SIZES(TSR_IS_SIZE) false;
#undef TSR_IS_SIZE
}

bool tsr_attention_is_fast(const tsr_cuda_call *call)
{
    const tsr_cache_data *cache = call->cache;
    if (cache->dtype != TSR_F16 && cache->dtype != TSR_BF16) return false;
    if (cache->head_dim != cache->value_dim || !is_fast_size(cache->head_dim)) return false;
    if (cache->page_tokens != TSR_PAGE_TOKENS || call->attrs.attention.scale <= 0) return false;
    return in_vectors(&call->in[0]) && in_vectors(&call->in[1]) && in_vectors(&call->in[2]) &&
           in_vectors(&call->out[0]) && (uintptr_t)cache->k % 16 == 0 && (uintptr_t)cache->v % 16 == 0;
}

/* Slopes are powers of 2 in equal steps: those of the largest power of 2 of heads, then halfway between them. */
static void set_biases(const tsr_attrs *attrs, tsr_attention_work *w)
{
    const auto *a = &attrs->attention;
    int n = 1;
    while (n <= a->model_heads / 2) n *= 2;
    w->alibi = a->alibi * TSR_LOG2_E;
    w->alibi_bf16 = a->alibi_bf16;
    w->slope_heads = n;
    w->slope_step = a->alibi_max / (float)n;
}

static tsr_attention_work work_of(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *q = &call->in[0], *k = &call->in[1], *v = &call->in[2], *out = &call->out[0];
    const tsr_cache_data *cache = call->cache;
    const auto *a = &call->attrs.attention;
    tsr_attention_work w = {};
    w.q = q->data, w.k = k->data, w.v = v->data, w.out = out->data;
    w.q_ld = q->ld, w.k_ld = k->ld, w.v_ld = v->ld, w.out_ld = out->ld;
    w.cache_k = cache->k, w.cache_v = cache->v;
    w.counts = step->counts, w.sequences = step->sequences;
    w.sequence = step->sequence, w.pages = step->pages;
    w.rotary_dim = a->rotary_dim;
    w.rope = a->rotary_dim > 0 ? step->rope[a->rope] : NULL;
    w.interleaved = a->style == TSR_ROPE_INTERLEAVED;
    w.heads = a->heads, w.kv_heads = cache->kv_heads;
    w.head_dim = cache->head_dim, w.value_dim = cache->value_dim, w.page_tokens = cache->page_tokens;
    w.group = a->group, w.first_head = a->first_head, w.first_kv = a->first_kv;
    w.scale = a->scale * TSR_LOG2_E;
    w.window = a->window > INT32_MAX ? 0 : (int32_t)a->window;
    set_biases(&call->attrs, &w);
    w.partial = (float *)call->workspace;
    w.most_splits = 1;
    return w;
}

int64_t tsr_cuda_attention_workspace_bytes(const tsr_cuda_call *call, int64_t tokens, int64_t rows,
                                           int n_processors)
{
    (void)rows;
    int heads = call->attrs.attention.heads, kv_heads = call->cache->kv_heads;
    int per_kv = tsr_attention_heads_per_kv(heads, call->attrs.attention.group);
    int64_t most = 0, each = (int64_t)heads * (call->cache->value_dim + TSR_PARTIAL_HEAD) * (int64_t)sizeof(float);
    if (!tsr_attention_is_fast(call)) return 0;
    for (int64_t sequences = 1; sequences <= tokens; sequences++) {
        int splits = tsr_attention_most_splits(kv_heads, per_kv, (int)sequences, n_processors);
        if (splits == 1) break; /* the more sequences, the fewer splits */
        if (most < sequences * splits * each) most = sequences * splits * each;
    }
    return most;
}

tsr_status tsr_cuda_attention(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    tsr_dtype dtype = call->out[0].dtype;
    if (step->bound_tokens == 0) return TSR_OK;
    if (call->cache->dtype != dtype)
        return tsr_fail(TSR_ERR_INTERNAL, "attention: values are %s and its cache %s", tsr_dtype_name(dtype),
                        tsr_dtype_name(call->cache->dtype));
    tsr_attention_work w = work_of(call, step);
    if (step->plain || !tsr_attention_is_fast(call)) {
        TSR_TRY(tsr_attention_append(&w, dtype, step));
        return tsr_attention_simple(&w, dtype, step);
    }
    int per_kv = tsr_attention_heads_per_kv(w.heads, w.group);
    w.most_splits = tsr_attention_most_splits(w.kv_heads, per_kv, step->bound_sequences, step->n_processors);
    w.append = step->decode;
    if (step->decode) return tsr_attention_decode(&w, dtype, step);
    TSR_TRY(tsr_attention_append(&w, dtype, step));
    w.skip_singles = step->bound_sequences > 1;
    if (w.skip_singles) TSR_TRY(tsr_attention_decode(&w, dtype, step));
    if (tsr_attention_has_wgmma(w.head_dim)) return tsr_attention_wgmma(&w, dtype, step);
    return tsr_attention_prefill(&w, dtype, step);
}
