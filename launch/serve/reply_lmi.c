/* reply_lmi.c: answers of /invocations: JSON, lines of JSON, server-sent events of the same, or text alone.
 *
 * A whole answer to one input is {"generated_text":..}, and to a list of inputs a list of these. A stream is one
 * object a token, {"token":{"id":[7],"text":" a","log_prob":-0.5}}, whose last one has "generated_text" too. Texts of
 * tokens, one behind the other, are the generated text: what is held back (half a character, the beginning of a stop
 * text) comes with a later token. In a stream of several inputs each object has the "index" of its input.
 */
#include "launch/serve/reply.h"

#include <string.h>

static const char *reason(tsr_finish finish)
{
    switch (finish) {
    case TSR_FINISH_LENGTH:
        return "length";
    case TSR_FINISH_EOS:
        return "eos_token";
    case TSR_FINISH_STOP:
        return "stop_sequence";
    default:
        return "error";
    }
}

static tsr_status put_token(const tsr_job *job, int64_t i, int64_t from, int64_t end, tsr_text *out)
{
    const tsr_new_token *t = &job->tokens[i];
    TSR_TRY(tsr_text_format(out, "{\"id\":[%d]", t->id));
    if (end > from) TSR_TRY(tsr_put_string(out, ',', "text", job->text.data + from, end - from));
    TSR_TRY(tsr_text_puts(out, ",\"log_prob\":"));
    TSR_TRY(tsr_put_number(out, t->logprob));
    if (tsr_tokenizer_is_special(job->exchange->tokenizer, t->id))
        TSR_TRY(tsr_text_puts(out, ",\"special_token\":true"));
    return tsr_text_puts(out, "}");
}

static tsr_status put_text(const tsr_job *job, char first, tsr_text *out)
{
    tsr_text text;
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    tsr_status s = job->exchange->call.full_text ? tsr_job_prompt_text(job, &text) : TSR_OK;
    if (s == TSR_OK) s = tsr_text_append(&text, job->text.data, job->text.length);
    if (s == TSR_OK) s = tsr_put_string(out, first, "generated_text", text.data, text.length);
    tsr_text_free(&text);
    return s;
}

static tsr_status put_details(const tsr_job *job, bool tokens, tsr_text *out)
{
    tsr_text prompt;
    TSR_TRY(tsr_text_format(out, ",\"details\":{\"finish_reason\":\"%s\",\"generated_tokens\":%lld",
                            reason(job->finish), (long long)job->n_tokens));
    TSR_TRY(tsr_text_init(&prompt, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_job_prompt_text(job, &prompt);
    if (s == TSR_OK) s = tsr_put_string(out, ',', "inputs", prompt.data, prompt.length);
    tsr_text_free(&prompt);
    if (s == TSR_OK && tokens) s = tsr_text_puts(out, ",\"tokens\":[");
    int64_t from = 0;
    for (int64_t i = 0; tokens && i < job->n_tokens && s == TSR_OK; i++) {
        if (i > 0) s = tsr_text_puts(out, ",");
        if (s == TSR_OK) s = put_token(job, i, from, tsr_job_text_end(job, i), out);
        from = tsr_job_text_end(job, i);
    }
    if (s == TSR_OK && tokens) s = tsr_text_puts(out, "]");
    return s == TSR_OK ? tsr_text_puts(out, "}") : s;
}

static tsr_status whole(tsr_exchange *x, tsr_text *out)
{
    if (x->call.listed) TSR_TRY(tsr_text_puts(out, "["));
    for (int64_t i = 0; i < x->n_jobs; i++) {
        if (i > 0) TSR_TRY(tsr_text_puts(out, ","));
        TSR_TRY(put_text(&x->jobs[i], '{', out));
        if (x->call.details) TSR_TRY(put_details(&x->jobs[i], true, out));
        TSR_TRY(tsr_text_puts(out, "}"));
    }
    return tsr_text_puts(out, x->call.listed ? "]\n" : "\n");
}

/* --- Streams --- */

static tsr_status put_line(tsr_job *job, int64_t i, bool last, tsr_text *out)
{
    const tsr_api_call *call = &job->exchange->call;
    int64_t end = tsr_job_text_end(job, i);
    TSR_TRY(tsr_text_puts(out, "{"));
    if (call->listed)
        TSR_TRY(tsr_text_format(out, "\"index\":%lld,", (long long)(job - job->exchange->jobs)));
    TSR_TRY(tsr_text_puts(out, "\"token\":"));
    TSR_TRY(put_token(job, i, job->text_sent, end, out));
    job->text_sent = end;
    if (last) TSR_TRY(put_text(job, ',', out));
    if (last && call->details) TSR_TRY(put_details(job, false, out));
    return tsr_text_puts(out, "}");
}

static tsr_status put_stream(tsr_exchange *x, const char *before, const char *after, tsr_text *out)
{
    for (int64_t j = 0; j < x->n_jobs; j++) {
        tsr_job *job = &x->jobs[j];
        bool ended = job->finish != TSR_FINISH_NONE;
        for (; job->tokens_sent < job->n_tokens; job->tokens_sent++) {
            TSR_TRY(tsr_text_puts(out, before));
            TSR_TRY(put_line(job, job->tokens_sent, ended && job->tokens_sent + 1 == job->n_tokens, out));
            TSR_TRY(tsr_text_puts(out, after));
        }
    }
    return TSR_OK;
}

static tsr_status pieces_lines(tsr_exchange *x, tsr_text *out)
{
    return put_stream(x, "", "\n", out);
}

static tsr_status pieces_events(tsr_exchange *x, tsr_text *out)
{
    return put_stream(x, "data: ", "\n\n", out);
}

static tsr_status failure_lines(const tsr_refusal *why, tsr_text *out)
{
    TSR_TRY(tsr_refusal_print_lmi(why, out));
    return tsr_text_puts(out, "\n");
}

static tsr_status failure_events(const tsr_refusal *why, tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, "data: "));
    TSR_TRY(tsr_refusal_print_lmi(why, out));
    return tsr_text_puts(out, "\n\n");
}

static tsr_status comment(tsr_text *out)
{
    return tsr_text_puts(out, ": still at work\n\n");
}

/* --- Text alone --- */

static tsr_status whole_text(tsr_exchange *x, tsr_text *out)
{
    for (int64_t i = 0; i < x->n_jobs; i++) {
        if (x->call.full_text) TSR_TRY(tsr_job_prompt_text(&x->jobs[i], out));
        TSR_TRY(tsr_text_append(out, x->jobs[i].text.data, x->jobs[i].text.length));
        if (x->call.listed) TSR_TRY(tsr_text_puts(out, "\n"));
    }
    return TSR_OK;
}

const tsr_reply tsr_reply_lmi = {.content_type = "application/json", .whole = whole};
const tsr_reply tsr_reply_lmi_text = {.content_type = "text/plain; charset=utf-8", .whole = whole_text};
const tsr_reply tsr_reply_lmi_lines = {.content_type = "application/jsonlines",
                                       .streams = true,
                                       .pieces = pieces_lines,
                                       .failure = failure_lines};
const tsr_reply tsr_reply_lmi_events = {.content_type = "text/event-stream",
                                        .streams = true,
                                        .pieces = pieces_events,
                                        .failure = failure_events,
                                        .sign_of_life = comment};
