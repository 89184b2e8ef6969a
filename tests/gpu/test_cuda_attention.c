/* test_cuda_attention.c: op attention on a GPU against the CPU kernel on the same numbers: every kernel of it (split
 * decode, tiles, the simple one), steps of one kind and mixed, counts below bounds, windows, shards of heads, rotation,
 * biases, prefixes.
 * Pages that nobody wrote hold NaN, and nothing but the step's own slots may be written. */
#include "support_attention.h"

#include "../ops_common.h"
#include "layers/cuda/kernels.h"

enum { SLACK = 3 };

/* One case on both backends. Host values are float32, rounded to the dtype. */
typedef struct scene {
    attention_sizes m;
    attention_extras extras;
    tsr_dtype dtype;
    attention_step step;
    int odd;              /* elements behind each row that leave rows unaligned */
    tsr_operand qkv, out; /* of the host; q, k and v are windows */
    tsr_cache_data cache, device_cache;
    int64_t k_bytes, v_bytes;
} scene;

static void round_floats(tsr_dtype dtype, float *x, int64_t n)
{
    char raw[4];
    for (int64_t i = 0; i < n; i++) {
        tsr_from_f32(dtype, x + i, raw, 1);
        tsr_to_f32(dtype, raw, x + i, 1);
    }
}

/* The cached tokens of all sequences; everything else stays NaN. */
static void fill_cache(scene *s)
{
    int64_t size = tsr_dtype_bytes(s->dtype);
    for (int i = 0; i < s->step.host.n_sequences; i++) {
        const tsr_step_sequence *q = &s->step.sequences[i];
        for (int p = 0; p < q->position; p++)
            for (int h = 0; h < s->m.kv_heads; h++) {
                int64_t slot =
                    ((int64_t)q->pages[p / TSR_PAGE_TOKENS] * s->m.kv_heads + h) * TSR_PAGE_TOKENS +
                    p % TSR_PAGE_TOKENS;
                for (int d = 0; d < s->m.head_dim || d < s->m.value_dim; d++) {
                    float k = 2 * random_unit(), v = random_unit();
                    if (d < s->m.head_dim)
                        tsr_from_f32(s->dtype, &k, (char *)s->cache.k + (slot * s->m.head_dim + d) * size, 1);
                    if (d < s->m.value_dim)
                        tsr_from_f32(s->dtype, &v, (char *)s->cache.v + (slot * s->m.value_dim + d) * size,
                                     1);
                }
            }
    }
}

static void make_cache(scene *s)
{
    int64_t slots = (int64_t)s->step.n_pages * s->m.kv_heads * TSR_PAGE_TOKENS * tsr_dtype_bytes(s->dtype);
    s->k_bytes = slots * s->m.head_dim;
    s->v_bytes = slots * s->m.value_dim;
    s->cache = (tsr_cache_data){.dtype = s->dtype,
                                .k = aligned(s->k_bytes),
                                .v = aligned(s->v_bytes),
                                .page_tokens = TSR_PAGE_TOKENS,
                                .kv_heads = s->m.kv_heads,
                                .head_dim = s->m.head_dim,
                                .value_dim = s->m.value_dim};
    memset(s->cache.k, 0xFF, (size_t)s->k_bytes);
    memset(s->cache.v, 0xFF, (size_t)s->v_bytes);
    fill_cache(s);
    s->device_cache = s->cache;
    s->device_cache.k = to_device(s->cache.k, (size_t)s->k_bytes);
    s->device_cache.v = to_device(s->cache.v, (size_t)s->v_bytes);
}

static tsr_operand window_of(const tsr_operand *v, int64_t first, int64_t cols)
{
    return (tsr_operand){.data = v->data + first, .ld = v->ld, .cols = cols};
}

