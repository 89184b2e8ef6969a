/* support_hash_model.h: for tests of scheduling: a model that is a hash, on ranks of its own.
 *
 * It keeps its "cache" in pages, as a real one does: each token is stored where the page table says, and what a row gives
 * depends on everything stored for its sequence. So a page shared wrongly, lost or mixed up, a token fed twice or at a
 * wrong position, sampling parameters of another sequence: each changes what is generated. What each request should give
 * is computed alone from its history.
 */
#ifndef TSR_TESTS_SUPPORT_HASH_MODEL_H
#define TSR_TESTS_SUPPORT_HASH_MODEL_H

#include "base/memory.h"
#include "base/rng.h"
#include "runtime/request.h"
#include "runtime/step_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAGE = TSR_PAGE_TOKENS, MOST_TOP = 3, MOST_IDS = 100 };

/* ---- The model ---- */

/* Of a history: ids in order, then what the row asks. */
typedef struct digest {
    uint64_t hash;
} digest;

static inline digest digest_add(digest d, uint64_t x)
{
    return (digest){tsr_mix64(d.hash * 31 + x + 1)};
}

static inline int32_t digest_id(digest d, int32_t vocabulary)
{
    return (int32_t)(d.hash % (uint64_t)vocabulary);
}

static inline float digest_logprob(digest d, int32_t id)
{
    return -(float)(tsr_mix64(d.hash + (uint64_t)id) >> 50);
}

static inline digest digest_sampling(digest d, const tsr_sampling *s, int64_t draw)
{
    return digest_add(digest_add(d, s->seed), (uint64_t)draw);
}

static inline uint64_t mix_id(int32_t id)
{
    return tsr_mix64((uint64_t)id + 99);
}

/* Of what is added to the logit of an id. */
static inline uint64_t mix_term(int32_t id, float term)
{
    uint32_t bits;
    memcpy(&bits, &term, sizeof bits);
    return tsr_mix64(mix_id(id) + bits);
}

static inline void fake_top(digest d, int32_t n, int32_t vocabulary, tsr_token_logprob *out)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t id = digest_id(digest_add(d, (uint64_t)i), vocabulary);
        out[i] = (tsr_token_logprob){id, digest_logprob(d, id)};
    }
}

/* One rank: everything that follows the records. */
typedef struct rank {
    tsr_step_limits limits;
    tsr_step_record *record;
    tsr_slot_table *slots;
    tsr_step_builder *builder;
    int32_t *cache; /* [n_pages][PAGE] ids */
    tsr_sample_result *results;
    tsr_token_logprob *top; /* [max_rows][MOST_TOP] */
    bool device;            /* chosen tokens come late to the slot table, if at all, as from a GPU */
    int32_t *chosen;        /* [max_rows] by the rows of the last step */
} rank;

static inline void rank_create(rank *r, const tsr_step_limits *limits)
{
    r->limits = *limits;
    assert_int_equal(tsr_step_record_create(limits, &r->record), TSR_OK);
    assert_int_equal(tsr_slot_table_create(limits, &r->slots), TSR_OK);
    assert_int_equal(tsr_step_builder_create(limits, NULL, 0, &r->builder), TSR_OK);
    r->cache = calloc((size_t)limits->n_pages * PAGE, sizeof *r->cache);
    r->results = calloc((size_t)limits->max_rows, sizeof *r->results);
    r->top = calloc((size_t)limits->max_rows * MOST_TOP, sizeof *r->top);
    r->chosen = calloc((size_t)limits->max_rows, sizeof *r->chosen);
}

static inline void rank_destroy(rank *r)
{
    tsr_step_record_destroy(&r->record);
    tsr_slot_table_destroy(&r->slots);
    tsr_step_builder_destroy(&r->builder);
    free(r->cache);
    free(r->results);
    free(r->top);
    free(r->chosen);
}

