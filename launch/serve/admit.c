/* admit.c: who and what is let in: the key, the state of the server, a body that makes a request that can run. */
#include "base/checked.h"
#include "base/log.h"
#include "launch/serve/reply.h"
#include "launch/serve/server.h"
#include "layers/task.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Every byte of the longer text is looked at, whatever differs, so that time tells nothing but a length. */
bool tsr_admit_key(const char *key, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    if (!authorization || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0) return false;
    const char *given = authorization + sizeof scheme - 1;
    size_t n = strlen(key), m = strlen(given);
    volatile unsigned char differ = n != m;
    for (size_t i = 0; i < (n > m ? n : m); i++)
        differ |= (unsigned char)((i < n ? key[i] : 0) ^ (i < m ? given[i] : 0));
    return differ == 0;
}

tsr_status tsr_admit_any(const tsr_server *server, tsr_refusal *why)
{
    static const char *const reasons[] = {[TSR_SERVE_LOADING] = "the model is being loaded",
                                          [TSR_SERVE_DRAINING] = "the server is shutting down",
                                          [TSR_SERVE_BROKEN] = "the server has failed"};
    int state = atomic_load(&server->state);
    if (state == TSR_SERVE_READY) return TSR_OK;
    return tsr_refuse(why, 503, NULL, "%s", reasons[state]);
}

tsr_status tsr_admit_model(const tsr_server *server, const char *name, tsr_refusal *why)
{
    if (strcmp(name, server->settings.model) == 0) return TSR_OK;
    tsr_refuse(why, 404, "model", "the model \"%.80s\" is not served here; \"%.80s\" is", name,
               server->settings.model);
    why->code = "model_not_found";
    return TSR_ERR_USAGE;
}

/* The prompt of a conversation, special tokens and all. */
static tsr_status render(const tsr_server *server, tsr_api_call *call, tsr_refusal *why)
{
    tsr_text text = {0};
    tsr_prompt *prompt = &call->prompts[0];
    if (!server->chat)
        return tsr_refuse(why, 400, "messages",
                          "this model has no chat template: give a prompt to /v1/completions");
    tsr_status s = tsr_text_init(&text, TSR_SERVE_CHAT_BYTES);
    const char *json = call->conversation_text;
    if (s == TSR_OK) s = tsr_chat_prompt(server->chat, json, (int64_t)strlen(json), "messages", true, &text);
    if (s == TSR_OK) {
        *prompt = (tsr_prompt){.text = text.data, .length = text.length};
        call->n_prompts = 1;
        return TSR_OK;
    }
    tsr_refuse_for(why, s);
    snprintf(why->param, sizeof why->param, "messages");
    tsr_text_free(&text);
    return s;
}

static tsr_status tokenize(const tsr_tokenizer *tokenizer, bool chat, tsr_prompt *prompt, tsr_refusal *why)
{
    tsr_token_list list = {0};
    if (!prompt->text) return TSR_OK;
    tsr_status s = tsr_tokenizer_encode(tokenizer, prompt->text, prompt->length, !chat, &list);
    if (s != TSR_OK) {
        tsr_token_list_free(&list);
        return s == TSR_ERR_FORMAT ? tsr_refuse(why, 400, NULL, "the prompt cannot be made tokens")
                                   : tsr_refuse_for(why, s);
    }
    prompt->ids = list.ids;
    prompt->n_ids = list.count;
    return TSR_OK;
}

static tsr_status admit_prompt(const tsr_server *server, tsr_exchange *x, tsr_prompt *prompt,
                               tsr_refusal *why)
{
    int64_t most = server->info.context, total;
    TSR_TRY(tokenize(x->tokenizer, x->call.api == TSR_API_CHAT, prompt, why));
    if (x->call.truncate > 0 && prompt->n_ids > x->call.truncate) {
        int64_t dropped = prompt->n_ids - x->call.truncate;
        memmove(prompt->ids, prompt->ids + dropped, (size_t)x->call.truncate * sizeof *prompt->ids);
        prompt->n_ids = x->call.truncate;
    }
    if (x->max_tokens < 0)
        x->max_tokens = tsr_max(1, server->most_tokens - prompt->n_ids); /* a chat that says nothing */
    if (prompt->n_ids == 0) return tsr_refuse(why, 400, NULL, "a prompt is empty: it has no tokens");
    if (tsr_add(prompt->n_ids, x->max_tokens, &total) && total <= most) return TSR_OK;
    if (x->max_tokens == 0)
        tsr_refuse(why, 400, NULL, "the text has %lld tokens; the context has %lld", (long long)prompt->n_ids,
                   (long long)most);
    else
        tsr_refuse(why, 400, NULL,
                   "the prompt has %lld tokens and up to %lld new ones are asked for; the context has %lld",
                   (long long)prompt->n_ids, (long long)x->max_tokens, (long long)most);
    why->code = "context_length_exceeded";
    return TSR_ERR_USAGE;
}

