/* exchange.c: exchanges and their jobs: made, filled, freed. */
#include "launch/serve/exchange.h"

#include "base/checked.h"
#include "base/log.h"
#include "base/memory.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

tsr_status tsr_exchange_create(struct MHD_Connection *connection, tsr_exchange **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_exchange), "a request", &p));
    tsr_exchange *x = p;
    pthread_mutex_init(&x->lock, NULL);
    x->connection = connection;
    x->socket = -1;
    x->references = 1;
    x->created = (int64_t)time(NULL);
    x->began = tsr_now();
    *out = x;
    return TSR_OK;
}

static void free_job(tsr_job *job)
{
    tsr_token_list_free(&job->prompt);
    tsr_free(job->tokens);
    tsr_free(job->alternatives);
    tsr_free(job->prompt_logprobs);
    tsr_free(job->prompt_alternatives);
    tsr_free(job->label_values);
    tsr_text_free(&job->text);
    tsr_text_free(&job->piece);
    tsr_detokenizer_destroy(&job->detokenizer);
}

void tsr_exchange_release(tsr_exchange **exchange)
{
    tsr_exchange *x = *exchange;
    *exchange = NULL;
    if (!x) return;
    pthread_mutex_lock(&x->lock);
    bool last = --x->references == 0;
    pthread_mutex_unlock(&x->lock);
    if (!last) return;
    for (int64_t i = 0; i < x->n_jobs; i++) free_job(&x->jobs[i]);
    tsr_free(x->jobs);
    tsr_text_free(&x->body);
    tsr_text_free(&x->head);
    tsr_text_free(&x->out);
    tsr_call_free(&x->call);
    pthread_mutex_destroy(&x->lock);
    tsr_free(x);
}

/* A seed that is stated gives each answer its own: the first is what it would be alone. */
static uint64_t choose_seed(const tsr_api_call *call, int64_t answer)
{
    uint64_t seed = 0;
    if (call->seed >= 0) return (uint64_t)(call->seed + answer);
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) seed = (uint64_t)(tsr_now() * 1e9);
    return seed;
}

tsr_status tsr_exchange_make_jobs(tsr_exchange *x)
{
    void *p;
    const tsr_api_call *call = &x->call;
    TSR_TRY(tsr_calloc(call->n_prompts * call->n, sizeof(tsr_job), "the answers of a request", &p));
    x->jobs = p;
    for (; x->n_jobs < call->n_prompts * call->n; x->n_jobs++) {
        tsr_job *job = &x->jobs[x->n_jobs];
        const tsr_prompt *prompt = &call->prompts[x->n_jobs / call->n];
        job->exchange = x;
        job->seed = choose_seed(call, x->n_jobs % call->n);
        tsr_status s = tsr_text_init(&job->text, TSR_TEXT_NO_CAP);
        if (s == TSR_OK) s = tsr_text_init(&job->piece, TSR_TEXT_NO_CAP);
        if (s == TSR_OK) s = tsr_token_list_append(&job->prompt, prompt->ids, prompt->n_ids);
        if (s != TSR_OK) {
            free_job(job);
            return s;
        }
    }
    return TSR_OK;
}

void tsr_exchange_wake(tsr_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool slept = x->suspended;
    x->suspended = false;
    pthread_mutex_unlock(&x->lock);
    if (slept) MHD_resume_connection(x->connection);
}

static tsr_status copy_prompt_scores(tsr_job *job, const tsr_result *r)
{
    void *p;
    int64_t n = r->n_prompt, k = job->exchange->call.logprobs;
    bool whole = r->finish != TSR_FINISH_CANCELLED && r->finish != TSR_FINISH_ERROR;
    if (!whole || !r->prompt_logprobs || job->prompt_logprobs) return TSR_OK;
    TSR_TRY(tsr_alloc(n * (int64_t)sizeof(float), "log-probabilities", &p));
    job->prompt_logprobs = memcpy(p, r->prompt_logprobs, (size_t)n * sizeof(float));
    if (!r->prompt_alternatives || k < 1) return TSR_OK;
    TSR_TRY(tsr_alloc(n * k * (int64_t)sizeof(tsr_token_logprob), "log-probabilities", &p));
    job->prompt_alternatives = memcpy(p, r->prompt_alternatives, (size_t)(n * k) * sizeof(tsr_token_logprob));
    return TSR_OK;
}

static tsr_status add_tokens(tsr_job *job, const tsr_result *r)
{
    int64_t k = job->exchange->call.logprobs, from = job->n_tokens;
    void *p = job->tokens;
    TSR_TRY(tsr_grow(&p, &job->capacity, r->n_ids, sizeof *job->tokens, "new tokens"));
    job->tokens = p;
    if (k > 0 && r->alternatives) {
        p = job->alternatives;
        TSR_TRY(
            tsr_grow(&p, &job->alternatives_capacity, r->n_ids * k, sizeof *job->alternatives, "new tokens"));
        job->alternatives = p;
        memcpy(job->alternatives + from * k, r->alternatives + from * k,
               (size_t)((r->n_ids - from) * k) * sizeof *job->alternatives);
    }
    for (int64_t i = from; i < r->n_ids; i++)
        job->tokens[i] = (tsr_new_token){r->ids[i], r->logprobs ? r->logprobs[i] : 0, (int64_t)r->text_shown};
    job->n_tokens = r->n_ids;
    return TSR_OK;
}

static tsr_status copy_label_values(tsr_job *job, const tsr_result *r)
{
    void *p;
    const tsr_api_call *call = &job->exchange->call;
    bool scores = call->api == TSR_API_LABELS && call->scores == TSR_SCORES_OF_MODEL;
    int64_t values = r->n_label_rows * job->exchange->info->n_labels;
    if (values == 0 || job->label_values) return TSR_OK;
    TSR_TRY(tsr_alloc(values * (int64_t)sizeof(float), "scores of a text", &p));
    job->label_values = memcpy(p, scores ? r->scores : r->logits, (size_t)values * sizeof(float));
    job->n_rows = r->n_label_rows;
    return TSR_OK;
}

tsr_status tsr_job_update(tsr_job *job, const tsr_result *r, bool *news)
{
    int64_t shown = r->text ? (int64_t)(r->finish == TSR_FINISH_NONE ? r->text_shown : r->text_length) : 0;
    *news = r->n_ids > job->n_tokens || shown > job->text.length || r->finish != TSR_FINISH_NONE;
    if (r->n_ids > job->n_tokens) TSR_TRY(add_tokens(job, r));
    if (shown > job->text.length)
        TSR_TRY(tsr_text_append(&job->text, r->text + job->text.length, shown - job->text.length));
    if (r->finish != TSR_FINISH_NONE) TSR_TRY(copy_prompt_scores(job, r));
    if (r->finish != TSR_FINISH_NONE) TSR_TRY(copy_label_values(job, r));
    job->finish = r->finish;
    job->n_cached = r->n_cached;
    return TSR_OK;
}
