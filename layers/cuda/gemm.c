/* gemm.c: descriptions for cuBLASLt, and the table of timed choices. */
#include "layers/cuda/gemm.h"
#include "base/checked.h"
#include "base/memory.h"
#include "layers/cuda/libraries.h"

enum { WORKSPACE_BYTES = 64 << 20, SUGGESTIONS = 8, TIMED_RUNS = 4, MOST_CHOICES = 4096 };

/* What a choice depends on. The library's column-major view: out^T [n x rows] = W^T [n x k] x^T [k x rows]. */
typedef struct choice_key {
    int64_t bucket, n, k, x_ld, out_ld;
    int32_t dtype, out_dtype;
    int32_t w_align, x_align, out_align; /* bytes, a power of two up to 256 */
    int32_t unused;                      /* keeps the bytes of a key defined */
} choice_key;

typedef struct choice {
    choice_key key;
    bool possible, timed;
    cublasLtMatmulAlgo_t algorithm;
} choice;

struct tsr_cuda_gemm {
    cublasLtHandle_t handle;
    void *workspace;
    choice *choices; /* [n_choices] */
    int64_t n_choices, choices_capacity;
    cudaEvent_t start, stop;
};

/* One product, described. */
typedef struct product {
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, out;
    const void *w_data, *x_data;
    void *out_data;
} product;

static tsr_status check(cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS) return TSR_OK;
    return tsr_fail(TSR_ERR_DEVICE, "%s: cuBLASLt status %d", what, (int)status);
}

static cudaDataType_t type_of(tsr_dtype dtype)
{
    return dtype == TSR_F32 ? CUDA_R_32F : dtype == TSR_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

static int32_t alignment(const void *p)
{
    uintptr_t low = (uintptr_t)p & -(uintptr_t)p;
    return low == 0 || low > 256 ? 256 : (int32_t)low;
}

/* Few rows differ much from one another, many hardly: exact to 8, then four buckets for each doubling. */
static int64_t bucket_of(int64_t rows)
{
    int64_t unit = 8;
    while (rows > unit * 8) unit *= 2;
    return (rows + unit - 1) / unit * unit;
}

/* --- Life --- */

tsr_status tsr_cuda_gemm_create(tsr_cuda_gemm **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_cublaslt_open());
    TSR_TRY(tsr_calloc(1, sizeof(tsr_cuda_gemm), "the matrix library", &p));
    tsr_cuda_gemm *g = p;
    tsr_status s = check(tsr_cublaslt->cublasLtCreate(&g->handle), "opening cuBLASLt");
    if (s == TSR_OK)
        s = tsr_cuda_check(cudaMalloc(&g->workspace, WORKSPACE_BYTES), "the workspace of products");
    if (s == TSR_OK) s = tsr_cuda_check(cudaEventCreate(&g->start), "an event");
    if (s == TSR_OK) s = tsr_cuda_check(cudaEventCreate(&g->stop), "an event");
    if (s != TSR_OK) tsr_cuda_gemm_destroy(&g);
    *out = g;
    return s;
}

void tsr_cuda_gemm_destroy(tsr_cuda_gemm **gemm)
{
    tsr_cuda_gemm *g = *gemm;
    if (!g) return;
    if (g->start) cudaEventDestroy(g->start);
    if (g->stop) cudaEventDestroy(g->stop);
    if (g->workspace) cudaFree(g->workspace);
    if (g->handle) tsr_cublaslt->cublasLtDestroy(g->handle);
    tsr_free(g->choices);
    tsr_free(g);
    *gemm = NULL;
}

/* --- Describing --- */

static void forget(product *p)
{
    if (p->desc) tsr_cublaslt->cublasLtMatmulDescDestroy(p->desc);
    if (p->w) tsr_cublaslt->cublasLtMatrixLayoutDestroy(p->w);
    if (p->x) tsr_cublaslt->cublasLtMatrixLayoutDestroy(p->x);
    if (p->out) tsr_cublaslt->cublasLtMatrixLayoutDestroy(p->out);
}

