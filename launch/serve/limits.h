/* limits.h: what one client may cost the server. Limits that have an option are not here (launch/options.h). */
#ifndef TSR_LAUNCH_SERVE_LIMITS_H
#define TSR_LAUNCH_SERVE_LIMITS_H

enum {
    TSR_SERVE_HEADER_BYTES = 32 << 10, /* memory of a connection: request line, headers, buffers */
    TSR_SERVE_REQUEST_SECONDS = 60,    /* from a connection's being free to the last byte of its request */
    TSR_SERVE_CROWDED_SECONDS = 2,     /* the same where nine in ten connections are taken */
    TSR_SERVE_BODIES = 4,              /* bodies of the largest size that may be in memory at once, */
    TSR_SERVE_BODY_BYTES = 1 << 28,    /* or so many bytes of bodies, if that is more */
    TSR_SERVE_CHAT_BYTES = 8 << 20,    /* of a prompt that a chat template makes */
    TSR_SERVE_THREADS = 4,             /* that read requests and write answers */
    TSR_SERVE_KEEPALIVE_SECONDS = 15,  /* a stream without a token for so long gets a comment */
    TSR_SERVE_FLUSH_SECONDS = 5,       /* for the last answers to go out when the server ends */

    TSR_CALL_DEPTH = 32,        /* of nested JSON */
    TSR_CALL_PROMPTS = 64,      /* in one request */
    TSR_CALL_ANSWERS = 8,       /* n: to each prompt */
    TSR_CALL_STOPS = 16,        /* stop texts, */
    TSR_CALL_STOP_BYTES = 256,  /* each so long at most */
    TSR_CALL_IGNORED = 64,      /* ignore_labels: labels that are left out */
    TSR_CALL_LOGPROBS = 20,     /* best tokens listed beside each */
    TSR_CALL_TOKENS = 10000000, /* the largest number of tokens that can be asked for */
};

#endif
