/* vocabulary.c: one block of bytes, an array by id, and an open-addressed table of ids. */
#include "runtime/tokenizer/vocabulary.h"
#include "runtime/tokenizer/hash.h"
#include "base/memory.h"
#include "base/text.h"

#include <string.h>

enum { NO_PIECE = UINT32_MAX, BYTES_CAP = 1 << 30 };

typedef struct piece_place {
    uint32_t end, length1; /* bytes[end - (length1 - 1) .. end); length1 = 0: no such id */
} piece_place;

struct tsr_vocabulary {
    tsr_text bytes;
    piece_place *by_id;
    uint32_t *slot; /* [slots] ids or NO_PIECE */
    int64_t by_id_capacity, slots, longest;
    int32_t size, count;
    uint64_t seed;
};

static tsr_status allocate_slots(int64_t slots, uint32_t **out)
{
    void *p;
    TSR_TRY(tsr_alloc(slots * (int64_t)sizeof **out, "a vocabulary", &p));
    memset(p, 0xFF, (size_t)slots * sizeof **out);
    *out = p;
    return TSR_OK;
}

tsr_status tsr_vocabulary_create(tsr_vocabulary **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_vocabulary), "a vocabulary", &p));
    tsr_vocabulary *v = p;
    v->seed = tsr_hash_seed();
    v->slots = 16;
    tsr_status status = tsr_text_init(&v->bytes, BYTES_CAP);
    if (status == TSR_OK) status = allocate_slots(v->slots, &v->slot);
    if (status != TSR_OK) tsr_vocabulary_destroy(&v);
    *out = v;
    return status;
}

void tsr_vocabulary_destroy(tsr_vocabulary **v)
{
    if (!*v) return;
    tsr_text_free(&(*v)->bytes);
    tsr_free((*v)->by_id);
    tsr_free((*v)->slot);
    tsr_free(*v);
    *v = NULL;
}

static const char *place_bytes(const tsr_vocabulary *v, piece_place place)
{
    return v->bytes.data + (place.end - (place.length1 - 1));
}

/* The slot that holds the piece, or the empty one where it belongs. */
static int64_t find_slot(const tsr_vocabulary *v, const char *piece, int64_t n)
{
    int64_t mask = v->slots - 1, i = (int64_t)tsr_hash_bytes(v->seed, piece, n) & mask;
    for (; v->slot[i] != NO_PIECE; i = (i + 1) & mask) {
        piece_place place = v->by_id[v->slot[i]];
        if (place.length1 - 1 == (uint64_t)n && memcmp(place_bytes(v, place), piece, (size_t)n) == 0) break;
    }
    return i;
}

static tsr_status grow_slots(tsr_vocabulary *v)
{
    uint32_t *old = v->slot, *grown;
    int64_t old_slots = v->slots;
    TSR_TRY(allocate_slots(old_slots * 2, &grown));
    v->slot = grown;
    v->slots = old_slots * 2;
    for (int64_t i = 0; i < old_slots; i++) {
        if (old[i] == NO_PIECE) continue;
        piece_place place = v->by_id[old[i]];
        v->slot[find_slot(v, place_bytes(v, place), place.length1 - 1)] = old[i];
    }
    tsr_free(old);
    return TSR_OK;
}

tsr_status tsr_vocabulary_add(tsr_vocabulary *v, const char *where, int64_t id, const char *piece, int64_t n)
{
    int shown = n < 40 ? (int)n : 40;
    if (id < 0 || id >= TSR_TOKEN_ID_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: piece \"%.*s\" has id %lld, must lie in 0..%d", where, shown,
                        piece, (long long)id, TSR_TOKEN_ID_CAP - 1);
    if (id < v->size && v->by_id[id].length1)
        return tsr_fail(TSR_ERR_FORMAT, "%s: id %lld belongs to two pieces, \"%.*s\" and \"%.*s\"", where,
                        (long long)id, (int)(v->by_id[id].length1 < 40 ? v->by_id[id].length1 - 1 : 40),
                        place_bytes(v, v->by_id[id]), shown, piece);
    int64_t slot = find_slot(v, piece, n);
    if (v->slot[slot] != NO_PIECE)
        return tsr_fail(TSR_ERR_FORMAT, "%s: piece \"%.*s\" has two ids, %u and %lld", where, shown, piece,
                        v->slot[slot], (long long)id);
    TSR_TRY(tsr_grow((void **)&v->by_id, &v->by_id_capacity, id + 1, sizeof *v->by_id, "a vocabulary"));
    TSR_TRY(tsr_text_append(&v->bytes, piece, n));
    v->by_id[id] = (piece_place){(uint32_t)v->bytes.length, (uint32_t)n + 1};
    v->slot[slot] = (uint32_t)id;
    v->count++;
    if (id >= v->size) v->size = (int32_t)id + 1;
    if (n > v->longest) v->longest = n;
    return v->count * 2 > v->slots ? grow_slots(v) : TSR_OK;
}

int32_t tsr_vocabulary_size(const tsr_vocabulary *v)
{
    return v->size;
}

int32_t tsr_vocabulary_count(const tsr_vocabulary *v)
{
    return v->count;
}

int32_t tsr_vocabulary_id(const tsr_vocabulary *v, const char *piece, int64_t n)
{
    uint32_t id = n > v->longest ? NO_PIECE : v->slot[find_slot(v, piece, n)];
    return id == NO_PIECE ? -1 : (int32_t)id;
}

const char *tsr_vocabulary_piece(const tsr_vocabulary *v, int64_t id, int64_t *n)
{
    if (id < 0 || id >= v->size || !v->by_id[id].length1) return NULL;
    *n = v->by_id[id].length1 - 1;
    return place_bytes(v, v->by_id[id]);
}

int64_t tsr_vocabulary_longest(const tsr_vocabulary *v)
{
    return v->longest;
}
