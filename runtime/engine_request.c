/* engine_request.c: the requests of rank 0: from options to scheduler, from tokens to text and results. */
#include "base/checked.h"
#include "base/log.h"
#include "runtime/engine_parts.h"
#include "runtime/stop_scan.h"

#include <string.h>

static void free_request(tsr_engine *e, engine_request *r)
{
    if (!r) return;
    if (r->request) {
        if (r->request->state == TSR_REQUEST_WAITING || r->request->state == TSR_REQUEST_RUNNING)
            tsr_scheduler_finish(e->scheduler, r->request, TSR_FINISH_CANCELLED);
        tsr_request_destroy(&r->request);
    }
    tsr_detokenizer_destroy(&r->detokenizer);
    tsr_text_free(&r->text);
    for (int64_t i = 0; i < r->n_stop && r->stop; i++) tsr_free(r->stop[i]);
    tsr_free(r->stop);
    tsr_free(r->top_ids);
    tsr_free(r->top_logprobs);
    tsr_free(r->scores);
    tsr_free(r);
}

void engine_requests_free(tsr_engine *e)
{
    for (int64_t i = 0; i < e->n_requests; i++) free_request(e, e->requests[i]);
    tsr_free(e->requests);
    e->requests = NULL;
    e->n_requests = 0;
}

/* --- Submitting --- */

static tsr_status copy_stops(engine_request *r, const tsr_request_options *o)
{
    enum { MAX_STOPS = 256, MAX_STOP_BYTES = 4096 };
    void *p;
    if (o->n_stop < 0 || o->n_stop > MAX_STOPS)
        return tsr_fail(TSR_ERR_USAGE, "at most %d stop texts, found %lld", MAX_STOPS, (long long)o->n_stop);
    TSR_TRY(tsr_calloc(o->n_stop, sizeof(char *), "stop texts", &p));
    r->stop = p;
    for (int64_t i = 0; i < o->n_stop; i++) {
        size_t bytes = strlen(o->stop[i]) + 1;
        if (bytes == 1 || bytes > MAX_STOP_BYTES)
            return tsr_fail(TSR_ERR_USAGE, "a stop text must have 1..%d bytes, found %zu", MAX_STOP_BYTES - 1,
                            bytes - 1);
        TSR_TRY(tsr_alloc((int64_t)bytes, "a stop text", &p));
        r->stop[r->n_stop++] = memcpy(p, o->stop[i], bytes);
    }
    return TSR_OK;
}

/* What a request leaves to the model is what its generation_config.json says. */
static tsr_status choose_sampling(const tsr_engine *e, const tsr_request_options *o, int64_t n_prompt,
                                  tsr_sampling *out)
{
    const tsr_generation_config *g = &e->generation;
    double temperature = o->temperature >= 0 ? o->temperature : g->temperature;
    int64_t top_k = o->top_k >= 0 ? o->top_k : g->top_k;
    int64_t ngram = o->no_repeat_ngram >= 0 ? o->no_repeat_ngram : g->no_repeat_ngram;
    int64_t fresh = o->min_new_tokens >= 0 ? o->min_new_tokens : g->min_new_tokens;
    if (top_k > INT32_MAX || ngram > INT32_MAX || fresh > INT32_MAX / 2)
        return tsr_fail(TSR_ERR_USAGE, "top_k, no_repeat_ngram and min_new_tokens must be at most %d",
                        INT32_MAX / 2);
    *out = (tsr_sampling){.seed = o->seed,
                          .temperature = (float)temperature,
                          .top_p = (float)(o->top_p >= 0 ? o->top_p : g->top_p),
                          .min_p = (float)(o->min_p >= 0 ? o->min_p : g->min_p),
                          .repetition_penalty = (float)(o->repetition_penalty >= 0 ? o->repetition_penalty
                                                                                   : g->repetition_penalty),
                          .frequency_penalty = (float)o->frequency_penalty,
                          .presence_penalty = (float)o->presence_penalty,
                          .top_k = (int32_t)top_k,
                          .no_repeat_ngram = (int32_t)ngram,
                          .min_length = (int32_t)(fresh >= 0 ? n_prompt + fresh : g->min_length),
                          .max_length = (int32_t)(n_prompt + o->max_new_tokens),
                          .logprobs = o->logprobs};
    out->keep_history = tsr_token_rules_need_history(g, out);
    return TSR_OK;
}

