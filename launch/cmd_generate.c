/* cmd_generate.c: `tessera generate`: continues prompts; streams text, or prints one JSON object a prompt. */
#include "base/memory.h"
#include "launch/command.h"
#include "runtime/engine.h"

#include <stdio.h>
#include <string.h>

/* The requests of this run. Text streams in the order of the prompts: of the first unfinished one as it is
 * made, of later ones once their turn comes. */
typedef struct generation {
    const tsr_options *options;
    tsr_engine *engine;
    int64_t *ids; /* [n] request ids, ascending */
    int64_t n;
    int64_t current;    /* the prompt whose text is being shown */
    int64_t numberless; /* the first prompt, from 1, for which the model gave no numbers; 0: none */
    tsr_status output;  /* the first failure to write */
} generation;

static void on_text(void *user, int64_t request, const char *text, size_t length)
{
    generation *g = user;
    if (g->output != TSR_OK || g->options->flag[TSR_OPT_JSON]) return;
    if (g->current < g->n && request == g->ids[g->current]) g->output = tsr_put(text, (int64_t)length);
}

/* Options that are not given are left to the model's generation_config.json; but it is greedy unless it is told to
 * sample. */
static void choose_sampling(const tsr_options *o, tsr_request_options *r)
{
    r->temperature = o->real[TSR_OPT_TEMPERATURE];
    if (o->flag[TSR_OPT_SAMPLE] && !o->given[TSR_OPT_TEMPERATURE]) r->temperature = -1;
    if (o->given[TSR_OPT_TOP_K]) r->top_k = o->integer[TSR_OPT_TOP_K];
    if (o->given[TSR_OPT_TOP_P]) r->top_p = o->real[TSR_OPT_TOP_P];
    if (o->given[TSR_OPT_MIN_P]) r->min_p = o->real[TSR_OPT_MIN_P];
    if (o->given[TSR_OPT_REPETITION_PENALTY]) r->repetition_penalty = o->real[TSR_OPT_REPETITION_PENALTY];
    r->frequency_penalty = o->real[TSR_OPT_FREQUENCY_PENALTY];
    r->presence_penalty = o->real[TSR_OPT_PRESENCE_PENALTY];
    if (o->given[TSR_OPT_NO_REPEAT_NGRAM]) r->no_repeat_ngram = o->integer[TSR_OPT_NO_REPEAT_NGRAM];
    if (o->given[TSR_OPT_MIN_NEW_TOKENS]) r->min_new_tokens = o->integer[TSR_OPT_MIN_NEW_TOKENS];
}

static tsr_status submit(generation *g, const tsr_input *input, int64_t index)
{
    const tsr_options *o = g->options;
    const char *stops[TSR_MAX_LIST_ITEMS];
    tsr_request_options r = TSR_REQUEST_OPTIONS_INIT;
    for (int i = 0; i < o->n_list; i++)
        if (o->list[i].option == TSR_OPT_STOP) stops[r.n_stop++] = o->list[i].value;
    r.prompt = input->text;
    r.ids = input->ids;
    r.n_ids = input->n_ids;
    r.max_new_tokens = o->integer[TSR_OPT_MAX_NEW_TOKENS];
    choose_sampling(o, &r);
    r.seed = (uint64_t)o->integer[TSR_OPT_SEED];
    r.stop = stops;
    r.ignore_eos = o->flag[TSR_OPT_IGNORE_EOS];
    r.logprobs = o->flag[TSR_OPT_JSON];
    r.on_text = on_text;
    r.user = g;
    tsr_status s = tsr_engine_submit(g->engine, &r, &g->ids[index]);
    return s == TSR_OK || g->n == 1 ? s : tsr_fail_in(s, "prompt %lld", (long long)index + 1);
}

