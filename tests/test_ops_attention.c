/* test_ops_attention.c: attention over pages against a float64 loop that has no pages, for every cache dtype,
 * instruction set and thread count: several sequences, prompts in chunks, windows, grouped heads, shards of
 * heads, rotation of q and k, biases.
 */
#include "ops_common.h"

#include <stdbool.h>

enum { SEQUENCES = 3, PAGE = 8, MAX_PAGES = 64 };

typedef struct model {
    int heads, kv_heads, head_dim, value_dim, group, first_head, first_kv;
    long window;
    float alibi, alibi_max; /* 0: no biases */
    bool alibi_bf16;
    int model_heads;
    int32_t prefix; /* keys below are seen by all */
} model;

typedef struct rotation {
    int dims; /* 0: q and k come as they are */
    tsr_rope_style style;
    bool quarter_turns; /* angles whose rotation rounds nothing: for caches of 16 bits */
} rotation;

/* Everything one test case needs: whole q, k, v of each sequence and where its pages lie. */
typedef struct scene {
    model m;
    rotation turn;
    tsr_dtype dtype;
    int32_t length[SEQUENCES]; /* tokens of each sequence in the end */
    tsr_operand q[SEQUENCES], k[SEQUENCES], v[SEQUENCES];
    tsr_operand raw_q[SEQUENCES], raw_k[SEQUENCES]; /* not yet rotated */
    double *want[SEQUENCES];                        /* [length][heads * value_dim] */
    int32_t pages[SEQUENCES][MAX_PAGES];
    tsr_cache_data cache;
    bool prompts;          /* every token is said to be of a prompt */
    float *got[SEQUENCES]; /* [length][out cols] where outputs are kept, or NULL */
} scene;

/* k and v as the cache holds them */
static void round_operand(tsr_dtype dtype, tsr_operand *x, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < x->cols; c++) {
            uint32_t raw;
            tsr_from_f32(dtype, &x->data[r * x->ld + c], &raw, 1);
            tsr_to_f32(dtype, &raw, &x->data[r * x->ld + c], 1);
        }
}

static void angle_of(const rotation *turn, int32_t position, int i, float *cosine, float *sine)
{
    double angle = turn->quarter_turns ? 0 : position * pow(0.7, i + 1);
    int quarters = turn->quarter_turns ? (position + i) % 4 : 0;
    *cosine = turn->quarter_turns ? (float)(quarters == 0) - (float)(quarters == 2) : (float)cos(angle);
    *sine = turn->quarter_turns ? (float)(quarters == 1) - (float)(quarters == 3) : (float)sin(angle);
}

static void rotate_operand(const model *m, const rotation *turn, tsr_operand *x, int64_t rows)
{
    int half = turn->dims / 2;
    for (int64_t i = 0; i < rows * (x->cols / m->head_dim) * half; i++) {
        int64_t r = i / half / (x->cols / m->head_dim), h = i / half % (x->cols / m->head_dim);
        int j = (int)(i % half), first = turn->style == TSR_ROPE_HALF ? j : 2 * j;
        float *a = x->data + r * x->ld + h * m->head_dim + first;
        float *b = a + (turn->style == TSR_ROPE_HALF ? half : 1), cosine, sine;
        angle_of(turn, (int32_t)r, j, &cosine, &sine);
        double turned = (double)*a * cosine - (double)*b * sine;
        *b = (float)((double)*b * cosine + (double)*a * sine);
        *a = (float)turned;
    }
}

/* The tables of a step's tokens: [T][rotary_dim] */
static float *make_angles(const rotation *turn, const tsr_step *step)
{
    float *angles = aligned((int64_t)step->n_tokens * turn->dims * 4);
    for (int32_t t = 0; t < step->n_tokens; t++) {
        const tsr_step_sequence *s = &step->sequences[step->sequence[t]];
        float *row = angles + (int64_t)t * turn->dims;
        for (int i = 0; i < turn->dims / 2; i++)
            angle_of(turn, s->position + t - s->first_token, i, row + i, row + turn->dims / 2 + i);
    }
    return angles;
}

