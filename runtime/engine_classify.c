/* engine_classify.c: requests of models that classify: which rows they want, and scores from logits. */
#include "base/memory.h"
#include "runtime/engine_parts.h"

/* Padding behind a text is no part of it, and nothing in front depends on it. */
void engine_classify_spec(const tsr_engine *e, tsr_request_spec *spec)
{
    const tsr_classifier *c = &e->model->classifier;
    bool tokens = e->model->task == TSR_TASK_TOKEN_CLASSIFICATION;
    spec->outputs = tokens ? TSR_OUTPUTS_EVERY : TSR_OUTPUTS_LAST;
    spec->output_cols = (int32_t)c->labels;
    spec->max_new_tokens = 0;
    if (!tokens) spec->n_prompt = (int32_t)tsr_classifier_length(c, spec->prompt, spec->n_prompt);
}

tsr_status engine_classify_finish(const tsr_engine *e, engine_request *r)
{
    const tsr_classifier *c = &e->model->classifier;
    const tsr_request *q = r->request;
    void *p;
    if (r->scores || !q->outputs || q->state != TSR_REQUEST_FINISHED) return TSR_OK;
    TSR_TRY(tsr_calloc(q->n_outputs * c->labels, sizeof(float), "scores", &p));
    r->scores = p;
    for (int64_t i = 0; i < q->n_outputs; i++)
        tsr_classifier_scores(c, q->outputs + i * c->labels, r->scores + i * c->labels);
    return TSR_OK;
}
