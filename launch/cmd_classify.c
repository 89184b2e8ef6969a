/* cmd_classify.c: `tessera classify`: the labels of texts, or of each of their tokens, best first. */
#include "base/checked.h"
#include "base/memory.h"
#include "launch/command.h"
#include "launch/serve/label_ranking.h"
#include "runtime/engine.h"
#include "runtime/tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

typedef struct classification {
    const tsr_options *options;
    tsr_engine *engine;
    tsr_engine_info info;
    bool by_token;
    int64_t *ids;             /* [n] requests */
    tsr_ranked_label *ranked; /* [labels] scratch */
} classification;

static tsr_status put_values(tsr_text *t, const char *name, const float *values, int64_t n)
{
    TSR_TRY(tsr_text_format(t, ",\"%s\":", name));
    return tsr_json_logprobs(t, values, n);
}

static tsr_status put_string(tsr_text *t, const char *name, const char *text)
{
    TSR_TRY(tsr_text_format(t, "\"%s\":", name));
    return tsr_text_json(t, text, (int64_t)strlen(text));
}

/* {"label":"B","score":0.7,"scores":[0.3,0.7],"logits":[-0.1,0.75]} without its braces. */
static tsr_status write_row(const classification *c, const tsr_result *r, int64_t row, tsr_text *t)
{
    int64_t n = c->info.n_labels;
    const float *scores = r->scores + row * n;
    tsr_rank_labels(scores, n, c->ranked);
    TSR_TRY(put_string(t, "label", c->info.labels[c->ranked[0].label]));
    TSR_TRY(tsr_text_format(t, ",\"score\":%.9g", (double)c->ranked[0].score));
    TSR_TRY(put_values(t, "scores", scores, n));
    return put_values(t, "logits", r->logits + row * n, n);
}

static tsr_status write_json(const classification *c, const tsr_result *r, tsr_text *t)
{
    TSR_TRY(tsr_text_puts(t, "{\"ids\":"));
    TSR_TRY(tsr_json_ids(t, r->prompt_ids, r->n_prompt));
    TSR_TRY(tsr_text_puts(t, ",\"labels\":["));
    for (int64_t i = 0; i < c->info.n_labels; i++) {
        if (i) TSR_TRY(tsr_text_puts(t, ","));
        TSR_TRY(tsr_text_json(t, c->info.labels[i], (int64_t)strlen(c->info.labels[i])));
    }
    TSR_TRY(tsr_text_puts(t, c->by_token ? "],\"tokens\":[" : "],"));
    for (int64_t row = 0; row < r->n_label_rows; row++) {
        if (c->by_token) TSR_TRY(tsr_text_puts(t, row ? ",{" : "{"));
        TSR_TRY(write_row(c, r, row, t));
        if (c->by_token) TSR_TRY(tsr_text_puts(t, "}"));
    }
    return tsr_text_puts(t, c->by_token ? "]}\n" : "}\n");
}

/* One line for each of the best labels. */
static tsr_status write_text(const classification *c, const tsr_result *r, tsr_text *t)
{
    int64_t n = tsr_min(c->info.n_labels, tsr_max(c->options->integer[TSR_OPT_TOP], 1));
    tsr_rank_labels(r->scores, c->info.n_labels, c->ranked);
    for (int64_t i = 0; i < n; i++)
        TSR_TRY(tsr_text_format(t, "%10.6f  %s\n", (double)c->ranked[i].score,
                                c->info.labels[c->ranked[i].label]));
    return TSR_OK;
}

