/* scheduler.c: the waiting queue, the running list, and the step that comes next. */
#include "runtime/scheduler.h"

#include "base/checked.h"
#include "base/memory.h"
#include "layers/kernel.h"
#include "runtime/page_pool.h"
#include "runtime/prefix_cache.h"

#include <assert.h>
#include <string.h>

/* What a row of the step under way is for. */
typedef struct planned_row {
    tsr_request *request; /* NULL: it was finished from outside meanwhile */
    tsr_row_kind kind;
    int32_t position; /* of its token */
} planned_row;

/* A step under way. */
typedef struct planned_step {
    planned_row *rows; /* [n_rows] of [max_rows] */
    int32_t n_rows;
    tsr_step_work work;
} planned_step;

enum { MOST_PLANNED = 2 };

struct tsr_scheduler {
    tsr_step_limits limits;
    tsr_page_pool *pool;
    tsr_step_pace *pace;        /* NULL: none is kept */
    tsr_prefix_cache *prefixes; /* NULL: nothing is shared */
    int64_t table_pages;        /* that the running requests can come to have, shared ones counted for each */
    int32_t n_shared;           /* pages that the sequences which begin in the record being planned share */
    bool no_room;               /* for the first that waits, as long as nothing ends or becomes known */
    int64_t number;             /* of the last record */
    bool ahead;                 /* steps may be marked so */

    tsr_request *first_waiting, *last_waiting;
    tsr_request **running; /* [n_running] of [max_sequences], in order of admission */
    int32_t n_running;

    int32_t *free_slots; /* [n_free_slots] of [max_sequences], a stack */
    int32_t n_free_slots;
    int32_t *slot_pages; /* [max_sequences][pages_per_slot] */
    int32_t *slot_n_pages;
    int32_t pages_per_slot;
    int32_t *releases; /* [n_releases] of [max_sequences]: slots the next record gives back */
    int32_t n_releases;

    planned_step planned[MOST_PLANNED]; /* [n_planned] steps under way, the oldest first */
    int n_planned;
    tsr_request **updated; /* [n_updated] of [max_sequences] */
    int32_t n_updated;
    tsr_scheduler_counts counts;
};

static tsr_status make(int64_t count, size_t size, void **out)
{
    return tsr_calloc(count, (int64_t)size, "the scheduler", out);
}

static tsr_status make_arrays(tsr_scheduler *s)
{
    const int32_t n = s->limits.max_sequences;
    void *p;
    TSR_TRY(make(n, sizeof *s->running, &p));
    s->running = p;
    TSR_TRY(make(n, sizeof *s->free_slots, &p));
    s->free_slots = p;
    TSR_TRY(make((int64_t)n * s->pages_per_slot, sizeof *s->slot_pages, &p));
    s->slot_pages = p;
    TSR_TRY(make(n, sizeof *s->slot_n_pages, &p));
    s->slot_n_pages = p;
    TSR_TRY(make(n, sizeof *s->releases, &p));
    s->releases = p;
    for (int i = 0; i < MOST_PLANNED; i++) {
        TSR_TRY(make(s->limits.max_rows, sizeof(planned_row), &p));
        s->planned[i].rows = p;
    }
    TSR_TRY(make(n, sizeof *s->updated, &p));
    s->updated = p;
    return tsr_page_pool_create(s->limits.n_pages, &s->pool);
}

tsr_status tsr_scheduler_create(const tsr_step_limits *limits, tsr_scheduler **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_step_limits_check(limits));
    TSR_TRY(make(1, sizeof(tsr_scheduler), &p));
    tsr_scheduler *s = p;
    s->limits = *limits;
    s->pages_per_slot = tsr_pages_for(limits->max_context);
    tsr_status status = make_arrays(s);
    if (status != TSR_OK) {
        tsr_scheduler_destroy(&s);
        return status;
    }
    s->n_free_slots = limits->max_sequences;
    for (int32_t i = 0; i < s->n_free_slots; i++) s->free_slots[i] = s->n_free_slots - 1 - i;
    *out = s;
    return TSR_OK;
}