static void run_cpu(scene *s, tsr_operand *out)
{
    tsr_call call = {.op = TSR_OP_ATTENTION, .cache = &s->cache};
    int64_t nq = (int64_t)s->m.heads * s->m.head_dim, nk = (int64_t)s->m.kv_heads * s->m.head_dim;
    tsr_operand qkv = copy_operand(&s->qkv, s->step.host.n_tokens);
    call.in[0] = window_of(&qkv, 0, nq);
    call.in[1] = window_of(&qkv, nq, nk);
    call.in[2] = window_of(&qkv, nq + nk, (int64_t)s->m.kv_heads * s->m.value_dim);
    call.out[0] = *out;
    set_attention_attrs(&call.attrs, &s->m);
    set_attention_extras(&call.attrs, &s->m, &s->extras);
    s->step.host.rope = (const float *const[]){s->step.angles};
    assert_int_equal(run_call(reference_kernels(), &call, &s->step.host, 1), 0);
    free(qkv.data);
}

/* n rows of a host operand as the device has it, in rows of ld elements; rows up to the bound and what lies behind a row
 * are 0xFF. */
static tsr_cuda_operand operand_to_device(const scene *s, const tsr_operand *v, int64_t ld)
{
    int64_t size = tsr_dtype_bytes(s->dtype), rows = s->step.device.bound_tokens;
    char *raw = malloc((size_t)(rows * ld * size));
    memset(raw, 0xFF, (size_t)(rows * ld * size));
    for (int64_t r = 0; v->data && r < s->step.host.n_tokens; r++)
        tsr_from_f32(s->dtype, v->data + r * v->ld, raw + r * ld * size, v->cols);
    tsr_cuda_operand d = {to_device(raw, (size_t)(rows * ld * size)), ld, v->cols, s->dtype, false};
    free(raw);
    return d;
}

static tsr_cuda_operand device_window(const tsr_cuda_operand *v, int64_t first, int64_t cols)
{
    return (tsr_cuda_operand){(char *)v->data + first * tsr_dtype_bytes(v->dtype), v->ld, cols, v->dtype,
                              false};
}

static void check_out(const scene *s, const tsr_cuda_operand *out, const tsr_operand *want, const char *what)
{
    int64_t size = tsr_dtype_bytes(s->dtype), bytes = s->step.device.bound_tokens * out->ld * size;
    char *raw = malloc((size_t)bytes);
    to_host(raw, out->data, (size_t)bytes);
    double tolerance = s->dtype == TSR_F32 ? 1e-5 : s->dtype == TSR_F16 ? 3e-3 : 3e-2;
    /* Slopes times hundreds of positions: the scores themselves are rounded that much more coarsely. */
    if (s->dtype == TSR_F32 && s->extras.alibi != 0) tolerance = 5e-5;
    for (int64_t r = 0; r < s->step.device.bound_tokens; r++)
        for (int64_t c = 0; c < out->ld; c++) {
            const char *at = raw + (r * out->ld + c) * size;
            if (c >= out->cols) {
                for (int i = 0; i < size; i++)
                    if (at[i] != (char)0xFF) fail_msg("%s: wrote behind row %lld", what, (long long)r);
                continue;
            }
            if (r >= s->step.host.n_tokens) continue;
            float got, w = want->data[r * want->ld + c];
            tsr_to_f32(s->dtype, at, &got, 1);
            double error = fabs(got - w) / (0.5 + fabs(w));
            if (!(error <= tolerance))
                fail_msg("%s: row %lld of %d, head %lld, dimension %lld: got %.7g, want %.7g", what,
                         (long long)r, s->step.host.n_tokens, (long long)(c / s->m.value_dim),
                         (long long)(c % s->m.value_dim), (double)got, (double)w);
        }
    free(raw);
}

/* The CPU's cache against the GPU's: a rotated k may be rounded to the other neighbour. */
static void check_cache(const scene *s, const void *want, const void *device, int64_t bytes, const char *what)
{
    int64_t size = tsr_dtype_bytes(s->dtype);
    char *got = malloc((size_t)bytes);
    to_host(got, device, (size_t)bytes);
    double tolerance = s->dtype == TSR_F32 ? 2e-6 : s->dtype == TSR_F16 ? 1e-3 : 8e-3;
    for (int64_t i = 0; i < bytes; i += size) {
        if (memcmp(got + i, (const char *)want + i, (size_t)size) == 0) continue;
        float a, b;
        tsr_to_f32(s->dtype, got + i, &a, 1);
        tsr_to_f32(s->dtype, (const char *)want + i, &b, 1);
        if (!(fabsf(a - b) <= tolerance * (0.1 + fabsf(b))))
            fail_msg("%s: element %lld of %lld of the cache: got %.7g, want %.7g", what,
                     (long long)(i / size), (long long)(bytes / size), (double)a, (double)b);
    }
    free(got);
}

