/* page_pool.h: which pages of the KV cache are in use.
 *
 * A pool hands out page numbers 0 .. n - 1. Memory is promised before it is used: reserve() sets a worst case
 * aside, all or nothing, and take() draws single pages from that reservation, so that a sequence that was
 * admitted can always go on. Each page counts its users, sequences that share it: retain() adds one, release() takes
 * one away, and the last release makes the page free. Releasing a free page is a bug of ours and asserts.
 *
 * Of the free pages, those most recently given back are handed out first: memory that was never needed is never
 * touched. But pages marked by keep() hold what may be wanted again: they are handed out last of all, the one that has
 * been free longest first, and then the function of on_lost() hears of it. Until then they count as free, and retain()
 * makes them used again.
 *
 * Rank 0 only, local, not thread-safe. No function allocates after create.
 */
#ifndef TSR_RUNTIME_PAGE_POOL_H
#define TSR_RUNTIME_PAGE_POOL_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_page_pool tsr_page_pool;

tsr_status tsr_page_pool_create(int32_t n_pages, tsr_page_pool **out);
void tsr_page_pool_destroy(tsr_page_pool **pool);

/* Sets n pages aside; false, and nothing changed, if fewer are free and not reserved. */
bool tsr_page_pool_reserve(tsr_page_pool *pool, int32_t n);
/* Gives back the part of a reservation that was not taken. */
void tsr_page_pool_unreserve(tsr_page_pool *pool, int32_t n);
/* Draws n pages from what is reserved, each with one user. */
void tsr_page_pool_take(tsr_page_pool *pool, int32_t n, int32_t *pages);
/* Adds a user to a page that has one, or to a kept page without, which is drawn from what is reserved. */
void tsr_page_pool_retain(tsr_page_pool *pool, int32_t page);
/* Takes a user from each, the last page first: of kept pages, those at the end are lost before those at the beginning. */
void tsr_page_pool_release(tsr_page_pool *pool, const int32_t *pages, int32_t n);

/* Of a page with users: whether it is kept when they have gone. Pages handed out are not. */
void tsr_page_pool_keep(tsr_page_pool *pool, int32_t page, bool kept);
/* What hears of a kept page before it is handed out anew. */
typedef void (*tsr_page_lost)(void *ctx, int32_t page);
void tsr_page_pool_on_lost(tsr_page_pool *pool, tsr_page_lost lost, void *ctx);

int32_t tsr_page_pool_users(const tsr_page_pool *pool, int32_t page);
int32_t tsr_page_pool_total(const tsr_page_pool *pool);
int32_t tsr_page_pool_used(const tsr_page_pool *pool);      /* taken, at least one user */
int32_t tsr_page_pool_reserved(const tsr_page_pool *pool);  /* promised, not taken yet */
int32_t tsr_page_pool_available(const tsr_page_pool *pool); /* total - used - reserved */
int32_t tsr_page_pool_touched(const tsr_page_pool *pool);   /* taken at any time: those that have memory */

#endif