static double dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

static double scale_of(const model *m)
{
    return 1.3 / sqrt((double)m->head_dim);
}

static double rounded(const model *m, double x)
{
    float narrow = (float)x;
    uint16_t raw;
    if (!m->alibi_bf16) return x;
    tsr_from_f32(TSR_BF16, &narrow, &raw, 1);
    tsr_to_f32(TSR_BF16, &raw, &narrow, 1);
    return narrow;
}

/* The slopes as MPT states them: those of 2^ceil(log2 heads) heads, every second one first, then the others. */
static double slope_of(const model *m, int head)
{
    int power = 1;
    while (power < m->model_heads) power *= 2;
    int seconds = power / 2, index = power == m->model_heads ? head
                                     : head < seconds        ? 2 * head + 1
                                                             : 2 * (head - seconds);
    return rounded(m, pow(2, -(double)m->alibi_max * (index + 1) / power));
}

/* By the key's position alone: what the distance changes is the same for all keys. */
static double bias_of(const model *m, int head, int32_t key)
{
    return m->alibi == 0 ? 0 : m->alibi * rounded(m, slope_of(m, head) * rounded(m, key));
}

/* Keys below are seen by all tokens of sequence q. */
static int32_t prefix_of(const scene *s, int q)
{
    return s->m.prefix < s->length[q] ? s->m.prefix : s->length[q];
}

static void reference_head(const scene *s, int q, int32_t i, int h)
{
    const model *m = &s->m;
    int32_t end = i + 1 > prefix_of(s, q) ? i + 1 : prefix_of(s, q);
    int c = (m->first_head + h) / m->group - m->first_kv;
    int32_t first = m->window && i - m->window + 1 > 0 ? i - (int32_t)m->window + 1 : 0;
    double p[2000], top = -INFINITY, sum = 0;
    double *out = s->want[q] + ((int64_t)i * m->heads + h) * m->value_dim;
    for (int32_t j = first; j < end; j++) {
        p[j] = scale_of(m) * dot(s->q[q].data + i * s->q[q].ld + h * m->head_dim,
                                 s->k[q].data + j * s->k[q].ld + c * m->head_dim, m->head_dim) +
               bias_of(m, m->first_head + h, j);
        top = fmax(top, p[j]);
    }
    for (int32_t j = first; j < end; j++) sum += p[j] = exp(p[j] - top);
    for (int d = 0; d < m->value_dim; d++) {
        out[d] = 0;
        for (int32_t j = first; j < end; j++)
            out[d] += p[j] / sum * s->v[q].data[j * s->v[q].ld + c * m->value_dim + d];
    }
}

/* Pages of the sequences are dealt in turn and from the top down, so that none are neighbours. */
static scene make_scene(const model *m, const rotation *turn, tsr_dtype dtype, const int32_t *length)
{
    scene s = {.m = *m, .turn = *turn, .dtype = dtype};
    int n_pages = SEQUENCES * MAX_PAGES;
    for (int q = 0; q < SEQUENCES; q++) {
        s.length[q] = length[q];
        s.q[q] = make_operand(length[q], m->heads * m->head_dim, 2);
        s.k[q] = make_operand(length[q], m->kv_heads * m->head_dim, 2);
        s.v[q] = make_operand(length[q], m->kv_heads * m->value_dim, 1);
        round_operand(dtype, &s.k[q], length[q]);
        round_operand(dtype, &s.v[q], length[q]);
        s.raw_q[q] = copy_operand(&s.q[q], length[q]);
        s.raw_k[q] = copy_operand(&s.k[q], length[q]);
        if (turn->dims > 0) {
            rotate_operand(m, turn, &s.q[q], length[q]);
            rotate_operand(m, turn, &s.k[q], length[q]);
        }
        s.want[q] = aligned((int64_t)length[q] * m->heads * m->value_dim * 8 + 8);
        for (int32_t i = 0; i < length[q]; i++)
            for (int h = 0; h < m->heads; h++) reference_head(&s, q, i, h);
        for (int p = 0; p < MAX_PAGES; p++) s.pages[q][p] = n_pages - 1 - (p * SEQUENCES + q);
    }
    int64_t slots = (int64_t)n_pages * m->kv_heads * PAGE * tsr_dtype_bytes(dtype);
    s.cache = (tsr_cache_data){.dtype = dtype,
                               .k = aligned(slots * m->head_dim),
                               .v = aligned(slots * m->value_dim),
                               .page_tokens = PAGE,
                               .kv_heads = m->kv_heads,
                               .head_dim = m->head_dim,
                               .value_dim = m->value_dim};
    return s;
}