/* Three times over: what one call leaves behind in the workspace must not disturb the next. */
static void run_gpu(scene *s, tsr_cuda_operand *qkv, tsr_cuda_operand *out)
{
    tsr_cuda_call call = {.op = TSR_OP_ATTENTION, .n_inputs = 3, .cache = &s->device_cache};
    int64_t nq = (int64_t)s->m.heads * s->m.head_dim, nk = (int64_t)s->m.kv_heads * s->m.head_dim;
    call.in[0] = device_window(qkv, 0, nq);
    call.in[1] = device_window(qkv, nq, nk);
    call.in[2] = device_window(qkv, nq + nk, (int64_t)s->m.kv_heads * s->m.value_dim);
    call.out[0] = *out;
    set_attention_attrs(&call.attrs, &s->m);
    set_attention_extras(&call.attrs, &s->m, &s->extras);
    const tsr_cuda_step *step = &s->step.device;
    call.workspace_bytes =
        tsr_cuda_attention_workspace_bytes(&call, step->bound_tokens, step->bound_tokens, step->n_processors);
    call.workspace = to_device(NULL, (size_t)call.workspace_bytes);
    for (int i = 0; i < 3; i++) {
        s->step.device.overlap = i > 0;
        if (tsr_cuda_attention(&call, step) != TSR_OK) fail_msg("%s", tsr_error_text());
    }
    cuda_ok(cudaDeviceSynchronize());
    cudaFree(call.workspace);
}

static void check_extras(const attention_sizes *m, const attention_extras *extras, tsr_dtype dtype,
                         const sequence_spec *specs, int n, bool decode, int odd)
{
    scene s = {.m = *m, .extras = *extras, .dtype = dtype};
    char what[300];
    snprintf(what, sizeof what,
             "%s, heads %d of %d over %d from %d, dims %d and %d, window %d, %d turning, %d+%d first%s%s, "
             "alibi %g%s%s",
             tsr_dtype_name(dtype), m->heads, m->group, m->kv_heads, m->first_head, m->head_dim, m->value_dim,
             m->window, m->rotary_dim, specs[0].cached, specs[0].tokens, decode ? ", decode" : "",
             odd ? ", odd" : "", (double)extras->alibi, extras->alibi_bf16 ? " in bfloat16" : "",
             extras->prefixes ? ", prefixes" : "");
    make_attention_step(&s.step, m, specs, n, SLACK, decode, extras->prefixes);
    int64_t cols = (int64_t)(m->heads + m->kv_heads) * m->head_dim + (int64_t)m->kv_heads * m->value_dim;
    s.qkv = make_operand(s.step.host.n_tokens, cols, 2);
    round_floats(dtype, s.qkv.data, s.step.host.n_tokens * s.qkv.ld);
    tsr_operand out = make_operand(s.step.host.n_tokens, (int64_t)m->heads * m->value_dim, 0), none = out;
    none.data = NULL;
    make_cache(&s);
    tsr_cuda_operand d_qkv = operand_to_device(&s, &s.qkv, cols + 8 + odd);
    tsr_cuda_operand d_out = operand_to_device(&s, &none, out.cols + 16 + odd);
    run_gpu(&s, &d_qkv, &d_out);
    run_cpu(&s, &out);
    check_out(&s, &d_out, &out, what);
    check_cache(&s, s.cache.k, s.device_cache.k, s.k_bytes, what);
    check_cache(&s, s.cache.v, s.device_cache.v, s.v_bytes, what);
    free_attention_step(&s.step);
    free(s.qkv.data), free(out.data), free(s.cache.k), free(s.cache.v);
    cudaFree(d_qkv.data), cudaFree(d_out.data), cudaFree(s.device_cache.k), cudaFree(s.device_cache.v);
}

