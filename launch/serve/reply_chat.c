/* reply_chat.c: answers of /v1/chat/completions, whole, as server-sent events, and as lines of JSON for /invocations. */
#include "launch/serve/reply_openai.h"

#include <string.h>

/* "token":..,"logprob":..,"bytes":[..] */
static tsr_status put_token(const char *text, int64_t n, float logprob, tsr_text *out)
{
    TSR_TRY(tsr_put_string(out, '{', "token", text, n));
    TSR_TRY(tsr_text_puts(out, ",\"logprob\":"));
    TSR_TRY(tsr_put_number(out, logprob));
    TSR_TRY(tsr_text_puts(out, ",\"bytes\":["));
    for (int64_t i = 0; i < n; i++) TSR_TRY(tsr_text_format(out, i ? ",%d" : "%d", (unsigned char)text[i]));
    return tsr_text_puts(out, "]");
}

static tsr_status put_best(const tsr_job *job, int64_t token, tsr_text *out)
{
    tsr_text text;
    const tsr_exchange *x = job->exchange;
    const tsr_token_logprob *best = job->alternatives ? job->alternatives + token * x->call.logprobs : NULL;
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_text_puts(out, ",\"top_logprobs\":[");
    for (int64_t i = 0; best && i < x->call.logprobs && best[i].id >= 0 && s == TSR_OK; i++) {
        tsr_text_clear(&text);
        s = tsr_tokenizer_decode(x->tokenizer, &best[i].id, 1, false, &text);
        if (s == TSR_OK && i > 0) s = tsr_text_puts(out, ",");
        if (s == TSR_OK) s = put_token(text.data, text.length, best[i].logprob, out);
        if (s == TSR_OK) s = tsr_text_puts(out, "}");
    }
    tsr_text_free(&text);
    return s == TSR_OK ? tsr_text_puts(out, "]") : s;
}

/* Of the tokens that have not been sent. */
static tsr_status put_logprobs(tsr_job *job, tsr_text *out)
{
    if (job->exchange->call.logprobs < 0) return tsr_text_puts(out, ",\"logprobs\":null");
    TSR_TRY(tsr_text_puts(out, ",\"logprobs\":{\"content\":["));
    for (bool first = true; job->tokens_sent < job->n_tokens; job->tokens_sent++, first = false) {
        const tsr_new_token *token = &job->tokens[job->tokens_sent];
        const char *text;
        int64_t n;
        TSR_TRY(tsr_job_token_text(job, token->id, &text, &n));
        if (!first) TSR_TRY(tsr_text_puts(out, ","));
        TSR_TRY(put_token(text, n, token->logprob, out));
        TSR_TRY(put_best(job, job->tokens_sent, out));
        TSR_TRY(tsr_text_puts(out, "}"));
    }
    return tsr_text_puts(out, "],\"refusal\":null}");
}

static tsr_status whole(tsr_exchange *x, tsr_text *out)
{
    TSR_TRY(tsr_openai_head(x, "chatcmpl", "chat.completion", out));
    for (int64_t i = 0; i < x->n_jobs; i++) {
        tsr_job *job = &x->jobs[i];
        TSR_TRY(tsr_text_format(out, "%s{\"index\":%lld,\"message\":{\"role\":\"assistant\"", i ? "," : "",
                                (long long)i));
        TSR_TRY(tsr_put_string(out, ',', "content", job->text.data, job->text.length));
        TSR_TRY(tsr_text_puts(out, ",\"refusal\":null}"));
        TSR_TRY(put_logprobs(job, out));
        TSR_TRY(tsr_text_format(out, ",\"finish_reason\":%s}", tsr_openai_reason(job->finish)));
    }
    TSR_TRY(tsr_text_puts(out, "]"));
    TSR_TRY(tsr_openai_usage(x, out));
    return tsr_text_puts(out, "}\n");
}

/* --- Streams --- */