static void free_scene(scene *s)
{
    for (int q = 0; q < SEQUENCES; q++) {
        free(s->q[q].data);
        free(s->k[q].data);
        free(s->v[q].data);
        free(s->raw_q[q].data);
        free(s->raw_k[q].data);
        free(s->want[q]);
    }
    free(s->cache.k);
    free(s->cache.v);
}

static void copy_rows(tsr_operand *to, int64_t to_row, const tsr_operand *from, int64_t from_row, int64_t n)
{
    for (int64_t r = 0; r < n; r++)
        memcpy(to->data + (to_row + r) * to->ld, from->data + (from_row + r) * from->ld,
               (size_t)to->cols * 4);
}

/* On AMX tiles queries and probabilities are rounded to bf16, as the cache is: relative 2^-9 each, scores up to about 10. */
static double tolerance(const tsr_cpu_kernels *set, tsr_dtype dtype)
{
    return dtype == TSR_BF16 && strcmp(set->isa, "amx") == 0 ? 1e-2 : 3e-6;
}

/* One step: every sequence goes on from done[q] by up to chunk[q] tokens. Checks the outputs. */
static int32_t run_step(scene *s, const tsr_cpu_kernels *set, int threads, int32_t *done,
                        const int32_t *chunk)
{
    const model *m = &s->m;
    tsr_step_sequence sequences[SEQUENCES];
    int32_t token_sequence[4096], tokens = 0, n = 0, which[SEQUENCES];
    for (int q = 0; q < SEQUENCES; q++) {
        int32_t take = s->length[q] - done[q] < chunk[q] ? s->length[q] - done[q] : chunk[q];
        if (take == 0) continue;
        which[n] = q;
        sequences[n] = (tsr_step_sequence){
            tokens, take, done[q], s->pages[q], prefix_of(s, q), s->prompts || done[q] % 2};
        for (int32_t t = 0; t < take; t++) token_sequence[tokens++] = n;
        n++;
    }
    if (n == 0) return 0;
    tsr_operand q = make_operand(tokens, m->heads * m->head_dim, 1),
                k = make_operand(tokens, s->k[0].cols, 1);
    tsr_operand v = make_operand(tokens, s->v[0].cols, 1),
                out = make_operand(tokens, m->heads * m->value_dim, 1);
    double *want = aligned((int64_t)tokens * out.cols * 8);
    for (int i = 0; i < n; i++) {
        tsr_step_sequence *seq = &sequences[i];
        copy_rows(&q, seq->first_token, &s->raw_q[which[i]], seq->position, seq->n_tokens);
        copy_rows(&k, seq->first_token, &s->raw_k[which[i]], seq->position, seq->n_tokens);
        copy_rows(&v, seq->first_token, &s->v[which[i]], seq->position, seq->n_tokens);
        memcpy(want + seq->first_token * out.cols, s->want[which[i]] + seq->position * out.cols,
               (size_t)(seq->n_tokens * out.cols) * 8);
        done[which[i]] += seq->n_tokens;
    }
    tsr_step step = {
        .n_tokens = tokens, .n_sequences = n, .sequence = token_sequence, .sequences = sequences};
    tsr_call call = {.op = TSR_OP_ATTENTION, .in = {q, k, v}, .out = {out}, .cache = &s->cache};
    call.attrs.attention.heads = m->heads;
    call.attrs.attention.kv_heads = m->kv_heads;
    call.attrs.attention.head_dim = m->head_dim;
    call.attrs.attention.value_dim = m->value_dim;
    call.attrs.attention.group = m->group;
    call.attrs.attention.first_head = m->first_head;
    call.attrs.attention.first_kv = m->first_kv;
    call.attrs.attention.scale = (float)scale_of(m);
    call.attrs.attention.window = m->window;
    call.attrs.attention.rotary_dim = s->turn.dims;
    call.attrs.attention.style = s->turn.style;
    call.attrs.attention.rope = 1;
    float *angles = make_angles(&s->turn, &step);
    step.rope = (const float *const[]){NULL, angles};
    call.attrs.attention.alibi = m->alibi;
    call.attrs.attention.alibi_max = m->alibi_max;
    call.attrs.attention.alibi_bf16 = m->alibi_bf16;
    call.attrs.attention.model_heads = m->model_heads;
    run_call(set, &call, &step, threads);
    check_close("attention", set->isa, &out, want, tokens, 1, tolerance(set, s->dtype));
    check_guards("attention (q)", set->isa, &q, tokens);
    for (int i = 0; i < n; i++)
        for (int32_t t = 0; s->got[which[i]] && t < sequences[i].n_tokens; t++)
            memcpy(s->got[which[i]] + (sequences[i].position + t) * out.cols,
                   out.data + (sequences[i].first_token + t) * out.ld, (size_t)out.cols * 4);
    free(angles);
    free(q.data);
    free(k.data);
    free(v.data);
    free(out.data);
    free(want);
    return tokens;
}

