/* reply_openai.c: answers of /v1/completions, whole and as server-sent events. */
#include "base/log.h"
#include "base/memory.h"
#include "launch/serve/reply_openai.h"

#include <math.h>
#include <string.h>

/* Characters, not bytes: the beginnings of what is UTF-8. */
static int64_t characters(const char *text, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

const char *tsr_openai_reason(tsr_finish finish)
{
    switch (finish) {
    case TSR_FINISH_LENGTH:
        return "\"length\"";
    case TSR_FINISH_EOS:
    case TSR_FINISH_STOP:
        return "\"stop\"";
    case TSR_FINISH_NONE:
        return "null";
    default:
        return "\"error\"";
    }
}

/* --- Log-probabilities --- */

/* One token of a list, with its text; the tokens of the prompt come first, with echo. */
typedef struct entry {
    int32_t id;
    float logprob;
    const tsr_token_logprob *best; /* [call.logprobs], NULL without */
} entry;

static entry entry_at(const tsr_job *job, int64_t i)
{
    int64_t k = job->exchange->call.logprobs, given = job->exchange->call.echo ? job->prompt.count : 0;
    if (i < given)
        return (entry){job->prompt.ids[i], job->prompt_logprobs ? job->prompt_logprobs[i] : NAN,
                       i > 0 && job->prompt_alternatives ? job->prompt_alternatives + i * k : NULL};
    i -= given;
    return (entry){job->tokens[i].id, job->tokens[i].logprob,
                   job->alternatives ? job->alternatives + i * k : NULL};
}

/* {"text":logprob,..}: of two tokens with the same text, the better one. */
static tsr_status put_best(const tsr_exchange *x, const tsr_token_logprob *best, tsr_text *out)
{
    tsr_text seen[TSR_CALL_LOGPROBS] = {{0}};
    tsr_status s = best ? tsr_text_puts(out, "{") : tsr_text_puts(out, "null");
    int n = 0;
    for (int64_t i = 0; best && i < x->call.logprobs && best[i].id >= 0 && s == TSR_OK; i++) {
        tsr_text *text = &seen[n];
        bool again = false;
        if (!text->data) s = tsr_text_init(text, TSR_TEXT_NO_CAP);
        if (s == TSR_OK) tsr_text_clear(text);
        if (s == TSR_OK) s = tsr_tokenizer_decode(x->tokenizer, &best[i].id, 1, false, text);
        if (s != TSR_OK) break;
        for (int j = 0; j < n; j++)
            again |=
                seen[j].length == text->length && memcmp(seen[j].data, text->data, (size_t)text->length) == 0;
        if (again) continue;
        if (n++ > 0) s = tsr_text_puts(out, ",");
        if (s == TSR_OK) s = tsr_text_json(out, text->data, text->length);
        if (s == TSR_OK) s = tsr_text_puts(out, ":");
        if (s == TSR_OK) s = tsr_put_number(out, best[i].logprob);
    }
    if (s == TSR_OK && best) s = tsr_text_puts(out, "}");
    for (int i = 0; i < TSR_CALL_LOGPROBS; i++) tsr_text_free(&seen[i]);
    return s;
}

/* The four lists side by side. */
typedef struct columns {
    tsr_text tokens, logprobs, best, offsets;
} columns;

static tsr_status put_entry(tsr_job *job, int64_t i, bool first, columns *c)
{
    entry e = entry_at(job, i);
    const char *text, *comma = first ? "" : ",";
    int64_t n;
    TSR_TRY(tsr_job_token_text(job, e.id, &text, &n));
    TSR_TRY(tsr_text_puts(&c->tokens, comma));
    TSR_TRY(tsr_text_json(&c->tokens, text, n));
    TSR_TRY(tsr_text_puts(&c->logprobs, comma));
    TSR_TRY(tsr_put_number(&c->logprobs, e.logprob));
    TSR_TRY(tsr_text_format(&c->offsets, "%s%lld", comma, (long long)job->offset));
    job->offset += characters(text, n);
    TSR_TRY(tsr_text_puts(&c->best, comma));
    return put_best(job->exchange, e.best, &c->best);
}

static tsr_status put_columns(const tsr_api_call *call, const columns *c, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, ",\"logprobs\":{\"tokens\":[%s],\"token_logprobs\":[", c->tokens.data));
    TSR_TRY(tsr_text_append(out, c->logprobs.data, c->logprobs.length));
    TSR_TRY(tsr_text_puts(out, "],\"top_logprobs\":"));
    if (call->logprobs > 0)
        TSR_TRY(tsr_text_format(out, "[%s]", c->best.data));
    else
        TSR_TRY(tsr_text_puts(out, "null"));
    return tsr_text_format(out, ",\"text_offset\":[%s]}", c->offsets.data);
}

