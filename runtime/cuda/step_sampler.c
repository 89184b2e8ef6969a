/* step_sampler.c: from rows of a step to what the sampling kernels want, and back. */
#include "runtime/cuda/step_sampler.h"
#include "base/checked.h"
#include "base/memory.h"
#include "base/rng.h"
#include "layers/cuda/sample.h"

#include <math.h>
#include <string.h>

/* What one step under way needs on the host; pinned. */
typedef struct host_side {
    tsr_cuda_choice *choices; /* [max_rows] */
    tsr_cuda_chosen *chosen;  /* [max_rows] */
    int32_t *edits;           /* [edits_capacity] */
    int32_t n_rows;
} host_side;

struct tsr_step_sampler {
    tsr_step_sampler_limits limits;
    host_side host[2];
    int64_t edits_capacity;
    /* Device memory. */
    tsr_cuda_choice *choices;
    int32_t *edits, *tokens;
    tsr_cuda_finding *parts;
    float *messages, *whole;
};

/* --- Life --- */

static int64_t message_bytes(const tsr_step_sampler_limits *l)
{
    int64_t ranks = l->comm ? l->comm->size : 0;
    return ranks * l->max_rows * TSR_FINDING_PIECES * (int64_t)sizeof(float);
}

static int64_t whole_bytes(const tsr_step_sampler_limits *l)
{
    int64_t rows = tsr_min(l->max_rows, TSR_SAMPLE_WHOLE_ROWS);
    return l->comm ? rows * l->vocabulary * (int64_t)sizeof(float) : 0;
}

static int64_t part_bytes(const tsr_step_sampler_limits *l)
{
    return (int64_t)l->max_rows * TSR_SAMPLE_SPLITS * (int64_t)sizeof(tsr_cuda_finding);
}

int64_t tsr_step_sampler_bytes(const tsr_step_sampler_limits *l)
{
    return part_bytes(l) + message_bytes(l) + whole_bytes(l) +
           l->max_rows * (int64_t)(sizeof(tsr_cuda_choice) + sizeof(int32_t));
}

static tsr_status on_device(int64_t bytes, void **out)
{
    *out = NULL;
    return bytes > 0 ? tsr_cuda_check(cudaMalloc(out, (size_t)bytes), "sampling") : TSR_OK;
}

static tsr_status on_host(int64_t bytes, void **out)
{
    *out = NULL;
    return tsr_cuda_check(cudaHostAlloc(out, (size_t)tsr_max(bytes, 1), 0), "sampling");
}

static tsr_status make_host_side(host_side *h, int32_t max_rows)
{
    void *p;
    TSR_TRY(on_host(max_rows * (int64_t)sizeof *h->choices, &p));
    h->choices = p;
    TSR_TRY(on_host(max_rows * (int64_t)sizeof *h->chosen, &p));
    h->chosen = p;
    return TSR_OK;
}

static tsr_status make_buffers(tsr_step_sampler *s)
{
    const tsr_step_sampler_limits *l = &s->limits;
    void *p;
    for (int i = 0; i < 2; i++) TSR_TRY(make_host_side(&s->host[i], l->max_rows));
    TSR_TRY(on_device(l->max_rows * (int64_t)sizeof *s->choices, &p));
    s->choices = p;
    TSR_TRY(on_device(l->max_rows * (int64_t)sizeof *s->tokens, &p));
    s->tokens = p;
    TSR_TRY(tsr_cuda_check(cudaMemset(p, 0, (size_t)l->max_rows * sizeof *s->tokens), "sampling"));
    TSR_TRY(on_device(part_bytes(l), &p));
    s->parts = p;
    TSR_TRY(tsr_cuda_check(cudaMemset(p, 0, (size_t)part_bytes(l)), "sampling"));
    TSR_TRY(on_device(message_bytes(l), &p));
    s->messages = p;
    TSR_TRY(on_device(whole_bytes(l), &p));
    s->whole = p;
    return TSR_OK;
}