static tsr_status describe(const tsr_cuda_gemm_shape *s, product *p)
{
    const char *what = "describing a product";
    cublasOperation_t transposed = CUBLAS_OP_T;
    cudaDataType_t type = type_of(s->dtype);
    const tsr_cublaslt_functions *lt = tsr_cublaslt;
    TSR_TRY(check(lt->cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), what));
    TSR_TRY(check(lt->cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                                     sizeof transposed),
                  what));
    TSR_TRY(check(lt->cublasLtMatrixLayoutCreate(&p->w, type, (uint64_t)s->k, (uint64_t)s->n, s->k), what));
    TSR_TRY(
        check(lt->cublasLtMatrixLayoutCreate(&p->x, type, (uint64_t)s->k, (uint64_t)s->rows, s->x_ld), what));
    return check(lt->cublasLtMatrixLayoutCreate(&p->out, type_of(s->out_dtype), (uint64_t)s->n,
                                                (uint64_t)s->rows, s->out_ld),
                 what);
}

static cublasStatus_t multiply(const tsr_cuda_gemm *g, const product *p,
                               const cublasLtMatmulAlgo_t *algorithm, cudaStream_t stream)
{
    const float one = 1, zero = 0;
    return tsr_cublaslt->cublasLtMatmul(g->handle, p->desc, &one, p->w_data, p->w, p->x_data, p->x, &zero,
                                        p->out_data, p->out, p->out_data, p->out, algorithm, g->workspace,
                                        WORKSPACE_BYTES, stream);
}

/* --- Choosing --- */

static tsr_status prefer(cublasLtMatmulPreference_t preference, const choice_key *key)
{
    const struct {
        cublasLtMatmulPreferenceAttributes_t which;
        uint32_t value;
    } aligned[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, (uint32_t)key->w_align},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, (uint32_t)key->x_align},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, (uint32_t)key->out_align},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, (uint32_t)key->out_align}};
    size_t workspace = WORKSPACE_BYTES;
    const char *what = "asking for algorithms";
    TSR_TRY(check(tsr_cublaslt->cublasLtMatmulPreferenceSetAttribute(
                      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace),
                  what));
    for (size_t i = 0; i < sizeof aligned / sizeof aligned[0]; i++)
        TSR_TRY(check(tsr_cublaslt->cublasLtMatmulPreferenceSetAttribute(preference, aligned[i].which,
                                                                         &aligned[i].value, sizeof(uint32_t)),
                      what));
    return TSR_OK;
}

/* The library's suggestions, best guess first; *n 0 where it has none. */
static tsr_status suggest(const tsr_cuda_gemm *g, const product *p, const choice_key *key,
                          cublasLtMatmulHeuristicResult_t *out, int *n)
{
    cublasLtMatmulPreference_t preference;
    *n = 0;
    TSR_TRY(check(tsr_cublaslt->cublasLtMatmulPreferenceCreate(&preference), "asking for algorithms"));
    tsr_status s = prefer(preference, key);
    if (s == TSR_OK && tsr_cublaslt->cublasLtMatmulAlgoGetHeuristic(g->handle, p->desc, p->w, p->x, p->out,
                                                                    p->out, preference, SUGGESTIONS, out,
                                                                    n) != CUBLAS_STATUS_SUCCESS)
        *n = 0;
    tsr_cublaslt->cublasLtMatmulPreferenceDestroy(preference);
    return s;
}

/* Milliseconds of TIMED_RUNS products after one to warm up; infinite if the algorithm refuses. */
static tsr_status time_one(const tsr_cuda_gemm *g, const product *p, const cublasLtMatmulAlgo_t *algorithm,
                           cudaStream_t stream, float *ms)
{
    *ms = 1e30f;
    if (multiply(g, p, algorithm, stream) != CUBLAS_STATUS_SUCCESS) return TSR_OK;
    TSR_TRY(tsr_cuda_check(cudaEventRecord(g->start, stream), "an event"));
    for (int i = 0; i < TIMED_RUNS; i++) (void)multiply(g, p, algorithm, stream);
    TSR_TRY(tsr_cuda_check(cudaEventRecord(g->stop, stream), "an event"));
    TSR_TRY(tsr_cuda_check(cudaEventSynchronize(g->stop), "timing a product"));
    return tsr_cuda_check(cudaEventElapsedTime(ms, g->start, g->stop), "timing a product");
}

