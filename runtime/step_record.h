/* step_record.h: the record that rank 0 broadcasts before each step, and that every rank, rank 0 too, acts
 * upon.
 *
 *     rank 0:  tsr_scheduler_plan(scheduler, record);   bytes = tsr_step_record_encode(record, buffer);
 *     all:     broadcast the first TSR_RECORD_INLINE bytes of buffer;
 *              tsr_step_record_peek(buffer, &limits, &bytes);
 *              if (bytes > TSR_RECORD_INLINE) broadcast the rest;
 *     others:  tsr_step_record_decode(buffer, bytes, &limits, record);
 *     all:     tsr_slot_table_apply(slots, record);                    slot_table.h
 *              tsr_step_builder_build(builder, record, slots, ..);     step_builder.h
 *              run the step, tsr_sampler_run(..);                      sampler.h
 *              tsr_slot_table_results(slots, results, n);
 *     rank 0:  tsr_scheduler_commit(scheduler, results, n);
 *
 * A record that says `ahead` is followed by the next one before the results of its step are taken: every rank carries
 * the next record out first, and takes the results then. So a GPU has its next step before it ends this one.
 *
 * A record says: these slots are free again (first of all); these sequences, each in a slot, go on by these
 * tokens, with these new pages; of these rows we want output. What does not change while a sequence lives
 * (prompt length, sampling, biases) travels once, with its first tokens, and stays in the slot table. A new sequence may
 * begin behind full pages that another one has, or had: it shares them (prefix_cache.h).
 *
 * Layout of the bytes: header, releases, starts, sequences, pages, ids, rows, biases, shared ids: the structs below, back to
 * back, in the byte order of the machine (the magic number tells if that differs). Ranks of one job run one
 * binary. decode() trusts nothing: counts, sizes and every index that can be checked without history;
 * slot_table.h checks the rest. A bad record is TSR_ERR_INTERNAL. All functions are local; none allocates but
 * create.
 */
#ifndef TSR_RUNTIME_STEP_RECORD_H
#define TSR_RUNTIME_STEP_RECORD_H

#include "runtime/sampler.h"
#include "runtime/step_limits.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_RECORD_INLINE = 4096, TSR_RECORD_VERSION = 4 };
#define TSR_RECORD_MAGIC UINT32_C(0x54535231) /* "TSR1" */

typedef enum tsr_record_kind {
    TSR_RECORD_STEP,     /* at least one sequence */
    TSR_RECORD_IDLE,     /* nothing to run; a sign of life, and releases */
    TSR_RECORD_SHUTDOWN, /* the last record */
    TSR_RECORD_KIND_COUNT
} tsr_record_kind;

/* What a new sequence brings. */
typedef struct tsr_record_start {
    tsr_sampling sampling;
    int32_t prompt_length;
    int32_t prefix_length; /* see layers/prefix.h; 0: a plain text */
    int32_t mask_position;
    int32_t n_top;        /* for its SAMPLE and TOP rows */
    int32_t n_prompt_top; /* for its SCORE rows */
    int32_t n_biases;     /* of the record's, by ascending id; 0 .. TSR_MAX_LOGIT_BIASES */
    int32_t n_shared; /* pages that other sequences computed: the first ones of its pages in this record */
    int32_t reserved; /* 0 */
} tsr_record_start;

/* Whether every rank needs the ids of a sequence, those of shared pages included. */
static inline bool tsr_sampling_keeps_ids(const tsr_sampling *sampling)
{
    return sampling->keep_history || sampling->repetition_penalty != 1;
}

typedef struct tsr_record_sequence {
    int32_t slot;
    int32_t start; /* index into starts: a new sequence takes the (free) slot; -1: it goes on */
    int32_t
        position; /* of its first token in this step = tokens cached so far, those of shared pages included */
    int32_t n_tokens; /* in this step, >= 1 */
    int32_t n_pages;  /* new pages and, of a new sequence, shared ones; appended to those of the slot */
} tsr_record_sequence;

/* An id below 0 stands for the token that row -1 - id of the step before sampled. */
#define TSR_TOKEN_OF_ROW(row) (-1 - (row))

typedef struct tsr_record_row {
    int32_t token;    /* index of the token in this step; ascending */
    int32_t sequence; /* index into sequences */
    int32_t kind;     /* tsr_row_kind; SAMPLE and TOP only at the last token of a sequence */
    int32_t target;   /* SCORE: the id; else 0 */
} tsr_record_row;

typedef struct tsr_step_record {
    int64_t number; /* 1, 2, 3, ... */
    tsr_record_kind kind;
    bool ahead; /* the next record does not wait for the results of this one */
    int32_t n_releases, n_starts, n_sequences, n_pages, n_tokens, n_rows, n_biases, n_shared_ids;
    int32_t *releases;              /* [max_sequences] slots */
    tsr_record_start *starts;       /* [max_sequences] in the order of the sequences that use them */
    tsr_record_sequence *sequences; /* [max_sequences] those that decode, then those that read their prompt */
    int32_t *pages;         /* [max_tokens / TSR_PAGE_TOKENS + max_sequences, and shared ones] likewise */
    int32_t *ids;           /* [max_tokens] one sequence after another */
    tsr_record_row *rows;   /* [max_rows] */
    tsr_logit_bias *biases; /* [max_sequences * TSR_MAX_LOGIT_BIASES] of one start after another */
    int32_t *shared_ids; /* [tsr_most_shared_pages * TSR_PAGE_TOKENS] of the shared pages of each start whose
                            tsr_sampling_keeps_ids */
} tsr_step_record;

/* An empty record with room for any step within the limits. */
tsr_status tsr_step_record_create(const tsr_step_limits *limits, tsr_step_record **out);
void tsr_step_record_destroy(tsr_step_record **record);
void tsr_step_record_clear(tsr_step_record *record, tsr_record_kind kind, int64_t number);

/* Bytes a buffer needs for any record: at least TSR_RECORD_INLINE. */
int64_t tsr_step_record_max_bytes(const tsr_step_limits *limits);
/* Returns the bytes of the record. The buffer holds tsr_step_record_max_bytes; what is left of the first
 * TSR_RECORD_INLINE bytes is zeroed. */
int64_t tsr_step_record_encode(const tsr_step_record *record, void *buffer);
/* first: TSR_RECORD_INLINE bytes. *bytes: of the whole record, at most tsr_step_record_max_bytes. */
tsr_status tsr_step_record_peek(const void *first, const tsr_step_limits *limits, int64_t *bytes);
tsr_status tsr_step_record_decode(const void *buffer, int64_t bytes, const tsr_step_limits *limits,
                                  tsr_step_record *record);
/* What decode checks, for a record in memory. */
tsr_status tsr_step_record_check(const tsr_step_record *record, const tsr_step_limits *limits);

#endif
