/* metrics.h: what the server counts, and its text for Prometheus. Thread-safe. */
#ifndef TSR_LAUNCH_SERVE_METRICS_H
#define TSR_LAUNCH_SERVE_METRICS_H

#include "base/text.h"
#include "launch/serve/thread_clocks.h"
#include "runtime/engine.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { TSR_METRIC_BUCKETS = 24 };

typedef struct tsr_histogram {
    int64_t bucket[TSR_METRIC_BUCKETS + 1]; /* of each range; the last one: beyond all bounds */
    double sum;
} tsr_histogram;

/* X(FIELD, "name", "help") */
#define TSR_HISTOGRAM_TABLE(X)                                                                               \
    X(queue, "request_queue_time_seconds",                                                                   \
      "from a request's arrival to the end of the first step that reads it")                                 \
    X(first_token, "time_to_first_token_seconds", "from a request's arrival to its first token")             \
    X(between, "inter_token_latency_seconds", "between two tokens of an answer")                             \
    X(whole, "e2e_request_latency_seconds", "from a request's arrival to its last token")                    \
    X(step, "step_seconds", "of a step of the engine")

/* Parts of the leader's time that are not the model's: plan and commit, inside a step, by the clock; admit and hand_out,
 * outside, in CPU time, since the threads that it wakes may take its core meanwhile. X(FIELD, "stage") */
#define TSR_HOST_STAGE_TABLE(X)                                                                              \
    X(admit, "admit")       /* taking new requests, letting go of those whose client has left */             \
    X(plan, "plan")         /* deciding what a step computes, telling the other ranks, laying it out */      \
    X(commit, "commit")     /* what the results mean for the requests; text */                               \
    X(hand_out, "hand_out") /* results to the connections, and waking them */

typedef struct tsr_host_seconds {
#define TSR_HOST_STAGE_FIELD(FIELD, stage) double FIELD;
    TSR_HOST_STAGE_TABLE(TSR_HOST_STAGE_FIELD)
#undef TSR_HOST_STAGE_FIELD
} tsr_host_seconds;

enum { TSR_METRIC_ANSWERS = 128 };

/* Answers of one route with one status. */
typedef struct tsr_answer_count {
    const char *route;
    int status;
    int64_t count;
} tsr_answer_count;

typedef struct tsr_metrics {
    pthread_mutex_t lock;
#define TSR_HISTOGRAM_FIELD(FIELD, name, help) tsr_histogram FIELD;
    TSR_HISTOGRAM_TABLE(TSR_HISTOGRAM_FIELD)
#undef TSR_HISTOGRAM_FIELD
    int64_t finished[TSR_FINISH_ERROR + 1]; /* answers by how they ended */
    tsr_answer_count answers[TSR_METRIC_ANSWERS];
    int n_answers;
    tsr_engine_counts engine; /* after the last step */
    tsr_host_seconds host;    /* until then */
    tsr_thread_clocks http;   /* of the threads that read requests and write answers */
} tsr_metrics;

void tsr_metrics_init(tsr_metrics *m);
void tsr_metrics_observe(tsr_metrics *m, tsr_histogram *h, double seconds);
void tsr_metrics_finished(tsr_metrics *m, tsr_finish reason);
void tsr_metrics_answered(tsr_metrics *m, const char *route, int status); /* `route` must stay */
void tsr_metrics_engine(tsr_metrics *m, const tsr_engine_counts *counts, const tsr_host_seconds *host);

/* Appends everything in Prometheus' text format. ready: requests are taken. */
tsr_status tsr_metrics_print(tsr_metrics *m, const char *model, const tsr_engine_info *info, bool ready,
                             tsr_text *out);

#endif