/* One line for each token: its id, the best label's score, the label, and its piece if there is a tokenizer. */
static tsr_status write_tokens(const classification *c, const tsr_result *r, tsr_text *t)
{
    const tsr_tokenizer *tokenizer = tsr_engine_tokenizer(c->engine);
    for (int64_t row = 0; row < r->n_label_rows; row++) {
        int64_t length = 0;
        int32_t id = r->prompt_ids[row];
        const char *piece = tokenizer ? tsr_tokenizer_piece(tokenizer, id, &length) : NULL;
        tsr_rank_labels(r->scores + row * c->info.n_labels, c->info.n_labels, c->ranked);
        TSR_TRY(tsr_text_format(t, "%8d  %10.6f  %-12s", id, (double)c->ranked[0].score,
                                c->info.labels[c->ranked[0].label]));
        if (piece) TSR_TRY(tsr_text_puts(t, "  "));
        if (piece) TSR_TRY(tsr_text_append(t, piece, length));
        TSR_TRY(tsr_text_puts(t, "\n"));
    }
    return TSR_OK;
}

static tsr_status print(const classification *c, const tsr_result *r)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, TSR_TEXT_NO_CAP));
    tsr_status s = c->options->flag[TSR_OPT_JSON] ? write_json(c, r, &t)
                   : c->by_token                  ? write_tokens(c, r, &t)
                                                  : write_text(c, r, &t);
    if (s == TSR_OK) s = tsr_put(t.data, t.length);
    tsr_text_free(&t);
    return s;
}

static tsr_status show(const classification *c, int64_t n)
{
    tsr_result r;
    for (int64_t i = 0; i < n; i++) {
        TSR_TRY(tsr_engine_result(c->engine, c->ids[i], &r));
        if (r.finish == TSR_FINISH_ERROR)
            return tsr_fail(TSR_ERR_FORMAT,
                            "the model gives no numbers for text %lld (its weights hold NaN or infinity)",
                            (long long)i + 1);
        if (i > 0 && !c->options->flag[TSR_OPT_JSON]) TSR_TRY(tsr_put("\n", 1));
        TSR_TRY(print(c, &r));
        tsr_engine_release(c->engine, c->ids[i]);
    }
    return TSR_OK;
}

/* All texts together; results in their order. */
static tsr_status classify(classification *c, const tsr_input *inputs, int64_t n)
{
    void *p;
    tsr_engine_get_info(c->engine, &c->info);
    c->by_token = strcmp(c->info.task, "token-classification") == 0;
    TSR_TRY(tsr_calloc(n, sizeof *c->ids, "the requests", &p));
    c->ids = p;
    TSR_TRY(tsr_calloc(c->info.n_labels + 1, sizeof *c->ranked, "the labels", &p));
    c->ranked = p;
    for (int64_t i = 0; i < n; i++) {
        tsr_request_options r = TSR_REQUEST_OPTIONS_INIT;
        r.prompt = inputs[i].text;
        r.ids = inputs[i].ids;
        r.n_ids = inputs[i].n_ids;
        r.classify = true;
        tsr_status s = tsr_engine_submit(c->engine, &r, &c->ids[i]);
        if (s != TSR_OK) return n == 1 ? s : tsr_fail_in(s, "text %lld", (long long)i + 1);
    }
    TSR_TRY(tsr_engine_run(c->engine));
    return show(c, n);
}

tsr_status tsr_cmd_classify(tsr_world *world, const tsr_options *o)
{
    tsr_input *inputs = NULL;
    int64_t n = 0;
    classification c = {.options = o};
    tsr_engine_options e = tsr_cli_engine_options(o);
    bool leads = tsr_world_rank(world) == 0;
    tsr_status s = leads ? tsr_inputs_read(o, &inputs, &n) : TSR_OK;
    if (s == TSR_OK && leads) s = tsr_cli_check_task(o);
    s = tsr_world_agree(world, s);
    for (int64_t i = 0; i < n; i++) e.needs_tokenizer |= inputs[i].text != NULL;
    if (s == TSR_OK) s = tsr_engine_create_in(world, &e, &c.engine);
    if (s == TSR_OK) s = leads ? classify(&c, inputs, n) : tsr_engine_follow(c.engine);
    tsr_engine_destroy(&c.engine);
    tsr_free(c.ids);
    tsr_free(c.ranked);
    tsr_inputs_free(&inputs, n);
    return s;
}
