/* slot_table.h: what each rank knows of the sequences in flight: their pages, lengths and sampling
 * parameters.
 *
 * Changed by step records alone, through one function, so that it is the same on every rank. A page is written by
 * one slot. Others may share it once an earlier record has filled it, each at the place in its text where it stood in
 * the first one's, for as long as it is not handed out anew; and that it is only when no slot has it. The table checks
 * all of this. Sequences with a repetition penalty keep the set of their ids, those with a frequency or presence penalty
 * the counts of their new ids, those whose sampling asks for it all ids in order.
 * Local, not thread-safe. Allocates only for these, when they grow.
 */
#ifndef TSR_RUNTIME_SLOT_TABLE_H
#define TSR_RUNTIME_SLOT_TABLE_H

#include "runtime/logit_terms.h"
#include "runtime/step_record.h"

#include <stdbool.h>

typedef struct tsr_slot {
    bool used;
    int32_t n_cached; /* tokens in the cache once the last applied step has run */
    int32_t n_pages;
    const int32_t
        *pages; /* [n_pages], in the order of positions; room for max_context tokens, so it never moves */
    tsr_record_start start;
    const int32_t *seen; /* [n_seen] distinct ids of the sequence, with a repetition penalty only */
    int32_t n_seen;
    const int32_t *history; /* [n_history] all ids of the sequence, where its sampling keeps them */
    int32_t n_history;
    const tsr_token_count *counts; /* [n_counts] of new tokens, with a penalty that counts (logit_terms.h) */
    int32_t n_counts;
    const tsr_logit_bias *biases; /* [start.n_biases] */
} tsr_slot;

typedef struct tsr_slot_table tsr_slot_table;

tsr_status tsr_slot_table_create(const tsr_step_limits *limits, tsr_slot_table **out);
void tsr_slot_table_destroy(tsr_slot_table **slots);

/* Carries a record out. TSR_ERR_INTERNAL if it contradicts the table (wrong number in the series, a slot or
 * page in use, a shared page that does not hold what it should, a gap in positions, a token of a row that sampled
 * none): the ranks have lost each other, and the table must not be used further. TSR_ERR_MEMORY likewise. */
tsr_status tsr_slot_table_apply(tsr_slot_table *slots, const tsr_step_record *record);

/* Notes the results of the step of the record applied last, by row, for TSR_TOKEN_OF_ROW in the next record. Where they
 * come later than that record, rows that sample have tokens all the same, known to the device alone: a sequence whose
 * ids are kept here cannot go on by such a token (TSR_ERR_INTERNAL). A row that failed counts as token 0: its request
 * ends, and what the next step makes of it is not used. */
void tsr_slot_table_results(tsr_slot_table *slots, const tsr_sample_result *results, int32_t n);

const tsr_slot *tsr_slot_table_get(const tsr_slot_table *slots, int32_t slot);
/* The id itself, or that of the row of the step before which it stands for; unchanged (TSR_TOKEN_OF_ROW) where the
 * results are not known here yet. Valid for ids of the applied record. */
int32_t tsr_slot_table_token(const tsr_slot_table *slots, int32_t id);

#endif
