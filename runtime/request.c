/* request.c: checking and copying what a request asks for. */
#include "runtime/request.h"

#include "base/checked.h"
#include "base/memory.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *tsr_finish_name(tsr_finish reason)
{
    static const char *const name[] = {
        [TSR_FINISH_NONE] = "none",           [TSR_FINISH_EOS] = "eos",
        [TSR_FINISH_LENGTH] = "length",       [TSR_FINISH_STOP] = "stop",
        [TSR_FINISH_CANCELLED] = "cancelled", [TSR_FINISH_ERROR] = "error",
    };
    return (unsigned)reason < sizeof name / sizeof *name ? name[reason] : "unknown";
}

int64_t tsr_request_cached_tokens(const tsr_request_spec *spec)
{
    return (int64_t)spec->n_prompt + tsr_max(spec->max_new_tokens - 1, 0);
}

/* --- Checks --- */

static tsr_status check_ids(const char *what, const int32_t *ids, int32_t n, int32_t vocabulary)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary)
            return tsr_fail(TSR_ERR_USAGE, "%s %d is %d, but the ids of this vocabulary are 0 to %d", what, i,
                            ids[i], vocabulary - 1);
    return TSR_OK;
}

static tsr_status check_count(const char *what, int64_t n, int64_t least, int64_t most)
{
    if (n >= least && n <= most) return TSR_OK;
    return tsr_fail(TSR_ERR_USAGE, "%s must be %lld to %lld, not %lld", what, (long long)least,
                    (long long)most, (long long)n);
}

/* A prefix is read in one step, since its tokens see each other. */
static tsr_status check_prefix(const tsr_request_spec *spec, const tsr_step_limits *limits)
{
    int64_t most = spec->prompt_logprobs ? tsr_min(limits->max_tokens, limits->max_rows) : limits->max_tokens;
    if (spec->prefix_length < 0 || spec->prefix_length > spec->n_prompt || spec->mask_position < 0 ||
        spec->mask_position > spec->n_prompt)
        return tsr_fail(TSR_ERR_INTERNAL,
                        "a prefix of %d tokens with a mask at %d does not lie in a prompt of %d",
                        spec->prefix_length, spec->mask_position, spec->n_prompt);
    if (spec->prefix_length <= most) return TSR_OK;
    return tsr_fail(TSR_ERR_CAPACITY,
                    "this model reads %d tokens of the prompt at once, but a step holds %lld%s",
                    spec->prefix_length, (long long)most,
                    spec->prompt_logprobs ? " scored ones" : "; --step-tokens makes it larger");
}

static tsr_status check_length(const tsr_request_spec *spec, const tsr_step_limits *limits)
{
    int32_t max_context = limits->max_context;
    if (spec->n_prompt < 1)
        return tsr_fail(TSR_ERR_USAGE, "the prompt is empty: at least one token is needed to go on from");
    if (spec->max_new_tokens < 0)
        return tsr_fail(TSR_ERR_USAGE, "the number of new tokens must be at least 0, not %d",
                        spec->max_new_tokens);
    int64_t length = (int64_t)spec->n_prompt + spec->max_new_tokens;
    if (length > max_context)
        return tsr_fail(TSR_ERR_CAPACITY,
                        "%d prompt tokens + %d new tokens = %lld, but the context is %d tokens",
                        spec->n_prompt, spec->max_new_tokens, (long long)length, max_context);
    TSR_TRY(check_prefix(spec, limits));
    bool scores = spec->max_new_tokens > 0 || spec->prompt_logprobs || spec->n_top > 0;
    if (scores && spec->outputs != TSR_OUTPUTS_NONE)
        return tsr_fail(TSR_ERR_INTERNAL, "rows of outputs are asked for beside tokens");
    if (!scores && spec->outputs == TSR_OUTPUTS_NONE)
        return tsr_fail(TSR_ERR_USAGE, "nothing is asked for: no new tokens and no log-probabilities");
    return TSR_OK;
}

static tsr_status check_biases(const tsr_request_spec *spec, const tsr_step_limits *limits)
{
    TSR_TRY(check_count("the number of biases in logit_bias", spec->n_biases, 0, TSR_MAX_LOGIT_BIASES));
    for (int32_t i = 0; i < spec->n_biases; i++) {
        const tsr_logit_bias *b = &spec->biases[i];
        TSR_TRY(check_ids("the token of logit_bias", &b->id, 1, limits->vocabulary));
        if (!tsr_logit_bias_fits(b->bias))
            return tsr_fail(TSR_ERR_USAGE, "logit_bias of token %d must be -100 to 100, not %g", b->id,
                            (double)b->bias);
        for (int32_t j = 0; j < i; j++)
            if (spec->biases[j].id == b->id)
                return tsr_fail(TSR_ERR_USAGE, "logit_bias names token %d twice", b->id);
    }
    return TSR_OK;
}

