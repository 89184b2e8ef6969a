/* sampler.c: one digest of every row over each rank's ids, one gather, one decision, taken by all ranks
 * alike.
 *
 * Rows whose filters need more candidates than were gathered go round again with longer lists. Messages are
 * bounded: what does not fit one goes into the next, so that memory does not grow with rows times vocabulary.
 */
#include "runtime/sampler.h"

#include "base/checked.h"
#include "base/memory.h"
#include "base/rng.h"
#include "runtime/logit_terms.h"
#include "runtime/sampler_candidates.h"
#include "runtime/sampler_digest.h"
#include "runtime/sampler_filter.h"
#include "runtime/sampler_message.h"
#include "runtime/sampler_scan.h"

#include <math.h>

enum {
    FIRST_CANDIDATES = 64,   /* a nucleus of real text is rarely larger */
    MORE_CANDIDATES = 8,     /* factor from round to round */
    MESSAGE_BYTES = 4 << 20, /* at most, unless one row alone needs more */
    PART_VALUES = 8192       /* fewest logits worth a thread of their own */
};

typedef struct buffer {
    void *data;
    int64_t capacity; /* bytes */
} buffer;

struct tsr_sampler {
    int32_t vocabulary, first_id, n_local;
    tsr_gather gather;
    tsr_pool *pool;
    int n_threads;

    tsr_row_plan *plans;        /* [n_rows] */
    tsr_row_plan **pending;     /* [n_rows] rows without a result yet */
    tsr_sample_result *results; /* [n_rows] */
    tsr_token_logprob *top;     /* of all rows, one after another */
    int64_t plans_capacity, pending_capacity, results_capacity, top_capacity;

    buffer parts, sent, received, merged, scratch;
    int64_t *at; /* [max(n_threads, ranks)] scratch of merging */
};

typedef struct sampler_round {
    const tsr_sampler *sampler;
    tsr_row_plan *const *plans;
    int32_t n_rows;
    int n_parts;
    int64_t part_values, message_bytes;
    char *parts;          /* [n_parts][message_bytes] */
    int64_t scratch_keys; /* per thread */
    tsr_digest_scratch scratch;
} sampler_round;

/* ---- Checks ---- */

static tsr_status check_number(const char *name, double value, double least, double most)
{
    if (value >= least && value <= most) return TSR_OK;
    return tsr_fail(TSR_ERR_USAGE, "%s must be %g to %g, not %g", name, least, most, value);
}

