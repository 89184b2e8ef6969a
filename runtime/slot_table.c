/* slot_table.c: carrying step records out, with every check that needs the past. */
#include "runtime/slot_table.h"

#include "base/memory.h"
#include "layers/kernel.h"

#include <string.h>

/* The ids of a sequence with a repetition penalty: a bit for each id of the vocabulary, and a list; and what else
 * choosing its tokens needs. Made when a slot first needs it, and kept for the next sequence of the slot. */
typedef struct id_set {
    uint64_t *bits; /* [ceil(vocabulary / 64)] */
    int32_t *list;  /* [capacity] */
    int64_t capacity;
    int32_t *history; /* [history_capacity] */
    int64_t history_capacity;
    tsr_token_counts counts;
    tsr_logit_bias *biases; /* [biases_capacity] */
    int64_t biases_capacity;
} id_set;

enum { NO_TOKEN = -1, UNKNOWN = -2 };

/* What the rows of a step sampled, NO_TOKEN or UNKNOWN. */
typedef struct row_tokens {
    int32_t *ids; /* [n] of [max_rows] */
    int32_t n;
} row_tokens;

/* A page's last writer, and those who have it. */
typedef struct page_past {
    int64_t filled; /* number of the record that filled it, 0: it is not full */
    int32_t place;  /* then: its index among the pages of its text */
    int32_t users;  /* slots */
} page_past;

struct tsr_slot_table {
    tsr_step_limits limits;
    int64_t number;  /* of the last record */
    tsr_slot *slots; /* [max_sequences] */
    id_set *seen;    /* [max_sequences] */
    int32_t *pages;  /* [max_sequences][pages_per_slot] */
    int32_t pages_per_slot;
    page_past *past;         /* [n_pages] */
    int64_t *last_step;      /* [max_sequences] number of the last record with a sequence in this slot */
    row_tokens last, before; /* of the step applied last, and of the one before, which its ids may refer to */
};

static tsr_status lost(const char *what, int64_t found)
{
    return tsr_fail(TSR_ERR_INTERNAL, "step record does not fit what went before: %s %lld", what,
                    (long long)found);
}

static tsr_status make_arrays(tsr_slot_table *t)
{
    const tsr_step_limits *l = &t->limits;
    void *p;
    TSR_TRY(tsr_calloc(l->max_sequences, sizeof *t->slots, "the slot table", &p));
    t->slots = p;
    TSR_TRY(tsr_calloc(l->max_sequences, sizeof *t->seen, "the slot table", &p));
    t->seen = p;
    TSR_TRY(
        tsr_calloc(l->max_sequences, t->pages_per_slot * (int64_t)sizeof *t->pages, "the slot table", &p));
    t->pages = p;
    TSR_TRY(tsr_calloc(l->n_pages, sizeof *t->past, "the slot table", &p));
    t->past = p;
    TSR_TRY(tsr_calloc(l->max_sequences, sizeof *t->last_step, "the slot table", &p));
    t->last_step = p;
    TSR_TRY(tsr_calloc(l->max_rows, sizeof(int32_t), "the slot table", &p));
    t->last.ids = p;
    TSR_TRY(tsr_calloc(l->max_rows, sizeof(int32_t), "the slot table", &p));
    t->before.ids = p;
    return TSR_OK;
}

tsr_status tsr_slot_table_create(const tsr_step_limits *limits, tsr_slot_table **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_slot_table), "the slot table", &p));
    tsr_slot_table *t = p;
    t->limits = *limits;
    t->pages_per_slot = tsr_pages_for(limits->max_context);
    tsr_status status = make_arrays(t);
    if (status != TSR_OK) {
        tsr_slot_table_destroy(&t);
        return status;
    }
    for (int32_t i = 0; i < limits->max_sequences; i++)
        t->slots[i].pages = t->pages + (int64_t)i * t->pages_per_slot;
    *out = t;
    return TSR_OK;
}

void tsr_slot_table_destroy(tsr_slot_table **slots)
{
    tsr_slot_table *t = *slots;
    if (!t) return;
    for (int32_t i = 0; t->seen && i < t->limits.max_sequences; i++) {
        tsr_free(t->seen[i].bits);
        tsr_free(t->seen[i].list);
        tsr_free(t->seen[i].history);
        tsr_free(t->seen[i].counts.items);
        tsr_free(t->seen[i].biases);
    }
    tsr_free(t->slots);
    tsr_free(t->seen);
    tsr_free(t->pages);
    tsr_free(t->past);
    tsr_free(t->last_step);
    tsr_free(t->last.ids);
    tsr_free(t->before.ids);
    tsr_free(t);
    *slots = NULL;
}

/* ---- Ids seen ---- */

