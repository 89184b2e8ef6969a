/* rope_memo.c: a row of angles for each position, and whether it is there. */
#include "runtime/rope_memo.h"
#include "base/checked.h"

#include <string.h>

enum { MOST_POSITIONS = 1 << 18 };

struct tsr_rope_memo {
    const tsr_rope *rope;
    int64_t n, angle_bytes;
    float *angles; /* [n][dims] */
    char *known;   /* [n] */
};

tsr_status tsr_rope_memo_create(const tsr_rope *rope, int64_t max_positions, tsr_rope_memo **out)
{
    tsr_status status;
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_rope_memo), "rope angles", &p));
    tsr_rope_memo *m = p;
    m->rope = rope;
    m->n = tsr_min(max_positions, MOST_POSITIONS);
    m->angle_bytes = m->n * rope->dims * (int64_t)sizeof *m->angles;
    TSR_TRY_OUT(tsr_alloc_sparse(m->angle_bytes, "rope angles", &p));
    m->angles = p;
    TSR_TRY_OUT(tsr_alloc_sparse(m->n, "rope angles", &p));
    m->known = p;
    *out = m;
    return TSR_OK;
out:
    tsr_rope_memo_destroy(&m);
    return status;
}

void tsr_rope_memo_destroy(tsr_rope_memo **memo)
{
    tsr_rope_memo *m = *memo;
    if (!m) return;
    tsr_free_large(m->angles, m->angle_bytes);
    tsr_free_large(m->known, m->n);
    tsr_free(m);
    *memo = NULL;
}

void tsr_rope_memo_angles(tsr_rope_memo *m, int64_t first, int64_t second, int64_t length, float *out)
{
    const tsr_rope *rope = m->rope;
    int half = rope->dims / 2;
    bool by_length = rope->kind != TSR_ROPE_STATIC && length > rope->max_positions;
    if (by_length || rope->two_rows || first < 0 || first >= m->n) {
        tsr_rope_angles_of_rows(rope, first, second, length, out, out + half);
        return;
    }
    float *row = m->angles + first * rope->dims;
    if (!m->known[first]) tsr_rope_angles_of_rows(rope, first, second, length, row, row + half);
    m->known[first] = 1;
    memcpy(out, row, (size_t)rope->dims * sizeof *out);
}