static void check_case(const attention_sizes *m, tsr_dtype dtype, const sequence_spec *specs, int n,
                       bool decode, int odd)
{
    check_extras(m, &(attention_extras){.prefixes = false}, dtype, specs, n, decode, odd);
}

static const attention_sizes models[] = {
    /* heads kv dim value group first_head first_kv window rotary style */
    {4, 4, 128, 128, 1, 0, 0, 0, 128, TSR_ROPE_HALF},
    {7, 1, 64, 64, 7, 0, 0, 0, 64, TSR_ROPE_INTERLEAVED},
    {9, 3, 128, 128, 3, 0, 0, 0, 0, TSR_ROPE_HALF},
    {8, 1, 128, 128, 8, 0, 0, 100, 64, TSR_ROPE_HALF}, /* half of the dimensions turn */
    {25, 25, 64, 64, 1, 0, 0, 0, 0, TSR_ROPE_HALF},
    {4, 2, 80, 80, 3, 7, 2, 0, 20,
     TSR_ROPE_HALF}, /* heads 7 .. 10 of kv heads 2 and 3; the halves are no vectors */
    {5, 3, 96, 96, 2, 3, 1, 33, 96, TSR_ROPE_INTERLEAVED},
    {20, 1, 64, 64, 20, 0, 0, 0, 64, TSR_ROPE_HALF}, /* more heads than a block takes */
    {12, 1, 128, 128, 12, 0, 0, 0, 128, TSR_ROPE_HALF},
    {3, 1, 112, 112, 3, 0, 0, 0, 28, TSR_ROPE_INTERLEAVED},
    {3, 1, 256, 256, 4, 1, 0, 0, 64, TSR_ROPE_HALF},
    {10, 1, 256, 256, 10, 0, 0, 1, 0, TSR_ROPE_HALF},
    {3, 1, 5, 5, 3, 0, 0, 0, 4, TSR_ROPE_HALF},
    {4, 2, 24, 24, 2, 0, 0, 17, 24, TSR_ROPE_INTERLEAVED},
    {2, 2, 64, 128, 1, 0, 0, 0, 64, TSR_ROPE_HALF}, /* values of another width */
};

/* Enough heads for the larger tiles of a prompt. */
static const attention_sizes many_heads[] = {
    {40, 40, 128, 128, 1, 0, 0, 0, 0, TSR_ROPE_HALF},
    {71, 1, 64, 64, 71, 0, 0, 0, 0, TSR_ROPE_HALF},
    {42, 42, 80, 80, 1, 0, 0, 0, 0, TSR_ROPE_HALF},
};

static const sequence_spec decoding[] = {{0, 1},   {39, 1},  {2999, 1}, {128, 1},
                                         {127, 1}, {126, 1}, {32, 1},   {700, 1}};
static const sequence_spec alone[] = {{1700, 1}};
static const sequence_spec prompts[] = {{0, 257}, {50, 70}, {0, 2}};
static const sequence_spec chunk[] = {{1000, 129}};
static const sequence_spec mixed[] = {{2999, 1}, {300, 150}, {0, 1}, {0, 64}, {1500, 2}, {100, 1}, {31, 65}};

#define COUNT_OF(x) ((int)(sizeof(x) / sizeof((x)[0])))

static void check_dtype(tsr_dtype dtype)
{
    for (int i = 0; i < COUNT_OF(models); i++) {
        const attention_sizes *m = &models[i];
        check_case(m, dtype, decoding, COUNT_OF(decoding), true, 0);
        check_case(m, dtype, decoding, COUNT_OF(decoding), false, 0);
        check_case(m, dtype, alone, COUNT_OF(alone), true, 0);
        check_case(m, dtype, prompts, COUNT_OF(prompts), false, 0);
        check_case(m, dtype, mixed, COUNT_OF(mixed), false, 0);
    }
    check_case(&models[0], dtype, chunk, COUNT_OF(chunk), false, 0);
    check_case(&models[1], dtype, chunk, COUNT_OF(chunk), false, 0);
    check_case(&models[2], dtype, mixed, COUNT_OF(mixed), false, 1); /* rows that are not aligned */
    check_case(&models[0], dtype, decoding, COUNT_OF(decoding), true, 1);
}