tsr_status tsr_step_sampler_create(const tsr_step_sampler_limits *limits, tsr_step_sampler **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_step_sampler), "sampling", &p));
    tsr_step_sampler *s = p;
    s->limits = *limits;
    tsr_status status = make_buffers(s);
    if (status != TSR_OK) tsr_step_sampler_destroy(&s);
    *out = s;
    return status;
}

static void free_edits(tsr_step_sampler *s)
{
    for (int i = 0; i < 2; i++) {
        if (s->host[i].edits) cudaFreeHost(s->host[i].edits);
        s->host[i].edits = NULL;
    }
    if (s->edits) cudaFree(s->edits);
    s->edits = NULL;
    s->edits_capacity = 0;
}

void tsr_step_sampler_destroy(tsr_step_sampler **sampler)
{
    tsr_step_sampler *s = *sampler;
    if (!s) return;
    free_edits(s);
    for (int i = 0; i < 2; i++) {
        if (s->host[i].choices) cudaFreeHost(s->host[i].choices);
        if (s->host[i].chosen) cudaFreeHost(s->host[i].chosen);
    }
    void *const device[] = {s->choices, s->tokens, s->parts, s->messages, s->whole};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) cudaFree(device[i]);
    tsr_free(s);
    *sampler = NULL;
}

/* --- Rows --- */

bool tsr_step_sampler_takes(const tsr_sample_row *rows, int32_t n_rows)
{
    for (int32_t i = 0; i < n_rows; i++)
        if (rows[i].n_top > 0 || (rows[i].kind != TSR_ROW_SAMPLE && rows[i].kind != TSR_ROW_SCORE))
            return false;
    return true;
}

static bool is_filtered(const tsr_step_sampler *s, const tsr_cuda_choice *c)
{
    bool top_k = c->top_k > 0 && c->top_k < s->limits.vocabulary;
    return c->target < 0 && c->scale > 0 && (top_k || c->top_p < 1 || c->min_p > 0);
}

static tsr_cuda_choice choice_of(const tsr_sample_row *row, int64_t first_edit)
{
    const tsr_sampling *how = &row->sampling;
    tsr_cuda_choice c = {.top_p = 1, .penalty = 1, .target = -1, .first_edit = (int32_t)first_edit};
    if (row->kind == TSR_ROW_SCORE || row->forced) {
        c.target = row->target;
        return c;
    }
    c.scale = how->temperature > 0 ? 1 / how->temperature : 0;
    c.key = tsr_noise_key(how->seed, (uint64_t)row->draw);
    c.top_k = how->top_k;
    c.top_p = how->top_p;
    c.min_p = how->min_p;
    c.penalty = how->repetition_penalty;
    c.n_seen = how->repetition_penalty != 1 ? row->n_seen : 0;
    c.n_banned = row->n_banned;
    c.n_terms = row->n_terms;
    c.logprob = how->logprobs;
    return c;
}

/* Room for the ids of a step. What is under way is waited for: the buffers it uses go away. */
static tsr_status grow_edits(tsr_step_sampler *s, int64_t n, cudaStream_t stream)
{
    void *p;
    if (n <= s->edits_capacity) return TSR_OK;
    if (n > INT32_MAX / 2)
        return tsr_fail(TSR_ERR_CAPACITY, "%lld ids seen, biased or banned in a step", (long long)n);
    TSR_TRY(tsr_cuda_check(cudaStreamSynchronize(stream), "sampling"));
    free_edits(s);
    for (int i = 0; i < 2; i++) {
        TSR_TRY(on_host(2 * n * (int64_t)sizeof *s->edits, &p));
        s->host[i].edits = p;
    }
    TSR_TRY(on_device(2 * n * (int64_t)sizeof *s->edits, &p));
    s->edits = p;
    s->edits_capacity = 2 * n;
    return TSR_OK;
}

