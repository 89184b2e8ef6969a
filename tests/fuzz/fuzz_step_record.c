/* fuzz_step_record.c: a step record with any bytes changed, as a rank takes it: refused, or harmless to what is laid out
 * from it. The first byte chooses a record of a real series (255: what follows is the record itself), the others, three
 * at a time, a place in it and what stands there instead. The records before it are carried out first. */
#include "base/memory.h"
#include "base/rng.h"
#include "runtime/scheduler.h"
#include "runtime/step_builder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REQUESTS = 5, RECORDS = 32 };

static const tsr_step_limits limits = {
    .max_tokens = 12, .max_sequences = 3, .max_rows = 8, .max_context = 60, .n_pages = 5, .vocabulary = 100};

typedef struct series {
    char *bytes[RECORDS];
    int64_t size[RECORDS];
    int n;
} series;

static void need(bool ok)
{
    if (!ok) abort();
}

static tsr_request *make_request(tsr_rng *rng, int i)
{
    const tsr_logit_bias biases[3] = {{90, -100}, {i, 2.5f}, {50, 100}};
    int32_t prompt[50];
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    tsr_request *r;
    spec.prompt = prompt;
    spec.n_prompt = i == 1 ? 20 : 34 + (int32_t)tsr_rng_below(rng, 16); /* but for that one all begin alike */
    for (int32_t k = 0; k < spec.n_prompt; k++)
        prompt[k] = i != 1 && k < TSR_PAGE_TOKENS ? k : (int32_t)tsr_rng_below(rng, 100);
    spec.max_new_tokens = 4;
    spec.prompt_logprobs = i == 1;
    spec.n_top = i % 2;
    spec.sampling.repetition_penalty = i == 2 ? 1.2f : 1;
    spec.sampling.frequency_penalty = i > 2 ? 0.5f : 0;
    spec.sampling.keep_history = i == 4;
    spec.biases = biases;
    spec.n_biases = i % 4;
    need(tsr_request_create(&spec, &limits, &r) == TSR_OK);
    return r;
}

/* The records of a run, the last one says that it is over. */
static void make_series(series *s)
{
    tsr_rng rng = {1};
    tsr_scheduler *scheduler;
    tsr_step_record *record;
    tsr_request *requests[REQUESTS];
    tsr_sample_result results[8];
    bool shared = false;
    need(tsr_scheduler_create(&limits, &scheduler) == TSR_OK);
    need(tsr_scheduler_share_prefixes(scheduler, NULL, 0) == TSR_OK);
    need(tsr_step_record_create(&limits, &record) == TSR_OK);
    for (int i = 0; i < REQUESTS; i++) {
        requests[i] = make_request(&rng, i);
        need(tsr_scheduler_submit(scheduler, requests[i]) == TSR_OK);
    }
    while (s->n < RECORDS) {
        bool last = s->n == RECORDS - 1;
        if (last)
            tsr_scheduler_plan_shutdown(scheduler, record);
        else
            tsr_scheduler_plan(scheduler, record);
        s->bytes[s->n] = malloc((size_t)tsr_step_record_max_bytes(&limits));
        s->size[s->n] = tsr_step_record_encode(record, s->bytes[s->n]);
        s->n++;
        shared |= record->n_shared_ids > 0;
        for (int32_t i = 0; i < record->n_rows; i++)
            results[i] = (tsr_sample_result){.id = (int32_t)tsr_rng_below(&rng, 100)};
        if (!last) need(tsr_scheduler_commit(scheduler, results, record->n_rows) == TSR_OK);
    }
    need(shared);
    tsr_scheduler_destroy(&scheduler);
    tsr_step_record_destroy(&record);
    for (int i = 0; i < REQUESTS; i++) tsr_request_destroy(&requests[i]);
}

static void check_rows(const tsr_step *step, const tsr_sample_row *rows)
{
    for (int32_t i = 0; i < step->n_rows; i++) {
        need(step->rows[i] >= 0 && step->rows[i] < step->n_tokens);
        for (int32_t j = 0; j < rows[i].n_seen; j++)
            need(rows[i].seen[j] >= 0 && rows[i].seen[j] < limits.vocabulary);
        for (int32_t j = 0; j < rows[i].n_terms; j++) {
            need(rows[i].terms[j].id >= (j > 0 ? rows[i].terms[j - 1].id + 1 : 0));
            need(rows[i].terms[j].id < limits.vocabulary && isfinite(rows[i].terms[j].bias));
        }
        if (rows[i].kind == TSR_ROW_SAMPLE) need(tsr_sampling_check(&rows[i].sampling) == TSR_OK);
    }
}

static void check_tokens(const tsr_step *step)
{
    for (int32_t t = 0; t < step->n_tokens; t++) {
        const tsr_step_sequence *q = &step->sequences[step->sequence[t]];
        int32_t page = q->pages[step->positions[t] / TSR_PAGE_TOKENS];
        need(step->positions[t] < limits.max_context && page >= 0 && page < limits.n_pages);
        need(step->ids[t] >= TSR_TOKEN_OF_ROW(limits.max_rows - 1) && step->ids[t] < limits.vocabulary);
    }
}

typedef struct follower {
    tsr_step_record *record;
    tsr_slot_table *slots;
    tsr_step_builder *builder;
} follower;

/* Whether the record was carried out. */
static bool take(follower *f, const char *bytes, int64_t n)
{
    const tsr_step *step;
    const tsr_sample_row *rows;
    if (tsr_step_record_decode(bytes, n, &limits, f->record) != TSR_OK) return false;
    if (tsr_slot_table_apply(f->slots, f->record) != TSR_OK) return false;
    if (f->record->kind != TSR_RECORD_STEP) return true;
    need(tsr_step_builder_build(f->builder, f->record, f->slots, &step, &rows) == TSR_OK);
    check_tokens(step);
    check_rows(step, rows);
    return true;
}

/* Of the series, a copy with changes; else the bytes themselves. *n is exact, so that a sanitizer sees what is read
 * beyond. */
static char *make_record(const series *s, int which, const uint8_t *data, size_t size, int64_t *n)
{
    char *bytes = malloc(which < 0 ? size + 1 : (size_t)s->size[which]);
    *n = which < 0 ? (int64_t)size : s->size[which];
    if (!bytes) abort();
    memcpy(bytes, which < 0 ? (const char *)data : s->bytes[which], (size_t)*n);
    for (size_t i = 0; which >= 0 && i + 3 <= size; i += 3)
        bytes[(data[i] | data[i + 1] << 8) % *n] = (char)data[i + 2];
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static series s;
    follower f;
    int64_t n;
    if (s.n == 0) make_series(&s);
    if (size == 0) return 0;
    int which = data[0] == 255 ? -1 : data[0] % s.n;
    need(tsr_step_record_create(&limits, &f.record) == TSR_OK);
    need(tsr_slot_table_create(&limits, &f.slots) == TSR_OK);
    need(tsr_step_builder_create(&limits, NULL, 0, &f.builder) == TSR_OK);
    for (int i = 0; i < which; i++) need(take(&f, s.bytes[i], s.size[i]));
    char *bytes = make_record(&s, which, data + 1, size - 1, &n);
    bool taken = take(&f, bytes, n);
    if (size < 4) need(taken == (which >= 0)); /* as it was */
    free(bytes);
    tsr_step_record_destroy(&f.record);
    tsr_slot_table_destroy(&f.slots);
    tsr_step_builder_destroy(&f.builder);
    return 0;
}
