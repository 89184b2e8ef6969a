/* cmd_score.c: `tessera score`: how probable each token of a text is, and what would come next. */
#include "launch/command.h"
#include "runtime/engine.h"

#include <math.h>
#include <stdio.h>

/* exp of the mean negative log-probability of all tokens but the first; NaN for a single token. */
static double perplexity(const tsr_result *r)
{
    double sum = 0;
    for (int64_t i = 1; i < r->n_prompt; i++) sum += (double)r->prompt_logprobs[i];
    return exp(-sum / (double)(r->n_prompt - 1));
}

static tsr_status write_json(tsr_text *t, const tsr_result *r)
{
    double p = perplexity(r);
    TSR_TRY(tsr_text_puts(t, "{\"ids\":"));
    TSR_TRY(tsr_json_ids(t, r->prompt_ids, r->n_prompt));
    TSR_TRY(tsr_text_puts(t, ",\"logprobs\":"));
    TSR_TRY(tsr_json_logprobs(t, r->prompt_logprobs, r->n_prompt));
    TSR_TRY(tsr_text_puts(t, ",\"top\":["));
    for (int64_t i = 0; i < r->n_top; i++)
        TSR_TRY(tsr_text_format(t, "%s[%d,%.9g]", i ? "," : "", r->top_ids[i], (double)r->top_logprobs[i]));
    if (isfinite(p)) return tsr_text_format(t, "],\"perplexity\":%.9g}\n", p);
    return tsr_text_puts(t, "],\"perplexity\":null}\n");
}

static tsr_status write_plain(tsr_text *t, const tsr_result *r)
{
    for (int64_t i = 0; i < r->n_prompt; i++)
        TSR_TRY(i ? tsr_text_format(t, "%8d  %10.5f\n", r->prompt_ids[i], (double)r->prompt_logprobs[i])
                  : tsr_text_format(t, "%8d           -\n", r->prompt_ids[i]));
    if (r->n_prompt > 1) TSR_TRY(tsr_text_format(t, "perplexity %.6g\n", perplexity(r)));
    for (int64_t i = 0; i < r->n_top; i++)
        TSR_TRY(tsr_text_format(t, "next %d: %8d  %10.5f\n", (int)i + 1, r->top_ids[i],
                                (double)r->top_logprobs[i]));
    return TSR_OK;
}

static tsr_status print(const tsr_options *o, const tsr_result *r)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, TSR_TEXT_NO_CAP));
    tsr_status s = o->flag[TSR_OPT_JSON] ? write_json(&t, r) : write_plain(&t, r);
    if (s == TSR_OK) s = tsr_put(t.data, t.length);
    tsr_text_free(&t);
    return s;
}

static tsr_status score_one(tsr_engine *engine, const tsr_options *o, const tsr_input *input)
{
    int64_t id;
    tsr_result result;
    tsr_request_options r = TSR_REQUEST_OPTIONS_INIT;
    r.prompt = input->text;
    r.ids = input->ids;
    r.n_ids = input->n_ids;
    r.max_new_tokens = 0;
    r.score = true;
    r.top = o->integer[TSR_OPT_TOP];
    TSR_TRY(tsr_engine_submit(engine, &r, &id));
    tsr_status s = tsr_engine_run(engine);
    if (s == TSR_OK) s = tsr_engine_result(engine, id, &result);
    if (s == TSR_OK && result.finish == TSR_FINISH_ERROR)
        s = tsr_fail(TSR_ERR_FORMAT,
                     "the model gives no numbers for this text (its weights hold NaN or infinity)");
    if (s == TSR_OK) s = print(o, &result);
    tsr_engine_release(engine, id);
    return s;
}

tsr_status tsr_cmd_score(tsr_world *world, const tsr_options *o)
{
    tsr_input *inputs = NULL;
    int64_t n = 0;
    tsr_engine *engine = NULL;
    tsr_engine_options e = tsr_cli_engine_options(o);
    bool leads = tsr_world_rank(world) == 0;
    tsr_status s = leads ? tsr_inputs_read(o, &inputs, &n) : TSR_OK;
    if (s == TSR_OK && leads) s = tsr_cli_check_task(o);
    s = tsr_world_agree(world, s);
    for (int64_t i = 0; i < n; i++) e.needs_tokenizer |= inputs[i].text != NULL;
    if (s == TSR_OK) s = tsr_engine_create_in(world, &e, &engine);
    if (s == TSR_OK && !leads) s = tsr_engine_follow(engine);
    for (int64_t i = 0; i < n && s == TSR_OK; i++) s = score_one(engine, o, &inputs[i]);
    tsr_engine_destroy(&engine);
    tsr_inputs_free(&inputs, n);
    return s;
}
