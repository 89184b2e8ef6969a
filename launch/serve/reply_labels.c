/* reply_labels.c: answers of /invocations of a model that classifies: a list with one element for each text.
 *
 * Of texts {"label":"A","score":0.9}, or with top_k a list of these; of their tokens a list of {"entity","score","index",
 * "word","start","end"} or, put together, of {"entity_group","score","word","start","end"}.
 */
#include "base/memory.h"
#include "launch/serve/label_ranking.h"
#include "launch/serve/entities.h"
#include "launch/serve/reply.h"
#include "layers/task.h"

#include <string.h>

static tsr_status put_name(tsr_text *out, const char *key, const char *name)
{
    return tsr_put_string(out, '{', key, name, (int64_t)strlen(name));
}

static tsr_status put_score(tsr_text *out, double score)
{
    TSR_TRY(tsr_text_puts(out, ",\"score\":"));
    return tsr_put_number(out, (float)score);
}

/* The elements of a list, one for each job. */
static tsr_status put_all(tsr_exchange *x, tsr_status (*put)(const tsr_job *job, tsr_text *out),
                          tsr_text *out)
{
    for (int64_t i = 0; i < x->n_jobs; i++) {
        TSR_TRY(tsr_text_puts(out, i == 0 ? "[" : ","));
        TSR_TRY(put(&x->jobs[i], out));
    }
    return tsr_text_puts(out, "]\n");
}

/* --- Texts --- */

static tsr_score_rule rule_of(const tsr_exchange *x)
{
    static const tsr_score_rule rules[] = {[TSR_SCORES_SOFTMAX] = TSR_SCORE_SOFTMAX,
                                           [TSR_SCORES_SIGMOID] = TSR_SCORE_SIGMOID,
                                           [TSR_SCORES_AS_LOGITS] = TSR_SCORE_NONE};
    return rules[x->call.scores];
}

static tsr_status put_label(const tsr_exchange *x, const tsr_ranked_label *ranked, tsr_text *out)
{
    TSR_TRY(put_name(out, "label", x->info->labels[ranked->label]));
    TSR_TRY(put_score(out, (double)ranked->score));
    return tsr_text_puts(out, "}");
}

static tsr_status put_ranked(const tsr_exchange *x, const tsr_ranked_label *ranked, tsr_text *out)
{
    int64_t all = x->info->n_labels, top = x->call.top_labels;
    if (top < 0) return put_label(x, &ranked[0], out);
    if (top == 0 || top > all) top = all;
    for (int64_t i = 0; i < top; i++) {
        TSR_TRY(tsr_text_puts(out, i == 0 ? "[" : ","));
        TSR_TRY(put_label(x, &ranked[i], out));
    }
    return tsr_text_puts(out, "]");
}

static tsr_status put_text_labels(const tsr_job *job, tsr_text *out)
{
    const tsr_exchange *x = job->exchange;
    int64_t n = x->info->n_labels;
    void *p;
    TSR_TRY(tsr_calloc(n, sizeof(tsr_ranked_label), "labels", &p));
    tsr_ranked_label *ranked = p;
    tsr_status s = tsr_calloc(n, sizeof(float), "scores", &p);
    float *scores = p;
    if (s == TSR_OK) {
        if (x->call.scores == TSR_SCORES_OF_MODEL)
            memcpy(scores, job->label_values, (size_t)n * sizeof *scores);
        else
            tsr_scores_by_rule(rule_of(x), job->label_values, n, scores);
        tsr_rank_labels(scores, n, ranked);
        s = put_ranked(x, ranked, out);
        tsr_free(scores);
    }
    tsr_free(ranked);
    return s;
}

static tsr_status whole_labels(tsr_exchange *x, tsr_text *out)
{
    return put_all(x, put_text_labels, out);
}

/* --- Tokens --- */

static bool is_ignored(const tsr_api_call *call, const char *name)
{
    for (int64_t i = 0; i < call->n_ignored; i++)
        if (strcmp(call->ignored[i], name) == 0) return true;
    return false;
}

/* A token's piece as it stands in the vocabulary; several as the text they give. */
static tsr_status put_word(const tsr_job *job, const tsr_entity *e, bool single, tsr_text *out)
{
    const tsr_tokenizer *tokenizer = job->exchange->tokenizer;
    int64_t n = 0;
    tsr_text text;
    if (single) {
        const char *piece = tsr_tokenizer_piece(tokenizer, job->prompt.ids[e->first], &n);
        return tsr_put_string(out, ',', "word", piece ? piece : "", n);
    }
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    tsr_status s =
        tsr_tokenizer_decode(tokenizer, job->prompt.ids + e->first, e->last - e->first + 1, true, &text);
    if (s == TSR_OK) s = tsr_put_string(out, ',', "word", text.data, text.length);
    tsr_text_free(&text);
    return s;
}

static tsr_status put_entity(const tsr_job *job, const tsr_entity *e, const char *name, tsr_text *out)
{
    bool single = job->exchange->call.aggregation == TSR_AGGREGATE_NONE;
    TSR_TRY(put_name(out, single ? "entity" : "entity_group", name));
    TSR_TRY(put_score(out, e->score));
    if (single) TSR_TRY(tsr_text_format(out, ",\"index\":%lld", (long long)e->first));
    TSR_TRY(put_word(job, e, single, out));
    if (e->start < 0 || e->end < 0) return tsr_text_puts(out, ",\"start\":null,\"end\":null}");
    return tsr_text_format(out, ",\"start\":%lld,\"end\":%lld}", (long long)e->start, (long long)e->end);
}

static tsr_status put_entities(const tsr_job *job, const tsr_entity *list, int64_t n, tsr_text *out)
{
    const tsr_exchange *x = job->exchange;
    const char *before = "";
    TSR_TRY(tsr_text_puts(out, "["));
    for (int64_t i = 0; i < n; i++) {
        const char *label = x->info->labels[list[i].label];
        const char *name = x->call.aggregation == TSR_AGGREGATE_NONE ? label : tsr_entity_group(label);
        if (is_ignored(&x->call, name)) continue;
        TSR_TRY(tsr_text_puts(out, before));
        TSR_TRY(put_entity(job, &list[i], name, out));
        before = ",";
    }
    return tsr_text_puts(out, "]");
}

static tsr_status put_token_labels(const tsr_job *job, tsr_text *out)
{
    const tsr_exchange *x = job->exchange;
    const tsr_prompt *prompt = &x->call.prompts[job - x->jobs];
    tsr_labelled_text t = {.tokenizer = x->tokenizer,
                           .text = prompt->text,
                           .length = prompt->length,
                           .ids = job->prompt.ids,
                           .n_ids = job->n_rows,
                           .logits = job->label_values,
                           .label = x->info->labels,
                           .labels = x->info->n_labels};
    int64_t n;
    void *p;
    TSR_TRY(tsr_calloc(t.n_ids, sizeof(tsr_entity), "entities", &p));
    tsr_entity *list = p;
    tsr_status s = tsr_entities_find(&t, x->call.aggregation, list, &n);
    if (s == TSR_OK) s = put_entities(job, list, n, out);
    tsr_free(list);
    return s;
}

static tsr_status whole_entities(tsr_exchange *x, tsr_text *out)
{
    return put_all(x, put_token_labels, out);
}

const tsr_reply tsr_reply_labels = {.content_type = "application/json", .whole = whole_labels};
const tsr_reply tsr_reply_entities = {.content_type = "application/json", .whole = whole_entities};
