/* sample.cu: tokens from logits: parts of rows measured and searched, put together over parts, then over ranks. */
#include "layers/cuda/sample.cuh"

#include "base/checked.h"

#include <math.h>

namespace {

enum { THREADS = 256, VALUES_A_BLOCK = 2048 };

/* --- Of a part of a row --- */

/* max and sum of the raw logits, and that of the target. Blocks: (splits, rows). */
__global__ void measure(const tsr_cuda_sample s)
{
    __shared__ float scratch[TSR_WARP];
    __shared__ float most;
    const tsr_cuda_choice &c = s.choices[blockIdx.y];
    const float *x = s.logits + blockIdx.y * s.ld;
    tsr_cuda_finding *out = &s.parts[blockIdx.y * TSR_SAMPLE_SPLITS + blockIdx.x];
    int32_t begin, end;
    tsr_split(s.n_local, blockIdx.x, gridDim.x, &begin, &end);
    float max = -INFINITY;
    for (int32_t i = begin + (int32_t)threadIdx.x; i < end; i += THREADS) max = fmaxf(max, x[i]);
    max = tsr_warp_max(max);
    if (threadIdx.x % TSR_WARP == 0) scratch[threadIdx.x / TSR_WARP] = max;
    __syncthreads();
    if (threadIdx.x < TSR_WARP) {
        max = tsr_warp_max(threadIdx.x < THREADS / TSR_WARP ? scratch[threadIdx.x] : -INFINITY);
        if (threadIdx.x == 0) most = max;
    }
    __syncthreads();
    max = most;
    float sum = 0; /* of few values: the threads' sums are added in double */
    for (int32_t i = begin + (int32_t)threadIdx.x; i < end && max > -INFINITY; i += THREADS)
        sum += tsr_exp_of(x[i] - max);
    double total = sum;
    for (int k = TSR_WARP / 2; k > 0; k /= 2) total += __shfl_xor_sync(0xFFFFFFFFu, total, k);
    __shared__ double totals[THREADS / TSR_WARP];
    if (threadIdx.x % TSR_WARP == 0) totals[threadIdx.x / TSR_WARP] = total;
    __syncthreads();
    if (threadIdx.x != 0) return;
    total = 0;
    for (int w = 0; w < THREADS / TSR_WARP; w++) total += totals[w];
    int32_t at = c.target - s.first_id;
    out->max = max;
    out->sum = total;
    out->target = c.target >= 0 && at >= begin && at < end ? x[at] : -INFINITY;
}

/* l > 0 ? l / p : l * p for ids seen, kept finite, then terms added; -infinity for banned ones. A block a row. */
__global__ void edit(const tsr_cuda_sample s)
{
    const tsr_cuda_choice &c = s.choices[blockIdx.x];
    float *x = s.logits + blockIdx.x * s.ld;
    const int32_t *ids = s.edits + c.first_edit, *terms = ids + c.n_seen + c.n_banned;
    for (int32_t i = threadIdx.x; i < c.n_seen; i += THREADS) {
        int32_t at = ids[i] - s.first_id;
        if (at < 0 || at >= s.n_local || !(fabsf(x[at]) <= 3.402823466e38f)) continue;
        float l = x[at] > 0 ? __fdiv_rn(x[at], c.penalty) : __fmul_rn(x[at], c.penalty);
        x[at] = fminf(fmaxf(l, -3.402823466e38f), 3.402823466e38f);
    }
    __syncthreads(); /* an id may be seen, have a term and be banned; what is no number stays so and fails the row */
    for (int32_t i = threadIdx.x; i < c.n_terms; i += THREADS) {
        int32_t at = terms[i] - s.first_id;
        if (at >= 0 && at < s.n_local) x[at] = __fadd_rn(x[at], __int_as_float(terms[c.n_terms + i]));
    }
    __syncthreads();
    for (int32_t i = c.n_seen + (int32_t)threadIdx.x; i < c.n_seen + c.n_banned; i += THREADS) {
        int32_t at = ids[i] - s.first_id;
        if (at >= 0 && at < s.n_local && !tsr_no_number(x[at])) x[at] = -INFINITY;
    }
}

/* The best logit, or the winner of the draw: the largest of l / temperature + noise. Blocks: (splits, rows). */
__global__ void search(const tsr_cuda_sample s)
{
    __shared__ tsr_scored scratch[TSR_WARP];
    const float *x = s.logits + blockIdx.y * s.ld;
    tsr_cuda_finding *out = &s.parts[blockIdx.y * TSR_SAMPLE_SPLITS + blockIdx.x];
    tsr_cuda_choice c = {};
    c.target = -1;
    if (s.choices) c = s.choices[blockIdx.y];
    int32_t begin, end;
    int bad = 0;
    tsr_scored best = {0, -1};
    bool draws = c.target < 0 && !(s.any_filters && tsr_is_filtered(c, s.vocabulary));
    tsr_split(s.n_local, blockIdx.x, gridDim.x, &begin, &end);
    for (int32_t i = begin + (int32_t)threadIdx.x; i < end; i += THREADS) {
        float l = x[i];
        bad |= tsr_no_number(l);
        if (!draws || !(l > -INFINITY)) continue;
        int32_t id = s.first_id + i;
        double score = c.scale > 0 ? (double)l * c.scale + tsr_gumbel_of(c.key, (uint32_t)id) : (double)l;
        best = tsr_better(best, tsr_scored{score, id});
    }
    bad = __syncthreads_or(bad);
    best = tsr_block_best(best, scratch);
    if (threadIdx.x != 0) return;
    out->score = best.score;
    out->id = best.id;
    out->value = best.id >= 0 ? x[best.id - s.first_id] : 0;
    out->bad = bad;
}

/* --- Putting together --- */

__device__ __forceinline__ void add_finding(tsr_cuda_finding *a, const tsr_cuda_finding &b)
{
    if (b.max > a->max) {
        a->sum = a->max == -INFINITY ? b.sum : b.sum + a->sum * exp((double)a->max - b.max);
        a->max = b.max;
    } else if (b.max > -INFINITY) {
        a->sum += b.sum * exp((double)b.max - a->max);
    }
    a->target = fmaxf(a->target, b.target);
    tsr_scored winner = tsr_better(tsr_scored{a->score, a->id}, tsr_scored{b.score, b.id});
    if (winner.id != a->id) {
        a->score = b.score;
        a->id = b.id;
        a->value = b.value;
    }
    a->bad |= b.bad;
}

/* The term of an id, 0 if it has none. */
__device__ float term_of(const tsr_cuda_sample &s, const tsr_cuda_choice &c, int32_t id)
{
    const int32_t *ids = s.edits + c.first_edit + c.n_seen + c.n_banned;
    int32_t low = 0, high = c.n_terms;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c.n_terms && ids[low] == id ? __int_as_float(ids[c.n_terms + low]) : 0;
}

/* The raw logit of an id, from what terms and penalty made of it. */
__device__ float raw_value(const tsr_cuda_sample &s, int32_t row, int32_t id, float value)
{
    const tsr_cuda_choice &c = s.choices[row];
    double l = (double)value - term_of(s, c, id);
    for (int32_t i = 0; i < c.n_seen; i++)
        if (s.edits[c.first_edit + i] == id) return (float)(l > 0 ? l * c.penalty : l / c.penalty);
    return (float)l;
}

__device__ void settle(const tsr_cuda_sample &s, int32_t row, const tsr_cuda_finding &f)
{
    int32_t target = s.choices ? s.choices[row].target : -1, id = target >= 0 ? target : f.id;
    bool wanted = s.choices && (s.choices[row].logprob || target >= 0);
    if (f.bad || (wanted && f.max == -INFINITY)) id = -1;
    double log_sum = wanted ? f.max + log(f.sum) : 0;
    s.tokens[row] = max(id, 0);
    s.chosen[row].id = id;
    s.chosen[row].logprob = wanted && id >= 0 ? (float)((target >= 0 ? f.target : f.value) - log_sum) : NAN;
}

__device__ tsr_cuda_finding merge_parts(const tsr_cuda_sample &s, int32_t row, int splits)
{
    const tsr_cuda_finding *parts = &s.parts[row * TSR_SAMPLE_SPLITS];
    tsr_cuda_finding f = {0, 0, -INFINITY, 0, -INFINITY, -1, 0};
    for (int i = 0; i < splits; i++) {
        tsr_cuda_finding p = {parts[i].score, 0, -INFINITY, parts[i].value, -INFINITY, parts[i].id, parts[i].bad};
        if (s.any_logprobs) p.sum = parts[i].sum, p.max = parts[i].max, p.target = parts[i].target;
        add_finding(&f, p);
    }
    if (s.any_logprobs && f.id >= 0 && s.choices[row].logprob) f.value = raw_value(s, row, f.id, f.value);
    return f;
}

/* One rank: a thread a row. */
__global__ void settle_parts(const tsr_cuda_sample s, int splits)
{
    int32_t row = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x);
    if (row < s.n_rows) settle(s, row, merge_parts(s, row, splits));
}

