/* scheduler.c: the waiting queue, the running list, and the step that comes next. */
#include "runtime/scheduler.h"

#include "base/checked.h"
#include "base/memory.h"
#include "layers/kernel.h"
#include "runtime/page_pool.h"

#include <assert.h>
#include <math.h>
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
    int64_t number;      /* of the last record */
    bool ahead;          /* steps may be marked so */
    tsr_step_pace *pace; /* NULL: none is kept */

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

static void leave_slot(tsr_scheduler *s, tsr_request *r)
{
    tsr_page_pool_release(s->pool, s->slot_pages + (int64_t)r->slot * s->pages_per_slot,
                          s->slot_n_pages[r->slot]);
    tsr_page_pool_unreserve(s->pool, r->reserved);
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
    if (r->state == TSR_REQUEST_WAITING)
        leave_queue(s, r);
    else if (r->state == TSR_REQUEST_RUNNING)
        stop_running(s, r);
    else
        return;
    r->state = TSR_REQUEST_FINISHED;
    r->finish = reason;
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

static int32_t plan_pages(tsr_scheduler *s, tsr_request *r, tsr_step_record *record, int32_t n_tokens)
{
    int32_t *have = &s->slot_n_pages[r->slot];
    int32_t n = tsr_pages_for((int64_t)r->n_computed + n_tokens) - *have;
    int32_t *pages = s->slot_pages + (int64_t)r->slot * s->pages_per_slot + *have;
    tsr_page_pool_take(s->pool, n, pages);
    memcpy(record->pages + record->n_pages, pages, (size_t)n * sizeof *pages);
    record->n_pages += n;
    r->reserved -= n;
    *have += n;
    return n;
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
    if (r->n_computed > 0) return -1;
    if (n > 0) memcpy(record->biases + record->n_biases, r->spec.biases, n * sizeof *record->biases);
    record->n_biases += r->spec.n_biases;
    record->starts[record->n_starts] = (tsr_record_start){.sampling = r->spec.sampling,
                                                          .prompt_length = r->spec.n_prompt,
                                                          .prefix_length = r->spec.prefix_length,
                                                          .mask_position = r->spec.mask_position,
                                                          .n_top = r->spec.n_top,
                                                          .n_prompt_top = r->spec.n_prompt_top,
                                                          .n_biases = r->spec.n_biases};
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

/* Admits the request that has waited longest; false if it has to go on waiting. */
static bool admit_first(tsr_scheduler *s, tsr_step_record *record)
{
    tsr_request *r = s->first_waiting;
    if (!r || s->n_free_slots == 0 || chunk_tokens(s, r, record) == 0) return false;
    int32_t pages = tsr_pages_for(tsr_request_cached_tokens(&r->spec));
    if (!tsr_page_pool_reserve(s->pool, pages)) return false;
    leave_queue(s, r);
    r->state = TSR_REQUEST_RUNNING;
    r->reserved = pages;
    r->slot = s->free_slots[--s->n_free_slots];
    s->running[s->n_running++] = r;
    plan_sequence(s, r, record, chunk_tokens(s, r, record));
    return true;
}

static void begin_record(tsr_scheduler *s, tsr_step_record *record, tsr_record_kind kind)
{
    tsr_step_record_clear(record, kind, ++s->number);
    memcpy(record->releases, s->releases, (size_t)s->n_releases * sizeof *s->releases);
    record->n_releases = s->n_releases;
    s->n_releases = s->n_updated = 0;
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

void tsr_scheduler_plan(tsr_scheduler *s, tsr_step_record *record)
{
    assert(s->n_planned < MOST_PLANNED);
    planned_step *step = &s->planned[s->n_planned];
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

static bool among(const int32_t *ids, int32_t n, int32_t id)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] == id) return true;
    return false;
}

/* Stores a row's list of best tokens as list number i of n each; a short one is padded. */
static tsr_status keep_top(tsr_token_logprob **lists, int64_t *capacity, int64_t i, int32_t n,
                           const tsr_sample_result *result)
{
    if (n == 0) return TSR_OK;
    void *p = *lists;
    TSR_TRY(tsr_grow(&p, capacity, (i + 1) * n, sizeof **lists, "lists of best tokens"));
    *lists = p;
    for (int32_t j = 0; j < n; j++)
        (*lists)[i * n + j] = j < result->n_top ? result->top[j] : (tsr_token_logprob){-1, NAN};
    return TSR_OK;
}

static tsr_status take_score(tsr_request *r, int32_t position, const tsr_sample_result *result)
{
    int32_t i = position + 1;
    r->prompt_logprobs[i] = result->logprob;
    r->n_scored = i + 1;
    if (i == 1)
        TSR_TRY(keep_top(&r->prompt_top, &r->prompt_top_capacity, 0, r->spec.n_prompt_top,
                         &(tsr_sample_result){0}));
    return keep_top(&r->prompt_top, &r->prompt_top_capacity, i, r->spec.n_prompt_top, result);
}

static tsr_status take_token(tsr_request *r, const tsr_sample_result *result, tsr_finish *finish)
{
    const tsr_request_spec *spec = &r->spec;
    TSR_TRY(keep_top(&r->top, &r->top_capacity, r->n_generated, spec->n_top, result));
    r->generated[r->n_generated] = result->id;
    r->logprobs[r->n_generated++] = result->logprob;
    if (!spec->ignore_eos && among(spec->eos_ids, spec->n_eos, result->id))
        *finish = TSR_FINISH_EOS;
    else if (among(spec->stop_ids, spec->n_stop, result->id))
        *finish = TSR_FINISH_STOP;
    else if (r->n_generated == spec->max_new_tokens)
        *finish = TSR_FINISH_LENGTH;
    return TSR_OK;
}

static tsr_finish take_outputs(tsr_request *r, int32_t position, const tsr_sample_result *result)
{
    size_t cols = (size_t)r->spec.output_cols;
    memcpy(r->outputs + (size_t)r->n_outputs++ * cols, result->outputs, cols * sizeof *r->outputs);
    return position == r->spec.n_prompt - 1 ? TSR_FINISH_LENGTH : TSR_FINISH_NONE;
}

static tsr_finish take_result(tsr_scheduler *s, const planned_row *row, const tsr_sample_result *result)
{
    tsr_request *r = row->request;
    tsr_finish finish = TSR_FINISH_NONE;
    tsr_status status = TSR_OK;
    int64_t capacity = 0;
    if (result->failed) return TSR_FINISH_ERROR;
    if (row->kind == TSR_ROW_OUTPUTS) return take_outputs(r, row->position, result);
    if (row->kind == TSR_ROW_SCORE) {
        status = take_score(r, row->position, result);
    } else if (row->kind == TSR_ROW_TOP) {
        status = keep_top(&r->final_top, &capacity, 0, r->spec.n_top, result);
        finish = TSR_FINISH_LENGTH;
    } else {
        status = take_token(r, result, &finish);
        s->counts.generated_tokens++;
    }
    if (r->spec.prompt_logprobs && row->kind != TSR_ROW_SCORE) r->n_scored = r->spec.n_prompt;
    return status == TSR_OK ? finish : TSR_FINISH_ERROR;
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
}
