/* refusal.h: why a request gets no answer: an HTTP status, the parameter at fault, one line.
 *
 * tsr_refuse fills it and returns a status, so that it can be passed on by TSR_TRY. The line is for the client: it
 * names what was expected and what was found, and nothing of the inside of the server. Local; thread-safe.
 */
#ifndef TSR_LAUNCH_SERVE_REFUSAL_H
#define TSR_LAUNCH_SERVE_REFUSAL_H

#include "base/status.h"
#include "base/text.h"

typedef struct tsr_refusal {
    int http;         /* 0: nothing was refused */
    const char *code; /* "invalid_api_key"; NULL: that of the HTTP status */
    char param[48];   /* "max_tokens"; "" if no parameter is at fault */
    char message[480];
} tsr_refusal;

/* Returns TSR_ERR_USAGE. `param` may be NULL; a long one is cut between characters. */
tsr_status tsr_refuse(tsr_refusal *r, int http, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* From a failed call of the engine: its HTTP status, and its line where the client is at fault. Returns `s`. */
tsr_status tsr_refuse_for(tsr_refusal *r, tsr_status s);

/* Appends {"error":{"message":..,"type":..,"param":..,"code":..}}, as OpenAI's clients read it. */
tsr_status tsr_refusal_print_openai(const tsr_refusal *r, tsr_text *out);
/* Appends {"code":400,"type":..,"message":..,"error":..}, as LMI's clients read it. */
tsr_status tsr_refusal_print_lmi(const tsr_refusal *r, tsr_text *out);

#endif