/* Of the tokens that have not been sent. */
static tsr_status put_logprobs(tsr_job *job, tsr_text *out)
{
    columns c;
    memset(&c, 0, sizeof c);
    const tsr_api_call *call = &job->exchange->call;
    if (call->logprobs < 0) return tsr_text_puts(out, ",\"logprobs\":null");
    int64_t n = job->n_tokens + (call->echo ? job->prompt.count : 0);
    tsr_status s = tsr_text_init(&c.tokens, TSR_TEXT_NO_CAP);
    if (s == TSR_OK) s = tsr_text_init(&c.logprobs, TSR_TEXT_NO_CAP);
    if (s == TSR_OK) s = tsr_text_init(&c.best, TSR_TEXT_NO_CAP);
    if (s == TSR_OK) s = tsr_text_init(&c.offsets, TSR_TEXT_NO_CAP);
    for (int64_t first = job->tokens_sent; job->tokens_sent < n && s == TSR_OK; job->tokens_sent++)
        s = put_entry(job, job->tokens_sent, job->tokens_sent == first, &c);
    if (s == TSR_OK) s = put_columns(call, &c, out);
    tsr_text_free(&c.tokens);
    tsr_text_free(&c.logprobs);
    tsr_text_free(&c.best);
    tsr_text_free(&c.offsets);
    return s;
}

/* --- Objects --- */

static tsr_status make_head(const tsr_exchange *x, const char *prefix, const char *object, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, "{\"id\":\"%s-%s\",\"object\":\"%s\",\"created\":%lld", prefix, x->id,
                            object, (long long)x->created));
    TSR_TRY(tsr_put_string(out, ',', "model", x->model, (int64_t)strlen(x->model)));
    return tsr_text_puts(out, ",\"choices\":[");
}

tsr_status tsr_openai_head(tsr_exchange *x, const char *prefix, const char *object, tsr_text *out)
{
    if (!x->head.data) TSR_TRY(tsr_text_init(&x->head, TSR_TEXT_NO_CAP));
    tsr_status s = x->head.length == 0 ? make_head(x, prefix, object, &x->head) : TSR_OK;
    if (s != TSR_OK) {
        tsr_text_clear(&x->head);
        return s;
    }
    return tsr_text_append(out, x->head.data, x->head.length);
}

static tsr_status put_head(tsr_exchange *x, tsr_text *out)
{
    return tsr_openai_head(x, "cmpl", "text_completion", out);
}

/* Seconds from the request's arrival on: until the last of its answers was begun, until the first token of any, until now. */
static tsr_status put_timing(const tsr_exchange *x, tsr_text *out)
{
    double started = x->began, first = INFINITY;
    for (int64_t i = 0; i < x->n_jobs; i++) {
        if (x->jobs[i].started > started) started = x->jobs[i].started;
        if (x->jobs[i].first > 0 && x->jobs[i].first < first) first = x->jobs[i].first;
    }
    TSR_TRY(tsr_text_puts(out, ",\"timing\":{\"queue_seconds\":"));
    TSR_TRY(tsr_put_number(out, (float)(started - x->began)));
    TSR_TRY(tsr_text_puts(out, ",\"first_token_seconds\":"));
    TSR_TRY(tsr_put_number(out, (float)(first - x->began)));
    TSR_TRY(tsr_text_puts(out, ",\"seconds\":"));
    TSR_TRY(tsr_put_number(out, (float)(tsr_now() - x->began)));
    return tsr_text_puts(out, "}");
}

tsr_status tsr_openai_usage(const tsr_exchange *x, tsr_text *out)
{
    int64_t given = 0, cached = 0, made = 0;
    for (int64_t i = 0; i < x->n_jobs; i++) {
        const tsr_job *job = &x->jobs[i];
        if (i % x->call.n == 0) { /* a prompt counts once, whatever n is */
            given += job->prompt.count;
            cached += job->n_cached;
        }
        made += job->n_tokens;
    }
    TSR_TRY(tsr_text_format(out,
                            ",\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
                            "\"total_tokens\":%lld,\"prompt_tokens_details\":{\"cached_tokens\":%lld}}",
                            (long long)given, (long long)made, (long long)(given + made), (long long)cached));
    return put_timing(x, out);
}