static tsr_status print_json(const tsr_result *r)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_text_puts(&t, "{\"prompt_ids\":");
    if (s == TSR_OK) s = tsr_json_ids(&t, r->prompt_ids, r->n_prompt);
    if (s == TSR_OK) s = tsr_text_puts(&t, ",\"ids\":");
    if (s == TSR_OK) s = tsr_json_ids(&t, r->ids, r->n_ids);
    if (s == TSR_OK) s = tsr_text_puts(&t, ",\"text\":");
    if (s == TSR_OK)
        s = r->text ? tsr_text_json(&t, r->text, (int64_t)r->text_length) : tsr_text_puts(&t, "null");
    if (s == TSR_OK)
        s = tsr_text_format(&t, ",\"finish_reason\":\"%s\",\"logprobs\":", tsr_finish_name(r->finish));
    if (s == TSR_OK) s = tsr_json_logprobs(&t, r->logprobs, r->n_ids);
    if (s == TSR_OK) s = tsr_text_puts(&t, "}\n");
    if (s == TSR_OK) s = tsr_put(t.data, t.length);
    tsr_text_free(&t);
    return s;
}

/* Ends the plain output of the current prompt; without a tokenizer its ids are the output. */
static tsr_status end_plain(const tsr_result *r)
{
    for (int64_t i = 0; !r->text && i < r->n_ids; i++) printf(i ? " %d" : "%d", r->ids[i]);
    return tsr_put("\n", 1);
}

/* Prints what is due: whole results of prompts that are done, then what the next one has so far. */
static tsr_status catch_up(generation *g)
{
    tsr_result r;
    while (g->current < g->n) {
        TSR_TRY(tsr_engine_result(g->engine, g->ids[g->current], &r));
        if (r.finish == TSR_FINISH_NONE) break;
        if (r.finish == TSR_FINISH_ERROR && g->numberless == 0) g->numberless = g->current + 1;
        TSR_TRY(g->options->flag[TSR_OPT_JSON] ? print_json(&r) : end_plain(&r));
        tsr_engine_release(g->engine, g->ids[g->current++]);
        if (g->current == g->n || g->options->flag[TSR_OPT_JSON]) continue;
        TSR_TRY(tsr_engine_result(g->engine, g->ids[g->current], &r));
        if (r.text) TSR_TRY(tsr_put(r.text, (int64_t)r.text_shown));
    }
    return g->output;
}

static tsr_status run(generation *g, const tsr_input *inputs)
{
    bool more = true;
    for (int64_t i = 0; i < g->n; i++) TSR_TRY(submit(g, &inputs[i], i));
    while (more && !tsr_world_stop_requested()) {
        TSR_TRY(tsr_engine_step(g->engine, &more));
        TSR_TRY(catch_up(g));
    }
    if (!more && g->numberless > 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "prompt %lld: the model gives no numbers (its weights hold NaN or infinity)",
                        (long long)g->numberless);
    if (!more) return TSR_OK;
    for (int64_t i = g->current; i < g->n; i++) TSR_TRY(tsr_engine_cancel(g->engine, g->ids[i]));
    TSR_TRY(catch_up(g));
    return tsr_fail(TSR_ERR_CANCELLED, "stopped by a signal; what had been made was printed");
}

static tsr_status lead(tsr_engine *engine, const tsr_options *o, const tsr_input *inputs, int64_t n)
{
    void *p;
    TSR_TRY(tsr_calloc(n, sizeof(int64_t), "request ids", &p));
    generation g = {.options = o, .engine = engine, .ids = p, .n = n};
    tsr_status s = run(&g, inputs);
    tsr_free(p);
    return s;
}

tsr_status tsr_cmd_generate(tsr_world *world, const tsr_options *o)
{
    tsr_input *inputs = NULL;
    int64_t n = 0;
    tsr_engine *engine = NULL;
    tsr_engine_options e = tsr_cli_engine_options(o);
    bool leads = tsr_world_rank(world) == 0;
    /* Rank 0 alone has standard input, so it alone reads; all learn whether it could. */
    tsr_status s = leads ? tsr_inputs_read(o, &inputs, &n) : TSR_OK;
    if (s == TSR_OK && leads) s = tsr_cli_check_task(o);
    s = tsr_world_agree(world, s);
    for (int64_t i = 0; i < n; i++) e.needs_tokenizer |= inputs[i].text != NULL || inputs[i].is_chat;
    if (s == TSR_OK) s = tsr_engine_create_in(world, &e, &engine);
    if (s == TSR_OK) s = leads ? lead(engine, o, inputs, n) : tsr_engine_follow(engine);
    if (engine) tsr_engine_destroy(&engine);
    tsr_inputs_free(&inputs, n);
    return s;
}
