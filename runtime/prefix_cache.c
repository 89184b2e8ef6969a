/* prefix_cache.c: which pages of a request are shared, noted and held. */
#include "runtime/prefix_cache.h"

#include "base/checked.h"
#include "base/memory.h"

#include <string.h>

struct tsr_prefix_cache {
    tsr_page_pool *pool;
    tsr_page_index *index;
    const tsr_rope *ropes;
    int64_t n_ropes;
    int32_t *
        chains; /* [max_sequences][pages_per_slot] what stands in the index for the first pages of each slot */
    int32_t pages_per_slot;
};

static void forget_page(void *cache, int32_t page)
{
    tsr_page_index_remove(((tsr_prefix_cache *)cache)->index, page);
}

tsr_status tsr_prefix_cache_create(const tsr_prefix_cache_options *o, tsr_prefix_cache **out)
{
    tsr_status status;
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_prefix_cache), "the prefix cache", &p));
    tsr_prefix_cache *c = p;
    c->pages_per_slot = tsr_pages_for(o->limits->max_context);
    TSR_TRY_OUT(tsr_calloc((int64_t)o->limits->max_sequences * c->pages_per_slot, sizeof *c->chains,
                           "the prefix cache", &p));
    c->chains = p;
    TSR_TRY_OUT(tsr_page_index_create(o->limits->n_pages, o->hash, &c->index));
    c->pool = o->pool;
    c->ropes = o->ropes;
    c->n_ropes = o->n_ropes;
    tsr_page_pool_on_lost(c->pool, forget_page, c);
    *out = c;
    return TSR_OK;
out:
    tsr_prefix_cache_destroy(&c);
    return status;
}

void tsr_prefix_cache_destroy(tsr_prefix_cache **cache)
{
    tsr_prefix_cache *c = *cache;
    if (!c) return;
    if (c->pool) tsr_page_pool_on_lost(c->pool, NULL, NULL);
    tsr_page_index_destroy(&c->index);
    tsr_free(c->chains);
    tsr_free(c);
    *cache = NULL;
}

/* ---- Beginning behind others' pages ---- */

static bool reads_both_ways(const tsr_request *r)
{
    return r->spec.prefix_length > 0 || r->spec.mask_position > 0;
}

/* TSR_NO_REGIME if its tokens have none in common; those of a prompt always have, where there is one. */
static int64_t regime_of_page(const tsr_prefix_cache *c, const tsr_request *r, int32_t i)
{
    int64_t first = (int64_t)i * TSR_PAGE_TOKENS, last = first + TSR_PAGE_TOKENS - 1;
    int64_t regime = tsr_rope_regime(c->ropes, c->n_ropes, first, r->spec.n_prompt);
    return regime == tsr_rope_regime(c->ropes, c->n_ropes, last, r->spec.n_prompt) ? regime : TSR_NO_REGIME;
}

bool tsr_prefix_cache_serves(const tsr_prefix_cache *c, const tsr_request *r)
{
    return c && !r->spec.prompt_logprobs && r->spec.outputs != TSR_OUTPUTS_EVERY && !reads_both_ways(r);
}

int32_t tsr_prefix_cache_match(const tsr_prefix_cache *c, const tsr_request *r, int32_t *pages)
{
    int32_t n = 0, most = (r->spec.n_prompt - 1) / TSR_PAGE_TOKENS, page = TSR_NO_PAGE;
    if (most == 0 || !tsr_prefix_cache_serves(c, r)) return 0;
    int64_t regime = regime_of_page(c, r, 0);
    if (regime == TSR_NO_REGIME) return 0;
    for (; n < most; n++) {
        page = tsr_page_index_find(c->index, page, regime, r->spec.prompt + (int64_t)n * TSR_PAGE_TOKENS);
        if (page == TSR_NO_PAGE) break;
        pages[n] = page;
    }
    return n;
}

static int32_t *chain_of(const tsr_prefix_cache *c, const tsr_request *r)
{
    return c->chains + (int64_t)r->slot * c->pages_per_slot;
}