static tsr_status choose(const tsr_cuda_gemm *g, const product *p, cudaStream_t stream, bool may_time,
                         choice *c)
{
    cublasLtMatmulHeuristicResult_t found[SUGGESTIONS];
    int n = 0;
    float best = 1e30f;
    TSR_TRY(suggest(g, p, &c->key, found, &n));
    c->possible = n > 0;
    c->timed = may_time;
    if (n > 0) c->algorithm = found[0].algo;
    for (int i = 0; i < n && may_time; i++) {
        float ms;
        TSR_TRY(time_one(g, p, &found[i].algo, stream, &ms));
        if (ms >= best) continue;
        best = ms;
        c->algorithm = found[i].algo;
    }
    return TSR_OK;
}

static choice *look_up(const tsr_cuda_gemm *g, const choice_key *key)
{
    for (int64_t i = 0; i < g->n_choices; i++)
        if (memcmp(&g->choices[i].key, key, sizeof *key) == 0) return &g->choices[i];
    return NULL;
}

static tsr_status find_choice(tsr_cuda_gemm *g, const product *p, const choice_key *key, cudaStream_t stream,
                              choice *out)
{
    enum cudaStreamCaptureStatus capturing;
    TSR_TRY(tsr_cuda_check(cudaStreamIsCapturing(stream, &capturing), "a stream"));
    bool may_time = capturing == cudaStreamCaptureStatusNone;
    choice *known = look_up(g, key);
    if (known && (known->timed || !may_time)) {
        *out = *known;
        return TSR_OK;
    }
    *out = (choice){.key = *key};
    TSR_TRY(choose(g, p, stream, may_time, out));
    if (!known && g->n_choices < MOST_CHOICES) {
        void *grown = g->choices;
        TSR_TRY(tsr_grow(&grown, &g->choices_capacity, g->n_choices + 1, sizeof *g->choices,
                         "the choices of products"));
        g->choices = grown;
        known = &g->choices[g->n_choices++];
    }
    if (known) *known = *out;
    return TSR_OK;
}

static tsr_status run(tsr_cuda_gemm *g, const product *p, const choice_key *key, cudaStream_t stream,
                      bool *done)
{
    choice c;
    TSR_TRY(find_choice(g, p, key, stream, &c));
    if (!c.possible) return TSR_OK;
    *done = multiply(g, p, &c.algorithm, stream) == CUBLAS_STATUS_SUCCESS;
    if (*done) return TSR_OK;
    TSR_TRY(choose(g, p, stream, false, &c)); /* chosen for other rows of the bucket, and no good for these */
    if (c.possible) *done = multiply(g, p, &c.algorithm, stream) == CUBLAS_STATUS_SUCCESS;
    return TSR_OK;
}

tsr_status tsr_cuda_gemm_run(tsr_cuda_gemm *gemm, const tsr_cuda_gemm_shape *shape, const void *x,
                             const void *w, void *out, cudaStream_t stream, bool *done)
{
    product p = {.w_data = w, .x_data = x, .out_data = out};
    choice_key key;
    memset(&key, 0, sizeof key);
    key.bucket = bucket_of(shape->rows);
    key.n = shape->n;
    key.k = shape->k;
    key.x_ld = shape->x_ld;
    key.out_ld = shape->out_ld;
    key.dtype = (int32_t)shape->dtype;
    key.out_dtype = (int32_t)shape->out_dtype;
    key.w_align = alignment(w);
    key.x_align = alignment(x);
    key.out_align = alignment(out);
    *done = false;
    tsr_status s = describe(shape, &p);
    if (s == TSR_OK) s = run(gemm, &p, &key, stream, done);
    forget(&p);
    return s;
}
