/* reply.h: answers as bytes: one table of forms.
 *
 * A form writes an answer as a whole, or piece by piece as a stream. Its functions are called by an HTTP thread, with
 * the exchange's lock held. What they write is valid JSON in valid UTF-8 whatever the model and the client gave.
 */
#ifndef TSR_LAUNCH_SERVE_REPLY_H
#define TSR_LAUNCH_SERVE_REPLY_H

#include "launch/serve/exchange.h"

typedef struct tsr_reply {
    const char *content_type;
    bool streams;
    tsr_status (*whole)(tsr_exchange *x, tsr_text *out); /* all jobs have their end */
    tsr_status (*pieces)(tsr_exchange *x,
                         tsr_text *out); /* appends what is new, and the end if it is there */
    tsr_status (*failure)(const tsr_refusal *why, tsr_text *out); /* of a stream that has begun */
    tsr_status (*sign_of_life)(tsr_text *out); /* of a stream without tokens; NULL: there is none */
} tsr_reply;

/* The form of what a call wants. */
const tsr_reply *tsr_reply_choose(const tsr_api_call *call);
extern const tsr_reply tsr_reply_openai, tsr_reply_openai_stream;
extern const tsr_reply tsr_reply_chat, tsr_reply_chat_stream, tsr_reply_chat_lines;
extern const tsr_reply tsr_reply_lmi, tsr_reply_lmi_lines, tsr_reply_lmi_events, tsr_reply_lmi_text,
    tsr_reply_lmi_outputs;
extern const tsr_reply tsr_reply_labels, tsr_reply_entities;

/* reply_tokens.c: what both interfaces need. */
/* Appends `,"key":"text"`, or `{"key":"text"` where `first` is '{'. */
tsr_status tsr_put_string(tsr_text *out, char first, const char *key, const char *bytes, int64_t n);
/* The text that a token of the job adds, pushed in order from the first; valid until the next push. */
tsr_status tsr_job_token_text(tsr_job *job, int32_t id, const char **text, int64_t *n);
/* Where the text ends that was certain with token i. The last one has all that is left: what was held back (half a
 * character, the beginning of a stop text) has its place there. */
int64_t tsr_job_text_end(const tsr_job *job, int64_t i);
/* Appends the prompt as text. */
tsr_status tsr_job_prompt_text(const tsr_job *job, tsr_text *out);
/* A number, or null where it is none. */
tsr_status tsr_put_number(tsr_text *out, float value);

#endif