/* What is wanted of a prompt, whose ids the spec has. */
static tsr_status generate_spec(const tsr_engine *e, const tsr_request_options *o, tsr_request_spec *spec)
{
    tsr_prefix prefix = {0};
    TSR_TRY(tsr_prefix_find(&e->model->prefix, spec->prompt, spec->n_prompt, &prefix));
    spec->prefix_length = prefix.length;
    spec->mask_position = prefix.mask;
    spec->max_new_tokens = (int32_t)o->max_new_tokens;
    TSR_TRY(choose_sampling(e, o, spec->n_prompt, &spec->sampling));
    spec->n_top = (int32_t)(o->max_new_tokens == 0 ? o->top : o->alternatives);
    spec->n_prompt_top = o->score ? (int32_t)o->alternatives : 0;
    spec->prompt_logprobs = o->score;
    spec->eos_ids = e->generation.eos_ids;
    spec->n_eos = e->generation.n_eos;
    spec->ignore_eos = o->ignore_eos;
    if (o->n_logit_bias < 0 || o->n_logit_bias > TSR_MAX_LOGIT_BIASES)
        return tsr_fail(TSR_ERR_USAGE, "at most %d biases in logit_bias, found %lld", TSR_MAX_LOGIT_BIASES,
                        (long long)o->n_logit_bias);
    spec->biases = o->logit_bias;
    spec->n_biases = (int32_t)o->n_logit_bias;
    return TSR_OK;
}

static tsr_status make_request(tsr_engine *e, engine_request *r, const tsr_request_options *o,
                               const int32_t *ids, int64_t n)
{
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    if (n > INT32_MAX / 2 || o->max_new_tokens > INT32_MAX / 2 || o->max_new_tokens < 0 || n < 1)
        return tsr_fail(TSR_ERR_USAGE,
                        "a request needs 1..%d prompt tokens and 0..%d new tokens, found %lld and %lld",
                        INT32_MAX / 2, INT32_MAX / 2, (long long)n, (long long)o->max_new_tokens);
    if (o->top < 0 || o->top > TSR_MAX_TOP)
        return tsr_fail(TSR_ERR_USAGE, "top must lie in 0..%d, found %lld", TSR_MAX_TOP, (long long)o->top);
    if (o->alternatives < 0 || o->alternatives > TSR_MAX_TOP)
        return tsr_fail(TSR_ERR_USAGE, "alternatives must lie in 0..%d, found %lld", TSR_MAX_TOP,
                        (long long)o->alternatives);
    spec.prompt = ids;
    spec.n_prompt = (int32_t)n;
    if (o->classify)
        engine_classify_spec(e, &spec);
    else
        TSR_TRY(generate_spec(e, o, &spec));
    TSR_TRY(tsr_request_create(&spec, &e->limits, &r->request));
    r->request->user = r;
    return TSR_OK;
}

static tsr_status fill_request(tsr_engine *e, engine_request *r, const tsr_request_options *o)
{
    TSR_TRY(tsr_task_check(e->model->task, o->classify, e->options.model));
    r->on_text = o->on_text;
    r->user = o->user;
    TSR_TRY(tsr_text_init(&r->text, TSR_TEXT_NO_CAP));
    TSR_TRY(copy_stops(r, o));
    if (e->tokenizer)
        TSR_TRY(tsr_detokenizer_create(e->tokenizer, true, &r->detokenizer));
    else if (o->n_stop > 0)
        return tsr_fail(TSR_ERR_USAGE, "stop texts need a tokenizer, and %s has none", e->options.model);
    if (!o->prompt) return make_request(e, r, o, o->ids, o->n_ids);
    if (!e->tokenizer)
        return tsr_fail(TSR_ERR_USAGE,
                        "%s has no tokenizer (tokenizer.json, vocab.json or tokenizer.model): give ids",
                        e->options.model);
    tsr_token_list list = {0};
    tsr_status s = tsr_tokenizer_encode(e->tokenizer, o->prompt, (int64_t)strlen(o->prompt), true, &list);
    if (s == TSR_OK && list.count == 0) s = tsr_fail(TSR_ERR_USAGE, "the prompt is empty: it has no tokens");
    if (s == TSR_OK) s = make_request(e, r, o, list.ids, list.count);
    tsr_token_list_free(&list);
    return s;
}

