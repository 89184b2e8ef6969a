/* request_take.c: what the result of a row means to the request it was for. */
#include "base/memory.h"
#include "runtime/request.h"

#include <math.h>
#include <string.h>

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

tsr_finish tsr_request_take(tsr_request *r, tsr_row_kind kind, int32_t position,
                            const tsr_sample_result *result)
{
    tsr_finish finish = TSR_FINISH_NONE;
    tsr_status status = TSR_OK;
    int64_t capacity = 0;
    if (result->failed) return TSR_FINISH_ERROR;
    if (kind == TSR_ROW_OUTPUTS) return take_outputs(r, position, result);
    if (kind == TSR_ROW_SCORE) {
        status = take_score(r, position, result);
    } else if (kind == TSR_ROW_TOP) {
        status = keep_top(&r->final_top, &capacity, 0, r->spec.n_top, result);
        finish = TSR_FINISH_LENGTH;
    } else {
        status = take_token(r, result, &finish);
    }
    if (r->spec.prompt_logprobs && kind != TSR_ROW_SCORE) r->n_scored = r->spec.n_prompt;
    return status == TSR_OK ? finish : TSR_FINISH_ERROR;
}