void tsr_scheduler_destroy(tsr_scheduler **scheduler)
{
    tsr_scheduler *s = *scheduler;
    if (!s) return;
    tsr_scheduler_finish_all(s, TSR_FINISH_CANCELLED);
    tsr_prefix_cache_destroy(&s->prefixes);
    tsr_page_pool_destroy(&s->pool);
    tsr_free(s->running);
    tsr_free(s->free_slots);
    tsr_free(s->slot_pages);
    tsr_free(s->slot_n_pages);
    tsr_free(s->releases);
    for (int i = 0; i < MOST_PLANNED; i++) tsr_free(s->planned[i].rows);
    tsr_free(s->updated);
    tsr_free(s);
    *scheduler = NULL;
}

tsr_status tsr_scheduler_share_prefixes(tsr_scheduler *s, const tsr_rope *ropes, int64_t n_ropes)
{
    tsr_prefix_cache_options o = {.limits = &s->limits, .pool = s->pool, .ropes = ropes, .n_ropes = n_ropes};
    return tsr_prefix_cache_create(&o, &s->prefixes);
}

/* ---- Coming ---- */

tsr_status tsr_scheduler_submit(tsr_scheduler *s, tsr_request *r)
{
    const tsr_request_spec *spec = &r->spec;
    if (r->state != TSR_REQUEST_NEW) return tsr_fail(TSR_ERR_USAGE, "a request can be submitted only once");
    int64_t cached = tsr_request_cached_tokens(spec);
    if (cached > (int64_t)s->limits.n_pages * TSR_PAGE_TOKENS)
        return tsr_fail(TSR_ERR_CAPACITY,
                        "%d prompt tokens and %d new ones need room for %lld in the cache, which holds %lld "
                        "(%d pages of %d tokens)",
                        spec->n_prompt, spec->max_new_tokens, (long long)cached,
                        (long long)s->limits.n_pages * TSR_PAGE_TOKENS, s->limits.n_pages, TSR_PAGE_TOKENS);
    r->state = TSR_REQUEST_WAITING;
    r->previous = s->last_waiting;
    r->next = NULL;
    if (s->last_waiting)
        s->last_waiting->next = r;
    else
        s->first_waiting = r;
    s->last_waiting = r;
    s->counts.waiting++;
    return TSR_OK;
}

static void leave_queue(tsr_scheduler *s, tsr_request *r)
{
    if (r->previous)
        r->previous->next = r->next;
    else
        s->first_waiting = r->next;
    if (r->next)
        r->next->previous = r->previous;
    else
        s->last_waiting = r->previous;
    r->previous = r->next = NULL;
    s->counts.waiting--;
}

/* ---- Going ---- */

/* [pages_per_slot] */
static int32_t *pages_of(const tsr_scheduler *s, const tsr_request *r)
{
    return s->slot_pages + (int64_t)r->slot * s->pages_per_slot;
}

/* Pages that it needs at the worst. */
static int32_t worst_pages(const tsr_request *r)
{
    return tsr_pages_for(tsr_request_cached_tokens(&r->spec));
}

static void leave_slot(tsr_scheduler *s, tsr_request *r)
{
    if (s->prefixes)
        tsr_prefix_cache_leave(s->prefixes, r, pages_of(s, r), s->slot_n_pages[r->slot]);
    else
        tsr_page_pool_release(s->pool, pages_of(s, r), s->slot_n_pages[r->slot]);
    tsr_page_pool_unreserve(s->pool, r->reserved);
    s->table_pages -= worst_pages(r);
    s->slot_n_pages[r->slot] = 0;
    s->free_slots[s->n_free_slots++] = r->slot;
    s->releases[s->n_releases++] = r->slot;
    r->slot = -1;
    r->reserved = 0;
}

