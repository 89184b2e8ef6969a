/* engine_step.c: one step, the same on every rank: record, graph, sampler. */
#include "base/checked.h"
#include "runtime/engine_parts.h"

void tsr_engine_request_stop(void)
{
    tsr_world_request_stop();
}

/* Rank 0's record reaches every rank. Waiting for the first part is waiting for work and may take any time.
 */
static tsr_status share_record(tsr_engine *e)
{
    char *bytes = e->record_bytes;
    int64_t n = 0;
    bool root = tsr_world_rank(e->world) == 0;
    if (root) n = tsr_step_record_encode(e->record, bytes);
    if (tsr_world_size(e->world) == 1) return TSR_OK;
    TSR_TRY(tsr_world_broadcast(e->world, bytes, TSR_RECORD_INLINE, 0, TSR_WAIT_IDLE));
    TSR_TRY(tsr_step_record_peek(bytes, &e->limits, &n));
    if (n > TSR_RECORD_INLINE)
        TSR_TRY(tsr_world_broadcast(e->world, bytes + TSR_RECORD_INLINE, n - TSR_RECORD_INLINE, 0,
                                    TSR_WAIT_DEADLINE));
    return root ? TSR_OK : tsr_step_record_decode(bytes, n, &e->limits, e->record);
}

/* Carries out the record that every rank has. */
static tsr_status execute(tsr_engine *e, const tsr_sample_result **results, int32_t *n_results)
{
    const tsr_step *step;
    const tsr_sample_row *rows;
    int64_t ld, cols;
    *results = NULL;
    *n_results = 0;
    TSR_TRY(tsr_slot_table_apply(e->slots, e->record));
    if (e->record->kind != TSR_RECORD_STEP) return TSR_OK;
    TSR_TRY(tsr_step_builder_build(e->builder, e->record, e->slots, &step, &rows));
    TSR_TRY(tsr_executor_run(e->executor, step));
    const float *logits = tsr_executor_output(e->executor, &ld, &cols);
    if (e->row_outputs)
        TSR_TRY(tsr_row_outputs_run(e->row_outputs, logits, ld, step->n_rows, results));
    else
        TSR_TRY(tsr_sampler_run(e->sampler, logits, ld, rows, step->n_rows, results));
    *n_results = step->n_rows;
    tsr_slot_table_results(e->slots, *results, *n_results);
    return TSR_OK;
}

static tsr_status step_together(tsr_engine *e, const tsr_sample_result **results, int32_t *n_results)
{
    tsr_status s = share_record(e);
    if (s == TSR_OK) s = execute(e, results, n_results);
    if (s != TSR_OK) e->broken = s;
    return s;
}

tsr_status tsr_engine_follow(tsr_engine *e)
{
    if (tsr_world_rank(e->world) == 0) return tsr_fail(TSR_ERR_INTERNAL, "rank 0 leads; it does not follow");
    const tsr_sample_result *results;
    int32_t n;
    do TSR_TRY(step_together(e, &results, &n));
    while (e->record->kind != TSR_RECORD_SHUTDOWN);
    e->dismissed = true;
    return TSR_OK;
}

tsr_status tsr_engine_dismiss(tsr_engine *e)
{
    const tsr_sample_result *results;
    int32_t n;
    if (e->dismissed || e->broken != TSR_OK) return e->broken;
    e->dismissed = true;
    tsr_scheduler_finish_all(e->scheduler, TSR_FINISH_CANCELLED);
    tsr_scheduler_plan_shutdown(e->scheduler, e->record);
    return step_together(e, &results, &n);
}

tsr_status tsr_engine_step(tsr_engine *e, bool *more)
{
    const tsr_sample_result *results;
    int32_t n;
    *more = false;
    if (e->broken != TSR_OK) return tsr_fail(e->broken, "an earlier step failed; the job has ended");
    if (!e->scheduler || e->dismissed)
        return tsr_fail(TSR_ERR_INTERNAL, "rank 0 alone steps, before it dismisses");
    tsr_scheduler_plan(e->scheduler, e->record);
    TSR_TRY(step_together(e, &results, &n));
    TSR_TRY(tsr_scheduler_commit(e->scheduler, results, n));
    TSR_TRY(engine_requests_update(e));
    *more = !tsr_scheduler_idle(e->scheduler);
    return TSR_OK;
}

tsr_status tsr_engine_run(tsr_engine *e)
{
    bool more = e->scheduler && !tsr_scheduler_idle(e->scheduler);
    while (more) {
        if (tsr_world_stop_requested()) {
            TSR_TRY(engine_requests_cancel_all(e));
            return tsr_fail(TSR_ERR_CANCELLED, "stopped on request");
        }
        TSR_TRY(tsr_engine_step(e, &more));
    }
    return TSR_OK;
}