/* Findings travel in pieces of 16 bits, each a float: zeros beside what another rank says, so that the sum over the
 * ranks is what each of them said, exactly. A thread a rank and row. */
__global__ void write_messages(const tsr_cuda_sample s, int splits, int own, int ranks)
{
    int32_t k = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x), row = k % s.n_rows;
    if (k >= ranks * s.n_rows) return;
    union {
        tsr_cuda_finding f;
        uint16_t piece[TSR_FINDING_PIECES];
    } u;
    if (k / s.n_rows == own) u.f = merge_parts(s, row, splits);
    for (int i = 0; i < TSR_FINDING_PIECES; i++) s.messages[(int64_t)k * TSR_FINDING_PIECES + i] = k / s.n_rows == own ? u.piece[i] : 0;
}

__global__ void settle_messages(const tsr_cuda_sample s, int ranks)
{
    int32_t row = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x);
    if (row >= s.n_rows) return;
    tsr_cuda_finding all = {0, 0, -INFINITY, 0, -INFINITY, -1, 0};
    for (int r = 0; r < ranks; r++) {
        union {
            tsr_cuda_finding f;
            uint16_t piece[TSR_FINDING_PIECES];
        } u;
        const float *from = &s.messages[((int64_t)r * s.n_rows + row) * TSR_FINDING_PIECES];
        for (int i = 0; i < TSR_FINDING_PIECES; i++) u.piece[i] = (uint16_t)from[i];
        add_finding(&all, u.f);
    }
    settle(s, row, all);
}