static void stop_running(tsr_scheduler *s, tsr_request *r)
{
    int32_t i = 0;
    while (s->running[i] != r) i++;
    s->n_running--;
    memmove(s->running + i, s->running + i + 1, (size_t)(s->n_running - i) * sizeof *s->running);
    leave_slot(s, r);
    for (int k = 0; k < s->n_planned; k++)
        for (i = 0; i < s->planned[k].n_rows; i++)
            if (s->planned[k].rows[i].request == r) s->planned[k].rows[i].request = NULL;
}

void tsr_scheduler_finish(tsr_scheduler *s, tsr_request *r, tsr_finish reason)
{
    assert(reason != TSR_FINISH_NONE);
    if (r->state != TSR_REQUEST_WAITING && r->state != TSR_REQUEST_RUNNING) return;
    r->finish = reason;
    s->no_room = false;
    if (r->state == TSR_REQUEST_WAITING)
        leave_queue(s, r);
    else
        stop_running(s, r);
    r->state = TSR_REQUEST_FINISHED;
    s->counts.finished++;
}

void tsr_scheduler_finish_all(tsr_scheduler *s, tsr_finish reason)
{
    while (s->first_waiting) tsr_scheduler_finish(s, s->first_waiting, reason);
    while (s->n_running > 0) tsr_scheduler_finish(s, s->running[s->n_running - 1], reason);
}

bool tsr_scheduler_idle(const tsr_scheduler *s)
{
    return !s->first_waiting && s->n_running == 0;
}

/* ---- Planning ---- */

/* Whether each prompt token needs a row, and not the last one alone. */
static bool wants_every_row(const tsr_request *r)
{
    return r->spec.prompt_logprobs || r->spec.outputs == TSR_OUTPUTS_EVERY;
}

static bool reads_prompt(const tsr_request *r)
{
    return r->n_computed < r->spec.n_prompt;
}

/* All it can ask for is computed or under way: its last token is never fed back. */
static bool fully_planned(const tsr_request *r)
{
    return !reads_prompt(r) && r->n_computed >= tsr_request_cached_tokens(&r->spec);
}

/* Of n tokens of its prompt, those for which there is time. A prefix, which is read whole, is read beside no other
 * prompt. */
static int32_t paced_tokens(const tsr_scheduler *s, const tsr_request *r, int32_t n)
{
    const tsr_step_work *work = &s->planned[s->n_planned].work;
    int32_t prefix = (int32_t)tsr_min(n, (int64_t)r->spec.prefix_length - r->n_computed);
    if (!s->pace) return n;
    int32_t allowed = tsr_step_pace_allows(s->pace, work, r->n_computed, n, wants_every_row(r));
    return allowed < prefix && work->prompt == 0 ? prefix : allowed;
}

/* Tokens of its prompt that the room and the time left in the step allow. Each scored token needs a row; so does the
 * last one. */
static int32_t chunk_tokens(const tsr_scheduler *s, const tsr_request *r, const tsr_step_record *record)
{
    int32_t left = r->spec.n_prompt - r->n_computed, rows = s->limits.max_rows - record->n_rows;
    int32_t n = (int32_t)tsr_min(left, s->limits.max_tokens - record->n_tokens);
    if (wants_every_row(r))
        n = (int32_t)tsr_min(n, rows);
    else if (n == left && rows == 0)
        n--;
    n = paced_tokens(s, r, n);
    return r->n_computed + n < r->spec.prefix_length ? 0 : n; /* a prefix is read whole */
}

static tsr_row_kind kind_of_row(const tsr_request *r, bool last)
{
    if (r->spec.outputs != TSR_OUTPUTS_NONE) return TSR_ROW_OUTPUTS;
    if (!last) return TSR_ROW_SCORE;
    return r->spec.max_new_tokens > 0 ? TSR_ROW_SAMPLE : TSR_ROW_TOP;
}

static void plan_row(tsr_scheduler *s, tsr_request *r, tsr_step_record *record, int32_t position)
{
    tsr_row_kind kind = kind_of_row(r, position >= r->spec.n_prompt - 1);
    int32_t target = kind == TSR_ROW_SCORE ? r->spec.prompt[position + 1] : 0;
    if (kind == TSR_ROW_SAMPLE) r->chosen_row = record->n_rows;
    s->planned[s->n_planned].rows[record->n_rows] = (planned_row){r, kind, position};
    record->rows[record->n_rows++] =
        (tsr_record_row){record->n_tokens, record->n_sequences, (int32_t)kind, target};
}