/* Under a sanitizer fewer of the longer texts are read, which take most of the time. */
#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static const int32_t lengths[][SEQUENCES] = {{1, 40, 7}, {100, 1, 33}, {33, 64, 300}};
/* how many tokens each sequence takes per step: at once; one by one; chunks that do not match pages */
static const int32_t chunks[][SEQUENCES] = {{1000, 1000, 1000}, {1, 1, 1}, {17, 1, 33}, {3, 100, 1}};

/* Every way of chunking on every set; the number of threads goes round with both. */
static void check_turning(const model *m, const rotation *turn, tsr_dtype dtype, const int32_t *length)
{
    scene s = make_scene(m, turn, dtype, length);
    FOR_EACH_SET (set)
        for (int c = 0; c < (int)(sizeof chunks / sizeof chunks[0]); c++) {
            int32_t done[SEQUENCES] = {0};
            int64_t cached = (int64_t)SEQUENCES * MAX_PAGES * m->kv_heads * PAGE * tsr_dtype_bytes(dtype);
            memset(s.cache.k, 0xFF,
                   (size_t)(cached * m->head_dim)); /* NaN: unwritten slots must not be read */
            memset(s.cache.v, 0xFF, (size_t)(cached * m->value_dim));
            while (run_step(&s, set, 1 + (isa_ + c) % 3, done, chunks[c])) {
            }
        }
    free_scene(&s);
}

static void check_scene(const model *m, tsr_dtype dtype, const int32_t *length)
{
    check_turning(m, &(rotation){0}, dtype, length);
}

/* Without biases */
#define MODEL(heads_, kv, dim, value, group_, first, first_kv_, window_)                                     \
    {                                                                                                        \
        .heads = heads_, .kv_heads = kv, .head_dim = dim, .value_dim = value, .group = group_,               \
        .first_head = first, .first_kv = first_kv_, .window = window_                                        \
    }

static const model models[] = {
    /* heads kv dim value group first_head first_kv window */
    MODEL(3, 3, 4, 4, 1, 0, 0, 0),    MODEL(4, 2, 10, 10, 2, 0, 0, 0),  MODEL(9, 3, 64, 64, 3, 0, 0, 0),
    MODEL(5, 1, 80, 80, 5, 0, 0, 0),  MODEL(8, 2, 64, 64, 4, 0, 0, 20), MODEL(2, 2, 16, 24, 1, 0, 0, 1),
    MODEL(2, 1, 33, 7, 8, 0, 0, 9),   MODEL(4, 2, 20, 20, 3, 7, 2, 0), /* heads 7 .. 10 of kv heads 2 and 3 */
    MODEL(5, 3, 12, 12, 2, 3, 1, 13), MODEL(70, 1, 8, 8, 71, 1, 0, 0), /* more heads than rows of a piece */
};

