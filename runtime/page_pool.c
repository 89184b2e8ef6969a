/* page_pool.c: a stack of page numbers given back, a queue of those that are kept, and what is known of each page.
 *
 * Pages never used yet are handed out in order by a counter, so that a large pool costs no memory for what it
 * does not use.
 */
#include "runtime/page_pool.h"

#include "base/memory.h"

#include <assert.h>

typedef struct page_state {
    int32_t users; /* 0: free */
    bool kept;
    int32_t older, newer; /* page + 1 of its neighbours in the queue, 0: none */
} page_state;

struct tsr_page_pool {
    int32_t n_pages, n_free, n_reserved; /* n_reserved of the free ones are promised */
    int32_t n_fresh;                     /* pages from this one on were never used */
    int32_t *returned;                   /* [n_returned] of [n_pages], a stack */
    int32_t n_returned;
    page_state *pages;      /* [n_pages] */
    int32_t oldest, newest; /* page + 1, of the queue of kept pages without users */
    tsr_page_lost lost;
    void *ctx;
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
    TSR_TRY_OUT(tsr_calloc(n_pages, sizeof *pool->pages, "the page pool", &p));
    pool->pages = p;
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
    tsr_free((*pool)->pages);
    tsr_free(*pool);
    *pool = NULL;
}

/* ---- The queue ---- */

static void enqueue(tsr_page_pool *pool, int32_t page)
{
    page_state *p = &pool->pages[page];
    p->older = pool->newest;
    p->newer = 0;
    *(pool->newest ? &pool->pages[pool->newest - 1].newer : &pool->oldest) = page + 1;
    pool->newest = page + 1;
}

static void dequeue(tsr_page_pool *pool, int32_t page)
{
    const page_state *p = &pool->pages[page];
    *(p->older ? &pool->pages[p->older - 1].newer : &pool->oldest) = p->newer;
    *(p->newer ? &pool->pages[p->newer - 1].older : &pool->newest) = p->older;
}

/* ---- Taking and giving back ---- */

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

static int32_t next_free(tsr_page_pool *pool)
{
    if (pool->n_returned > 0) return pool->returned[--pool->n_returned];
    if (pool->n_fresh < pool->n_pages) return pool->n_fresh++;
    int32_t page = pool->oldest - 1;
    assert(page >= 0);
    dequeue(pool, page);
    pool->pages[page].kept = false;
    if (pool->lost) pool->lost(pool->ctx, page);
    return page;
}

void tsr_page_pool_take(tsr_page_pool *pool, int32_t n, int32_t *pages)
{
    tsr_page_pool_unreserve(pool, n);
    pool->n_free -= n;
    for (int32_t i = 0; i < n; i++) {
        pages[i] = next_free(pool);
        pool->pages[pages[i]].users = 1;
    }
}

void tsr_page_pool_retain(tsr_page_pool *pool, int32_t page)
{
    assert(page >= 0 && page < pool->n_pages);
    page_state *p = &pool->pages[page];
    if (p->users++ > 0) return;
    assert(p->kept);
    dequeue(pool, page);
    tsr_page_pool_unreserve(pool, 1);
    pool->n_free--;
}

/* Backwards also so that the first page of a sequence is the first to be handed out again. */
void tsr_page_pool_release(tsr_page_pool *pool, const int32_t *pages, int32_t n)
{
    for (int32_t i = n - 1; i >= 0; i--) {
        assert(pages[i] >= 0 && pages[i] < pool->n_pages && pool->pages[pages[i]].users > 0);
        page_state *p = &pool->pages[pages[i]];
        if (--p->users > 0) continue;
        if (p->kept)
            enqueue(pool, pages[i]);
        else
            pool->returned[pool->n_returned++] = pages[i];
        pool->n_free++;
    }
}

void tsr_page_pool_keep(tsr_page_pool *pool, int32_t page, bool kept)
{
    assert(pool->pages[page].users > 0);
    pool->pages[page].kept = kept;
}

void tsr_page_pool_on_lost(tsr_page_pool *pool, tsr_page_lost lost, void *ctx)
{
    pool->lost = lost;
    pool->ctx = ctx;
}

/* ---- Asking ---- */

int32_t tsr_page_pool_users(const tsr_page_pool *pool, int32_t page)
{
    return pool->pages[page].users;
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