/* This rank's logits at their place among zeros. */
__global__ void spread(const tsr_cuda_sample s)
{
    float *row = s.whole + (int64_t)blockIdx.y * s.vocabulary;
    int32_t i = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x), at = i - s.first_id;
    if (i < s.vocabulary) row[i] = at >= 0 && at < s.n_local ? s.logits[blockIdx.y * s.ld + at] : 0;
}

/* --- Launching --- */

unsigned blocks(int64_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

/* Rows first .. first + n - 1 of a sample. */
tsr_cuda_sample piece_of(const tsr_cuda_sample *s, int32_t first, int32_t n)
{
    tsr_cuda_sample piece = *s;
    piece.logits += first * s->ld;
    piece.choices += first;
    piece.parts += (int64_t)first * TSR_SAMPLE_SPLITS;
    piece.n_rows = n;
    return piece;
}

tsr_status filter(const tsr_cuda_sample *s, const tsr_cuda_step *step)
{
    if (!s->comm) return tsr_cuda_sample_filtered(s, s->logits, s->ld, s->n_local, s->first_id, step);
    for (int32_t row = 0; row < s->n_rows; row += TSR_SAMPLE_WHOLE_ROWS) {
        int32_t n = (int32_t)tsr_min(s->n_rows - row, TSR_SAMPLE_WHOLE_ROWS);
        tsr_cuda_sample p = piece_of(s, row, n);
        TSR_TRY(tsr_launch(step, "sampling", dim3(blocks(s->vocabulary), (unsigned)n), dim3(THREADS), 0, spread, p));
        TSR_TRY(s->comm->ops->all_reduce(s->comm, s->whole, TSR_F32, (int64_t)n * s->vocabulary, step));
        TSR_TRY(tsr_cuda_sample_filtered(&p, s->whole, s->vocabulary, s->vocabulary, 0, step));
    }
    return TSR_OK;
}

tsr_status settle_all(const tsr_cuda_sample *s, int splits, const tsr_cuda_step *step)
{
    dim3 threads(TSR_WARP);
    auto grid = [](int64_t n) { return dim3((unsigned)((n + TSR_WARP - 1) / TSR_WARP)); };
    if (!s->comm)
        return tsr_launch(step, "sampling", grid(s->n_rows), threads, 0, settle_parts, *s, splits);
    int ranks = s->comm->size;
    int64_t messages = (int64_t)ranks * s->n_rows;
    TSR_TRY(tsr_launch(step, "sampling", grid(messages), threads, 0, write_messages, *s, splits, s->comm->rank, ranks));
    TSR_TRY(s->comm->ops->all_reduce(s->comm, s->messages, TSR_F32, messages * TSR_FINDING_PIECES, step));
    return tsr_launch(step, "sampling", grid(s->n_rows), threads, 0, settle_messages, *s, ranks);
}

} /* namespace */

tsr_status tsr_cuda_sample_rows(const tsr_cuda_sample *s, const tsr_cuda_step *step)
{
    if (s->n_rows == 0) return TSR_OK;
    int64_t wanted = tsr_min((s->n_local + VALUES_A_BLOCK - 1) / VALUES_A_BLOCK, 2 * step->n_processors / s->n_rows);
    int splits = (int)tsr_max(tsr_min(wanted, TSR_SAMPLE_SPLITS), 1);
    dim3 grid((unsigned)splits, (unsigned)s->n_rows);
    if (s->any_logprobs) TSR_TRY(tsr_launch(step, "sampling", grid, dim3(THREADS), 0, measure, *s));
    if (s->any_edits) TSR_TRY(tsr_launch(step, "sampling", dim3(s->n_rows), dim3(THREADS), 0, edit, *s));
    TSR_TRY(tsr_launch(step, "sampling", grid, dim3(THREADS), 0, search, *s));
    if (s->any_filters) TSR_TRY(filter(s, step));
    return settle_all(s, splits, step);
}