tsr_status tsr_sampling_check(const tsr_sampling *s)
{
    if (s->temperature != 0 && !(s->temperature >= 1e-5f && s->temperature <= 100))
        return tsr_fail(TSR_ERR_USAGE, "temperature must be 0 (greedy) or 0.00001 to 100, not %g",
                        s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return tsr_fail(TSR_ERR_USAGE, "top_p must be above 0 and at most 1, not %g", s->top_p);
    TSR_TRY(check_number("min_p", s->min_p, 0, 1));
    TSR_TRY(check_number("repetition_penalty", s->repetition_penalty, 0.01f, 100));
    TSR_TRY(check_number("frequency_penalty", s->frequency_penalty, -2, 2));
    TSR_TRY(check_number("presence_penalty", s->presence_penalty, -2, 2));
    TSR_TRY(check_number("top_k", s->top_k, 0, INT32_MAX));
    TSR_TRY(check_number("no_repeat_ngram", s->no_repeat_ngram, 0, INT32_MAX));
    TSR_TRY(check_number("min_length", s->min_length, 0, INT32_MAX));
    TSR_TRY(check_number("max_length", s->max_length, 0, INT32_MAX));
    TSR_TRY(check_number("keep_history", s->keep_history, 0, 1));
    return check_number("logprobs", s->logprobs, 0, 1);
}

static tsr_status check_row(const tsr_sampler *s, const tsr_sample_row *row)
{
    if ((unsigned)row->kind >= TSR_ROW_OUTPUTS || row->n_top < 0 || row->n_top > TSR_MAX_TOP)
        return tsr_fail(TSR_ERR_INTERNAL, "output row of kind %d with a list of %d", (int)row->kind,
                        row->n_top);
    bool targeted = row->kind == TSR_ROW_SCORE || (row->kind == TSR_ROW_SAMPLE && row->forced);
    if (targeted && (row->target < 0 || row->target >= s->vocabulary))
        return tsr_fail(TSR_ERR_INTERNAL, "id %d to score is not in the vocabulary", row->target);
    return row->kind == TSR_ROW_SAMPLE ? tsr_sampling_check(&row->sampling) : TSR_OK;
}

/* ---- Life ---- */

tsr_status tsr_sampler_create(int32_t vocabulary, int32_t first_id, int32_t n_local, const tsr_gather *gather,
                              tsr_pool *pool, tsr_sampler **out)
{
    void *p;
    *out = NULL;
    if (first_id < 0 || n_local < 0 || n_local > vocabulary - first_id || gather->size < 1)
        return tsr_fail(TSR_ERR_INTERNAL, "%d ids from %d on are no part of a vocabulary of %d", n_local,
                        first_id, vocabulary);
    TSR_TRY(tsr_calloc(1, sizeof(tsr_sampler), "the sampler", &p));
    tsr_sampler *s = p;
    s->vocabulary = vocabulary;
    s->first_id = first_id;
    s->n_local = n_local;
    s->gather = *gather;
    s->pool = pool;
    s->n_threads = pool ? tsr_pool_threads(pool) : 1;
    tsr_status status = tsr_calloc(tsr_max(s->n_threads, gather->size), sizeof *s->at, "the sampler", &p);
    s->at = p;
    if (status != TSR_OK) {
        tsr_sampler_destroy(&s);
        return status;
    }
    *out = s;
    return TSR_OK;
}

void tsr_sampler_destroy(tsr_sampler **sampler)
{
    tsr_sampler *s = *sampler;
    if (!s) return;
    tsr_free(s->plans);
    tsr_free(s->pending);
    tsr_free(s->results);
    tsr_free(s->top);
    tsr_free(s->parts.data);
    tsr_free(s->sent.data);
    tsr_free(s->received.data);
    tsr_free(s->merged.data);
    tsr_free(s->scratch.data);
    tsr_free(s->at);
    tsr_free(s);
    *sampler = NULL;
}

static tsr_status need(buffer *b, int64_t bytes)
{
    return tsr_grow(&b->data, &b->capacity, bytes, 1, "the sampler's messages");
}

/* ---- Plans ---- */

static const float no_logits[1]; /* where a rank holds none */

static tsr_row_plan plan_row(const tsr_sampler *s, const tsr_sample_row *row, const float *logits)
{
    const tsr_sampling *how = &row->sampling;
    tsr_row_plan p = {.row = row, .logits = logits, .scale = 1, .n_top = row->n_top};
    p.scored = row->kind == TSR_ROW_SCORE || (row->kind == TSR_ROW_SAMPLE && row->forced);
    p.draws = row->kind == TSR_ROW_SAMPLE && !p.scored;
    p.raw_sum = p.scored || row->n_top > 0 || (p.draws && how->logprobs);
    if (!p.draws) return p;
    bool top_k = how->top_k > 0 && how->top_k < s->vocabulary;
    p.greedy = how->temperature == 0;
    p.penalised = how->repetition_penalty != 1 && row->n_seen > 0;
    p.altered = p.penalised || row->n_banned > 0 || row->n_terms > 0;
    p.filtered = !p.greedy && (top_k || how->top_p < 1 || how->min_p > 0);
    p.draw_sum = p.filtered && how->top_p < 1 && !top_k;
    p.scale = p.greedy ? 1 : 1 / how->temperature;
    p.key = tsr_noise_key(how->seed, (uint64_t)row->draw);
    if (p.filtered) p.n_candidates = (int32_t)tsr_min(top_k ? how->top_k : FIRST_CANDIDATES, s->vocabulary);
    return p;
}

static tsr_status plan_rows(tsr_sampler *s, const float *logits, int64_t ld, const tsr_sample_row *rows,
                            int32_t n)
{
    int64_t n_top = 0;
    void *p = s->plans;
    TSR_TRY(tsr_grow(&p, &s->plans_capacity, n, sizeof *s->plans, "the sampler's rows"));
    s->plans = p;
    p = s->pending;
    TSR_TRY(tsr_grow(&p, &s->pending_capacity, n, sizeof *s->pending, "the sampler's rows"));
    s->pending = p;
    p = s->results;
    TSR_TRY(tsr_grow(&p, &s->results_capacity, n, sizeof *s->results, "the sampler's rows"));
    s->results = p;
    for (int32_t i = 0; i < n; i++) {
        TSR_TRY(check_row(s, &rows[i]));
        s->plans[i] = plan_row(s, &rows[i], s->n_local > 0 ? logits + i * ld : no_logits);
        s->pending[i] = &s->plans[i];
        n_top += rows[i].n_top;
    }
    p = s->top;
    TSR_TRY(tsr_grow(&p, &s->top_capacity, n_top + 1, sizeof *s->top, "the sampler's lists"));
    s->top = p;
    return TSR_OK;
}

/* ---- Rounds ---- */

static void digest_items(void *arg, int thread, int n_threads)
{
    const sampler_round *r = arg;
    tsr_digest_scratch scratch = {r->scratch.keys + thread * r->scratch_keys,
                                  r->scratch.values + thread * r->part_values};
    for (int64_t i = thread; i < (int64_t)r->n_rows * r->n_parts; i += n_threads) {
        int64_t part = i % r->n_parts, begin = part * r->part_values;
        int64_t n = tsr_max(tsr_min(r->part_values, r->sampler->n_local - begin), 0);
        tsr_digest_part(r->plans[i / r->n_parts], r->sampler->first_id, begin, n, &scratch,
                        r->parts + part * r->message_bytes);
    }
}

static void divide_work(const tsr_sampler *s, sampler_round *r)
{
    int64_t parts = tsr_min(s->n_threads / r->n_rows, s->n_local / PART_VALUES);
    r->n_parts = (int)tsr_max(parts, 1);
    r->part_values = tsr_round_up((s->n_local + r->n_parts - 1) / r->n_parts, TSR_SCAN_BLOCK);
    for (int32_t i = 0; i < r->n_rows; i++) {
        int64_t most = tsr_max(r->plans[i]->n_top, r->plans[i]->n_candidates);
        r->scratch_keys = tsr_max(r->scratch_keys, tsr_candidates_scratch(most));
    }
}

static tsr_status make_room(tsr_sampler *s, sampler_round *r)
{
    int64_t keys = s->n_threads * r->scratch_keys * (int64_t)sizeof *r->scratch.keys;
    int64_t values = s->n_threads * r->part_values * (int64_t)sizeof *r->scratch.values;
    TSR_TRY(need(&s->scratch, keys + values));
    TSR_TRY(need(&s->parts, r->n_parts * r->message_bytes));
    TSR_TRY(need(&s->sent, r->message_bytes));
    TSR_TRY(need(&s->received, s->gather.size * r->message_bytes));
    TSR_TRY(need(&s->merged, r->message_bytes));
    r->scratch.keys = s->scratch.data;
    r->scratch.values = (float *)((char *)s->scratch.data + keys);
    r->parts = r->n_parts == 1 ? s->sent.data : s->parts.data;
    return TSR_OK;
}

static void digest_rows(tsr_sampler *s, sampler_round *r)
{
    if (s->n_threads > 1 && (int64_t)r->n_rows * s->n_local >= 2 * PART_VALUES)
        tsr_pool_run(s->pool, digest_items, r);
    else
        digest_items(r, 0, 1);
}

/* Digests of n rows over the whole vocabulary, in s->merged. Collective. */
static tsr_status run_round(tsr_sampler *s, tsr_row_plan *const *plans, int32_t n_rows, int64_t message_bytes)
{
    sampler_round r = {.sampler = s, .plans = plans, .n_rows = n_rows, .message_bytes = message_bytes};
    const tsr_row_plan *const *constant = (const tsr_row_plan *const *)plans;
    divide_work(s, &r);
    TSR_TRY(make_room(s, &r));
    digest_rows(s, &r);
    if (r.n_parts > 1)
        tsr_message_merge(r.parts, message_bytes, r.n_parts, constant, n_rows, s->at, s->sent.data);
    const void *all = s->sent.data;
    if (s->gather.size > 1) {
        TSR_TRY(s->gather.all_gather(s->gather.ctx, s->sent.data, message_bytes, s->received.data));
        all = s->received.data;
    }
    tsr_message_merge(all, message_bytes, s->gather.size, constant, n_rows, s->at, s->merged.data);
    return TSR_OK;
}

/* How many of the first pending rows go into one message; sets their offsets. */
static int32_t take_batch(tsr_row_plan **pending, int32_t n, int64_t *message_bytes)
{
    int32_t i = 0;
    int64_t bytes = 0;
    for (; i < n && (i == 0 || bytes + tsr_message_row_bytes(pending[i]) <= MESSAGE_BYTES); i++) {
        pending[i]->offset = bytes;
        bytes += tsr_message_row_bytes(pending[i]);
    }
    *message_bytes = bytes;
    return i;
}

/* ---- Decisions ---- */

/* The raw logit of an id, from what terms and penalty made of it. */
static double raw_logit(const tsr_row_plan *plan, int32_t id, float logit)
{
    const tsr_sample_row *row = plan->row;
    double l = logit - (double)tsr_logit_term_of(row->terms, row->n_terms, id);
    double p = row->sampling.repetition_penalty;
    for (int32_t i = 0; i < row->n_seen && plan->penalised; i++)
        if (row->seen[i] == id) return l > 0 ? l * p : l / p;
    return l;
}

static void report_top(const tsr_row_plan *plan, void *message, double log_sum, tsr_token_logprob *top,
                       tsr_sample_result *out)
{
    const uint64_t *keys = tsr_message_top(message, plan);
    for (int32_t i = 0; i < plan->n_top && keys[i] != 0; i++)
        top[out->n_top++] =
            (tsr_token_logprob){tsr_candidate_id(keys[i]), (float)(tsr_candidate_logit(keys[i]) - log_sum)};
}

static void report_token(const tsr_row_plan *plan, int32_t id, float logit, double log_sum,
                         tsr_sample_result *out)
{
    out->id = id;
    if (plan->row->sampling.logprobs) out->logprob = (float)(raw_logit(plan, id, logit) - log_sum);
}

/* From the digest of a row to its result; false if it needs another round with more candidates. */
static bool decide(tsr_sampler *s, tsr_row_plan *plan, tsr_sample_result *out)
{
    void *message = s->merged.data;
    const tsr_row_digest *d = tsr_message_digest(message, plan);
    double log_sum = d->raw_max + log(d->raw_sum);
    tsr_token_logprob *top = (tsr_token_logprob *)(uintptr_t)out->top;
    *out = (tsr_sample_result){.id = -1, .logprob = NAN, .top = top};
    if (d->bad || d->raw_max == -INFINITY) {
        out->failed = true;
        return true;
    }
    report_top(plan, message, log_sum, top, out);
    if (plan->draws && d->id < 0) {
        out->failed = true;
    } else if (plan->scored) {
        out->id = plan->row->target;
        out->logprob = (float)(d->target - log_sum);
    } else if (plan->filtered) {
        uint64_t key;
        if (!tsr_filter_draw(plan, d, tsr_message_candidates(message, plan), s->vocabulary, &key)) {
            plan->n_candidates =
                (int32_t)tsr_min((int64_t)plan->n_candidates * MORE_CANDIDATES, s->vocabulary);
            return false;
        }
        report_token(plan, tsr_candidate_id(key), tsr_candidate_logit(key), log_sum, out);
    } else if (plan->draws) {
        report_token(plan, d->id, d->value, log_sum, out);
    }
    return true;
}

tsr_status tsr_sampler_run(tsr_sampler *s, const float *logits, int64_t ld, const tsr_sample_row *rows,
                           int32_t n_rows, const tsr_sample_result **results)
{
    *results = NULL;
    TSR_TRY(plan_rows(s, logits, ld, rows, n_rows));
    tsr_token_logprob *top = s->top;
    for (int32_t i = 0; i < n_rows; i++) {
        s->results[i].top = top;
        top += rows[i].n_top;
    }
    for (int32_t n_pending = n_rows; n_pending > 0;) {
        int64_t bytes;
        int32_t n = take_batch(s->pending, n_pending, &bytes), left = 0;
        TSR_TRY(run_round(s, s->pending, n, bytes));
        for (int32_t i = 0; i < n_pending; i++) {
            tsr_row_plan *plan = s->pending[i];
            if (i >= n || !decide(s, plan, &s->results[plan - s->plans])) s->pending[left++] = plan;
        }
        n_pending = left;
    }
    *results = s->results;
    return TSR_OK;
}