/* Nothing of it has been planned yet. */
static bool is_new(const tsr_request *r)
{
    return r->n_computed == r->n_shared * TSR_PAGE_TOKENS;
}

/* The other ranks hear of shared pages with the first ones of its own. */
static int32_t plan_pages(tsr_scheduler *s, tsr_request *r, tsr_step_record *record, int32_t n_tokens)
{
    int32_t *have = &s->slot_n_pages[r->slot], *pages = pages_of(s, r);
    int32_t n = tsr_pages_for((int64_t)r->n_computed + n_tokens) - *have, told = is_new(r) ? 0 : *have;
    tsr_page_pool_take(s->pool, n, pages + *have);
    r->reserved -= n;
    *have += n;
    memcpy(record->pages + record->n_pages, pages + told, (size_t)(*have - told) * sizeof *pages);
    record->n_pages += *have - told;
    return *have - told;
}

/* The token at a position, or the row under way that chooses it. */
static int32_t known_token(const tsr_request *r, int32_t position)
{
    int32_t i = position - r->spec.n_prompt;
    if (i < 0) return r->spec.prompt[position];
    return i < r->n_generated ? r->generated[i] : TSR_TOKEN_OF_ROW(r->chosen_row);
}

static void plan_tokens(tsr_scheduler *s, tsr_request *r, tsr_step_record *record, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t position = r->n_computed + i, id = known_token(r, position);
        if (position >= r->spec.n_prompt - 1 || wants_every_row(r)) plan_row(s, r, record, position);
        record->ids[record->n_tokens++] = id;
    }
}

static int32_t plan_start(const tsr_request *r, tsr_step_record *record)
{
    const size_t n = (size_t)r->spec.n_biases;
    const int32_t shared = r->n_shared * TSR_PAGE_TOKENS;
    if (!is_new(r)) return -1;
    if (n > 0) memcpy(record->biases + record->n_biases, r->spec.biases, n * sizeof *record->biases);
    record->n_biases += r->spec.n_biases;
    if (shared > 0 && tsr_sampling_keeps_ids(&r->spec.sampling)) {
        memcpy(record->shared_ids + record->n_shared_ids, r->spec.prompt, (size_t)shared * sizeof(int32_t));
        record->n_shared_ids += shared;
    }
    record->starts[record->n_starts] = (tsr_record_start){.sampling = r->spec.sampling,
                                                          .prompt_length = r->spec.n_prompt,
                                                          .prefix_length = r->spec.prefix_length,
                                                          .mask_position = r->spec.mask_position,
                                                          .n_top = r->spec.n_top,
                                                          .n_prompt_top = r->spec.n_prompt_top,
                                                          .n_biases = r->spec.n_biases,
                                                          .n_shared = r->n_shared};
    return record->n_starts++;
}

/* The next n known tokens of a running request. */
static void plan_sequence(tsr_scheduler *s, tsr_request *r, tsr_step_record *record, int32_t n)
{
    tsr_record_sequence *q = &record->sequences[record->n_sequences];
    tsr_step_work *work = &s->planned[s->n_planned].work;
    int32_t n_rows = record->n_rows;
    q->slot = r->slot;
    q->start = plan_start(r, record);
    q->position = r->n_computed;
    q->n_tokens = n;
    q->n_pages = plan_pages(s, r, record, n);
    plan_tokens(s, r, record, n);
    if (reads_prompt(r)) {
        s->counts.prompt_tokens += n;
        tsr_step_work_add_prompt(work, r->n_computed, n, record->n_rows - n_rows);
    } else {
        tsr_step_work_add_decoding(work, r->n_computed);
    }
    record->n_sequences++;
    r->n_computed += n;
}

