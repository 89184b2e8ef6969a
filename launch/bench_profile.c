/* bench_profile.c: stages of a step as a table: time, share, bytes and arithmetic a second. */
#include "launch/bench_profile.h"

static double sum_of(const tsr_profile *p)
{
    double sum = 0;
    for (int i = 0; i < TSR_STAGE_COUNT; i++) sum += p->stage[i].seconds;
    return sum;
}

static tsr_status put_stage(const tsr_profile *p, int i, double sum, tsr_text *t)
{
    const tsr_stage_time *s = &p->stage[i];
    if (!(s->seconds > 0)) return TSR_OK;
    return tsr_text_format(t, "  %-26s %10.1f %6.1f %9.1f %9.2f\n", tsr_stage_name((tsr_stage)i),
                           1e6 * s->seconds / (double)p->steps, 100 * s->seconds / sum,
                           s->bytes / s->seconds / 1e9, s->flops / s->seconds / 1e12);
}

static tsr_status put_table(const tsr_profile *p, const char *kind, tsr_text *t)
{
    double sum = sum_of(p);
    if (p->steps == 0) return TSR_OK;
    TSR_TRY(tsr_text_format(t, "%-28s %10s %6s %9s %9s\n", kind, "us a step", "%", "GB/s", "TFLOP/s"));
    for (int i = 0; i < TSR_STAGE_COUNT; i++) TSR_TRY(put_stage(p, i, sum, t));
    TSR_TRY(tsr_text_format(t, "  %-26s %10.1f        (%lld steps measured stage by stage)\n", "sum",
                            1e6 * sum / (double)p->steps, (long long)p->steps));
    if (p->whole_steps == 0) return TSR_OK;
    return tsr_text_format(t, "  %-26s %10.1f        (%lld steps as they run: captured, overlapping)\n",
                           "whole step", 1e6 * p->whole_seconds / (double)p->whole_steps,
                           (long long)p->whole_steps);
}

static tsr_status put_host(const tsr_engine *engine, tsr_text *t)
{
    tsr_host_times h = tsr_engine_get_host_times(engine);
    double n = h.steps > 0 ? (double)h.steps / 1e6 : 1;
    return tsr_text_format(
        t, "host, us a step: plan %.1f, run or enqueue %.1f, sample %.1f, wait for a GPU %.1f, commit %.1f\n",
        h.plan / n, h.start / n, h.sample / n, h.wait / n, h.commit / n);
}

tsr_status tsr_bench_put_profile(const tsr_engine *engine, tsr_text *t)
{
    const tsr_profile *p = tsr_executor_profile(tsr_engine_executor(engine));
    if (!p) return TSR_OK;
    TSR_TRY(put_table(&p[TSR_PROFILE_DECODE], "decode step", t));
    TSR_TRY(put_table(&p[TSR_PROFILE_PREFILL], "step that reads prompts", t));
    return put_host(engine, t);
}