static const struct {
    model m;
    rotation turn;
} rotating[] = {
    {MODEL(4, 2, 16, 16, 2, 0, 0, 0), {16, TSR_ROPE_HALF, false}},
    {MODEL(4, 2, 20, 24, 3, 7, 2, 0), {10, TSR_ROPE_HALF, false}}, /* heads 7 .. 10 of kv heads 2 and 3 */
    {MODEL(3, 3, 10, 10, 1, 0, 0, 9), {6, TSR_ROPE_INTERLEAVED, false}},
    {MODEL(9, 3, 64, 64, 3, 0, 0, 0), {64, TSR_ROPE_INTERLEAVED, false}},
};

/* q and k come unrotated. A cache of 16 bits rounds k after its rotation, which must not decide how. */
static void test_rotating(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rotating / sizeof rotating[0]; i++) {
        rotation turn = rotating[i].turn;
        check_turning(&rotating[i].m, &turn, TSR_F32, lengths[1]);
        turn.quarter_turns = true;
        check_turning(&rotating[i].m, &turn, TSR_F16, lengths[0]);
        check_turning(&rotating[i].m, &turn, TSR_BF16, lengths[1]);
    }
}

static const model biased[] = {
    {.heads = 4,
     .kv_heads = 4,
     .head_dim = 16,
     .value_dim = 16,
     .group = 1,
     .alibi = 1,
     .alibi_max = 8,
     .model_heads = 4},
    {.heads = 7,
     .kv_heads = 1,
     .head_dim = 10,
     .value_dim = 10,
     .group = 7,
     .alibi = 1,
     .alibi_max = 8,
     .model_heads = 7},
    /* heads 5 .. 9 of 12 in groups of 2 */
    {.heads = 5,
     .kv_heads = 3,
     .head_dim = 33,
     .value_dim = 20,
     .group = 2,
     .first_head = 5,
     .first_kv = 2,
     .alibi = 0.5f,
     .alibi_max = 4,
     .model_heads = 12},
    {.heads = 3,
     .kv_heads = 3,
     .head_dim = 64,
     .value_dim = 64,
     .group = 1,
     .window = 11,
     .alibi = 1,
     .alibi_max = 8,
     .model_heads = 3},
    {.heads = 6,
     .kv_heads = 6,
     .head_dim = 8,
     .value_dim = 8,
     .group = 1,
     .alibi = 0.35f,
     .alibi_max = 8,
     .alibi_bf16 = true,
     .model_heads = 6},
    {.heads = 70,
     .kv_heads = 1,
     .head_dim = 8,
     .value_dim = 8,
     .group = 71,
     .first_head = 1,
     .alibi = 1,
     .alibi_max = 8,
     .model_heads = 71},
};

/* Long enough that positions do not fit bfloat16. */
static void test_biases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof biased / sizeof biased[0]; i++) {
        check_scene(&biased[i], TSR_F32, lengths[1]);
        check_scene(&biased[i], TSR_BF16, lengths[0]);
    }
    if (!SANITIZED) check_scene(&biased[4], TSR_F32, lengths[2]);
    if (!SANITIZED) check_scene(&biased[4], TSR_BF16, lengths[2]);
    check_scene(&biased[0], TSR_F16, lengths[2]);
}

