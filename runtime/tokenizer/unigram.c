/* unigram.c: the search for the best segmentation. */
#include "runtime/tokenizer/unigram.h"
#include "runtime/tokenizer/unicode.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_PLACES = 1 << 18, FAR_FROM_ZERO = 100000 };

/* --- Building --- */

typedef struct piece_text {
    const char *text;
    int64_t n;
    int32_t id;
} piece_text;

static int by_text(const void *left, const void *right)
{
    const piece_text *l = left, *r = right;
    int order = memcmp(l->text, r->text, (size_t)(l->n < r->n ? l->n : r->n));
    return order ? order : (l->n > r->n) - (l->n < r->n);
}

static int64_t common_bytes(const piece_text *a, const piece_text *b)
{
    int64_t i = 0;
    while (i < a->n && i < b->n && a->text[i] == b->text[i]) i++;
    return i;
}

/* Sorted, neighbours share what begins them: so many nodes has the trie, and not one for each byte. */
static tsr_status build_trie(tsr_unigram *u, piece_text *list, int64_t count)
{
    int64_t nodes = 0;
    qsort(list, (size_t)count, sizeof *list, by_text);
    for (int64_t i = 0; i < count; i++) nodes += list[i].n - (i ? common_bytes(&list[i - 1], &list[i]) : 0);
    TSR_TRY(tsr_trie_create(nodes, &u->trie));
    for (int64_t i = 0; i < count; i++) tsr_trie_add(u->trie, list[i].text, list[i].n, list[i].id);
    return TSR_OK;
}

tsr_status tsr_unigram_init(tsr_unigram *u, const char *where, const tsr_vocabulary *v, double *score,
                            const bool *usable)
{
    void *p;
    int64_t count = 0;
    *u = (tsr_unigram){.score = score, .size = tsr_vocabulary_size(v)};
    if (tsr_vocabulary_longest(v) > TSR_UNIGRAM_PIECE_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a piece of %lld bytes, at most %d are accepted", where,
                        (long long)tsr_vocabulary_longest(v), TSR_UNIGRAM_PIECE_CAP);
    TSR_TRY(tsr_alloc((int64_t)sizeof(piece_text) * u->size, "a Unigram model", &p));
    piece_text *list = p;
    for (int32_t id = 0; id < u->size; id++) {
        int64_t n;
        const char *text = tsr_vocabulary_piece(v, id, &n);
        if (text && n > 0 && usable[id]) list[count++] = (piece_text){text, n, id};
    }
    tsr_status status = build_trie(u, list, count);
    tsr_free(list);
    return status;
}

void tsr_unigram_release(tsr_unigram *u)
{
    tsr_trie_destroy(&u->trie);
    tsr_free(u->score);
    *u = (tsr_unigram){0};
}

void tsr_unigram_work_free(tsr_unigram_work *w)
{
    tsr_free(w->best);
    tsr_free(w->begin);
    tsr_free(w->id);
    tsr_free(w->part);
    *w = (tsr_unigram_work){0};
}

void tsr_unigram_work_trim(tsr_unigram_work *w)
{
    if (w->best_capacity > KEPT_PLACES) tsr_unigram_work_free(w);
}

/* --- Searching --- */

static tsr_status make_room(tsr_unigram_work *w, int64_t n)
{
    static const char what[] = "a segmentation";
    TSR_TRY(tsr_grow((void **)&w->best, &w->best_capacity, n + 1, sizeof *w->best, what));
    TSR_TRY(tsr_grow((void **)&w->begin, &w->begin_capacity, n + 1, sizeof *w->begin, what));
    TSR_TRY(tsr_grow((void **)&w->id, &w->id_capacity, n + 1, sizeof *w->id, what));
    memset(w->begin, 0xFF, (size_t)(n + 1) * sizeof *w->begin);
    w->best[0] = 0;
    w->parts = w->frontier = 0;
    return TSR_OK;
}

static void offer(const tsr_unigram *u, tsr_unigram_work *w, int64_t begin, int64_t end, int32_t id,
                  double sum)
{
    if (w->begin[end] >= 0 && !(sum > w->best[end])) return;
    w->best[end] = u->single ? (double)(float)sum : sum;
    w->begin[end] = (int32_t)begin;
    w->id[end] = id;
    if (end > w->frontier) w->frontier = end;
}

/* Sums in single precision must not grow coarse: far from 0 they are counted from here on anew. */
static void keep_small(tsr_unigram_work *w, int64_t at)
{
    double offset = w->best[at];
    if (fabs(offset) <= FAR_FROM_ZERO) return;
    for (int64_t i = at; i <= w->frontier; i++)
        if (i == at || w->begin[i] >= 0) w->best[i] = (double)((float)w->best[i] - (float)offset);
}

/* Offers all pieces that begin at text[at..n). */
static void offer_pieces(const tsr_unigram *u, tsr_unigram_work *w, const char *text, int64_t at, int64_t n)
{
    int64_t single = tsr_char_length(text[at]);
    bool has_single = false;
    int32_t node = TSR_TRIE_ROOT, id;
    for (int64_t end = at; end < n && tsr_trie_step(u->trie, &node, text[end], &id);) {
        end++;
        if (id < 0) continue;
        double sum = u->score[id] + w->best[at];
        offer(u, w, at, end, id, u->single ? (double)(float)sum : sum);
        has_single |= end - at == single;
    }
    if (has_single) return;
    double sum = u->unk_score + w->best[at];
    offer(u, w, at, at + single, -1, u->single ? (double)(float)sum : sum);
}

tsr_status tsr_unigram_search(const tsr_unigram *u, tsr_unigram_work *w, const char *text, int64_t n)
{
    TSR_TRY(make_room(w, n));
    for (int64_t at = 0; at < n; at += tsr_char_length(text[at])) {
        if (u->single) keep_small(w, at);
        offer_pieces(u, w, text, at, n);
    }
    for (int64_t end = n; end > 0; end = w->begin[end]) {
        TSR_TRY(
            tsr_grow((void **)&w->part, &w->part_capacity, w->parts + 1, sizeof *w->part, "a segmentation"));
        w->part[w->parts++] = (tsr_unigram_part){w->begin[end], (int32_t)end, w->id[end]};
    }
    return TSR_OK;
}