tsr_status tsr_engine_submit(tsr_engine *e, const tsr_request_options *o, int64_t *id)
{
    void *p;
    if (!e->scheduler) return tsr_fail(TSR_ERR_INTERNAL, "rank 0 alone submits");
    if (o->size != sizeof *o) return tsr_fail(TSR_ERR_USAGE, "tsr_request_options of another version");
    p = e->requests;
    tsr_status s =
        tsr_grow(&p, &e->requests_capacity, e->n_requests + 1, sizeof *e->requests, "the requests");
    e->requests = p;
    TSR_TRY(s);
    TSR_TRY(tsr_calloc(1, sizeof(engine_request), "a request", &p));
    engine_request *r = p;
    s = fill_request(e, r, o);
    if (s == TSR_OK) s = tsr_scheduler_submit(e->scheduler, r->request);
    if (s != TSR_OK) {
        free_request(e, r);
        return s;
    }
    r->id = ++e->next_id;
    r->submitted = tsr_now();
    e->requests[e->n_requests++] = r;
    if (id) *id = r->id;
    return TSR_OK;
}

static engine_request *find(const tsr_engine *e, int64_t id)
{
    int64_t low = 0, high = e->n_requests; /* ids ascend */
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (e->requests[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < e->n_requests && e->requests[low]->id == id ? e->requests[low] : NULL;
}

void tsr_engine_release(tsr_engine *e, int64_t id)
{
    engine_request *r = find(e, id);
    if (!r) return;
    int64_t at = 0;
    while (e->requests[at] != r) at++;
    memmove(e->requests + at, e->requests + at + 1, (size_t)(e->n_requests - at - 1) * sizeof *e->requests);
    e->n_requests--;
    free_request(e, r);
}

/* --- Text --- */

/* `shown` moves first: the callback may cancel the request, which shows the rest. */
static void show(engine_request *r, int64_t until)
{
    int64_t from = r->shown;
    r->shown = tsr_max(from, until);
    if (until > from && r->on_text) r->on_text(r->user, r->id, r->text.data + from, (size_t)(until - from));
}

/* Shows what may be shown; cuts the text at a stop text. */
static void stream(tsr_engine *e, engine_request *r, bool last)
{
    bool found;
    int64_t safe = tsr_stop_scan(r->text.data, r->text.length, r->shown, (const char *const *)r->stop,
                                 r->n_stop, &found);
    if (found) {
        r->text.length = safe;
        r->text.data[safe] = '\0';
        tsr_scheduler_finish(e->scheduler, r->request, TSR_FINISH_STOP);
        /* The end may have come in the same step by another way; a stop text found is the reason that counts.
         */
        r->request->finish = TSR_FINISH_STOP;
        r->closed = true;
    }
    show(r, last && !found ? r->text.length : safe);
}

static tsr_status add_text(tsr_engine *e, engine_request *r)
{
    tsr_request *q = r->request;
    if (q->n_generated > 0 && r->first_token == 0) {
        r->first_token = tsr_now();
        tsr_log(TSR_LOG_DEBUG,
                "request %lld: first token after %.1f ms; %d of %d tokens were in the prefix cache",
                (long long)r->id, 1e3 * (r->first_token - r->submitted), q->n_shared * TSR_PAGE_TOKENS,
                q->spec.n_prompt);
    }
    if (!r->detokenizer || r->closed) return TSR_OK;
    while (r->n_read < q->n_generated && !r->closed) {
        bool ending = q->finish == TSR_FINISH_EOS && r->n_read == q->n_generated - 1;
        int32_t id = q->generated[r->n_read++];
        if (ending) break; /* the token that says "end" is no text, special or not */
        TSR_TRY(tsr_detokenizer_push(r->detokenizer, id, &r->text));
        stream(e, r, false);
    }
    if (q->state == TSR_REQUEST_FINISHED && !r->closed) {
        TSR_TRY(tsr_detokenizer_finish(r->detokenizer, &r->text));
        stream(e, r, true);
        r->closed = true;
    }
    return TSR_OK;
}

static tsr_status keep_top(engine_request *r)
{
    const tsr_request *q = r->request;
    void *p;
    if (!q->final_top || r->top_ids || q->state != TSR_REQUEST_FINISHED) return TSR_OK;
    int64_t n = q->spec.n_top;
    TSR_TRY(tsr_calloc(n, sizeof(int32_t), "the best tokens", &p));
    r->top_ids = p;
    TSR_TRY(tsr_calloc(n, sizeof(float), "the best tokens", &p));
    r->top_logprobs = p;
    for (int64_t i = 0; i < n && q->final_top[i].id >= 0; i++, r->n_top++) {
        r->top_ids[i] = q->final_top[i].id;
        r->top_logprobs[i] = q->final_top[i].logprob;
    }
    return TSR_OK;
}

static tsr_status update(tsr_engine *e, engine_request *r)
{
    TSR_TRY(add_text(e, r));
    TSR_TRY(keep_top(r));
    TSR_TRY(engine_classify_finish(e, r));
    if (r->request->state == TSR_REQUEST_FINISHED && r->ended == 0) r->ended = tsr_now();
    return TSR_OK;
}

tsr_status engine_requests_update(tsr_engine *e)
{
    int32_t n;
    tsr_request *const *updated = tsr_scheduler_updated(e->scheduler, &n);
    for (int32_t i = 0; i < n; i++) TSR_TRY(update(e, updated[i]->user));
    return TSR_OK;
}

tsr_status engine_requests_cancel_all(tsr_engine *e)
{
    tsr_scheduler_finish_all(e->scheduler, TSR_FINISH_CANCELLED);
    for (int64_t i = 0; i < e->n_requests; i++) TSR_TRY(update(e, e->requests[i]));
    return TSR_OK;
}

/* What a cancelled request had so far is shown and kept. */
tsr_status tsr_engine_cancel(tsr_engine *e, int64_t id)
{
    engine_request *r = find(e, id);
    if (!r) return tsr_fail(TSR_ERR_USAGE, "there is no request %lld", (long long)id);
    tsr_scheduler_finish(e->scheduler, r->request, TSR_FINISH_CANCELLED);
    return update(e, r);
}

tsr_status tsr_engine_result(const tsr_engine *e, int64_t id, tsr_result *out)
{
    const engine_request *r = find(e, id);
    if (!r) return tsr_fail(TSR_ERR_USAGE, "there is no request %lld", (long long)id);
    const tsr_request *q = r->request;
    *out = (tsr_result){.finish = q->finish,
                        .prompt_ids = q->spec.prompt,
                        .n_prompt = q->spec.n_prompt,
                        .ids = q->generated,
                        .logprobs = q->logprobs,
                        .n_ids = q->n_generated,
                        .text = e->tokenizer ? r->text.data : NULL,
                        .text_length = (size_t)r->text.length,
                        .text_shown = (size_t)r->shown,
                        .prompt_logprobs = q->prompt_logprobs,
                        .top_ids = r->top_ids,
                        .top_logprobs = r->top_logprobs,
                        .n_top = r->n_top,
                        .logits = q->outputs,
                        .scores = r->scores,
                        .alternatives = q->top,
                        .prompt_alternatives = q->prompt_top,
                        .waiting = q->state == TSR_REQUEST_WAITING,
                        .n_label_rows = r->scores ? q->n_outputs : 0,
                        .n_cached = (int64_t)q->n_shared * TSR_PAGE_TOKENS};
    out->first_token_seconds = r->first_token > 0 ? r->first_token - r->submitted : 0;
    out->seconds = r->ended > 0 ? r->ended - r->submitted : 0;
    return TSR_OK;
}