tsr_status tsr_request_check(const tsr_request_spec *spec, const tsr_step_limits *limits)
{
    TSR_TRY(check_length(spec, limits));
    TSR_TRY(tsr_sampling_check(&spec->sampling));
    TSR_TRY(check_count("the number of best tokens to list", spec->n_top, 0, TSR_MAX_TOP));
    TSR_TRY(
        check_count("the number of best tokens to list for the prompt", spec->n_prompt_top, 0, TSR_MAX_TOP));
    if (spec->n_prompt_top > 0 && !spec->prompt_logprobs)
        return tsr_fail(TSR_ERR_USAGE, "best tokens for the prompt are listed only if the prompt is scored");
    TSR_TRY(check_count("the number of end-of-sequence ids", spec->n_eos, 0, TSR_MAX_STOP_IDS));
    TSR_TRY(check_count("the number of stop ids", spec->n_stop, 0, TSR_MAX_STOP_IDS));
    TSR_TRY(check_ids("prompt token", spec->prompt, spec->n_prompt, limits->vocabulary));
    TSR_TRY(check_ids("end-of-sequence id", spec->eos_ids, spec->n_eos, limits->vocabulary));
    TSR_TRY(check_biases(spec, limits));
    return check_ids("stop id", spec->stop_ids, spec->n_stop, limits->vocabulary);
}

/* --- Life --- */

static tsr_status copy_ids(const int32_t *from, int32_t n, const int32_t **out)
{
    void *p;
    TSR_TRY(tsr_alloc((int64_t)n * (int64_t)sizeof *from, "the ids of a request", &p));
    if (n > 0) memcpy(p, from, (size_t)n * sizeof *from);
    *out = p;
    return TSR_OK;
}

static int by_id(const void *a, const void *b)
{
    int32_t x = ((const tsr_logit_bias *)a)->id, y = ((const tsr_logit_bias *)b)->id;
    return (x > y) - (x < y);
}

static tsr_status copy_biases(const tsr_logit_bias *from, int32_t n, const tsr_logit_bias **out)
{
    void *p;
    TSR_TRY(tsr_alloc((int64_t)n * (int64_t)sizeof *from, "the biases of a request", &p));
    if (n > 0) {
        memcpy(p, from, (size_t)n * sizeof *from);
        qsort(p, (size_t)n, sizeof *from, by_id);
    }
    *out = p;
    return TSR_OK;
}

static tsr_status copy_spec(tsr_request *r, const tsr_request_spec *spec)
{
    r->spec = *spec;
    r->spec.prompt = r->spec.eos_ids = r->spec.stop_ids = NULL;
    r->spec.biases = NULL;
    TSR_TRY(copy_biases(spec->biases, spec->n_biases, &r->spec.biases));
    TSR_TRY(copy_ids(spec->prompt, spec->n_prompt, &r->spec.prompt));
    TSR_TRY(copy_ids(spec->eos_ids, spec->n_eos, &r->spec.eos_ids));
    return copy_ids(spec->stop_ids, spec->n_stop, &r->spec.stop_ids);
}

static tsr_status make_outputs(tsr_request *r)
{
    void *p;
    TSR_TRY(tsr_calloc(r->spec.max_new_tokens, sizeof *r->generated, "the output of a request", &p));
    r->generated = p;
    TSR_TRY(tsr_calloc(r->spec.max_new_tokens, sizeof *r->logprobs, "the output of a request", &p));
    r->logprobs = p;
    if (r->spec.outputs != TSR_OUTPUTS_NONE) {
        int64_t rows = r->spec.outputs == TSR_OUTPUTS_EVERY ? r->spec.n_prompt : 1;
        TSR_TRY(tsr_calloc(rows * r->spec.output_cols, sizeof *r->outputs, "the output of a request", &p));
        r->outputs = p;
    }
    if (!r->spec.prompt_logprobs) return TSR_OK;
    TSR_TRY(tsr_calloc(r->spec.n_prompt, sizeof *r->prompt_logprobs, "the scores of a prompt", &p));
    r->prompt_logprobs = p;
    r->prompt_logprobs[0] = NAN; /* nothing precedes the first token */
    return TSR_OK;
}

tsr_status tsr_request_create(const tsr_request_spec *spec, const tsr_step_limits *limits, tsr_request **out)
{
    tsr_status status;
    void *p;
    *out = NULL;
    TSR_TRY(tsr_request_check(spec, limits));
    TSR_TRY(tsr_calloc(1, sizeof(tsr_request), "a request", &p));
    tsr_request *r = p;
    r->slot = -1;
    TSR_TRY_OUT(copy_spec(r, spec));
    TSR_TRY_OUT(make_outputs(r));
    *out = r;
    return TSR_OK;
out:
    tsr_request_destroy(&r);
    return status;
}

void tsr_request_destroy(tsr_request **request)
{
    tsr_request *r = *request;
    if (!r) return;
    assert(r->state == TSR_REQUEST_NEW || r->state == TSR_REQUEST_FINISHED);
    tsr_free((void *)r->spec.prompt);
    tsr_free((void *)r->spec.eos_ids);
    tsr_free((void *)r->spec.stop_ids);
    tsr_free((void *)r->spec.biases);
    tsr_free(r->generated);
    tsr_free(r->logprobs);
    tsr_free(r->prompt_logprobs);
    tsr_free(r->top);
    tsr_free(r->prompt_top);
    tsr_free(r->final_top);
    tsr_free(r->outputs);
    tsr_free(r);
    *request = NULL;
}