static void clear_seen(tsr_slot_table *t, int32_t slot)
{
    id_set *set = &t->seen[slot];
    for (int32_t i = 0; i < t->slots[slot].n_seen; i++) set->bits[set->list[i] / 64] = 0;
    set->counts.n = 0;
    t->slots[slot].n_seen = t->slots[slot].n_history = t->slots[slot].n_counts = 0;
}

static tsr_status add_history(tsr_slot_table *t, int32_t slot, int32_t id)
{
    id_set *set = &t->seen[slot];
    tsr_slot *s = &t->slots[slot];
    TSR_TRY(tsr_grow((void **)&set->history, &set->history_capacity, s->n_history + 1, sizeof *set->history,
                     "the ids of a sequence"));
    s->history = set->history;
    set->history[s->n_history++] = id;
    return TSR_OK;
}

static tsr_status add_seen(tsr_slot_table *t, int32_t slot, int32_t id)
{
    id_set *set = &t->seen[slot];
    tsr_slot *s = &t->slots[slot];
    void *p = set->list;
    if (!set->bits) {
        void *bits;
        TSR_TRY(tsr_calloc(t->limits.vocabulary / 64 + 1, sizeof *set->bits, "the ids of a sequence", &bits));
        set->bits = bits;
    }
    uint64_t bit = UINT64_C(1) << id % 64;
    if (set->bits[id / 64] & bit) return TSR_OK;
    TSR_TRY(tsr_grow(&p, &set->capacity, s->n_seen + 1, sizeof *set->list, "the ids of a sequence"));
    s->seen = set->list = p;
    set->bits[id / 64] |= bit;
    set->list[s->n_seen++] = id;
    return TSR_OK;
}

static tsr_status count(tsr_slot_table *t, int32_t slot, int32_t id)
{
    tsr_token_counts *counts = &t->seen[slot].counts;
    TSR_TRY(tsr_token_counts_add(counts, id));
    t->slots[slot].counts = counts->items;
    t->slots[slot].n_counts = (int32_t)counts->n;
    return TSR_OK;
}

static tsr_status keep_biases(tsr_slot_table *t, int32_t slot, const tsr_logit_bias *biases, int32_t n)
{
    id_set *set = &t->seen[slot];
    TSR_TRY(tsr_grow((void **)&set->biases, &set->biases_capacity, n, sizeof *set->biases,
                     "the biases of a sequence"));
    if (n > 0) memcpy(set->biases, biases, (size_t)n * sizeof *biases);
    t->slots[slot].biases = set->biases;
    return TSR_OK;
}

/* ---- Applying ---- */

static tsr_status release(tsr_slot_table *t, int32_t slot)
{
    tsr_slot *s = &t->slots[slot];
    if (!s->used) return lost("a free slot released:", slot);
    for (int32_t i = 0; i < s->n_pages; i++) t->past[s->pages[i]].users--;
    clear_seen(t, slot);
    s->used = false;
    s->n_cached = s->n_pages = 0;
    return TSR_OK;
}

static tsr_status begin(tsr_slot_table *t, const tsr_record_sequence *q, const tsr_record_start *start,
                        const tsr_logit_bias *biases)
{
    tsr_slot *s = &t->slots[q->slot];
    if (s->used) return lost("a new sequence in used slot", q->slot);
    if (q->position != (int64_t)start->n_shared * TSR_PAGE_TOKENS)
        return lost("a new sequence at position", q->position);
    s->n_cached = q->position;
    s->used = true;
    s->start = *start;
    return keep_biases(t, q->slot, biases, start->n_biases);
}

static tsr_status share_page(const tsr_slot_table *t, int32_t page, int32_t place)
{
    const page_past *past = &t->past[page];
    if (past->filled == 0 || past->filled == t->number) return lost("a page shared before it is full:", page);
    return past->place == place ? TSR_OK : lost("a shared page at another place in its text:", page);
}

/* The first `shared` of the new pages are those of others. */
static tsr_status add_pages(tsr_slot_table *t, const tsr_record_sequence *q, const int32_t *pages,
                            int32_t shared)
{
    tsr_slot *s = &t->slots[q->slot];
    int32_t *own = t->pages + (int64_t)q->slot * t->pages_per_slot;
    int64_t n = (int64_t)s->n_pages + q->n_pages;
    if (n > t->pages_per_slot || n < tsr_pages_for((int64_t)q->position + q->n_tokens))
        return lost("number of pages", n);
    for (int32_t i = 0; i < q->n_pages; i++) {
        page_past *past = &t->past[pages[i]];
        if (i < shared)
            TSR_TRY(share_page(t, pages[i], s->n_pages));
        else if (past->users != 0)
            return lost("a page in use handed out:", pages[i]);
        else
            past->filled = 0;
        past->users++;
        own[s->n_pages++] = pages[i];
    }
    return TSR_OK;
}

