/* step_block.c: laying the arrays of a step out one behind the other. */
#include "runtime/cuda/step_block.h"
#include "base/checked.h"
#include "base/memory.h"

#include <string.h>

enum { ALIGN_BYTES = 64, MAX_ROPES = 16 };

struct tsr_step_block {
    tsr_step_block_limits limits;
    int64_t capacity;
    char *device;
    char *image[2]; /* pinned */
    int turn;
    const float *rope[MAX_ROPES]; /* device pointers of the bounds last bound: see tsr_step_block_bind */
};

/* Byte offsets of the arrays. */
typedef struct block_layout {
    int64_t counts, ids, positions, position_rows[2], sequence, rows, sequences, rope[MAX_ROPES], pages;
} block_layout;

static int64_t take(int64_t *at, int64_t bytes)
{
    int64_t here = *at;
    *at += tsr_round_up(bytes, ALIGN_BYTES);
    return here;
}

static block_layout lay_out(const tsr_step_block *b, tsr_step_bounds n)
{
    block_layout l;
    int64_t at = 0;
    l.counts = take(&at, sizeof(tsr_cuda_counts));
    l.ids = take(&at, n.tokens * 4);
    l.positions = take(&at, n.tokens * 4);
    for (int i = 0; i < 2; i++) l.position_rows[i] = take(&at, n.tokens * 4);
    l.sequence = take(&at, n.tokens * 4);
    l.rows = take(&at, n.rows * 4);
    l.sequences = take(&at, n.sequences * (int64_t)sizeof(tsr_cuda_sequence));
    for (int64_t i = 0; i < b->limits.n_ropes; i++)
        l.rope[i] = take(&at, (int64_t)n.tokens * b->limits.ropes[i].dims * 4);
    l.pages = at;
    return l;
}

static tsr_status allocate(tsr_step_block *b)
{
    const tsr_step_block_limits *l = &b->limits;
    tsr_step_bounds most = {l->max_tokens, l->max_sequences, l->max_rows};
    void *p;
    b->capacity = lay_out(b, most).pages + l->max_pages * 4;
    TSR_TRY(tsr_cuda_check(cudaMalloc(&p, (size_t)b->capacity), "the block of a step"));
    b->device = p;
    TSR_TRY(tsr_cuda_check(cudaMemset(p, 0, (size_t)b->capacity), "the block of a step"));
    for (int i = 0; i < 2; i++) {
        TSR_TRY(tsr_cuda_check(cudaHostAlloc(&p, (size_t)b->capacity, 0), "the block of a step"));
        b->image[i] = p;
        memset(p, 0, (size_t)b->capacity);
    }
    return TSR_OK;
}

tsr_status tsr_step_block_create(const tsr_step_block_limits *limits, tsr_step_block **out)
{
    void *p;
    *out = NULL;
    if (limits->n_ropes > MAX_ROPES)
        return tsr_fail(TSR_ERR_FORMAT, "a model of %lld rope tables; at most %d are provided for",
                        (long long)limits->n_ropes, MAX_ROPES);
    TSR_TRY(tsr_calloc(1, sizeof(tsr_step_block), "the block of a step", &p));
    tsr_step_block *b = p;
    b->limits = *limits;
    tsr_status s = allocate(b);
    if (s != TSR_OK) tsr_step_block_destroy(&b);
    *out = b;
    return s;
}

void tsr_step_block_destroy(tsr_step_block **block)
{
    tsr_step_block *b = *block;
    if (!b) return;
    if (b->device) cudaFree(b->device);
    for (int i = 0; i < 2; i++)
        if (b->image[i]) cudaFreeHost(b->image[i]);
    tsr_free(b);
    *block = NULL;
}

void tsr_step_block_bind(const tsr_step_block *block, tsr_step_bounds n, tsr_cuda_step *out)
{
    tsr_step_block *b = (tsr_step_block *)(uintptr_t)block;
    block_layout l = lay_out(b, n);
    out->bound_tokens = n.tokens;
    out->bound_sequences = n.sequences;
    out->bound_rows = n.rows;
    out->counts = (const tsr_cuda_counts *)(b->device + l.counts);
    out->ids = (const int32_t *)(b->device + l.ids);
    out->positions = (const int32_t *)(b->device + l.positions);
    for (int i = 0; i < 2; i++) out->position_rows[i] = (const int32_t *)(b->device + l.position_rows[i]);
    out->sequence = (const int32_t *)(b->device + l.sequence);
    out->rows = (const int32_t *)(b->device + l.rows);
    out->sequences = (const tsr_cuda_sequence *)(b->device + l.sequences);
    out->pages = (const int32_t *)(b->device + l.pages);
    for (int64_t i = 0; i < b->limits.n_ropes; i++) b->rope[i] = (const float *)(b->device + l.rope[i]);
    out->rope = b->rope;
}

/* Page tables behind everything else; returns the bytes the whole image has now, -1 if they do not fit. */
static int64_t fill_sequences(const tsr_step_block *b, const tsr_step *step, const block_layout *l,
                              char *image)
{
    tsr_cuda_sequence *to = (tsr_cuda_sequence *)(image + l->sequences);
    int32_t *pages = (int32_t *)(image + l->pages);
    int64_t n_pages = 0;
    for (int32_t i = 0; i < step->n_sequences; i++) {
        const tsr_step_sequence *s = &step->sequences[i];
        int64_t own = ((int64_t)s->position + s->n_tokens + TSR_PAGE_TOKENS - 1) / TSR_PAGE_TOKENS;
        if (n_pages + own > b->limits.max_pages) return -1;
        to[i] = (tsr_cuda_sequence){s->first_token, s->n_tokens, s->position, (int32_t)n_pages, s->prefix};
        memcpy(pages + n_pages, s->pages, (size_t)own * 4);
        n_pages += own;
    }
    return l->pages + n_pages * 4;
}

tsr_status tsr_step_block_send(tsr_step_block *b, const tsr_step *step, tsr_step_bounds n,
                               cudaStream_t stream)
{
    char *image = b->image[b->turn++ % 2];
    block_layout l = lay_out(b, n);
    tsr_cuda_counts counts = {step->n_tokens, step->n_sequences, step->n_rows};
    size_t tokens = (size_t)step->n_tokens * 4;
    memcpy(image + l.counts, &counts, sizeof counts);
    memcpy(image + l.ids, step->ids, tokens);
    memcpy(image + l.positions, step->positions, tokens);
    for (int i = 0; i < 2; i++) memcpy(image + l.position_rows[i], step->position_rows[i], tokens);
    memcpy(image + l.sequence, step->sequence, tokens);
    memcpy(image + l.rows, step->rows, (size_t)step->n_rows * 4);
    for (int64_t i = 0; i < b->limits.n_ropes; i++)
        memcpy(image + l.rope[i], step->rope[i], tokens * (size_t)b->limits.ropes[i].dims);
    int64_t bytes = fill_sequences(b, step, &l, image);
    if (bytes < 0)
        return tsr_fail(TSR_ERR_INTERNAL, "the page tables of a step exceed %lld pages",
                        (long long)b->limits.max_pages);
    return tsr_cuda_check(cudaMemcpyAsync(b->device, image, (size_t)bytes, cudaMemcpyHostToDevice, stream),
                          "sending a step to the GPU");
}
