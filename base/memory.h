/* memory.h: allocation that reports failure, counts what it holds, and can be made to fail by tests.
 *
 * tsr_alloc / tsr_calloc / tsr_realloc_array give ordinary memory (free with tsr_free). tsr_alloc_large gives
 * page-backed, zeroed, 64-byte aligned memory for weights, caches and activations; huge pages are asked for, and
 * pages nobody touches cost nothing. All return TSR_ERR_MEMORY with a line that says how much was wanted for what.
 * An arena owns many small objects of one lifetime; it grows in blocks and is destroyed at once.
 * Local; the allocators are thread-safe, an arena is not.
 */
#ifndef TSR_BASE_MEMORY_H
#define TSR_BASE_MEMORY_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* `what` names the use in the error line. A size of 0 gives a valid pointer. *out is NULL on failure. */
tsr_status tsr_alloc(int64_t bytes, const char *what, void **out);
tsr_status tsr_calloc(int64_t count, int64_t size, const char *what, void **out);

/* Grows *array (NULL at first) to hold at least `count` elements of `size` bytes; *capacity in elements is raised
 * by doubling. On failure *array stays valid and unchanged. New elements are zeroed. */
tsr_status tsr_grow(void **array, int64_t *capacity, int64_t count, int64_t size, const char *what);
void tsr_free(void *p);

tsr_status tsr_alloc_large(int64_t bytes, const char *what, void **out);
/* The same with small pages only, for memory that is touched here and there: a huge page would be resident whole. */
tsr_status tsr_alloc_sparse(int64_t bytes, const char *what, void **out);
void tsr_free_large(void *p, int64_t bytes); /* of either kind */

/* For a program that runs long, early in it: all threads share one heap, where memory that one of them frees serves the
 * others, and large pieces always go back to the system. Without it each thread has a heap of its own, and each grows
 * to the worst that it ever saw. Does nothing where the C library has no such switches. */
void tsr_memory_share_heap(void);

/* Peak resident set of this process in bytes (VmHWM), 0 if unknown. */
int64_t tsr_peak_resident_bytes(void);
/* Memory this process may still use without swapping: the smaller of what the machine and the cgroup leave. */
int64_t tsr_available_bytes(void);

/* Tests: the n-th allocation from now on (1 = the next) fails; 0 switches it off. */
void tsr_memory_fail_after(int64_t n);

typedef struct tsr_arena tsr_arena;
tsr_status tsr_arena_create(const char *what, tsr_arena **out);
void tsr_arena_destroy(tsr_arena **arena);
/* Zeroed, 16-byte aligned; lives as long as the arena. */
tsr_status tsr_arena_alloc(tsr_arena *arena, int64_t bytes, void **out);
tsr_status tsr_arena_strdup(tsr_arena *arena, const char *text, const char **out);
/* printf into the arena. */
tsr_status tsr_arena_format(tsr_arena *arena, const char **out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
