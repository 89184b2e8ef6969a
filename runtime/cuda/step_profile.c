/* step_profile.c: events between calls, and what they add up to. */
#include "runtime/cuda/step_profile.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/memory.h"
#include "layers/cuda/delay.h"

#include <string.h>

static const double FIRST_DELAY = 4e-3, MOST_DELAY = 20e-3;

struct tsr_step_profile {
    const tsr_graph *graph;
    int value_bytes;
    tsr_stage *stages;  /* [n_nodes] */
    cudaEvent_t *marks; /* [n_nodes + 2]: before the first call, behind each, behind sampling */
    cudaEvent_t begin, end;
    tsr_profile totals[TSR_PROFILE_KINDS];
    int64_t seen[TSR_PROFILE_KINDS];
    double delay, enqueued_from; /* enough for the host to enqueue a step; seconds */
    tsr_step_load load;          /* of the step under way */
    bool staged, sampled;
};

static tsr_status make_event(cudaEvent_t *out)
{
    return tsr_cuda_check(cudaEventCreate(out), "an event");
}

static tsr_status build(tsr_step_profile *p, bool alone)
{
    int64_t n = p->graph->n_nodes;
    void *memory;
    TSR_TRY(tsr_calloc(n, sizeof *p->stages, "the profile", &memory));
    p->stages = memory;
    for (int64_t i = 0; i < n; i++) p->stages[i] = tsr_stage_of(p->graph, i, alone);
    TSR_TRY(tsr_calloc(n + 2, sizeof *p->marks, "the profile", &memory));
    p->marks = memory;
    for (int64_t i = 0; i < n + 2; i++) TSR_TRY(make_event(&p->marks[i]));
    TSR_TRY(make_event(&p->begin));
    return make_event(&p->end);
}

tsr_status tsr_step_profile_create(const tsr_graph *graph, int value_bytes, bool alone,
                                   tsr_step_profile **out)
{
    void *memory;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_step_profile), "the profile", &memory));
    tsr_step_profile *p = memory;
    p->graph = graph;
    p->value_bytes = value_bytes;
    p->delay = FIRST_DELAY;
    tsr_status s = build(p, alone);
    if (s != TSR_OK) tsr_step_profile_destroy(&p);
    *out = p;
    return s;
}

void tsr_step_profile_destroy(tsr_step_profile **profile)
{
    tsr_step_profile *p = *profile;
    if (!p) return;
    for (int64_t i = 0; p->marks && i < p->graph->n_nodes + 2; i++)
        if (p->marks[i]) cudaEventDestroy(p->marks[i]);
    if (p->begin) cudaEventDestroy(p->begin);
    if (p->end) cudaEventDestroy(p->end);
    tsr_free(p->stages);
    tsr_free(p->marks);
    tsr_free(p);
    *profile = NULL;
}

static int kind_of(const tsr_step_profile *p)
{
    return p->load.decode ? TSR_PROFILE_DECODE : TSR_PROFILE_PREFILL;
}

tsr_status tsr_step_profile_begin(tsr_step_profile *p, const tsr_step *step, cudaStream_t stream,
                                  bool *staged)
{
    p->load = tsr_step_get_load(step);
    p->staged = p->seen[kind_of(p)]++ % 2 == 0;
    p->sampled = false;
    *staged = p->staged;
    p->enqueued_from = tsr_now();
    if (p->staged) return tsr_cuda_delay(p->delay, stream);
    return tsr_cuda_check(cudaEventRecord(p->begin, stream), "an event");
}

tsr_status tsr_step_profile_mark(tsr_step_profile *p, int64_t i, cudaStream_t stream)
{
    if (!p->staged) return TSR_OK;
    if (i == p->graph->n_nodes) p->sampled = true;
    return tsr_cuda_check(cudaEventRecord(p->marks[i + 1], stream), "an event");
}

tsr_status tsr_step_profile_end(tsr_step_profile *p, cudaStream_t stream)
{
    if (!p->staged) return tsr_cuda_check(cudaEventRecord(p->end, stream), "an event");
    p->delay = 1.5 * (tsr_now() - p->enqueued_from);
    p->delay = p->delay < MOST_DELAY ? p->delay : MOST_DELAY;
    return TSR_OK;
}

static tsr_status seconds_between(cudaEvent_t a, cudaEvent_t b, double *out)
{
    float ms = 0;
    TSR_TRY(tsr_cuda_check(cudaEventElapsedTime(&ms, a, b), "an event"));
    *out = ms / 1e3;
    return TSR_OK;
}

static tsr_status add_stages(tsr_step_profile *p, tsr_profile *to)
{
    int64_t n = p->graph->n_nodes;
    double seconds;
    for (int64_t i = 0; i < n; i++) {
        tsr_stage_time *t = &to->stage[p->stages[i]];
        tsr_work w = tsr_stage_work(p->graph, i, &p->load, p->value_bytes);
        TSR_TRY(seconds_between(p->marks[i], p->marks[i + 1], &seconds));
        t->seconds += seconds;
        t->bytes += w.bytes;
        t->flops += w.flops;
    }
    to->steps++;
    if (!p->sampled) return TSR_OK;
    TSR_TRY(seconds_between(p->marks[n], p->marks[n + 1], &seconds));
    to->stage[TSR_STAGE_SAMPLING].seconds += seconds;
    to->stage[TSR_STAGE_SAMPLING].bytes += p->load.rows * (double)p->graph->values[p->graph->output].cols * 4;
    return TSR_OK;
}

tsr_status tsr_step_profile_add(tsr_step_profile *p)
{
    tsr_profile *to = &p->totals[kind_of(p)];
    double seconds;
    if (p->staged) return add_stages(p, to);
    TSR_TRY(seconds_between(p->begin, p->end, &seconds));
    to->whole_steps++;
    to->whole_seconds += seconds;
    return TSR_OK;
}

const tsr_profile *tsr_step_profile_get(const tsr_step_profile *p)
{
    return p->totals;
}

void tsr_step_profile_reset(tsr_step_profile *p)
{
    memset(p->totals, 0, sizeof p->totals);
}