bool tsr_prefix_cache_begin(tsr_prefix_cache *c, tsr_request *r, const int32_t *pages, int32_t n,
                            int32_t worst)
{
    int32_t unused = 0;
    for (int32_t i = 0; i < n; i++) unused += tsr_page_pool_users(c->pool, pages[i]) == 0;
    if (!tsr_page_pool_reserve(c->pool, worst - n + unused)) return false;
    for (int32_t i = 0; i < n; i++) tsr_page_pool_retain(c->pool, pages[i]);
    memcpy(chain_of(c, r), pages, (size_t)n * sizeof *pages);
    r->reserved = worst - n;
    r->n_shared = r->n_noted = n;
    r->notes_no_more = reads_both_ways(r);
    return true;
}

/* ---- Noting ---- */

/* Another request's page is used besides the own one of the same content. */
static bool hold(tsr_prefix_cache *c, int32_t page)
{
    if (tsr_page_pool_users(c->pool, page) == 0 && !tsr_page_pool_reserve(c->pool, 1)) return false;
    tsr_page_pool_retain(c->pool, page);
    return true;
}

static void copy_ids(const tsr_request *r, int32_t from, int32_t *ids)
{
    for (int32_t i = 0; i < TSR_PAGE_TOKENS; i++) {
        int32_t made = from + i - r->spec.n_prompt;
        ids[i] = made < 0 ? r->spec.prompt[from + i] : r->generated[made];
    }
}

/* The request's page number n_noted, full of known tokens. */
static void note_page(tsr_prefix_cache *c, tsr_request *r, int32_t page)
{
    int32_t ids[TSR_PAGE_TOKENS], n = r->n_noted, *chain = chain_of(c, r);
    int64_t regime = regime_of_page(c, r, n);
    r->notes_no_more = true;
    if (regime == TSR_NO_REGIME) return;
    copy_ids(r, n * TSR_PAGE_TOKENS, ids);
    int32_t there = tsr_page_index_put(c->index, page, n > 0 ? chain[n - 1] : TSR_NO_PAGE, regime, ids);
    if (there == page)
        tsr_page_pool_keep(c->pool, page, true);
    else if (!hold(c, there))
        return;
    chain[r->n_noted++] = there;
    r->notes_no_more = false;
}

bool tsr_prefix_cache_advance(tsr_prefix_cache *c, tsr_request *r, const int32_t *pages)
{
    int32_t before = r->n_noted;
    int64_t known = r->spec.n_prompt + tsr_max(r->n_generated - 1, 0),
            certain = tsr_min(r->n_computed, known);
    while (!r->notes_no_more && ((int64_t)r->n_noted + 1) * TSR_PAGE_TOKENS <= certain)
        note_page(c, r, pages[r->n_noted]);
    return r->n_noted > before && before < r->spec.n_prompt / TSR_PAGE_TOKENS;
}

/* ---- Going ---- */

static void forget(tsr_prefix_cache *c, const tsr_request *r)
{
    const int32_t *chain = chain_of(c, r);
    for (int32_t i = r->n_noted - 1; i >= 0; i--) {
        if (tsr_page_pool_users(c->pool, chain[i]) > 1 || tsr_page_index_has_children(c->index, chain[i]))
            return;
        tsr_page_index_remove(c->index, chain[i]);
        tsr_page_pool_keep(c->pool, chain[i], false);
    }
}

/* From the end on, pages held besides each in its place: so none is unused longer than those that build upon it. */
void tsr_prefix_cache_leave(tsr_prefix_cache *c, tsr_request *r, const int32_t *pages, int32_t n)
{
    const int32_t *chain = chain_of(c, r);
    if (r->finish == TSR_FINISH_ERROR)
        forget(c, r);
    else
        tsr_prefix_cache_advance(c, r, pages);
    for (int32_t i = n - 1; i >= 0; i--) {
        tsr_page_pool_release(c->pool, &pages[i], 1);
        if (i < r->n_noted && chain[i] != pages[i]) tsr_page_pool_release(c->pool, &chain[i], 1);
    }
}

int32_t tsr_prefix_cache_count(const tsr_prefix_cache *c)
{
    return tsr_page_index_count(c->index);
}