/* A prefix is read at once; what follows goes as it likes. */
static void test_prefixes(void **state)
{
    (void)state;
    static const tsr_dtype dtypes[] = {TSR_F32, TSR_F16, TSR_BF16};
    static const int32_t later[][SEQUENCES] = {{1000, 1000, 1000}, {1, 1, 1}, {17, 5, 2}},
                         prefixes[] = {33, 1, 70};
    model m[] = {MODEL(3, 3, 16, 16, 1, 0, 0, 0), MODEL(8, 2, 64, 64, 4, 0, 0, 0),
                 MODEL(5, 1, 33, 7, 5, 0, 0, 0)};
    for (int i = 0; i < 9; i += SANITIZED ? 2 : 1) {
        m[i % 3].prefix = prefixes[i / 3];
        scene s = make_scene(&m[i % 3], &(rotation){0}, dtypes[(i + i / 3) % 3], lengths[1 + i % 2]);
        FOR_EACH_SET (set)
            for (int c = 0; c < 3; c++) {
                int32_t done[SEQUENCES] = {0}, first[SEQUENCES];
                for (int q = 0; q < SEQUENCES; q++) first[q] = prefix_of(&s, q) + c % 2;
                const int32_t *chunk = first;
                while (run_step(&s, set, 1 + c, done, chunk)) chunk = later[c];
            }
        free_scene(&s);
    }
}

/* What a prompt's token gets does not depend on where its prompt was cut: the same bits, a token alone included. */
static void test_cuts(void **state)
{
    (void)state;
    static const int32_t length[SEQUENCES] = {65, 40, 33}, whole[SEQUENCES] = {65, 40, 33},
                         cut[SEQUENCES] = {64, 13, 1};
    const model *m = &models[0];
    scene s = make_scene(m, &(rotation){0}, TSR_BF16, length);
    int64_t cols = m->heads * m->value_dim;
    s.prompts = true;
    FOR_EACH_SET (set) {
        float *first[SEQUENCES] = {0};
        for (int pass = 0; pass < 2; pass++) {
            int32_t done[SEQUENCES] = {0};
            for (int q = 0; q < SEQUENCES; q++) s.got[q] = aligned(length[q] * cols * 4);
            while (run_step(&s, set, 1 + pass, done, pass ? cut : whole)) {
            }
            for (int q = 0; q < SEQUENCES; q++) {
                if (pass) assert_memory_equal(first[q], s.got[q], (size_t)(length[q] * cols * 4));
                if (pass) free(first[q]);
                if (pass) free(s.got[q]);
                if (!pass) first[q] = s.got[q];
            }
        }
    }
    free_scene(&s);
}

static void check_dtype(tsr_dtype dtype, size_t which_length)
{
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        check_scene(&models[i], dtype, lengths[which_length]);
}

static void test_f32(void **state)
{
    (void)state;
    check_dtype(TSR_F32, 0);
    if (!SANITIZED) check_dtype(TSR_F32, 1);
}

static void test_f16(void **state)
{
    (void)state;
    check_dtype(TSR_F16, 1);
}

static void test_bf16(void **state)
{
    (void)state;
    check_dtype(TSR_BF16, 0);
    if (!SANITIZED) check_dtype(TSR_BF16, 1);
}

static void test_long(void **state)
{
    (void)state;
    static const model m = MODEL(3, 1, 16, 16, 3, 0, 0, 0);
    check_scene(&m, TSR_F32, lengths[2]);
    check_scene(&m, TSR_BF16, lengths[2]);
}

/* Heads so wide that a piece of many tokens does not fit a worker's scratch. */
static void test_wide(void **state)
{
    (void)state;
    static const model wide = MODEL(1, 1, 3000, 3000, 1, 0, 0, 0), huge = MODEL(1, 1, 5000, 5001, 1, 0, 0, 0);
    static const int32_t short_lengths[SEQUENCES] = {1, 5, 3};
    check_scene(&wide, TSR_F32, short_lengths);
    check_scene(&huge, TSR_F32, short_lengths);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),    cmocka_unit_test(test_f16),      cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_long),   cmocka_unit_test(test_wide),     cmocka_unit_test(test_rotating),
        cmocka_unit_test(test_biases), cmocka_unit_test(test_prefixes), cmocka_unit_test(test_cuts)};
    return cmocka_run_group_tests(tests, report_isas, NULL);
}
