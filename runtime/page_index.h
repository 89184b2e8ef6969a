/* page_index.h: full pages of keys and values, found again by what they hold.
 *
 * What a page holds follows from its TSR_PAGE_TOKENS token ids, everything in front of them, and the angles their
 * positions were turned by. Everything in front is the parent: the page before it in its text, itself in the index, or
 * TSR_NO_PAGE for the first page of a text. The angles are the regime, a number of the caller's (tsr_rope_regime in
 * layers/rope.h). So a page is (parent, regime, ids), and a text a chain of pages.
 *
 * Found by hash: that of a page is made of the parent's, the regime and the ids, so that no page is hashed twice. A hash
 * only says where to look: parent, regime and ids are compared, so pages whose hashes collide are never mixed up. The
 * hash of the first page begins with a random number, so that nobody can choose texts that all fall into one place.
 *
 * A page whose children are in the index stays there until they have gone. Rank 0 only, local, not thread-safe. No
 * function allocates after create; memory is touched as pages are first put in.
 */
#ifndef TSR_RUNTIME_PAGE_INDEX_H
#define TSR_RUNTIME_PAGE_INDEX_H

#include "base/status.h"
#include "layers/kernel.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_NO_PAGE = -1 };

typedef struct tsr_page_index tsr_page_index;

/* The hash of a page below one of hash `parent`; ids: [TSR_PAGE_TOKENS]. */
typedef uint64_t (*tsr_page_hash)(uint64_t parent, int64_t regime, const int32_t *ids);

/* Of pages 0 .. n_pages - 1. hash: NULL but in tests. */
tsr_status tsr_page_index_create(int32_t n_pages, tsr_page_hash hash, tsr_page_index **out);
void tsr_page_index_destroy(tsr_page_index **index);

/* The page that holds this, or TSR_NO_PAGE. */
int32_t tsr_page_index_find(const tsr_page_index *index, int32_t parent, int64_t regime, const int32_t *ids);
/* The page that holds this; if there is none, `page`, which is in the index from now on and must not have been. */
int32_t tsr_page_index_put(tsr_page_index *index, int32_t page, int32_t parent, int64_t regime,
                           const int32_t *ids);
/* Must be in the index, without children. */
void tsr_page_index_remove(tsr_page_index *index, int32_t page);

bool tsr_page_index_has_children(const tsr_page_index *index, int32_t page);
int32_t tsr_page_index_count(const tsr_page_index *index);

#endif
