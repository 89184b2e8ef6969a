/* scheduler.h: decides, on rank 0, what each step computes: continuous batching under a token budget.
 *
 * A step takes every sequence that decodes (one token each) and fills the rest of limits.max_tokens with
 * prompt tokens in order of arrival; a long prompt is cut into chunks, so that nobody's decoding waits for
 * it. Requests join and leave between steps. Rows of logits are bounded too: a prompt being scored goes at
 * most max_rows tokens a step.
 *
 * Keeping pace (set_pace): beside sequences that decode, prompts get the tokens for which there is time too (step_pace.h),
 * in the same order; what a prompt does not get it gets in later steps. A prefix, which has to be read whole, is not cut:
 * it waits for a step that reads no other prompt. Which tokens share a step then depends on measured times; what a request
 * gets does not.
 *
 * Pages for the worst case (prompt and all new tokens) are set aside when a request is admitted, so an
 * admitted request always runs to its end: nothing is ever preempted. A request that can never fit is refused
 * by submit with the arithmetic in the line; one that does not fit now waits. Admission is strictly in order
 * of arrival: nobody overtakes, so nobody starves.
 *
 * plan() and commit() alternate; submit and finish may come at any time between calls. A request that is
 * finished from outside while its step is under way leaves at once: its pages and slot are free for the next
 * plan, and that plan's record tells every rank first of all.
 *
 * Going ahead (set_ahead): a record marked `ahead` is one whose next may be planned before it is committed; then two
 * steps are under way, and commit takes the older one. Tokens that the older one still has to choose stand in the newer
 * one as TSR_TOKEN_OF_ROW. How many tokens a request may get at most is known beforehand and never exceeded; where it
 * ends earlier, by an end-of-sequence token or from outside, the newer step computes one token for it in vain, into a
 * page that nobody else has before the step after, and what comes of it is dropped. Marked are steps with something
 * left to run after them, whose rows score or choose tokens and list no others, for sequences that no penalty and no
 * rule makes depend on the tokens they have so far.
 *
 * Sharing (share_prefixes): a request whose prompt begins with pages that are in the cache already, see
 * prefix_cache.h, begins behind them. Pages that are kept without a user count as free.
 *
 * Rank 0 only, local, not thread-safe. plan and commit take time in proportion to the sequences and rows of
 * the step and the pages of prompts that begin in it, and allocate nothing (except lists of best tokens, which grow with what they hold).
 */
#ifndef TSR_RUNTIME_SCHEDULER_H
#define TSR_RUNTIME_SCHEDULER_H

#include "layers/rope.h"
#include "runtime/request.h"
#include "runtime/step_pace.h"
#include "runtime/step_record.h"

#include <stdbool.h>

typedef struct tsr_scheduler tsr_scheduler;

typedef struct tsr_scheduler_counts {
    int32_t waiting, running;                                 /* requests */
    int32_t pages_total, pages_used, pages_reserved;          /* reserved: promised, not used yet */
    int32_t pages_touched;                                    /* used at any time */
    int64_t steps, prompt_tokens, generated_tokens, finished; /* since creation */
    int64_t prefix_queries, prefix_hits; /* tokens of admitted prompts that might share, and that did */
} tsr_scheduler_counts;

tsr_status tsr_scheduler_create(const tsr_step_limits *limits, tsr_scheduler **out);
/* Requests still waiting or running are finished as CANCELLED. */
void tsr_scheduler_destroy(tsr_scheduler **scheduler);

/* Whether steps may be marked `ahead`; off at first. Between steps only. */
void tsr_scheduler_set_ahead(tsr_scheduler *scheduler, bool ahead);

/* Keeps pace from now on; NULL, as at first: no longer. Borrowed. */
void tsr_scheduler_set_pace(tsr_scheduler *scheduler, tsr_step_pace *pace);
/* What the oldest step under way took; to be said before its commit, where pace is to be kept. */
void tsr_scheduler_measured(tsr_scheduler *scheduler, double seconds);

/* Lets requests share pages; off at first. ropes: [n_ropes] of the model; must outlive the scheduler. Once, before the
 * first request. TSR_ERR_MEMORY. */
tsr_status tsr_scheduler_share_prefixes(tsr_scheduler *scheduler, const tsr_rope *ropes, int64_t n_ropes);

/* Queues a request, which must stay until it is finished. TSR_ERR_CAPACITY if the cache can never hold it. */
tsr_status tsr_scheduler_submit(tsr_scheduler *scheduler, tsr_request *request);

/* Ends a request from outside: CANCELLED, STOP for a stop string, ERROR. No effect on one that is finished.
 */
void tsr_scheduler_finish(tsr_scheduler *scheduler, tsr_request *request, tsr_finish reason);
void tsr_scheduler_finish_all(tsr_scheduler *scheduler, tsr_finish reason);

/* True if no request is waiting or running. */
bool tsr_scheduler_idle(const tsr_scheduler *scheduler);

/* Writes the next record: kind STEP, or IDLE if there is nothing to run. */
void tsr_scheduler_plan(tsr_scheduler *scheduler, tsr_step_record *record);
/* Writes the record that ends the job; no other may follow. */
void tsr_scheduler_plan_shutdown(tsr_scheduler *scheduler, tsr_step_record *record);

/* Takes the results of the oldest step under way, by row (none for IDLE). TSR_ERR_INTERNAL if their number does
 * not fit. A request whose list of best tokens could not grow is finished as ERROR. */
tsr_status tsr_scheduler_commit(tsr_scheduler *scheduler, const tsr_sample_result *results,
                                int32_t n_results);

/* The requests that got tokens, scores or an end in the last commit, each once. Those finished from outside are
 * not added. Valid until the next plan, as long as none of the requests in it is destroyed. */
tsr_request *const *tsr_scheduler_updated(const tsr_scheduler *scheduler, int32_t *n);

void tsr_scheduler_get_counts(const tsr_scheduler *scheduler, tsr_scheduler_counts *out);

#endif