static tsr_status admit_biases(const tsr_server *server, const tsr_api_call *call, tsr_refusal *why)
{
    int64_t n = server->info.vocabulary;
    for (int64_t i = 0; i < call->n_logit_bias; i++)
        if (call->logit_bias[i].id >= n)
            return tsr_refuse(why, 400, "logit_bias",
                              "logit_bias names token %d, but the ids of this vocabulary are 0 to %lld",
                              call->logit_bias[i].id, (long long)n - 1);
    return TSR_OK;
}

/* What the server's own options say where an invocation says nothing. */
static void settle_invocation(const tsr_serve_settings *o, tsr_exchange *x)
{
    tsr_api_call *call = &x->call;
    bool stated = call->formatter != TSR_FORMATTER_UNSET;
    if (!stated) call->formatter = o->formatter;
    if (!call->stream_stated) call->stream = o->stream;
    if (call->by_invocation && call->formatter <= TSR_FORMATTER_JSON)
        call->formatter = TSR_FORMATTER_JSONLINES;
    if (x->events && call->formatter <= TSR_FORMATTER_JSONLINES && call->stream)
        call->formatter = TSR_FORMATTER_SSE;
    if (o->array && call->stream && !stated && !call->by_invocation && call->formatter == TSR_FORMATTER_JSON)
        call->formatter = TSR_FORMATTER_OUTPUTS;
    if (o->array) {
        call->listed = true;
        if (!call->full_text_stated) call->full_text = true;
    }
}

/* What a body can ask for depends on what the model gives. */
static tsr_status suit_model(const tsr_server *server, tsr_api *api, tsr_refusal *why)
{
    bool texts = strcmp(server->info.task, tsr_task_name(TSR_TASK_TEXT_CLASSIFICATION)) == 0;
    if (server->info.n_labels == 0) return TSR_OK;
    if (*api != TSR_API_INVOCATIONS)
        return tsr_refuse(why, 400, NULL,
                          "the model \"%.80s\" is for %s and gives labels, no tokens: ask /invocations",
                          server->settings.model, server->info.task);
    *api = texts ? TSR_API_LABELS : TSR_API_ENTITIES;
    return TSR_OK;
}

static tsr_status parse(const tsr_server *server, tsr_exchange *x, tsr_api api, tsr_refusal *why)
{
    const char *body = x->body.data ? x->body.data : "";
    TSR_TRY(suit_model(server, &api, why));
    if (x->plain)
        TSR_TRY(tsr_call_from_text(api, body, x->body.length, &x->call, why));
    else if (x->csv)
        TSR_TRY(tsr_call_from_csv(api, body, x->body.length, &x->call, why));
    else
        TSR_TRY(tsr_call_parse(api, body, x->body.length, &x->call, why));
    if (api == TSR_API_INVOCATIONS) settle_invocation(&server->settings, x);
    if (x->call.api == TSR_API_CHAT) TSR_TRY(render(server, &x->call, why));
    /* LMI's chats may name any model: which one is asked is not said in the body there. */
    if (x->call.by_invocation) return TSR_OK;
    return x->call.model ? tsr_admit_model(server, x->call.model, why) : TSR_OK;
}

tsr_status tsr_admit(tsr_server *server, tsr_exchange *x, tsr_api api, tsr_refusal *why)
{
    if (x->crowded) return tsr_refuse(why, 503, NULL, "too many large requests at once: try again later");
    if (x->too_large)
        return tsr_refuse(why, 413, NULL, "the body is larger than %lld bytes",
                          (long long)server->settings.body_bytes);
    TSR_TRY(tsr_admit_any(server, why));
    x->tokenizer = tsr_engine_tokenizer(server->engine);
    x->info = &server->info;
    TSR_TRY(parse(server, x, api, why));
    TSR_TRY(admit_biases(server, &x->call, why));
    x->max_tokens = x->call.max_tokens;
    for (int64_t i = 0; i < x->call.n_prompts; i++)
        TSR_TRY(admit_prompt(server, x, &x->call.prompts[i], why));
    tsr_status s = tsr_exchange_make_jobs(x);
    if (s != TSR_OK) return tsr_refuse_for(why, s);
    if (server->settings.request_seconds > 0) x->deadline = x->began + server->settings.request_seconds;
    x->reply = tsr_reply_choose(&x->call);
    return TSR_OK;
}
