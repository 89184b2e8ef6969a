/* engine_step.c: one step, the same on every rank: record, graph, sampler. */
#include "base/checked.h"
#include "base/log.h"
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

/* The time since the last lap goes to one of e->times. */
static void lap(tsr_engine *e, double *seconds)
{
    double now = tsr_now();
    *seconds += now - e->lap;
    e->lap = now;
}

/* What a step on this rank's host gives is kept until it is taken: the sampler's memory is its next run's. */
static tsr_status run_here(tsr_engine *e, const tsr_step *step, const tsr_sample_row *rows, engine_flight *f)
{
    const tsr_sample_result *results;
    int64_t ld, cols;
    TSR_TRY(tsr_executor_run(e->executor, step));
    lap(e, &e->times.start);
    const float *logits = tsr_executor_output(e->executor, &ld, &cols);
    if (e->row_outputs)
        TSR_TRY(tsr_row_outputs_run(e->row_outputs, logits, ld, step->n_rows, &results));
    else
        TSR_TRY(tsr_sampler_run(e->sampler, logits, ld, rows, step->n_rows, &results));
    lap(e, &e->times.sample);
    f->seconds = e->lap - f->began;
    tsr_slot_table_results(e->slots, results, step->n_rows);
    for (int32_t i = 0; i < step->n_rows; i++) f->results[i] = results[i];
    return TSR_OK;
}

/* Carries out the record that every rank has, or has the device begin with it. */
static tsr_status launch(tsr_engine *e)
{
    const tsr_step *step;
    const tsr_sample_row *rows;
    TSR_TRY(tsr_slot_table_apply(e->slots, e->record));
    if (e->record->kind != TSR_RECORD_STEP) return TSR_OK;
    if (e->n_flights == TSR_STEPS_UNDER_WAY)
        return tsr_fail(TSR_ERR_INTERNAL, "a third step while two are under way");
    TSR_TRY(tsr_step_builder_build(e->builder, e->record, e->slots, &step, &rows));
    lap(e, &e->times.plan);
    e->times.steps++;
    engine_flight *f = &e->flights[e->n_flights++];
    f->n_rows = step->n_rows;
    f->began = e->began;
    f->on_device = tsr_executor_samples(e->executor, rows, step->n_rows);
    if (!f->on_device) return run_here(e, step, rows, f);
    TSR_TRY(tsr_executor_start(e->executor, step, rows));
    lap(e, &e->times.start);
    return TSR_OK;
}

/* Takes the results of the oldest flight; they stay valid until the next one begins. A device's step took the time since
 * its planning began, or since the end of the one before it, if it had to wait for that. */
static tsr_status take(tsr_engine *e, const tsr_sample_result **results, int32_t *n_results)
{
    const engine_flight oldest = e->flights[0];
    for (int i = 1; i < TSR_STEPS_UNDER_WAY; i++) e->flights[i - 1] = e->flights[i];
    e->flights[TSR_STEPS_UNDER_WAY - 1] = oldest;
    e->n_flights--;
    *results = oldest.results;
    *n_results = oldest.n_rows;
    e->took = oldest.seconds;
    if (!oldest.on_device) return TSR_OK;
    e->lap = tsr_now();
    TSR_TRY(tsr_executor_finish(e->executor, oldest.results));
    lap(e, &e->times.wait);
    e->took = e->lap - (oldest.began > e->ended ? oldest.began : e->ended);
    e->ended = e->lap;
    return TSR_OK;
}

static tsr_status broken_by(tsr_engine *e, tsr_status s)
{
    if (s != TSR_OK) e->broken = s;
    return s;
}

static tsr_status share_and_launch(tsr_engine *e)
{
    e->lap = tsr_now();
    TSR_TRY(broken_by(e, share_record(e)));
    return broken_by(e, launch(e));
}

tsr_status tsr_engine_follow(tsr_engine *e)
{
    if (tsr_world_rank(e->world) == 0) return tsr_fail(TSR_ERR_INTERNAL, "rank 0 leads; it does not follow");
    const tsr_sample_result *results;
    int32_t n;
    do {
        TSR_TRY(share_and_launch(e));
        while (e->n_flights > (e->record->ahead ? 1 : 0)) TSR_TRY(broken_by(e, take(e, &results, &n)));
    } while (e->record->kind != TSR_RECORD_SHUTDOWN);
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
    TSR_TRY(share_and_launch(e));
    while (e->n_flights > 0) TSR_TRY(broken_by(e, take(e, &results, &n)));
    return TSR_OK;
}

static tsr_status plan_and_launch(tsr_engine *e)
{
    e->began = tsr_now();
    tsr_scheduler_plan(e->scheduler, e->record);
    e->times.plan += tsr_now() - e->began;
    return share_and_launch(e);
}

static tsr_status take_and_commit(tsr_engine *e)
{
    const tsr_sample_result *results;
    int32_t n;
    TSR_TRY(broken_by(e, take(e, &results, &n)));
    e->lap = tsr_now();
    tsr_scheduler_measured(e->scheduler, e->took);
    TSR_TRY(tsr_scheduler_commit(e->scheduler, results, n));
    TSR_TRY(engine_requests_update(e));
    lap(e, &e->times.commit);
    return TSR_OK;
}

/* Where the last record says `ahead`, its step is left under way and the next one begun before its results are taken.
 * When no request is left, nothing stays under way. */
tsr_status tsr_engine_step(tsr_engine *e, bool *more)
{
    *more = false;
    if (e->broken != TSR_OK) return tsr_fail(e->broken, "an earlier step failed; the job has ended");
    if (!e->scheduler || e->dismissed)
        return tsr_fail(TSR_ERR_INTERNAL, "rank 0 alone steps, before it dismisses");
    if (e->n_flights == 0) TSR_TRY(plan_and_launch(e));
    if (e->record->ahead) TSR_TRY(plan_and_launch(e));
    if (e->n_flights > 0) TSR_TRY(take_and_commit(e));
    while (e->n_flights > 0 && tsr_scheduler_idle(e->scheduler)) TSR_TRY(take_and_commit(e));
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
