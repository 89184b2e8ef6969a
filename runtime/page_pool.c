/* page_pool.c: a stack of page numbers given back, and a count of users beside each page.
 *
 * Pages never used yet are handed out in order by a counter, so that a large pool costs no memory for what it
 * does not use.
 */
#include "runtime/page_pool.h"

#include "base/memory.h"

#include <assert.h>

struct tsr_page_pool {
    int32_t n_pages, n_free, n_reserved; /* n_reserved of the free ones are promised */
    int32_t n_fresh;                     /* pages from this one on were never used */
    int32_t *returned;                   /* [n_returned] of [n_pages], a stack */
    int32_t n_returned;
    int32_t *users; /* [n_pages] 0: free */
};

tsr_status tsr_page_pool_create(int32_t n_pages, tsr_page_pool **out)
{
    tsr_status status;
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_page_pool), "the page pool", &p));
    tsr_page_pool *pool = p;
    TSR_TRY_OUT(tsr_calloc(n_pages, sizeof *pool->returned, "the page pool", &p));
    pool->returned = p;
    TSR_TRY_OUT(tsr_calloc(n_pages, sizeof *pool->users, "the page pool", &p));
    pool->users = p;
    pool->n_pages = pool->n_free = n_pages;
    *out = pool;
    return TSR_OK;
out:
    tsr_page_pool_destroy(&pool);
    return status;
}

void tsr_page_pool_destroy(tsr_page_pool **pool)
{
    if (!*pool) return;
    tsr_free((*pool)->returned);
    tsr_free((*pool)->users);
    tsr_free(*pool);
    *pool = NULL;
}

bool tsr_page_pool_reserve(tsr_page_pool *pool, int32_t n)
{
    assert(n >= 0);
    if (n > pool->n_free - pool->n_reserved) return false;
    pool->n_reserved += n;
    return true;
}

void tsr_page_pool_unreserve(tsr_page_pool *pool, int32_t n)
{
    assert(n >= 0 && n <= pool->n_reserved);
    pool->n_reserved -= n;
}

void tsr_page_pool_take(tsr_page_pool *pool, int32_t n, int32_t *pages)
{
    tsr_page_pool_unreserve(pool, n);
    pool->n_free -= n;
    for (int32_t i = 0; i < n; i++) {
        pages[i] = pool->n_returned > 0 ? pool->returned[--pool->n_returned] : pool->n_fresh++;
        pool->users[pages[i]] = 1;
    }
}

void tsr_page_pool_retain(tsr_page_pool *pool, int32_t page)
{
    assert(page >= 0 && page < pool->n_pages && pool->users[page] > 0);
    pool->users[page]++;
}

/* Backwards, so that the first page of a sequence is the first to be handed out again. */
void tsr_page_pool_release(tsr_page_pool *pool, const int32_t *pages, int32_t n)
{
    for (int32_t i = n - 1; i >= 0; i--) {
        assert(pages[i] >= 0 && pages[i] < pool->n_pages && pool->users[pages[i]] > 0);
        if (--pool->users[pages[i]] > 0) continue;
        pool->returned[pool->n_returned++] = pages[i];
        pool->n_free++;
    }
}

int32_t tsr_page_pool_total(const tsr_page_pool *pool)
{
    return pool->n_pages;
}

int32_t tsr_page_pool_used(const tsr_page_pool *pool)
{
    return pool->n_pages - pool->n_free;
}

int32_t tsr_page_pool_touched(const tsr_page_pool *pool)
{
    return pool->n_fresh;
}

int32_t tsr_page_pool_reserved(const tsr_page_pool *pool)
{
    return pool->n_reserved;
}

int32_t tsr_page_pool_available(const tsr_page_pool *pool)
{
    return pool->n_free - pool->n_reserved;
}
