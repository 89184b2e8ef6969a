/* step_pace.c: what steps usually take, and the tokens that fit under a multiple of it. */
#include "runtime/step_pace.h"

#include "base/checked.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

typedef struct step {
    double seconds; /* by prediction, when it had been measured */
    int32_t decoding;
    int64_t number; /* in the order of coming */
} step;

struct tsr_step_pace {
    tsr_step_cost *cost;
    step steps[TSR_STEP_PACE_STEPS]; /* [n_steps] the shortest first */
    int n_steps;
    int64_t number;
    double usual, limit;
};

tsr_status tsr_step_pace_create(tsr_step_pace **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_step_pace), "the pace of steps", &p));
    tsr_step_pace *pace = p;
    pace->limit = INFINITY;
    tsr_status s = tsr_step_cost_create(&pace->cost);
    if (s == TSR_OK)
        *out = pace;
    else
        tsr_free(pace);
    return s;
}

void tsr_step_pace_destroy(tsr_step_pace **pace)
{
    if (*pace) tsr_step_cost_destroy(&(*pace)->cost);
    tsr_free(*pace);
    *pace = NULL;
}

/* ---- The past ---- */

static void forget_oldest(tsr_step_pace *p)
{
    int oldest = 0;
    for (int i = 1; i < p->n_steps; i++)
        if (p->steps[i].number < p->steps[oldest].number) oldest = i;
    p->n_steps--;
    memmove(p->steps + oldest, p->steps + oldest + 1, (size_t)(p->n_steps - oldest) * sizeof *p->steps);
}

static void keep(tsr_step_pace *p, step latest)
{
    int at = 0;
    while (at < p->n_steps && p->steps[at].seconds <= latest.seconds) at++;
    memmove(p->steps + at + 1, p->steps + at, (size_t)(p->n_steps - at) * sizeof *p->steps);
    p->steps[at] = latest;
    p->n_steps++;
}

/* The shortest time such that this part of the tokens came in no more. */
static double usual_of(const tsr_step_pace *p)
{
    double all = 0, sum = 0;
    int i = 0;
    for (int k = 0; k < p->n_steps; k++) all += p->steps[k].decoding;
    while ((sum += p->steps[i].decoding) < TSR_STEP_PACE_PART * all) i++;
    return p->steps[i].seconds;
}

void tsr_step_pace_measured(tsr_step_pace *p, const tsr_step_work *work, double seconds)
{
    if (!(seconds > 0) || !isfinite(seconds)) return;
    tsr_step_cost_learn(p->cost, work, seconds);
    if (work->decoding == 0) return;
    if (p->n_steps == TSR_STEP_PACE_STEPS) forget_oldest(p);
    keep(p, (step){tsr_step_cost_predict(p->cost, work), work->decoding, p->number++});
    p->usual = usual_of(p);
}

/* ---- The step to come ---- */

static double with_prompt(const tsr_step_pace *p, const tsr_step_work *work, int32_t position, int32_t n,
                          bool every_row)
{
    tsr_step_work sum = *work;
    tsr_step_work_add_prompt(&sum, position, n, every_row ? n : 0);
    return tsr_step_cost_predict(p->cost, &sum);
}

void tsr_step_pace_begin(tsr_step_pace *p, const tsr_step_work *work)
{
    p->limit = INFINITY;
    if (work->decoding == 0 || p->n_steps < TSR_STEP_PACE_FEWEST) return;
    double bare = tsr_step_cost_predict(p->cost, work);
    double least = with_prompt(p, work, 0, TSR_STEP_PACE_LEAST, false);
    p->limit = fmax(TSR_STEP_PACE_MOST * fmax(p->usual, bare), TSR_STEP_PACE_SLACK * least);
}

double tsr_step_pace_limit(const tsr_step_pace *p)
{
    return p->limit;
}

/* The most tokens that fit, by halving: what a prompt takes grows with its tokens. */
static int32_t most_in_time(const tsr_step_pace *p, const tsr_step_work *work, int32_t position,
                            int32_t wanted, bool every_row)
{
    int32_t fits = 0, most = wanted;
    while (fits < most) {
        int32_t n = most - (most - fits) / 2;
        if (with_prompt(p, work, position, n, every_row) <= p->limit)
            fits = n;
        else
            most = n - 1;
    }
    return fits;
}

int32_t tsr_step_pace_allows(const tsr_step_pace *p, const tsr_step_work *work, int32_t position,
                             int32_t wanted, bool every_row)
{
    if (wanted <= 0 || isinf(p->limit)) return wanted;
    int32_t n = most_in_time(p, work, position, wanted, every_row);
    n = (int32_t)tsr_min(wanted, tsr_max(n, TSR_STEP_PACE_LEAST - work->prompt));
    int32_t over = (work->decoding + work->prompt + n) % TSR_STEP_PACE_TILE;
    return n < wanted && over <= n / 4 ? n - over : n;
}