/* The text from text_sent on, with the prompt in front. */
static tsr_status put_echoed(const tsr_job *job, tsr_text *out)
{
    tsr_text text;
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_job_prompt_text(job, &text);
    if (s == TSR_OK)
        s = tsr_text_append(&text, job->text.data + job->text_sent, job->text.length - job->text_sent);
    if (s == TSR_OK) s = tsr_text_json(out, text.data, text.length);
    tsr_text_free(&text);
    return s;
}

/* One choice with the text from text_sent on, and what has not been sent of the rest. */
static tsr_status put_choice(tsr_job *job, bool echo, tsr_finish finish, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, "{\"index\":%lld,\"text\":", (long long)(job - job->exchange->jobs)));
    if (echo)
        TSR_TRY(put_echoed(job, out));
    else
        TSR_TRY(tsr_text_json(out, job->text.data + job->text_sent, job->text.length - job->text_sent));
    job->text_sent = job->text.length;
    TSR_TRY(put_logprobs(job, out));
    TSR_TRY(tsr_text_puts(out, ",\"finish_reason\":"));
    TSR_TRY(tsr_text_puts(out, tsr_openai_reason(finish)));
    return tsr_text_puts(out, "}");
}

static tsr_status whole(tsr_exchange *x, tsr_text *out)
{
    TSR_TRY(put_head(x, out));
    for (int64_t i = 0; i < x->n_jobs; i++) {
        if (i > 0) TSR_TRY(tsr_text_puts(out, ","));
        TSR_TRY(put_choice(&x->jobs[i], x->call.echo, x->jobs[i].finish, out));
    }
    TSR_TRY(tsr_text_puts(out, "]"));
    TSR_TRY(tsr_openai_usage(x, out));
    return tsr_text_puts(out, "}\n");
}

static tsr_status put_event(tsr_exchange *x, tsr_job *job, bool echo, tsr_text *out)
{
    job->closed = job->finish != TSR_FINISH_NONE;
    TSR_TRY(tsr_text_puts(out, "data: "));
    TSR_TRY(put_head(x, out));
    TSR_TRY(put_choice(job, echo, job->finish, out));
    /* Where the sum is wanted at the end, every event before says that it has none. */
    return tsr_text_puts(out, x->call.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

static tsr_status pieces(tsr_exchange *x, tsr_text *out)
{
    bool all = true;
    for (int64_t i = 0; i < x->n_jobs; i++) {
        tsr_job *job = &x->jobs[i];
        bool news = job->text.length > job->text_sent || job->finish != TSR_FINISH_NONE;
        bool echo = x->call.echo && !job->opened;
        if (x->call.logprobs >= 0 && job->n_tokens > job->tokens_sent) news = true;
        /* The prompt's log-probabilities are there when its last token has been read. */
        if (echo && x->call.logprobs >= 0 && job->finish == TSR_FINISH_NONE) news = false;
        if (!job->closed && news) {
            job->opened = true;
            TSR_TRY(put_event(x, job, echo, out));
        }
        all = all && job->closed;
    }
    if (!all) return TSR_OK;
    if (x->call.include_usage) {
        TSR_TRY(tsr_text_puts(out, "data: "));
        TSR_TRY(put_head(x, out));
        TSR_TRY(tsr_text_puts(out, "]"));
        TSR_TRY(tsr_openai_usage(x, out));
        TSR_TRY(tsr_text_puts(out, "}\n\n"));
    }
    return tsr_text_puts(out, "data: [DONE]\n\n");
}

tsr_status tsr_openai_failure(const tsr_refusal *why, tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, "data: "));
    TSR_TRY(tsr_refusal_print_openai(why, out));
    return tsr_text_puts(out, "\n\n");
}

tsr_status tsr_openai_sign_of_life(tsr_text *out)
{
    return tsr_text_puts(out, ": still at work\n\n");
}

const tsr_reply tsr_reply_openai = {.content_type = "application/json", .whole = whole};
const tsr_reply tsr_reply_openai_stream = {.content_type = "text/event-stream",
                                           .streams = true,
                                           .pieces = pieces,
                                           .failure = tsr_openai_failure,
                                           .sign_of_life = tsr_openai_sign_of_life};
