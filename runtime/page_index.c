/* page_index.c: a node for each page, in lists by hash. */
#include "runtime/page_index.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/rng.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

typedef struct node {
    uint64_t hash;
    int64_t regime;
    int32_t parent;
    int32_t next;       /* page + 1 of the next one in the same list, 0: none */
    int32_t n_children; /* in the index */
    bool present;
    int32_t ids[TSR_PAGE_TOKENS];
} node;

struct tsr_page_index {
    node *nodes; /* [n_pages] */
    int32_t n_pages;
    int32_t *lists; /* [mask + 1] page + 1 of the first one, 0: none */
    uint64_t mask;
    int32_t n_present;
    uint64_t root; /* the parent's hash of first pages */
    tsr_page_hash hash;
};

/* One bijection of the state for each pair of ids: texts that differ in one pair alone never collide. */
static uint64_t hash_page(uint64_t parent, int64_t regime, const int32_t *ids)
{
    uint64_t h = tsr_mix64(parent ^ (uint64_t)regime);
    for (int i = 0; i < TSR_PAGE_TOKENS; i += 2)
        h = tsr_mix64(h + ((uint64_t)(uint32_t)ids[i] << 32 | (uint32_t)ids[i + 1]));
    return h;
}

static uint64_t draw_root(void)
{
    uint64_t root;
    if (getrandom(&root, sizeof root, GRND_NONBLOCK) != sizeof root) root = (uint64_t)(tsr_now() * 1e9);
    return root;
}

tsr_status tsr_page_index_create(int32_t n_pages, tsr_page_hash hash, tsr_page_index **out)
{
    tsr_status status;
    void *p;
    int64_t n_lists = 1;
    *out = NULL;
    while (n_lists < n_pages) n_lists *= 2;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_page_index), "the index of pages", &p));
    tsr_page_index *x = p;
    TSR_TRY_OUT(tsr_calloc(n_pages, sizeof *x->nodes, "the index of pages", &p));
    x->nodes = p;
    TSR_TRY_OUT(tsr_calloc(n_lists, sizeof *x->lists, "the index of pages", &p));
    x->lists = p;
    x->n_pages = n_pages;
    x->mask = (uint64_t)n_lists - 1;
    x->root = draw_root();
    x->hash = hash ? hash : hash_page;
    *out = x;
    return TSR_OK;
out:
    tsr_page_index_destroy(&x);
    return status;
}

void tsr_page_index_destroy(tsr_page_index **index)
{
    tsr_page_index *x = *index;
    if (!x) return;
    tsr_free(x->nodes);
    tsr_free(x->lists);
    tsr_free(x);
    *index = NULL;
}

static uint64_t hash_of(const tsr_page_index *x, int32_t parent, int64_t regime, const int32_t *ids)
{
    return x->hash(parent == TSR_NO_PAGE ? x->root : x->nodes[parent].hash, regime, ids);
}

static int32_t find(const tsr_page_index *x, uint64_t hash, int32_t parent, int64_t regime,
                    const int32_t *ids)
{
    for (int32_t at = x->lists[hash & x->mask]; at > 0; at = x->nodes[at - 1].next) {
        const node *n = &x->nodes[at - 1];
        if (n->hash == hash && n->parent == parent && n->regime == regime &&
            memcmp(n->ids, ids, sizeof n->ids) == 0)
            return at - 1;
    }
    return TSR_NO_PAGE;
}

int32_t tsr_page_index_find(const tsr_page_index *x, int32_t parent, int64_t regime, const int32_t *ids)
{
    return find(x, hash_of(x, parent, regime, ids), parent, regime, ids);
}

int32_t tsr_page_index_put(tsr_page_index *x, int32_t page, int32_t parent, int64_t regime,
                           const int32_t *ids)
{
    uint64_t hash = hash_of(x, parent, regime, ids);
    int32_t there = find(x, hash, parent, regime, ids);
    if (there != TSR_NO_PAGE) return there;
    node *n = &x->nodes[page];
    int32_t *list = &x->lists[hash & x->mask];
    assert(page >= 0 && page < x->n_pages && !n->present);
    assert(parent == TSR_NO_PAGE || x->nodes[parent].present);
    *n = (node){.hash = hash, .regime = regime, .parent = parent, .next = *list, .present = true};
    memcpy(n->ids, ids, sizeof n->ids);
    *list = page + 1;
    if (parent != TSR_NO_PAGE) x->nodes[parent].n_children++;
    x->n_present++;
    return page;
}

void tsr_page_index_remove(tsr_page_index *x, int32_t page)
{
    node *n = &x->nodes[page];
    int32_t *at = &x->lists[n->hash & x->mask];
    assert(n->present && n->n_children == 0);
    while (*at != page + 1) at = &x->nodes[*at - 1].next;
    *at = n->next;
    n->present = false;
    if (n->parent != TSR_NO_PAGE) x->nodes[n->parent].n_children--;
    x->n_present--;
}

bool tsr_page_index_has_children(const tsr_page_index *x, int32_t page)
{
    return x->nodes[page].n_children > 0;
}

int32_t tsr_page_index_count(const tsr_page_index *x)
{
    return x->n_present;
}