static void test_f32(void **state)
{
    (void)state;
    check_dtype(TSR_F32);
}

static void test_f16(void **state)
{
    (void)state;
    check_dtype(TSR_F16);
}

static void test_bf16(void **state)
{
    (void)state;
    check_dtype(TSR_BF16);
}

/* Every kernel with every option, over short texts. */
static void test_extras(void **state)
{
    (void)state;
    static const tsr_dtype dtypes[] = {TSR_F32, TSR_F16, TSR_BF16};
    static const attention_extras extras[] = {
        {1, 8, false, false}, {0.35f, 8, true, false}, {0, 8, false, true}, {0.5f, 3, false, true}};
    static const sequence_spec singles[] = {{1500, 1}, {0, 1}, {300, 1}, {31, 1}};
    static const sequence_spec ragged[] = {{299, 1}, {30, 50}, {0, 1},   {0, 131},
                                           {40, 70}, {0, 64},  {400, 65}};
    for (int i = 0; i < COUNT_OF(models); i++)
        for (int d = 0; d < COUNT_OF(dtypes); d++)
            for (int x = 0; x < COUNT_OF(extras); x++) {
                check_extras(&models[i], &extras[x], dtypes[d], singles, COUNT_OF(singles), true, 0);
                check_extras(&models[i], &extras[x], dtypes[d], ragged, COUNT_OF(ragged), false, x == 1);
            }
    static const sequence_spec prompt[] = {{0, 900}}; /* tiles as large as they get */
    for (int i = 0; i < COUNT_OF(many_heads); i++) {
        check_extras(&many_heads[i], &extras[3], TSR_BF16, prompt, 1, false, 0);
        check_extras(&many_heads[i], &extras[1], TSR_F16, prompt, 1, false, 0);
    }
}

/* As many sequences as decode together, more blocks than run at once. */
static void test_many_sequences(void **state)
{
    (void)state;
    static sequence_spec many[96];
    for (int i = 0; i < COUNT_OF(many); i++) many[i] = (sequence_spec){i * 37 % 600, 1};
    check_case(&models[2], TSR_BF16, many, COUNT_OF(many), true, 0);
    check_case(&models[4], TSR_F16, many, COUNT_OF(many), true, 0);
    for (int i = 0; i < COUNT_OF(many); i += 5) many[i].tokens = 1 + i % 9;
    check_case(&models[2], TSR_F16, many, COUNT_OF(many), false, 0);
}

/* Every kernel once, for tools that slow it down a hundredfold. */
static void test_small(void **state)
{
    (void)state;
    static const sequence_spec singles[] = {{300, 1}, {5, 1}}, ragged[] = {{70, 1}, {33, 40}, {0, 70}};
    static const int which[] = {0, 3, 5, 12};
    static const attention_extras x = {0.35f, 8, true, true};
    for (int i = 0; i < COUNT_OF(which); i++) {
        check_case(&models[which[i]], TSR_BF16, singles, COUNT_OF(singles), true, 0);
        check_case(&models[which[i]], TSR_F16, ragged, COUNT_OF(ragged), false, 0);
        check_extras(&models[which[i]], &x, TSR_F16, singles, COUNT_OF(singles), true, 0);
        check_extras(&models[which[i]], &x, TSR_BF16, ragged, COUNT_OF(ragged), false, 0);
    }
}

/* An argument chooses tests by name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32),    cmocka_unit_test(test_f16),
                                       cmocka_unit_test(test_bf16),   cmocka_unit_test(test_many_sequences),
                                       cmocka_unit_test(test_extras), cmocka_unit_test(test_small)};
    need_gpus(1);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
