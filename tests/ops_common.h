/* ops_common.h: what the op tests share: kernels of every instruction set that runs here, called as the
 * executor calls them; random operands with guard values around them; comparison with float64 results, naming
 * the worst element.
 */
#ifndef TSR_TESTS_OPS_COMMON_H
#define TSR_TESTS_OPS_COMMON_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layers/cpu/cpu_kernels.h"

static const char *const all_isas[] = {"portable", "avx2", "avx512", "avx512bf16", "amx"};
enum { ISAS = sizeof all_isas / sizeof all_isas[0] };

#define FOR_EACH_SET(set)                                                                                    \
    for (int isa_ = 0; isa_ < ISAS; isa_++)                                                                  \
        for (const tsr_cpu_kernels *set = tsr_cpu_kernels_named(all_isas[isa_]); set; set = NULL)

/* Says which sets do not run here, so that a log shows what was not tested. */
static inline int report_isas(void **state)
{
    (void)state;
    for (int i = 0; i < ISAS; i++)
        if (!tsr_cpu_kernels_named(all_isas[i]))
            print_message("not tested: %s does not run here\n", all_isas[i]);
    assert_non_null(tsr_cpu_kernels_best());
    return 0;
}

/* Uniform in -1 .. 1, the same numbers on every run. */
static inline float random_unit(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

static inline void *aligned(int64_t bytes)
{
    void *p = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64 + 64);
    assert_non_null(p);
    return p;
}

/* An operand of rows x cols in rows of ld > cols floats; GUARD fills what no kernel may write. */
#define GUARD 12345.0f
static inline tsr_operand make_operand(int64_t rows, int64_t cols, float amplitude)
{
    tsr_operand v = {.ld = cols + 5, .cols = cols};
    v.data = aligned((rows * v.ld + 16) * 4);
    for (int64_t i = 0; i < rows * v.ld + 16; i++) v.data[i] = GUARD;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) v.data[r * v.ld + c] = amplitude * random_unit();
    return v;
}

static inline tsr_operand copy_operand(const tsr_operand *v, int64_t rows)
{
    tsr_operand copy = *v;
    copy.data = aligned((rows * v->ld + 16) * 4);
    memcpy(copy.data, v->data, (size_t)(rows * v->ld + 16) * 4);
    return copy;
}

static inline void check_guards(const char *what, const char *isa, const tsr_operand *v, int64_t rows)
{
    for (int64_t i = 0; i < rows * v->ld + 16; i++)
        if ((i / v->ld >= rows || i % v->ld >= v->cols) && v->data[i] != GUARD)
            fail_msg("%s on %s wrote outside its output, at float %lld", what, isa, (long long)i);
}

/* |got - want| <= tolerance * (floor + |want|) for every element; want is [rows][cols]. */
static inline double worst_error(const tsr_operand *got, const double *want, int64_t rows, double floor,
                                 int64_t *where)
{
    double worst = -1;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < got->cols; c++) {
            double w = want[r * got->cols + c], e = fabs(got->data[r * got->ld + c] - w) / (floor + fabs(w));
            if (isnan(e)) e = INFINITY;
            if (e > worst) {
                worst = e;
                *where = r * got->cols + c;
            }
        }
    return worst;
}

static inline void check_close(const char *what, const char *isa, const tsr_operand *got, const double *want,
                               int64_t rows, double floor, double tolerance)
{
    int64_t at = 0;
    double worst = worst_error(got, want, rows, floor, &at);
    check_guards(what, isa, got, rows);
    if (worst > tolerance)
        fail_msg("%s on %s: error %.3g > %.3g at row %lld column %lld of %lld x %lld: got %.9g, want %.9g",
                 what, isa, worst, tolerance, (long long)(at / got->cols), (long long)(at % got->cols),
                 (long long)rows, (long long)got->cols, got->data[at / got->cols * got->ld + at % got->cols],
                 want[at]);
}

/* A step of `tokens` tokens of one sequence from position 0, every row selected; free with free_step. */
static inline tsr_step make_step(int32_t tokens)
{
    int32_t *ids = calloc((size_t)tokens * 4, 4);
    for (int32_t t = 0; t < tokens; t++) ids[tokens + t] = ids[3 * tokens + t] = t;
    return (tsr_step){.n_tokens = tokens,
                      .n_sequences = 1,
                      .n_rows = tokens,
                      .ids = ids,
                      .positions = ids + tokens,
                      .sequence = ids + 2 * (size_t)tokens,
                      .rows = ids + 3 * (size_t)tokens};
}

static inline void free_step(tsr_step *step)
{
    free((void *)step->ids);
}

/* All phases and threads of one call. Threads of a phase run one after the other: they may not depend on each
 * other. */
static inline int run_call(const tsr_cpu_kernels *set, tsr_call *call, const tsr_step *step, int threads)
{
    int failure = 0;
    int64_t rows = tsr_rows_of(&call->out[0], step), bytes = set->shared_bytes(call, rows);
    call->shared = aligned(bytes);
    memset(call->shared, 0x7F, (size_t)bytes);
    void *scratch = aligned(TSR_WORKER_SCRATCH);
    if (set->thread_init) set->thread_init();
    for (int phase = 0; phase < tsr_op_table[call->op].phases; phase++)
        for (int t = threads - 1; t >= 0; t--) {
            memset(scratch, 0x7F, TSR_WORKER_SCRATCH);
            tsr_worker worker = {.thread = t, .n_threads = threads, .phase = phase, .scratch = scratch};
            set->kernel[call->op](call, step, &worker);
            failure |= worker.failure;
        }
    free(scratch);
    free(call->shared);
    return failure;
}

#endif