static inline digest row_digest(const rank *r, const tsr_step *step, int32_t token, const tsr_sample_row *row)
{
    const tsr_step_sequence *q = &step->sequences[step->sequence[token]];
    digest d = {0};
    for (int32_t p = 0; p <= step->positions[token]; p++)
        d = digest_add(d, (uint64_t)r->cache[(int64_t)q->pages[p / PAGE] * PAGE + p % PAGE]);
    if (row->kind != TSR_ROW_SAMPLE) return d;
    uint64_t seen = 0;
    for (int32_t i = 0; i < row->n_seen; i++) seen += mix_id(row->seen[i]);
    for (int32_t i = 0; i < row->n_terms; i++) seen += mix_term(row->terms[i].id, row->terms[i].bias);
    return digest_add(digest_sampling(d, &row->sampling, row->draw), seen);
}

static inline void rank_run(rank *r)
{
    const tsr_step *step;
    const tsr_sample_row *rows;
    tsr_step_builder_build(r->builder, r->record, r->slots, &step, &rows);
    for (int32_t t = 0; t < step->n_tokens; t++) {
        const tsr_step_sequence *q = &step->sequences[step->sequence[t]];
        int32_t p = step->positions[t];
        assert_int_equal(p, q->position + t - q->first_token);
        int32_t id = step->ids[t];
        r->cache[(int64_t)q->pages[p / PAGE] * PAGE + p % PAGE] =
            id >= 0 ? id : r->chosen[TSR_TOKEN_OF_ROW(id)];
        assert_true(id >= 0 || r->device);
    }
    for (int32_t i = 0; i < step->n_rows; i++) {
        const tsr_sample_row *row = &rows[i];
        tsr_token_logprob *top = r->top + (int64_t)i * MOST_TOP;
        digest d = row_digest(r, step, step->rows[i], row);
        int32_t id = row->kind == TSR_ROW_SCORE ? row->target : digest_id(d, r->limits.vocabulary);
        fake_top(d, row->n_top, r->limits.vocabulary, top);
        r->results[i] = (tsr_sample_result){id, digest_logprob(d, id), row->n_top, false, top, NULL};
    }
    for (int32_t i = 0; i < step->n_rows; i++) r->chosen[i] = r->results[i].id;
    if (!r->device || !r->record->ahead) tsr_slot_table_results(r->slots, r->results, step->n_rows);
}

/* ---- What a request should give, alone ---- */

typedef struct expected {
    int32_t n;
    int32_t ids[512];
    float logprobs[512];
    digest digests[512];
    tsr_finish finish;
} expected;

static inline bool among(const int32_t *ids, int32_t n, int32_t id)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] == id) return true;
    return false;
}

/* Of all ids that have a bias or stand among the new tokens. Numbers are such that no sum is rounded. */
static inline uint64_t terms_digest(const tsr_request_spec *spec, const expected *e, int32_t vocabulary)
{
    uint64_t sum = 0;
    int count[MOST_IDS] = {0};
    float term[MOST_IDS] = {0};
    bool named[MOST_IDS] = {false};
    assert_true(vocabulary <= MOST_IDS);
    for (int32_t i = 0; i < spec->n_biases; i++) {
        term[spec->biases[i].id] = spec->biases[i].bias;
        named[spec->biases[i].id] = true;
    }
    for (int32_t i = 0; i < e->n && tsr_sampling_counts(&spec->sampling); i++) count[e->ids[i]]++;
    for (int32_t id = 0; id < vocabulary; id++) {
        if (count[id] > 0)
            term[id] -= spec->sampling.presence_penalty + spec->sampling.frequency_penalty * (float)count[id];
        if (count[id] > 0 || named[id]) sum += mix_term(id, term[id]);
    }
    return sum;
}

