/* memory.c: allocators with error lines, fault injection for tests, and the arena. */
#include "base/memory.h"
#include "base/checked.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __GLIBC__ /* known after the headers above */
#include <malloc.h>
#endif

static atomic_llong fail_countdown;

void tsr_memory_fail_after(int64_t n)
{
    atomic_store(&fail_countdown, n);
}

static int injected_failure(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) <= 0) return 0;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

static tsr_status no_memory(int64_t bytes, const char *what)
{
    return tsr_fail(TSR_ERR_MEMORY, "no memory for %s: %lld bytes wanted", what, (long long)bytes);
}

tsr_status tsr_alloc(int64_t bytes, const char *what, void **out)
{
    *out = NULL;
    if (bytes < 0 || injected_failure()) return no_memory(bytes, what);
    *out = malloc(bytes > 0 ? (size_t)bytes : 1);
    return *out ? TSR_OK : no_memory(bytes, what);
}

tsr_status tsr_calloc(int64_t count, int64_t size, const char *what, void **out)
{
    int64_t bytes;
    *out = NULL;
    if (!tsr_mul(count, size, &bytes)) return no_memory(INT64_MAX, what);
    if (injected_failure()) return no_memory(bytes, what);
    *out = calloc(bytes > 0 ? (size_t)bytes : 1, 1);
    return *out ? TSR_OK : no_memory(bytes, what);
}

tsr_status tsr_grow(void **array, int64_t *capacity, int64_t count, int64_t size, const char *what)
{
    if (count <= *capacity) return TSR_OK;
    int64_t wanted = tsr_max(count, *capacity < INT64_MAX / 2 ? *capacity * 2 : count), bytes;
    wanted = tsr_max(wanted, 8);
    if (!tsr_mul(wanted, size, &bytes)) return no_memory(INT64_MAX, what);
    if (injected_failure()) return no_memory(bytes, what);
    char *grown = realloc(*array, (size_t)bytes);
    if (!grown) return no_memory(bytes, what);
    memset(grown + *capacity * size, 0, (size_t)((wanted - *capacity) * size));
    *array = grown;
    *capacity = wanted;
    return TSR_OK;
}

void tsr_free(void *p)
{
    free(p);
}

/* Stating the thresholds keeps the library from raising them to the largest piece that was ever freed. */
void tsr_memory_share_heap(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
#endif
}

static tsr_status map_pages(int64_t bytes, const char *what, int advice, void **out)
{
    *out = NULL;
    if (bytes < 0 || injected_failure()) return no_memory(bytes, what);
    void *p = mmap(NULL, (size_t)tsr_max(bytes, 1), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return no_memory(bytes, what);
    /* A refusal costs speed or some memory, nothing else. */
    madvise(p, (size_t)tsr_max(bytes, 1), advice);
    *out = p;
    return TSR_OK;
}

tsr_status tsr_alloc_large(int64_t bytes, const char *what, void **out)
{
    enum { WORTH_HUGE_PAGES = 8 << 20 }; /* they spare the TLB on long streams */
    return map_pages(bytes, what, bytes >= WORTH_HUGE_PAGES ? MADV_HUGEPAGE : MADV_NOHUGEPAGE, out);
}

tsr_status tsr_alloc_sparse(int64_t bytes, const char *what, void **out)
{
    return map_pages(bytes, what, MADV_NOHUGEPAGE, out);
}

void tsr_free_large(void *p, int64_t bytes)
{
    if (p) munmap(p, (size_t)tsr_max(bytes, 1));
}

/* Reads "KEY   123 kB" from a /proc style file; -1 if the key is not there. */
static int64_t proc_kib(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    char line[256];
    long long kib = -1;
    size_t n = strlen(key);
    while (kib < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, n) == 0 && sscanf(line + n, "%lld", &kib) != 1) kib = -1;
    fclose(f);
    return kib;
}

int64_t tsr_peak_resident_bytes(void)
{
    int64_t kib = proc_kib("/proc/self/status", "VmHWM:");
    return kib < 0 ? 0 : kib * 1024;
}

static int64_t number_in_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    long long n = -1;
    if (fscanf(f, "%lld", &n) != 1) n = -1;
    fclose(f);
    return n;
}

int64_t tsr_available_bytes(void)
{
    int64_t kib = proc_kib("/proc/meminfo", "MemAvailable:");
    int64_t available = kib < 0 ? 0 : kib * 1024;
    int64_t limit = number_in_file("/sys/fs/cgroup/memory.max");
    int64_t used = number_in_file("/sys/fs/cgroup/memory.current");
    if (limit > 0 && used >= 0) available = tsr_min(available, tsr_max(limit - used, 0));
    return available;
}

enum { ARENA_BLOCK_BYTES = 64 << 10, ARENA_ALIGN = 16 };

typedef struct arena_block {
    struct arena_block *next;
    int64_t used, size;
    _Alignas(ARENA_ALIGN) char data[];
} arena_block;

struct tsr_arena {
    const char *what;
    arena_block *blocks;
};

tsr_status tsr_arena_create(const char *what, tsr_arena **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_arena), what, &p));
    *out = p;
    (*out)->what = what;
    return TSR_OK;
}

void tsr_arena_destroy(tsr_arena **arena)
{
    if (!*arena) return;
    for (arena_block *b = (*arena)->blocks, *next; b; b = next) {
        next = b->next;
        tsr_free(b);
    }
    tsr_free(*arena);
    *arena = NULL;
}

tsr_status tsr_arena_alloc(tsr_arena *arena, int64_t bytes, void **out)
{
    *out = NULL;
    if (bytes < 0 || bytes > INT64_MAX / 2) return no_memory(bytes, arena->what);
    int64_t need = tsr_round_up(tsr_max(bytes, 1), ARENA_ALIGN);
    arena_block *b = arena->blocks;
    if (!b || b->size - b->used < need) {
        int64_t size = tsr_max(need, ARENA_BLOCK_BYTES);
        void *p;
        TSR_TRY(tsr_calloc(1, (int64_t)sizeof *b + size, arena->what, &p));
        b = p;
        b->size = size;
        b->next = arena->blocks;
        arena->blocks = b;
    }
    *out = b->data + b->used;
    b->used += need;
    return TSR_OK;
}

tsr_status tsr_arena_strdup(tsr_arena *arena, const char *text, const char **out)
{
    void *p;
    *out = NULL;
    size_t bytes = strlen(text) + 1;
    TSR_TRY(tsr_arena_alloc(arena, (int64_t)bytes, &p));
    *out = memcpy(p, text, bytes);
    return TSR_OK;
}

tsr_status tsr_arena_format(tsr_arena *arena, const char **out, const char *format, ...)
{
    void *p = NULL;
    *out = NULL;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    tsr_status status =
        n < 0 ? tsr_fail(TSR_ERR_INTERNAL, "a format failed") : tsr_arena_alloc(arena, n + 1, &p);
    if (status == TSR_OK) {
        vsnprintf(p, (size_t)n + 1, format, again);
        *out = p;
    }
    va_end(again);
    return status;
}