static void fill_edits(const tsr_cuda_choice *c, const tsr_sample_row *row, int32_t *edits)
{
    if (c->n_seen > 0) memcpy(edits + c->first_edit, row->seen, (size_t)c->n_seen * sizeof *edits);
    if (c->n_banned > 0)
        memcpy(edits + c->first_edit + c->n_seen, row->banned, (size_t)c->n_banned * sizeof *edits);
    int32_t *terms = edits + c->first_edit + c->n_seen + c->n_banned;
    for (int32_t i = 0; i < c->n_terms; i++) {
        terms[i] = row->terms[i].id;
        memcpy(&terms[c->n_terms + i], &row->terms[i].bias, sizeof *terms);
    }
}

/* The choices on the host, and what they have among them. Returns the number of edits. */
static int64_t fill_choices(const tsr_step_sampler *s, const tsr_sample_row *rows, int32_t n_rows,
                            host_side *h, tsr_cuda_sample *sample, bool *plain)
{
    int64_t n_edits = 0;
    *plain = true;
    h->n_rows = n_rows;
    for (int32_t i = 0; i < n_rows; i++) {
        h->choices[i] = choice_of(&rows[i], n_edits);
        const tsr_cuda_choice *c = &h->choices[i];
        n_edits += (int64_t)c->n_seen + c->n_banned + 2 * (int64_t)c->n_terms;
        sample->any_logprobs |= c->logprob || c->target >= 0;
        sample->any_filters |= is_filtered(s, c);
        *plain = *plain && c->scale == 0;
    }
    sample->any_edits = n_edits > 0;
    *plain = *plain && !sample->any_edits && !sample->any_logprobs;
    return n_edits;
}

static tsr_status send(void *to, const void *from, int64_t bytes, cudaStream_t stream)
{
    return tsr_cuda_check(cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyHostToDevice, stream),
                          "sending what is to be sampled");
}

static tsr_status send_choices(tsr_step_sampler *s, const tsr_sample_row *rows, int64_t n_edits, host_side *h,
                               cudaStream_t stream)
{
    TSR_TRY(send(s->choices, h->choices, h->n_rows * (int64_t)sizeof *h->choices, stream));
    if (n_edits == 0) return TSR_OK;
    TSR_TRY(grow_edits(s, n_edits, stream));
    for (int32_t i = 0; i < h->n_rows; i++) fill_edits(&h->choices[i], &rows[i], h->edits);
    return send(s->edits, h->edits, n_edits * (int64_t)sizeof *h->edits, stream);
}

tsr_status tsr_step_sampler_enqueue(tsr_step_sampler *s, float *logits, int64_t ld,
                                    const tsr_sample_row *rows, int32_t n_rows, int turn,
                                    const tsr_cuda_step *step)
{
    host_side *h = &s->host[turn];
    bool plain;
    tsr_cuda_sample sample = {.logits = logits,
                              .ld = ld,
                              .n_rows = n_rows,
                              .n_local = s->limits.n_local,
                              .first_id = s->limits.first_id,
                              .vocabulary = s->limits.vocabulary,
                              .comm = s->limits.comm,
                              .parts = s->parts,
                              .messages = s->messages,
                              .whole = s->whole,
                              .tokens = s->tokens,
                              .chosen = h->chosen};
    int64_t n_edits = fill_choices(s, rows, n_rows, h, &sample, &plain);
    if (!plain) {
        TSR_TRY(send_choices(s, rows, n_edits, h, step->stream));
        sample.choices = s->choices;
        sample.edits = s->edits;
    }
    return tsr_cuda_sample_rows(&sample, step);
}

void tsr_step_sampler_results(const tsr_step_sampler *s, int turn, tsr_sample_result *results)
{
    const host_side *h = &s->host[turn];
    for (int32_t i = 0; i < h->n_rows; i++) {
        const tsr_cuda_chosen *c = &h->chosen[i];
        bool failed = c->id < 0;
        results[i] = (tsr_sample_result){.id = c->id, .logprob = failed ? NAN : c->logprob, .failed = failed};
    }
}

const int32_t *tsr_step_sampler_tokens(const tsr_step_sampler *s)
{
    return s->tokens;
}
