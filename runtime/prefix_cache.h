/* prefix_cache.h: texts that begin alike share the pages of their beginning.
 *
 * Full pages of known tokens are noted in an index (page_index.h), prompts and generated text alike. A request whose
 * prompt begins with noted pages begins behind them: it uses those pages, and computes the rest of the prompt, at the
 * least its last token. Shared pages are never written again. They stay noted when their users have gone, until the
 * pool hands them out for something else: the one unused longest first, and pages before those they build upon, since
 * a request that uses a page uses all that is in front of it.
 *
 *     match    which pages a waiting request could begin with
 *     begin    it is admitted with them, and with room for the rest
 *     advance  its pages that have become certain are noted; before each plan
 *     leave    it goes: the last ones are noted, and its pages given back
 *
 * When a page is certain. Steps run in the order in which they were planned, so what a step writes may be read by steps
 * planned later, but not by those of the same plan: advance() comes before the plan. A token that was computed in
 * vain (scheduler.h) is always the last one generated, and that one never counts. Of a request that gave no numbers
 * nothing stays noted that nobody else uses.
 *
 * Two requests that read the same text at the same time both compute it. The pages of the first to be noted stand for
 * both: the second keeps its own, and uses the others besides, so that what it notes behind them is found as well.
 *
 * What does not share: prompts read in both directions (layers/prefix.h); requests that want a row of every prompt token
 * do not begin behind others' pages, but theirs are noted. Angles that depend on a text's length are part of the key
 * (tsr_rope_regime).
 *
 * The token ids of the shared part, where sampling looks back at them, travel in the step record. Rank 0 only, local,
 * not thread-safe; nothing allocates after create. match, advance and leave take time in proportion to the pages they
 * look at.
 */
#ifndef TSR_RUNTIME_PREFIX_CACHE_H
#define TSR_RUNTIME_PREFIX_CACHE_H

#include "layers/rope.h"
#include "runtime/page_index.h"
#include "runtime/page_pool.h"
#include "runtime/request.h"

#include <stdbool.h>

typedef struct tsr_prefix_cache tsr_prefix_cache;

typedef struct tsr_prefix_cache_options {
    const tsr_step_limits *limits;
    tsr_page_pool *pool;   /* outlives the cache, which is told of lost pages */
    const tsr_rope *ropes; /* [n_ropes] of the model; outlive the cache */
    int64_t n_ropes;
    tsr_page_hash hash; /* NULL but in tests */
} tsr_prefix_cache_options;

tsr_status tsr_prefix_cache_create(const tsr_prefix_cache_options *options, tsr_prefix_cache **out);
void tsr_prefix_cache_destroy(tsr_prefix_cache **cache);

/* Whether the request may begin with shared pages. cache may be NULL. */
bool tsr_prefix_cache_serves(const tsr_prefix_cache *cache, const tsr_request *request);
/* Writes the pages that its prompt begins with, room for n_prompt / TSR_PAGE_TOKENS, and returns their number. */
int32_t tsr_prefix_cache_match(const tsr_prefix_cache *cache, const tsr_request *request, int32_t *pages);
/* The request, in its slot, uses these pages [n], just matched, and sets aside what it lacks of `worst`. False, and
 * nothing changed, if the pool has too few. */
bool tsr_prefix_cache_begin(tsr_prefix_cache *cache, tsr_request *request, const int32_t *pages, int32_t n,
                            int32_t worst);
/* pages: those of its slot. True if pages of its prompt were noted. */
bool tsr_prefix_cache_advance(tsr_prefix_cache *cache, tsr_request *request, const int32_t *pages);
/* pages: [n] of its slot, the shared ones first. request->finish says why it goes. */
void tsr_prefix_cache_leave(tsr_prefix_cache *cache, tsr_request *request, const int32_t *pages, int32_t n);

/* Pages noted, in use or not. */
int32_t tsr_prefix_cache_count(const tsr_prefix_cache *cache);

#endif
