/* reply_outputs.c: streams of /invocations without rolling batches: lines of JSON, {"outputs":["a"," b"]}, one for each
 * token that all inputs have come to, with what it adds to each; "" to one that has ended. There is no last record. */
#include "launch/serve/reply.h"

static bool has_ended(const tsr_job *job)
{
    return job->finish != TSR_FINISH_NONE;
}

/* Lines that can be written: of the answers that go on the shortest has so many tokens, or the longest if none does. */
static int64_t lines_there(const tsr_exchange *x)
{
    int64_t longest = 0, least = INT64_MAX;
    for (int64_t i = 0; i < x->n_jobs; i++) {
        const tsr_job *job = &x->jobs[i];
        if (job->n_tokens > longest) longest = job->n_tokens;
        if (!has_ended(job) && job->n_tokens < least) least = job->n_tokens;
    }
    return least < longest ? least : longest;
}

static tsr_status put_piece(tsr_job *job, int64_t line, tsr_text *out)
{
    int64_t from = job->text_sent;
    if (line < job->n_tokens) job->text_sent = tsr_job_text_end(job, line);
    return tsr_text_json(out, job->text.data + from, job->text_sent - from);
}

static tsr_status pieces(tsr_exchange *x, tsr_text *out)
{
    int64_t there = lines_there(x), *sent = &x->jobs[0].tokens_sent;
    for (; *sent < there; ++*sent) {
        TSR_TRY(tsr_text_puts(out, "{\"outputs\":["));
        for (int64_t i = 0; i < x->n_jobs; i++) {
            if (i > 0) TSR_TRY(tsr_text_puts(out, ","));
            TSR_TRY(put_piece(&x->jobs[i], *sent, out));
        }
        TSR_TRY(tsr_text_puts(out, "]}\n"));
    }
    return TSR_OK;
}

static tsr_status failure(const tsr_refusal *why, tsr_text *out)
{
    TSR_TRY(tsr_refusal_print_lmi(why, out));
    return tsr_text_puts(out, "\n");
}

const tsr_reply tsr_reply_lmi_outputs = {
    .content_type = "application/jsonlines", .streams = true, .pieces = pieces, .failure = failure};
