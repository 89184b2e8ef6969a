/* attention.h: the parts of the attention kernel. attention.c appends to the cache and deals out work; a
 * piece of work is some query tokens of one sequence times some query heads that share a kv head.
 * attention_decode.c does single tokens that were chosen one by one, attention_prefill.c those of prompts; attention_amx.c the latter
 * over a bf16 cache.
 *
 * Both walk the keys once, in tiles that lie within a page, with the running maximum m and sum l of each
 * query row: m' = max(m, max_j s_j),  p_j = e^(s_j - m'),  l = l e^(m - m') + sum p_j,  o = o e^(m - m') +
 * sum p_j v_j and out = o / l at the end; s_j = scale q.k_j plus the ALiBi bias (layers/alibi.h), for keys that are
 * visible from the token's position.
 */
#ifndef TSR_LAYERS_CPU_KERNELS_ATTENTION_H
#define TSR_LAYERS_CPU_KERNELS_ATTENTION_H

#include "layers/alibi.h"
#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/vmath.h"

#include <math.h>

enum { TSR_KEY_TILE = 32, TSR_QUERY_ROWS = 64 };

/* Where a running maximum begins: below every score, and e^(-infinity - this) is 0, not NaN. */
#define TSR_LOWEST_SCORE (-1e30f)

typedef struct tsr_attention_piece {
    const tsr_step_sequence *sequence;
    int32_t token, n_tokens; /* query tokens, counted within the sequence's part of this step */
    int head, n_heads;       /* local query heads */
    int kv_head;             /* local */
} tsr_attention_piece;

void TSR_LOCAL(tsr_attention_decode)(const tsr_call *call, const tsr_attention_piece *piece, float *scratch);
void TSR_LOCAL(tsr_attention_prefill)(const tsr_call *call, const tsr_attention_piece *piece, float *scratch);
/* Rows (tokens x heads) that a piece for tsr_attention_prefill may have: 0 if the heads are too wide for its
 * scratch. */
int TSR_LOCAL(tsr_attention_prefill_rows)(const tsr_call *call);

#ifdef TSR_ISA_amx
/* As prefill, over a bf16 cache; rows: likewise, 0 for other caches too. */
void TSR_LOCAL(tsr_attention_amx)(const tsr_call *call, const tsr_attention_piece *piece, float *scratch);
int TSR_LOCAL(tsr_attention_amx_rows)(const tsr_call *call);
#endif

/* The first visible position and the one behind the last, seen from `position`. */
static inline int64_t tsr_first_visible(const tsr_call *call, int64_t position)
{
    return call->attrs.attention.window > 0 ? tsr_max(0, position - call->attrs.attention.window + 1) : 0;
}

/* The position behind the last that the token at `position` sees. */
static inline int64_t tsr_visible_end(const tsr_step_sequence *s, int64_t position)
{
    return tsr_max(position + 1, s->prefix);
}

/* Keys position .. position + n - 1 of one kv head, all in one page; k and v point at the first of them. */
typedef struct tsr_key_tile {
    int64_t position;
    int n;
    const void *k, *v;
} tsr_key_tile;

/* The element offset of (position, kv head) in pages, in units of one head's vector. */
static inline int64_t tsr_cache_slot(const tsr_cache_data *cache, const int32_t *pages, int64_t position,
                                     int kv_head)
{
    int64_t page = pages[position / cache->page_tokens];
    return (page * cache->kv_heads + kv_head) * cache->page_tokens + position % cache->page_tokens;
}

/* The tile that begins at `position` and ends before `end`, at the page's end or after TSR_KEY_TILE keys. */
static inline tsr_key_tile tsr_key_tile_at(const tsr_call *call, const tsr_attention_piece *piece,
                                           int64_t position, int64_t end)
{
    const tsr_cache_data *cache = call->cache;
    int64_t left = cache->page_tokens - position % cache->page_tokens;
    int64_t slot = tsr_cache_slot(cache, piece->sequence->pages, position, piece->kv_head);
    int64_t size = tsr_dtype_bytes(cache->dtype);
    return (tsr_key_tile){
        .position = position,
        .n = (int)tsr_min(tsr_min(left, end - position), TSR_KEY_TILE),
        .k = (const char *)cache->k + slot * cache->head_dim * size,
        .v = (const char *)cache->v + slot * cache->value_dim * size,
    };
}

/* s[j] += times * bias of key first + j for the query at `position`, j = 0 .. n - 1 */
static inline void tsr_add_biases(const tsr_call *call, float slope, float times, int64_t position,
                                  int64_t first, int64_t n, float *s)
{
    if (call->attrs.attention.alibi_bf16) {
        for (int64_t j = 0; j < n; j++)
            s[j] += times * tsr_alibi_bias(&call->attrs, slope, position, first + j);
        return;
    }
    float step = times * call->attrs.attention.alibi * slope;
    int32_t away = (int32_t)(first - position);
    for (int32_t j = 0; j < (int32_t)n; j++) s[j] += step * (float)(away + j);
}

#endif
