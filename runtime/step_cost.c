/* step_cost.c: decaying sums of normal equations, solved anew after each step. */
#include "runtime/step_cost.h"

#include "base/memory.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { PARTS = 4 };

/* RIDGE: so much is added to the diagonal, which shares out what the steps do not tell apart. */
#define RIDGE 1e-3

typedef struct fit {
    double a[PARTS][PARTS], b[PARTS]; /* a w = b at the least sum of squares; a: below and on the diagonal */
    double w[PARTS];                  /* 0 for a part that is left out */
    bool any;
} fit;

struct tsr_step_cost {
    fit decoding, reading; /* of steps without and with prompt tokens */
};

void tsr_step_work_add_decoding(tsr_step_work *work, int32_t position)
{
    work->decoding++;
    work->rows++;
    work->attended += position + 1.0;
}

void tsr_step_work_add_prompt(tsr_step_work *work, int32_t position, int32_t n, int32_t rows)
{
    work->prompt += n;
    work->rows += rows;
    work->attended += (double)n * position + n * (n + 1.0) / 2;
}

tsr_status tsr_step_cost_create(tsr_step_cost **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_step_cost), "what steps cost", &p));
    *out = p;
    return TSR_OK;
}

void tsr_step_cost_destroy(tsr_step_cost **cost)
{
    tsr_free(*cost);
    *cost = NULL;
}

static void parts_of(const tsr_step_work *work, double *x)
{
    x[0] = 1;
    x[1] = work->rows;
    x[2] = work->prompt;
    x[3] = work->attended;
}

/* The n equations of the parts that stay, by Cholesky's method: l l^T = a, then forward and back. */
static void solve(const fit *f, const int *parts, int n, double *w)
{
    double l[PARTS][PARTS];
    for (int i = 0; i < n; i++) {
        w[i] = f->b[parts[i]];
        for (int j = 0; j <= i; j++) {
            double sum = f->a[parts[i]][parts[j]] * (i == j ? 1 + RIDGE : 1);
            for (int k = 0; k < j; k++) sum -= l[i][k] * l[j][k];
            l[i][j] = i == j ? sqrt(sum) : sum / l[j][j];
            w[i] -= i == j ? 0 : l[i][j] * w[j];
        }
        w[i] /= l[i][i];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++) w[i] -= l[k][i] * w[k];
        w[i] /= l[i][i];
    }
}

/* The part that is most negative for its size; n if none is. */
static int worst_part(const fit *f, const int *parts, int n, const double *w)
{
    int worst = n;
    double most = 0;
    for (int i = 0; i < n; i++) {
        double share = w[i] * sqrt(f->a[parts[i]][parts[i]]);
        if (share < most) {
            most = share;
            worst = i;
        }
    }
    return worst;
}

static void refit(fit *f)
{
    int parts[PARTS], n = 0;
    double w[PARTS];
    for (int i = 0; i < PARTS; i++)
        if (f->a[i][i] > 1e-12 * f->a[0][0]) parts[n++] = i; /* else it was not seen for thousands of steps */
    solve(f, parts, n, w);
    for (int worst; (worst = worst_part(f, parts, n, w)) < n;) {
        n--;
        memmove(parts + worst, parts + worst + 1, (size_t)(n - worst) * sizeof *parts);
        solve(f, parts, n, w);
    }
    memset(f->w, 0, sizeof f->w);
    for (int i = 0; i < n; i++) f->w[parts[i]] = w[i];
    f->any = true;
}

void tsr_step_cost_learn(tsr_step_cost *c, const tsr_step_work *work, double seconds)
{
    fit *f = work->prompt > 0 ? &c->reading : &c->decoding;
    double x[PARTS];
    if (!(seconds >= 1e-9) || !isfinite(seconds)) return;
    parts_of(work, x);
    for (int i = 0; i < PARTS; i++) {
        for (int j = 0; j <= i; j++)
            f->a[i][j] = f->a[i][j] * TSR_STEP_COST_DECAY + x[i] / seconds * (x[j] / seconds);
        f->b[i] = f->b[i] * TSR_STEP_COST_DECAY + x[i] / seconds;
    }
    refit(f);
}

double tsr_step_cost_predict(const tsr_step_cost *c, const tsr_step_work *work)
{
    const fit *f = work->prompt > 0 ? &c->reading : &c->decoding;
    double x[PARTS], sum = 0;
    if (!f->any) f = work->prompt > 0 ? &c->decoding : &c->reading;
    parts_of(work, x);
    for (int i = 0; i < PARTS; i++) sum += f->w[i] * x[i];
    return sum;
}