static inline digest history_digest(const tsr_request_spec *spec, const expected *e, int32_t vocabulary)
{
    digest d = {0};
    uint64_t seen = 0;
    int32_t all[1024], n = spec->n_prompt + e->n;
    seen += terms_digest(spec, e, vocabulary);
    for (int32_t i = 0; i < n; i++) {
        all[i] = i < spec->n_prompt ? spec->prompt[i] : e->ids[i - spec->n_prompt];
        d = digest_add(d, (uint64_t)all[i]);
        if (spec->sampling.repetition_penalty != 1 && !among(all, i, all[i])) seen += mix_id(all[i]);
    }
    return digest_add(digest_sampling(d, &spec->sampling, n), seen);
}

static inline void expect_alone(const tsr_request_spec *spec, int32_t vocabulary, expected *e)
{
    *e = (expected){.finish = TSR_FINISH_NONE};
    while (e->finish == TSR_FINISH_NONE) {
        if (e->n == spec->max_new_tokens) {
            e->finish = TSR_FINISH_LENGTH;
            return;
        }
        digest d = history_digest(spec, e, vocabulary);
        int32_t id = digest_id(d, vocabulary);
        e->logprobs[e->n] = digest_logprob(d, id);
        e->digests[e->n] = d;
        e->ids[e->n++] = id;
        if (!spec->ignore_eos && among(spec->eos_ids, spec->n_eos, id))
            e->finish = TSR_FINISH_EOS;
        else if (among(spec->stop_ids, spec->n_stop, id))
            e->finish = TSR_FINISH_STOP;
    }
}

static inline void check_scores(const tsr_request *r, int32_t vocabulary)
{
    const tsr_request_spec *spec = &r->spec;
    digest d = {0};
    tsr_token_logprob top[MOST_TOP];
    assert_int_equal(r->n_scored, spec->n_prompt);
    assert_true(isnan(r->prompt_logprobs[0]));
    for (int32_t i = 0; i < spec->n_prompt; i++) {
        if (i > 0) {
            assert_true(r->prompt_logprobs[i] == digest_logprob(d, spec->prompt[i]));
            fake_top(d, spec->n_prompt_top, vocabulary, top);
            for (int32_t j = 0; j < spec->n_prompt_top; j++) {
                assert_int_equal(r->prompt_top[i * spec->n_prompt_top + j].id, top[j].id);
                assert_true(r->prompt_top[i * spec->n_prompt_top + j].logprob == top[j].logprob);
            }
        } else if (r->prompt_top) {
            assert_int_equal(r->prompt_top[0].id, -1);
        }
        d = digest_add(d, (uint64_t)spec->prompt[i]);
    }
    if (spec->max_new_tokens > 0 || spec->n_top == 0) return;
    fake_top(d, spec->n_top, vocabulary, top);
    for (int32_t j = 0; j < spec->n_top; j++) assert_int_equal(r->final_top[j].id, top[j].id);
}

/* A finished request gave what it gives alone; one ended from outside gave the beginning of it. */
static inline void check_request(const tsr_request *r, int32_t vocabulary, bool ended_outside)
{
    expected e;
    expect_alone(&r->spec, vocabulary, &e);
    assert_int_equal(r->state, TSR_REQUEST_FINISHED);
    assert_int_equal(r->slot, -1);
    if (ended_outside) {
        assert_true(r->n_generated <= e.n);
    } else {
        assert_int_equal(r->finish, e.finish);
        assert_int_equal(r->n_generated, e.n);
        if (r->spec.prompt_logprobs) check_scores(r, vocabulary);
    }
    for (int32_t i = 0; i < r->n_generated; i++) {
        tsr_token_logprob top[MOST_TOP];
        assert_int_equal(r->generated[i], e.ids[i]);
        assert_true(r->logprobs[i] == e.logprobs[i]);
        fake_top(e.digests[i], r->spec.n_top, vocabulary, top);
        for (int32_t j = 0; j < r->spec.n_top; j++)
            assert_memory_equal(&r->top[i * r->spec.n_top + j], &top[j], sizeof *top);
    }
    assert_int_equal(r->top != NULL, r->spec.n_top > 0 && r->n_generated > 0);
}

#endif
