/* copy.c: strided copies, by rows where one axis is dense on both sides, by tiles where it is not. */
#include "checkpoint/copy.h"
#include "base/checked.h"

#include <string.h>

enum { TILE = 32 };

/* dst[i * a.dst + j * b.dst] = src[i * a.src + j * b.src], in tiles; b is the axis with the smaller dst
 * stride. */
#define DEFINE_TILES(T)                                                                                      \
    static void copy_tile_##T(const T *src, T *dst, const tsr_loop *a, const tsr_loop *b, int64_t ni,        \
                              int64_t nj)                                                                    \
    {                                                                                                        \
        if (a->src == 1 && b->dst == 1) {                                                                    \
            for (int64_t i = 0; i < ni; i++)                                                                 \
                for (int64_t j = 0; j < nj; j++) dst[i * a->dst + j] = src[i + j * b->src];                  \
            return;                                                                                          \
        }                                                                                                    \
        for (int64_t i = 0; i < ni; i++)                                                                     \
            for (int64_t j = 0; j < nj; j++) dst[i * a->dst + j * b->dst] = src[i * a->src + j * b->src];    \
    }                                                                                                        \
    static void copy_plane_##T(const T *src, T *dst, const tsr_loop *a, const tsr_loop *b)                   \
    {                                                                                                        \
        for (int64_t i = 0; i < a->extent; i += TILE)                                                        \
            for (int64_t j = 0; j < b->extent; j += TILE)                                                    \
                copy_tile_##T(src + i * a->src + j * b->src, dst + i * a->dst + j * b->dst, a, b,            \
                              tsr_min(TILE, a->extent - i), tsr_min(TILE, b->extent - j));                   \
    }
DEFINE_TILES(uint8_t)
DEFINE_TILES(uint16_t)
DEFINE_TILES(uint32_t)
DEFINE_TILES(uint64_t)

static void copy_plane(const char *src, char *dst, int bytes, const tsr_loop *a, const tsr_loop *b)
{
    if (b->src == 1 && b->dst == 1)
        for (int64_t i = 0; i < a->extent; i++)
            memcpy(dst + i * a->dst * bytes, src + i * a->src * bytes, (size_t)(b->extent * bytes));
    else if (bytes == 2)
        copy_plane_uint16_t((const uint16_t *)src, (uint16_t *)dst, a, b);
    else if (bytes == 4)
        copy_plane_uint32_t((const uint32_t *)src, (uint32_t *)dst, a, b);
    else if (bytes == 8)
        copy_plane_uint64_t((const uint64_t *)src, (uint64_t *)dst, a, b);
    else
        copy_plane_uint8_t((const uint8_t *)src, (uint8_t *)dst, a, b);
}

/* The last two loops make a plane; the others run around it. */
static void copy_around(const char *src, char *dst, int bytes, const tsr_loop *loop, int loops)
{
    if (loops == 2) {
        copy_plane(src, dst, bytes, &loop[0], &loop[1]);
        return;
    }
    for (int64_t i = 0; i < loop->extent; i++)
        copy_around(src + i * loop->src * bytes, dst + i * loop->dst * bytes, bytes, loop + 1, loops - 1);
}

static int smallest(const tsr_loop *loop, int loops, bool by_dst)
{
    int best = 0;
    for (int i = 1; i < loops; i++)
        if (by_dst ? loop[i].dst < loop[best].dst : loop[i].src < loop[best].src) best = i;
    return best;
}

static tsr_loop take(tsr_loop *loop, int *loops, int i)
{
    tsr_loop taken = loop[i];
    memmove(&loop[i], &loop[i + 1], (size_t)(--*loops - i) * sizeof *loop);
    return taken;
}

void tsr_copy_strided(const void *src, void *dst, int bytes, const tsr_loop *loop, int loops)
{
    static const tsr_loop single = {1, 1, 1};
    tsr_loop order[TSR_MAX_LOOPS + 2], last, before;
    int n = loops;
    memcpy(order, loop, (size_t)loops * sizeof *loop);
    /* Innermost: the smallest stride of the output. Around it: the smallest stride of the input. */
    last = n ? take(order, &n, smallest(order, n, true)) : single;
    before = n ? take(order, &n, smallest(order, n, false)) : single;
    order[n] = before;
    order[n + 1] = last;
    copy_around(src, dst, bytes, order, n + 2);
}
