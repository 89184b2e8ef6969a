/* reply_tokens.c: texts of tokens and prompts, and the choice of a form. */
#include "launch/serve/reply.h"

#include <math.h>
#include <string.h>

tsr_status tsr_put_string(tsr_text *out, char first, const char *key, const char *bytes, int64_t n)
{
    TSR_TRY(tsr_text_format(out, "%c\"%s\":", first, key));
    return tsr_text_json(out, bytes, n);
}

tsr_status tsr_put_number(tsr_text *out, float value)
{
    return isfinite(value) ? tsr_text_format(out, "%.9g", (double)value) : tsr_text_puts(out, "null");
}

tsr_status tsr_job_token_text(tsr_job *job, int32_t id, const char **text, int64_t *n)
{
    if (!job->detokenizer) TSR_TRY(tsr_detokenizer_create(job->exchange->tokenizer, true, &job->detokenizer));
    tsr_text_clear(&job->piece);
    TSR_TRY(tsr_detokenizer_push(job->detokenizer, id, &job->piece));
    *text = job->piece.data;
    *n = job->piece.length;
    return TSR_OK;
}

int64_t tsr_job_text_end(const tsr_job *job, int64_t i)
{
    bool last = i + 1 == job->n_tokens && job->finish != TSR_FINISH_NONE;
    return last || job->tokens[i].end > job->text.length ? job->text.length : job->tokens[i].end;
}

tsr_status tsr_job_prompt_text(const tsr_job *job, tsr_text *out)
{
    const tsr_exchange *x = job->exchange;
    const tsr_prompt *prompt = &x->call.prompts[(job - x->jobs) / x->call.n];
    if (prompt->text) return tsr_text_append(out, prompt->text, prompt->length);
    return tsr_tokenizer_decode(x->tokenizer, prompt->ids, prompt->n_ids, true, out);
}

const tsr_reply *tsr_reply_choose(const tsr_api_call *call)
{
    if (call->api == TSR_API_LABELS) return &tsr_reply_labels;
    if (call->api == TSR_API_ENTITIES) return &tsr_reply_entities;
    if (call->api == TSR_API_CHAT && !call->stream) return &tsr_reply_chat;
    if (call->api == TSR_API_CHAT)
        return call->formatter == TSR_FORMATTER_JSONLINES ? &tsr_reply_chat_lines : &tsr_reply_chat_stream;
    if (call->api == TSR_API_COMPLETIONS) return call->stream ? &tsr_reply_openai_stream : &tsr_reply_openai;
    if (call->formatter == TSR_FORMATTER_SSE) return &tsr_reply_lmi_events;
    if (call->formatter == TSR_FORMATTER_OUTPUTS) return &tsr_reply_lmi_outputs;
    if (call->formatter == TSR_FORMATTER_NONE) return &tsr_reply_lmi_text;
    if (call->stream || call->formatter == TSR_FORMATTER_JSONLINES) return &tsr_reply_lmi_lines;
    return &tsr_reply_lmi;
}