/* Pages that n more tokens make full. */
static void fill_pages(tsr_slot_table *t, const tsr_slot *s, int32_t n)
{
    for (int32_t i = s->n_cached / TSR_PAGE_TOKENS; i < (s->n_cached + n) / TSR_PAGE_TOKENS; i++) {
        page_past *past = &t->past[s->pages[i]];
        past->filled = t->number;
        past->place = i;
    }
}

/* Of the tokens [n] from a position on. */
static tsr_status note_tokens(tsr_slot_table *t, int32_t slot, int32_t position, const int32_t *ids,
                              int32_t n)
{
    const tsr_record_start *start = &t->slots[slot].start;
    bool history = start->sampling.keep_history, counts = tsr_sampling_counts(&start->sampling);
    bool keep = start->sampling.repetition_penalty != 1;
    for (int32_t i = 0; i < n; i++) {
        int32_t row = TSR_TOKEN_OF_ROW(ids[i]); /* the mapping is its own inverse */
        int32_t token = ids[i] >= 0 ? ids[i] : row < t->before.n ? t->before.ids[row] : NO_TOKEN;
        if (token == NO_TOKEN) return lost("a token of row", row);
        if (token == UNKNOWN && tsr_sampling_looks_back(&start->sampling))
            return lost("a token not known yet, of row", row);
        if (keep) TSR_TRY(add_seen(t, slot, token));
        if (history) TSR_TRY(add_history(t, slot, token));
        if (counts && position + i >= start->prompt_length) TSR_TRY(count(t, slot, token));
    }
    return TSR_OK;
}

/* What of a record has been carried out. */
typedef struct cursor {
    const int32_t *pages, *ids, *shared_ids;
    const tsr_logit_bias *biases;
} cursor;

static tsr_status go_on(tsr_slot_table *t, const tsr_step_record *r, const tsr_record_sequence *q, cursor *at)
{
    tsr_slot *s = &t->slots[q->slot];
    int32_t shared = q->start >= 0 ? r->starts[q->start].n_shared : 0;
    if (t->last_step[q->slot] == r->number) return lost("two sequences in slot", q->slot);
    t->last_step[q->slot] = r->number;
    if (q->start >= 0) {
        TSR_TRY(begin(t, q, &r->starts[q->start], at->biases));
        at->biases += r->starts[q->start].n_biases;
    }
    if (!s->used) return lost("a sequence goes on in free slot", q->slot);
    if (q->position != s->n_cached) return lost("a sequence goes on at position", q->position);
    TSR_TRY(add_pages(t, q, at->pages, shared));
    if (shared > 0 && tsr_sampling_keeps_ids(&s->start.sampling)) {
        TSR_TRY(note_tokens(t, q->slot, 0, at->shared_ids, shared * TSR_PAGE_TOKENS));
        at->shared_ids += shared * TSR_PAGE_TOKENS;
    }
    TSR_TRY(note_tokens(t, q->slot, q->position, at->ids, q->n_tokens));
    fill_pages(t, s, q->n_tokens);
    s->n_cached += q->n_tokens;
    at->pages += q->n_pages;
    at->ids += q->n_tokens;
    return TSR_OK;
}

/* The rows of this record come after those that its ids may refer to. */
static void expect_tokens(tsr_slot_table *t, const tsr_step_record *r)
{
    row_tokens last = t->before;
    t->before = t->last;
    t->last = last;
    t->last.n = r->n_rows;
    for (int32_t i = 0; i < r->n_rows; i++)
        t->last.ids[i] = r->rows[i].kind == TSR_ROW_SAMPLE ? UNKNOWN : NO_TOKEN;
}

tsr_status tsr_slot_table_apply(tsr_slot_table *t, const tsr_step_record *r)
{
    if (r->number != t->number + 1) return lost("number", r->number);
    t->number = r->number;
    expect_tokens(t, r);
    for (int32_t i = 0; i < r->n_releases; i++) TSR_TRY(release(t, r->releases[i]));
    cursor at = {r->pages, r->ids, r->shared_ids, r->biases};
    for (int32_t i = 0; i < r->n_sequences; i++) TSR_TRY(go_on(t, r, &r->sequences[i], &at));
    return TSR_OK;
}

void tsr_slot_table_results(tsr_slot_table *t, const tsr_sample_result *results, int32_t n)
{
    t->last.n = n;
    for (int32_t i = 0; i < n; i++) t->last.ids[i] = results[i].failed ? 0 : results[i].id;
}

const tsr_slot *tsr_slot_table_get(const tsr_slot_table *t, int32_t slot)
{
    return &t->slots[slot];
}

int32_t tsr_slot_table_token(const tsr_slot_table *t, int32_t id)
{
    int32_t known = id >= 0 ? id : t->before.ids[TSR_TOKEN_OF_ROW(id)];
    return known >= 0 ? known : id;
}
