/* call.c: a body to a call: depth first, then JSON, then the table, then what depends on several parameters. */
#include "launch/serve/call.h"

#include "base/memory.h"
#include "launch/serve/call_table.h"

#include <stdlib.h>
#include <string.h>

bool tsr_formatter_from_name(const char *name, tsr_formatter *out)
{
    static const char *const names[] = {[TSR_FORMATTER_JSON] = "json",
                                        [TSR_FORMATTER_JSONLINES] = "jsonlines",
                                        [TSR_FORMATTER_SSE] = "sse",
                                        [TSR_FORMATTER_NONE] = "none"};
    if (strcmp(name, "json_chat") == 0) name = "json";
    if (strcmp(name, "jsonlines_chat") == 0) name = "jsonlines";
    for (int i = 1; i <= TSR_FORMATTER_NONE; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (tsr_formatter)i;
            return true;
        }
    return false;
}

/* The parser recurses: how deep is found out before. Outside strings, brackets are brackets whatever else is wrong. */
static bool too_deep(const char *body, int64_t n)
{
    int64_t depth = 0;
    bool quoted = false;
    for (int64_t i = 0; i < n; i++) {
        char c = body[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '[' || c == '{') && ++depth > TSR_CALL_DEPTH)
            return true;
        else if (!quoted && (c == ']' || c == '}'))
            depth--;
    }
    return false;
}

static void set_defaults(tsr_api api, tsr_api_call *call)
{
    *call = (tsr_api_call){.api = api,
                           .n = 1,
                           .max_tokens = -1,
                           .min_tokens = -1,
                           .top_k = -1,
                           .no_repeat_ngram = -1,
                           .seed = -1,
                           .truncate = -1,
                           .logprobs = -1,
                           .top_logprobs = -1,
                           .top_labels = -1,
                           .temperature = -1,
                           .top_p = -1,
                           .min_p = -1,
                           .repetition_penalty = -1};
}

/* What LMI's parameters mean where they are absent: greedy unless sampling is asked for, 30 tokens. */
static void settle_invocation(tsr_api_call *call)
{
    if (!call->do_sample) call->temperature = 0;
    if (call->do_sample && call->temperature < 0) call->temperature = 1;
    if (call->top_k < 0) call->top_k = 0;
    if (call->top_p < 0) call->top_p = 1;
    if (call->repetition_penalty < 0) call->repetition_penalty = 1;
    if (call->max_tokens < 0) call->max_tokens = 30;
    call->logprobs = 0;
}

/* A label that stands for "nothing" is left out, unless the request says which are. */
static tsr_status settle_texts(tsr_api_call *call, tsr_refusal *why)
{
    call->max_tokens = 0;
    if (call->n_prompts == 0) return tsr_refuse(why, 400, "inputs", "inputs is missing");
    if (call->ignored_stated || call->api != TSR_API_ENTITIES) return TSR_OK;
    return tsr_call_copy("O", 1, &call->ignored[call->n_ignored++], why);
}

static tsr_status settle_chat(tsr_api_call *call, tsr_refusal *why)
{
    if (call->top_logprobs >= 0 && call->logprobs < 0)
        return tsr_refuse(why, 400, "top_logprobs", "top_logprobs needs logprobs to be true");
    if (call->top_logprobs >= 0) call->logprobs = call->top_logprobs;
    return tsr_call_print_conversation(call, why);
}

static tsr_status settle_prompts(tsr_api_call *call, tsr_refusal *why)
{
    const char *prompt = call->api == TSR_API_INVOCATIONS ? "inputs" : "prompt";
    if (call->n_prompts == 0) return tsr_refuse(why, 400, prompt, "%s is missing", prompt);
    if (call->api == TSR_API_INVOCATIONS)
        settle_invocation(call);
    else if (call->max_tokens < 0)
        call->max_tokens = 16;
    return TSR_OK;
}

static tsr_status settle(tsr_api_call *call, tsr_refusal *why)
{
    if (call->api & TSR_API_CLASSIFIES) return settle_texts(call, why);
    TSR_TRY(call->api == TSR_API_CHAT ? settle_chat(call, why) : settle_prompts(call, why));
    if (call->include_usage && !call->stream)
        return tsr_refuse(why, 400, "stream_options", "stream_options is for streams: stream is not true");
    if (call->max_tokens == 0 && !call->echo)
        return tsr_refuse(why, 400, "max_tokens", "max_tokens may be 0 with echo alone");
    if (call->top_p == 0) return tsr_refuse(why, 400, "top_p", "top_p must be greater than 0");
    return TSR_OK;
}

/* A body of /invocations with messages is a chat, and its other members are those of chats. */
static tsr_status read_root(const json_t *root, tsr_api_call *call, tsr_refusal *why)
{
    if (!json_is_object(root)) return tsr_refuse(why, 400, NULL, "the body must be a JSON object");
    call->by_invocation = call->api == TSR_API_INVOCATIONS && json_object_get(root, "messages");
    if (call->by_invocation) call->api = TSR_API_CHAT;
    TSR_TRY(tsr_call_read_object(root, "", call, why));
    return settle(call, why);
}

tsr_status tsr_call_parse(tsr_api api, const char *body, int64_t n, tsr_api_call *out, tsr_refusal *why)
{
    json_error_t e;
    *out = (tsr_api_call){0};
    if (n == 0) return tsr_refuse(why, 400, NULL, "the body is empty");
    if (too_deep(body, n))
        return tsr_refuse(why, 400, NULL, "the body nests deeper than %d levels", TSR_CALL_DEPTH);
    json_t *root = json_loadb(body, (size_t)n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!root)
        return tsr_refuse(why, 400, NULL, "the body is not valid JSON: %s (line %d, column %d)", e.text,
                          e.line, e.column);
    set_defaults(api, out);
    tsr_status s = read_root(root, out, why);
    json_decref(root);
    if (s != TSR_OK) tsr_call_free(out);
    return s;
}

static tsr_status finish(tsr_status s, tsr_api_call *out, tsr_refusal *why)
{
    out->listed = true;
    if (s == TSR_OK) s = settle(out, why);
    if (s != TSR_OK) tsr_call_free(out);
    return s;
}

tsr_status tsr_call_from_text(tsr_api api, const char *body, int64_t n, tsr_api_call *out, tsr_refusal *why)
{
    set_defaults(api, out);
    out->n_prompts = 1;
    out->prompts[0].length = n;
    return finish(tsr_call_copy(body, (size_t)n, &out->prompts[0].text, why), out, why);
}

tsr_status tsr_call_from_csv(tsr_api api, const char *body, int64_t n, tsr_api_call *out, tsr_refusal *why)
{
    set_defaults(api, out);
    return finish(tsr_call_read_csv(body, n, out, why), out, why);
}

void tsr_call_free(tsr_api_call *call)
{
    for (int64_t i = 0; i < call->n_prompts; i++) tsr_prompt_free(&call->prompts[i]);
    for (int64_t i = 0; i < call->n_stop; i++) tsr_free(call->stop[i]);
    for (int64_t i = 0; i < call->n_ignored; i++) tsr_free(call->ignored[i]);
    tsr_free(call->model);
    tsr_free(call->logit_bias);
    json_decref(call->conversation);
    free(call->conversation_text);
    *call = (tsr_api_call){0};
}
