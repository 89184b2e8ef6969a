/* support_attention.h: steps for the test and the timing of op attention on a GPU: sequences with so many tokens cached
 * and so many new ones, their pages scattered over the cache. Counts may lie below the bounds; what is between is filled
 * with numbers that must not be used. */
#ifndef TSR_TESTS_GPU_SUPPORT_ATTENTION_H
#define TSR_TESTS_GPU_SUPPORT_ATTENTION_H

#include "support_gpu.h"

#include <math.h>
#include <string.h>

typedef struct attention_sizes {
    int heads, kv_heads, head_dim, value_dim, group, first_head, first_kv;
    int window, rotary_dim;
    tsr_rope_style style;
} attention_sizes;

/* What few models have. */
typedef struct attention_extras {
    float alibi, alibi_max;
    bool alibi_bf16;
    bool prefixes; /* some sequences begin with tokens that all others see */
} attention_extras;

typedef struct sequence_spec {
    int cached, tokens;
} sequence_spec;

/* The same step for both backends. */
typedef struct attention_step {
    tsr_step host;
    tsr_cuda_step device;
    int32_t *token_sequence, *pages; /* of the host */
    tsr_step_sequence *sequences;
    float *angles;
    void *on_device[5];
    const float *tables[1];
    int n_pages; /* of the cache */
} attention_step;

enum { GARBAGE = 0x3FFFFFFF };

static inline int pages_of(const sequence_spec *s)
{
    return (s->cached + s->tokens + TSR_PAGE_TOKENS - 1) / TSR_PAGE_TOKENS;
}

/* Page p of all: a permutation, so that neighbours in a sequence are none in the cache. */
static inline int32_t scattered(int p, int n_pages)
{
    enum { STRIDE = 1009 }; /* a prime */
    return n_pages % STRIDE ? (int32_t)((int64_t)p * STRIDE % n_pages) : p;
}

static inline void make_angles(attention_step *s, const attention_sizes *m)
{
    int half = m->rotary_dim / 2;
    s->angles = calloc((size_t)s->host.n_tokens * (size_t)m->rotary_dim + 1, sizeof(float));
    for (int32_t t = 0; t < s->host.n_tokens; t++) {
        const tsr_step_sequence *q = &s->sequences[s->token_sequence[t]];
        for (int i = 0; i < half; i++) {
            double angle = (q->position + t - q->first_token) * pow(10000, -(double)i / half);
            s->angles[(int64_t)t * m->rotary_dim + i] = (float)cos(angle);
            s->angles[(int64_t)t * m->rotary_dim + half + i] = (float)sin(angle);
        }
    }
}

static inline void copy_step_to_device(attention_step *s, const attention_sizes *m, int slack, int n_table)
{
    int tokens = s->host.n_tokens, n = s->host.n_sequences;
    tsr_cuda_counts counts = {tokens, n, n};
    tsr_cuda_sequence *sequences = malloc((size_t)(n + slack) * sizeof *sequences);
    int page = 0;
    for (int i = 0; i < n + slack; i++) {
        sequences[i] = (tsr_cuda_sequence){GARBAGE, 1, GARBAGE, GARBAGE, GARBAGE};
        if (i >= n) continue;
        const tsr_step_sequence *q = &s->sequences[i];
        sequences[i] = (tsr_cuda_sequence){q->first_token, q->n_tokens, q->position, page, q->prefix};
        page += pages_of(&(sequence_spec){q->position, q->n_tokens});
    }
    s->on_device[0] = to_device(&counts, sizeof counts);
    s->on_device[1] = to_device(sequences, (size_t)(n + slack) * sizeof *sequences);
    s->on_device[2] = to_device(s->token_sequence, (size_t)(tokens + slack) * 4);
    s->on_device[3] = to_device(s->pages, (size_t)n_table * 4);
    s->on_device[4] = to_device(s->angles, (size_t)tokens * (size_t)m->rotary_dim * 4);
    free(sequences);
    s->device.counts = s->on_device[0];
    s->device.sequences = s->on_device[1];
    s->device.sequence = s->on_device[2];
    s->device.pages = s->on_device[3];
    s->tables[0] = s->on_device[4];
    s->device.rope = s->tables;
}

/* Where the prefix of sequence i ends: a prefix is read in one step, so a single token is behind it. */
static inline int32_t prefix_of(const sequence_spec *s, int i)
{
    if (i % 3 == 2) return 0;
    if (s->tokens == 1) return s->cached * 2 / 3;
    return i % 3 ? s->cached + s->tokens : s->cached + s->tokens * 2 / 3;
}

static inline void make_attention_step(attention_step *s, const attention_sizes *m,
                                       const sequence_spec *specs, int n, int slack, bool decode,
                                       bool prefixes)
{
    memset(s, 0, sizeof *s);
    int tokens = 0;
    for (int i = 0; i < n; i++) {
        tokens += specs[i].tokens;
        s->n_pages += pages_of(&specs[i]);
    }
    s->token_sequence = malloc((size_t)(tokens + slack) * 4);
    s->pages = malloc((size_t)s->n_pages * 4);
    s->sequences = calloc((size_t)n, sizeof *s->sequences);
    for (int i = 0; i < tokens + slack; i++) s->token_sequence[i] = GARBAGE;
    for (int i = 0; i < s->n_pages; i++) s->pages[i] = scattered(i, s->n_pages);
    int token = 0, page = 0;
    for (int i = 0; i < n; i++) {
        s->sequences[i] = (tsr_step_sequence){.first_token = token,
                                              .n_tokens = specs[i].tokens,
                                              .position = specs[i].cached,
                                              .pages = s->pages + page,
                                              .prefix = prefixes ? prefix_of(&specs[i], i) : 0};
        for (int t = 0; t < specs[i].tokens; t++) s->token_sequence[token++] = i;
        page += pages_of(&specs[i]);
    }
    s->host = (tsr_step){
        .n_tokens = tokens, .n_sequences = n, .sequence = s->token_sequence, .sequences = s->sequences};
    make_angles(s, m);
    copy_step_to_device(s, m, slack, s->n_pages);
    struct cudaDeviceProp properties;
    cuda_ok(cudaGetDeviceProperties(&properties, 0));
    s->device.decode = decode;
    s->device.bound_tokens = tokens + slack;
    s->device.bound_sequences = n + slack;
    s->device.bound_context = 1 << 20;
    s->device.n_processors = properties.multiProcessorCount;
}

static inline void free_attention_step(attention_step *s)
{
    free(s->token_sequence);
    free(s->pages);
    free(s->sequences);
    free(s->angles);
    for (int i = 0; i < 5; i++) cudaFree(s->on_device[i]);
}

static inline void set_attention_attrs(tsr_attrs *a, const attention_sizes *m)
{
    a->attention.heads = m->heads;
    a->attention.kv_heads = m->kv_heads;
    a->attention.head_dim = m->head_dim;
    a->attention.value_dim = m->value_dim;
    a->attention.group = m->group;
    a->attention.first_head = m->first_head;
    a->attention.first_kv = m->first_kv;
    a->attention.scale = 1.3f / sqrtf((float)m->head_dim);
    a->attention.window = m->window;
    a->attention.rotary_dim = m->rotary_dim;
    a->attention.style = m->style;
    a->attention.rope = 0;
}

static inline void set_attention_extras(tsr_attrs *a, const attention_sizes *m, const attention_extras *x)
{
    a->attention.alibi = x->alibi;
    a->attention.alibi_max = x->alibi_max;
    a->attention.alibi_bf16 = x->alibi_bf16;
    a->attention.model_heads = m->first_head + m->heads;
}

#endif