/* What stands around an object of a stream. */
typedef struct frame {
    const char *before, *after, *end;
} frame;

static const frame events = {"data: ", "\n\n", "data: [DONE]\n\n"};
static const frame lines = {"", "\n", ""};

static tsr_status put_delta(tsr_job *job, bool first, tsr_text *out)
{
    int64_t from = job->text_sent;
    TSR_TRY(tsr_text_format(out, "{\"index\":%lld,\"delta\":{", (long long)(job - job->exchange->jobs)));
    if (first) TSR_TRY(tsr_text_puts(out, "\"role\":\"assistant\""));
    job->text_sent = job->text.length;
    if (first || job->text_sent > from) {
        if (first) TSR_TRY(tsr_text_puts(out, ","));
        TSR_TRY(tsr_text_puts(out, "\"content\":"));
        TSR_TRY(tsr_text_json(out, job->text.data + from, job->text_sent - from));
    }
    TSR_TRY(tsr_text_puts(out, "}"));
    TSR_TRY(put_logprobs(job, out));
    return tsr_text_format(out, ",\"finish_reason\":%s}", tsr_openai_reason(job->finish));
}

static tsr_status put_chunk(tsr_exchange *x, tsr_job *job, const frame *f, tsr_text *out)
{
    bool first = !job->opened;
    job->opened = true;
    job->closed = job->finish != TSR_FINISH_NONE;
    TSR_TRY(tsr_text_puts(out, f->before));
    TSR_TRY(tsr_openai_head(x, "chatcmpl", "chat.completion.chunk", out));
    TSR_TRY(put_delta(job, first, out));
    TSR_TRY(tsr_text_puts(out, x->call.include_usage ? "],\"usage\":null}" : "]}"));
    return tsr_text_puts(out, f->after);
}

static tsr_status put_stream(tsr_exchange *x, const frame *f, tsr_text *out)
{
    bool all = true;
    for (int64_t i = 0; i < x->n_jobs; i++) {
        tsr_job *job = &x->jobs[i];
        bool news = job->text.length > job->text_sent || job->finish != TSR_FINISH_NONE;
        if (x->call.logprobs >= 0 && job->n_tokens > job->tokens_sent) news = true;
        if (!job->closed && news) TSR_TRY(put_chunk(x, job, f, out));
        all = all && job->closed;
    }
    if (!all) return TSR_OK;
    if (x->call.include_usage) {
        TSR_TRY(tsr_text_puts(out, f->before));
        TSR_TRY(tsr_openai_head(x, "chatcmpl", "chat.completion.chunk", out));
        TSR_TRY(tsr_text_puts(out, "]"));
        TSR_TRY(tsr_openai_usage(x, out));
        TSR_TRY(tsr_text_puts(out, "}"));
        TSR_TRY(tsr_text_puts(out, f->after));
    }
    return tsr_text_puts(out, f->end);
}

static tsr_status pieces_events(tsr_exchange *x, tsr_text *out)
{
    return put_stream(x, &events, out);
}

static tsr_status pieces_lines(tsr_exchange *x, tsr_text *out)
{
    return put_stream(x, &lines, out);
}

static tsr_status failure_lines(const tsr_refusal *why, tsr_text *out)
{
    TSR_TRY(tsr_refusal_print_lmi(why, out));
    return tsr_text_puts(out, "\n");
}

const tsr_reply tsr_reply_chat = {.content_type = "application/json", .whole = whole};
const tsr_reply tsr_reply_chat_stream = {.content_type = "text/event-stream",
                                         .streams = true,
                                         .pieces = pieces_events,
                                         .failure = tsr_openai_failure,
                                         .sign_of_life = tsr_openai_sign_of_life};
const tsr_reply tsr_reply_chat_lines = {.content_type = "application/jsonlines",
                                        .streams = true,
                                        .pieces = pieces_lines,
                                        .failure = failure_lines};
