/* reply_openai.h: what the answers of /v1/completions and /v1/chat/completions share. Local to reply_*.c. */
#ifndef TSR_LAUNCH_SERVE_REPLY_OPENAI_H
#define TSR_LAUNCH_SERVE_REPLY_OPENAI_H

#include "launch/serve/reply.h"

/* "\"stop\"", or "null" of an answer that goes on. */
const char *tsr_openai_reason(tsr_finish finish);
/* {"id":"PREFIX-..","object":OBJECT,"created":..,"model":..,"choices":[ with the same two in all calls for an exchange. */
tsr_status tsr_openai_head(tsr_exchange *x, const char *prefix, const char *object, tsr_text *out);
/* ,"usage":{..},"timing":{..} */
tsr_status tsr_openai_usage(const tsr_exchange *x, tsr_text *out);
/* Errors, and comments, as server-sent events. */
tsr_status tsr_openai_failure(const tsr_refusal *why, tsr_text *out);
tsr_status tsr_openai_sign_of_life(tsr_text *out);

#endif