static bool take_pages(tsr_scheduler *s, tsr_request *r, int32_t shared)
{
    int32_t worst = worst_pages(r);
    if (s->prefixes) return tsr_prefix_cache_begin(s->prefixes, r, pages_of(s, r), shared, worst);
    if (!tsr_page_pool_reserve(s->pool, worst)) return false;
    r->reserved = worst;
    return true;
}

/* Room in the page tables and in the pool, for a request that has got a slot. */
static bool take_room(tsr_scheduler *s, tsr_request *r, int32_t shared)
{
    int64_t table_pages = s->table_pages + worst_pages(r);
    s->no_room = table_pages > tsr_most_table_pages(&s->limits) || !take_pages(s, r, shared);
    if (!s->no_room) s->table_pages = table_pages;
    return !s->no_room;
}

/* Behind the pages that it shares. */
static bool begin_in_slot(tsr_scheduler *s, tsr_request *r, const tsr_step_record *record)
{
    int32_t shared = s->prefixes ? tsr_prefix_cache_match(s->prefixes, r, pages_of(s, r)) : 0;
    r->n_computed = shared * TSR_PAGE_TOKENS;
    if (chunk_tokens(s, r, record) > 0 && s->n_shared + shared <= tsr_most_shared_pages(&s->limits) &&
        take_room(s, r, shared)) {
        s->n_shared += shared;
        s->slot_n_pages[r->slot] = shared;
        if (tsr_prefix_cache_serves(s->prefixes, r)) s->counts.prefix_queries += r->spec.n_prompt;
        s->counts.prefix_hits += r->n_computed;
        return true;
    }
    r->n_computed = 0;
    return false;
}

/* Admits the request that has waited longest; false if it has to go on waiting. */
static bool admit_first(tsr_scheduler *s, tsr_step_record *record)
{
    tsr_request *r = s->first_waiting;
    if (!r || s->n_free_slots == 0 || s->no_room || chunk_tokens(s, r, record) == 0) return false;
    r->slot = s->free_slots[s->n_free_slots - 1];
    if (!begin_in_slot(s, r, record)) {
        r->slot = -1;
        return false;
    }
    s->n_free_slots--;
    leave_queue(s, r);
    r->state = TSR_REQUEST_RUNNING;
    s->running[s->n_running++] = r;
    plan_sequence(s, r, record, chunk_tokens(s, r, record));
    return true;
}

static void begin_record(tsr_scheduler *s, tsr_step_record *record, tsr_record_kind kind)
{
    tsr_step_record_clear(record, kind, ++s->number);
    memcpy(record->releases, s->releases, (size_t)s->n_releases * sizeof *s->releases);
    record->n_releases = s->n_releases;
    s->n_releases = s->n_updated = s->n_shared = 0;
}

void tsr_scheduler_set_ahead(tsr_scheduler *s, bool ahead)
{
    s->ahead = ahead;
}

void tsr_scheduler_set_pace(tsr_scheduler *s, tsr_step_pace *pace)
{
    s->pace = pace;
}

void tsr_scheduler_measured(tsr_scheduler *s, double seconds)
{
    assert(s->n_planned > 0);
    if (s->pace) tsr_step_pace_measured(s->pace, &s->planned[0].work, seconds);
}

/* The next step can be planned, on every rank, without looking at what this row gives. Lists of best tokens lie in
 * memory that the next step uses again. */
static bool chosen_blindly(const planned_row *row)
{
    const tsr_request_spec *spec = &row->request->spec;
    if (row->kind == TSR_ROW_SCORE) return spec->n_prompt_top == 0;
    return row->kind == TSR_ROW_SAMPLE && spec->n_top == 0 && !tsr_sampling_looks_back(&spec->sampling);
}

static bool may_go_ahead(const tsr_scheduler *s, const planned_step *step)
{
    bool left = s->first_waiting != NULL;
    for (int32_t i = 0; i < step->n_rows; i++)
        if (!chosen_blindly(&step->rows[i])) return false;
    for (int32_t i = 0; i < s->n_running && !left; i++) left = !fully_planned(s->running[i]);
    return s->ahead && left;
}

