/* exchange.h: one HTTP request and its answer, from the first header to the last byte.
 *
 * Two threads meet in it. An HTTP thread receives the body, makes the call and its jobs, hands the exchange to the
 * leader (desk.h) and sleeps: the connection is suspended. The leader submits each job to the engine, and after each
 * step puts new tokens in and wakes the connection. The HTTP thread turns them into bytes.
 *
 *     RECEIVING --> WAITING --> ANSWERING
 *
 * Before it is handed over an exchange is the HTTP thread's alone; afterwards the fields marked "lock" are both's, and
 * the others stay as they are. The HTTP server and the leader hold a reference each; the last one frees it. Only the
 * leader wakes a connection, so a connection it saw suspended stays so, and its socket is open.
 */
#ifndef TSR_LAUNCH_SERVE_EXCHANGE_H
#define TSR_LAUNCH_SERVE_EXCHANGE_H

#include "base/text.h"
#include "launch/serve/call.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tessera.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct tsr_exchange;
struct tsr_reply;

typedef struct tsr_new_token {
    int32_t id;
    float logprob;
    int64_t end; /* bytes of text that were certain once it was there */
} tsr_new_token;

/* One answer to one prompt. */
typedef struct tsr_job {
    struct tsr_exchange *exchange;
    tsr_token_list prompt;
    uint64_t seed;
    int64_t request; /* the leader's: the engine's id; 0: not submitted */
    /* The leader's until it is done: seconds, when it was handed over, first ran, got its first and its last token; 0: not. */
    double handed, started, first, latest;
    bool done; /* the leader's */
    /* lock: */
    tsr_new_token *tokens; /* [n_tokens] */
    int64_t n_tokens, capacity;
    int64_t n_cached;                /* tokens of the prompt that were in the prefix cache */
    tsr_token_logprob *alternatives; /* [n_tokens][call.logprobs], NULL without */
    int64_t alternatives_capacity;
    float *prompt_logprobs;                 /* [prompt.count] with echo and logprobs, once it is done */
    tsr_token_logprob *prompt_alternatives; /* [prompt.count][call.logprobs] */
    tsr_text text;
    float *label_values; /* [n_rows][labels] of a text that is classified, once it is done: its scores by the
                            model's own rule, or its logits where the request asks for others, or of tokens */
    int64_t n_rows;
    tsr_finish finish;
    /* The HTTP thread's, of what has been sent: */
    int64_t tokens_sent, text_sent;
    bool opened, closed;
    tsr_detokenizer *detokenizer; /* for the texts of single tokens; NULL until one is wanted */
    tsr_text piece;
    int64_t offset; /* of the next token's text */
} tsr_job;

typedef struct tsr_exchange {
    pthread_mutex_t lock;
    struct tsr_exchange *next; /* in the desk */
    struct MHD_Connection *connection;
    int socket;
    char id[64];                    /* of the request: letters, digits, '-', '_', '.' */
    const char *route;              /* "/v1/completions" */
    const char *model;              /* by the name it is served under */
    const tsr_tokenizer *tokenizer; /* the engine's */
    const tsr_engine_info *info;    /* the engine's */
    int64_t created;                /* seconds since 1970 */
    double began;                   /* tsr_now's clock */
    bool plain, csv;                /* the body is text, or a table, not JSON */
    bool events;                    /* the client wants server-sent events */
    bool too_large, crowded;        /* the body, or all bodies together: what came was dropped */
    int64_t body_bytes;             /* counted in the server's sum of bodies */
    tsr_text body;
    tsr_api_call call;
    tsr_job *jobs; /* [n_jobs] prompt by prompt */
    int64_t n_jobs, max_tokens;
    bool handed_over;
    const struct tsr_reply *reply;
    tsr_text head; /* what each object of a stream begins with, once the first was made */
    tsr_text out;  /* bytes to be sent */
    int64_t out_sent;
    bool stream_ended;    /* `out` has the last bytes */
    int64_t answer_bytes; /* counted in the server's sum of answers */
    struct tsr_client *client;
    int status;      /* of the answer, for the log */
    double deadline; /* tsr_now's clock; 0: none */
    int64_t n_done;  /* the leader's */
    uint64_t number; /* the leader's: of its exchanges; 0: not taken */
    bool has_news;   /* the leader's: it is to be woken */
    double latest;   /* the leader's: when a stream last had something to say */
    /* lock: */
    int references;
    bool suspended;
    bool accepted; /* all jobs are the engine's: a stream may begin */
    bool finished; /* all jobs have their end, or `failure` says why not */
    bool gone;     /* the client has left */
    bool stirred;  /* a stream without tokens is due a sign of life */
    tsr_refusal failure;
} tsr_exchange;

/* With one reference, the caller's. TSR_ERR_MEMORY. */
tsr_status tsr_exchange_create(struct MHD_Connection *connection, tsr_exchange **out);
/* Gives back one reference; nulls the pointer. */
void tsr_exchange_release(tsr_exchange **exchange);
/* Makes the jobs of a call. The prompts' ids must be there. */
tsr_status tsr_exchange_make_jobs(tsr_exchange *x);

/* The leader: wakes the connection if it sleeps. Not under the lock, which the woken thread wants at once. */
void tsr_exchange_wake(tsr_exchange *x);
/* The leader, under the lock. A job's tokens and text as the engine has them; true if anything is new. */
tsr_status tsr_job_update(tsr_job *job, const tsr_result *result, bool *news);

#endif