/* What the steps planned so far have made certain may be shared from now on. */
static void note_pages(tsr_scheduler *s)
{
    for (int32_t i = 0; i < s->n_running && s->prefixes; i++)
        if (tsr_prefix_cache_advance(s->prefixes, s->running[i], pages_of(s, s->running[i])))
            s->no_room = false;
}

void tsr_scheduler_plan(tsr_scheduler *s, tsr_step_record *record)
{
    assert(s->n_planned < MOST_PLANNED);
    planned_step *step = &s->planned[s->n_planned];
    note_pages(s);
    begin_record(s, record, TSR_RECORD_STEP);
    step->work = (tsr_step_work){0};
    for (int32_t i = 0; i < s->n_running; i++)
        if (!reads_prompt(s->running[i]) && !fully_planned(s->running[i]))
            plan_sequence(s, s->running[i], record, 1);
    int32_t n_decoding = record->n_sequences;
    if (s->pace) tsr_step_pace_begin(s->pace, &step->work);
    for (int32_t i = 0; i < s->n_running && n_decoding < s->n_running; i++) {
        tsr_request *r = s->running[i];
        int32_t n = reads_prompt(r) ? chunk_tokens(s, r, record) : 0;
        if (n > 0) plan_sequence(s, r, record, n);
    }
    while (admit_first(s, record)) {
    }
    if (record->n_sequences == 0) {
        record->kind = TSR_RECORD_IDLE;
        return;
    }
    s->n_planned++;
    step->n_rows = record->n_rows;
    record->ahead = may_go_ahead(s, step);
    s->counts.steps++;
}

void tsr_scheduler_plan_shutdown(tsr_scheduler *s, tsr_step_record *record)
{
    s->n_planned = 0;
    begin_record(s, record, TSR_RECORD_SHUTDOWN);
}

/* ---- Results ---- */

static tsr_finish take_result(tsr_scheduler *s, const planned_row *row, const tsr_sample_result *result)
{
    if (row->kind == TSR_ROW_SAMPLE && !result->failed) s->counts.generated_tokens++;
    return tsr_request_take(row->request, row->kind, row->position, result);
}

tsr_status tsr_scheduler_commit(tsr_scheduler *s, const tsr_sample_result *results, int32_t n_results)
{
    const planned_step step = s->planned[0];
    int32_t n_rows = s->n_planned > 0 ? step.n_rows : 0;
    if (n_results != n_rows)
        return tsr_fail(TSR_ERR_INTERNAL, "a step with %d output rows gave %d results", n_rows, n_results);
    s->n_updated = 0;
    for (int32_t i = 0; i < n_rows; i++) {
        tsr_request *r = step.rows[i].request;
        if (!r || r->state != TSR_REQUEST_RUNNING) continue;
        if (!r->updated) s->updated[s->n_updated++] = r;
        r->updated = true;
        tsr_finish finish = take_result(s, &step.rows[i], &results[i]);
        if (finish != TSR_FINISH_NONE) tsr_scheduler_finish(s, r, finish);
    }
    /* The mark serves this loop only: the requests may be gone by the next step. */
    for (int32_t i = 0; i < s->n_updated; i++) s->updated[i]->updated = false;
    if (s->n_planned > 0) {
        s->planned[0] = s->planned[1];
        s->planned[1] = step;
        s->n_planned--;
    }
    return TSR_OK;
}

tsr_request *const *tsr_scheduler_updated(const tsr_scheduler *s, int32_t *n)
{
    *n = s->n_updated;
    return s->updated;
}

void tsr_scheduler_get_counts(const tsr_scheduler *s, tsr_scheduler_counts *out)
{
    *out = s->counts;
    out->running = s->n_running;
    out->pages_total = tsr_page_pool_total(s->pool);
    out->pages_used = tsr_page_pool_used(s->pool);
    out->pages_reserved = tsr_page_pool_reserved(s->pool);
    out->pages_touched = tsr_page_pool_touched(s->pool);
}
