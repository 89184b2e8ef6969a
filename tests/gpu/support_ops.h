/* support_ops.h: one op on both backends: values of the host and their copies on the GPU, steps whose bounds exceed their
 * counts, comparison. Host values are float32 rounded to the dtype. A test program's only argument, "quick", leaves out what
 * takes long under tools that slow everything down. */
#ifndef TSR_TESTS_GPU_SUPPORT_OPS_H
#define TSR_TESTS_GPU_SUPPORT_OPS_H

#include "support_gpu.h"

#include "../ops_common.h"
#include "layers/cpu/pack.h"
#include "layers/cuda/gemm.h"
#include "layers/cuda/kernels.h"

/* Rows behind each other by cols + pad elements, the first `offset` elements behind an aligned address. */
typedef struct placing {
    int pad, offset;
} placing;

typedef struct value {
    tsr_operand host;
    tsr_cuda_operand device;
    void *base; /* of the device */
    int64_t rows, elements;
    int offset;
} value;

static inline void round_floats(tsr_dtype dtype, float *x, int64_t n)
{
    char raw[4];
    for (int64_t i = 0; i < n; i++) {
        tsr_from_f32(dtype, x + i, raw, 1);
        tsr_to_f32(dtype, raw, x + i, 1);
    }
}

/* Random numbers everywhere, between the rows too. */
static inline value make_value(int64_t rows, int64_t cols, placing at, tsr_dtype dtype, bool selected,
                               float amplitude)
{
    value v = {.rows = rows, .offset = at.offset};
    int64_t ld = cols + at.pad, n = rows * ld, size = tsr_dtype_bytes(dtype);
    v.elements = n + 32;
    v.host = (tsr_operand){.data = aligned((n + 16) * 4), .ld = ld, .cols = cols, .selected = selected};
    for (int64_t i = 0; i < n; i++) v.host.data[i] = amplitude * random_unit();
    round_floats(dtype, v.host.data, n);
    char *raw = aligned(v.elements * size);
    memset(raw, 0x5A, (size_t)(v.elements * size));
    tsr_from_f32(dtype, v.host.data, raw + at.offset * size, n);
    v.base = to_device(raw, (size_t)(v.elements * size));
    v.device = (tsr_cuda_operand){(char *)v.base + at.offset * size, ld, cols, dtype, selected};
    free(raw);
    return v;
}

static inline void free_value(value *v)
{
    free(v->host.data);
    cudaFree(v->base);
}

static inline tsr_cuda_weight device_weight(tsr_dtype dtype, int64_t rows, int64_t cols, const void *raw)
{
    void *p = to_device(raw, (size_t)(rows * cols * tsr_dtype_bytes(dtype)));
    return (tsr_cuda_weight){dtype, rows, cols, p};
}

/* A matrix on both: raw rows for embed, panels for products. */
typedef struct matrix {
    tsr_weight_data packed, raw;
    tsr_cuda_weight device;
} matrix;

static inline matrix make_matrix(tsr_dtype dtype, int64_t rows, int64_t cols, float amplitude)
{
    int64_t size = tsr_dtype_bytes(dtype), n = rows * cols;
    float *values = aligned(n * 4);
    char *raw = aligned(n * size), *packed = aligned(tsr_packed_bytes(dtype, rows, cols));
    for (int64_t i = 0; i < n; i++) values[i] = amplitude * random_unit();
    tsr_from_f32(dtype, values, raw, n);
    for (int64_t r = 0; r < rows; r += TSR_PANEL)
        tsr_pack_panel(dtype, raw + r * cols * size, rows - r < TSR_PANEL ? rows - r : TSR_PANEL, cols,
                       packed + r / TSR_PANEL * tsr_panel_bytes(dtype, cols));
    free(values);
    return (matrix){{dtype, TSR_PACK_PANELS, rows, cols, packed},
                    {dtype, TSR_PACK_ROWS, rows, cols, raw},
                    device_weight(dtype, rows, cols, raw)};
}

static inline void free_matrix(matrix *m)
{
    free((void *)m->packed.data);
    free((void *)m->raw.data);
    cudaFree((void *)m->device.data);
}

/* A float32 vector around `center`. */
static inline matrix make_vector(int64_t n, float center)
{
    float *values = aligned(n * 4);
    for (int64_t i = 0; i < n; i++) values[i] = center + 0.5f * random_unit();
    tsr_weight_data d = {TSR_F32, TSR_PACK_ROWS, n, 1, values};
    return (matrix){{.data = NULL}, d, device_weight(TSR_F32, n, 1, values)};
}

/* --- Steps --- */

enum { VOCABULARY = 50, INDICES = 6, GARBAGE_INDEX = 0x3FFFFFFF };

typedef struct op_step {
    tsr_step host;
    tsr_cuda_step device;
    int32_t *numbers; /* [INDICES][bound] ids, positions, the two rows of positions, sequence, rows */
    float *angles;
    void *on_device[3];
    const float *host_tables[1], *device_tables[1];
} op_step;

/* `tokens` tokens, of which every second row is wanted; bounds `slack` above the counts, with garbage between. */
static inline op_step make_op_step(int32_t tokens, int32_t slack, int dims, cudaStream_t stream, bool overlap)
{
    op_step s = {0};
    int32_t bound = tokens + slack, rows = (tokens + 1) / 2;
    size_t bytes = (size_t)bound * INDICES * sizeof(int32_t);
    s.numbers = malloc(bytes);
    int32_t *ids = s.numbers, *positions = ids + bound, *first = positions + bound, *second = first + bound,
            *sequence = second + bound, *wanted = sequence + bound;
    for (int32_t t = 0; t < bound; t++) {
        bool real = t < tokens;
        ids[t] = real ? (t * 7 + 3) % (VOCABULARY + 10) : GARBAGE_INDEX; /* some that the table lacks */
        positions[t] = real ? t % 40 : GARBAGE_INDEX;
        first[t] = real ? t % 17 : GARBAGE_INDEX;
        second[t] = real ? (t * 3 + 1) % 45 : GARBAGE_INDEX;
        sequence[t] = 0;
        wanted[t] = t < rows ? 2 * t : GARBAGE_INDEX;
    }
    s.angles = malloc((size_t)(bound * dims + 1) * sizeof(float));
    for (int64_t i = 0; i < (int64_t)bound * dims; i++) s.angles[i] = random_unit();
    tsr_cuda_counts counts = {tokens, 1, rows};
    s.on_device[0] = to_device(s.numbers, bytes);
    s.on_device[1] = to_device(&counts, sizeof counts);
    s.on_device[2] = to_device(s.angles, (size_t)bound * dims * sizeof(float));
    s.host = (tsr_step){.n_tokens = tokens,
                        .n_sequences = 1,
                        .n_rows = rows,
                        .ids = ids,
                        .positions = positions,
                        .position_rows = {first, second},
                        .sequence = sequence,
                        .rows = wanted};
    const int32_t *numbers = s.on_device[0];
    int processors;
    cuda_ok(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
    s.device = (tsr_cuda_step){.stream = stream,
                               .overlap = overlap,
                               .bound_tokens = bound,
                               .bound_sequences = 1,
                               .bound_rows = rows + slack,
                               .bound_context = bound,
                               .n_processors = processors,
                               .counts = s.on_device[1],
                               .ids = numbers,
                               .positions = numbers + bound,
                               .position_rows = {numbers + 2 * bound, numbers + 3 * bound},
                               .sequence = numbers + 4 * bound,
                               .rows = numbers + 5 * bound};
    return s;
}

/* The addresses of the rope tables, once the step lies where it stays. */
static inline void place_tables(op_step *s)
{
    s->host_tables[0] = s->angles;
    s->device_tables[0] = s->on_device[2];
    s->host.rope = s->host_tables;
    s->device.rope = s->device_tables;
}

static inline void free_op_step(op_step *s)
{
    free(s->numbers);
    free(s->angles);
    for (int i = 0; i < 3; i++) cudaFree(s->on_device[i]);
}

/* --- Comparison --- */

/* Half a unit in the last place of a result, and some more for what was rounded on the way. */
static inline double tolerance_of(tsr_dtype dtype)
{
    return dtype == TSR_F32 ? 3e-5 : dtype == TSR_F16 ? 1e-3 : 6e-3;
}

/* The true rows of `got` on the GPU against those of the host; memory around the rows up to the bound as it was. */
static inline void check_value(const char *what, const value *got, const float *want, int64_t rows,
                               int64_t bound, double tolerance)
{
    tsr_dtype dtype = got->device.dtype;
    int64_t size = tsr_dtype_bytes(dtype), ld = got->host.ld, cols = got->host.cols;
    char *raw = aligned(got->elements * size), *before = aligned(got->elements * size);
    float *now = aligned(got->elements * 4);
    to_host(raw, got->base, (size_t)(got->elements * size));
    memset(before, 0x5A, (size_t)(got->elements * size));
    tsr_from_f32(dtype, got->host.data, before + got->offset * size, got->rows * ld);
    tsr_to_f32(dtype, raw, now, got->elements);
    for (int64_t i = 0; i < got->elements; i++) {
        int64_t at = i - got->offset, r = at >= 0 ? at / ld : -1, c = at >= 0 ? at % ld : 0;
        if (r >= 0 && r < bound && c < cols) continue;
        if (memcmp(raw + i * size, before + i * size, (size_t)size) != 0)
            fail_msg("%s, %s: wrote outside its output, at element %lld (row %lld, column %lld of %lld)",
                     what, tsr_dtype_name(dtype), (long long)i, (long long)r, (long long)c, (long long)cols);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            double g = now[got->offset + r * ld + c], w = want[r * ld + c];
            if (!(fabs(g - w) <= tolerance * (1 + fabs(w))))
                fail_msg("%s, %s, %lld x %lld, ld %lld, offset %d: row %lld column %lld is %.9g, wanted %.9g",
                         what, tsr_dtype_name(dtype), (long long)rows, (long long)cols, (long long)ld,
                         got->offset, (long long)r, (long long)c, g, w);
        }
    free(raw);
    free(before);
    free(now);
}

/* --- One op --- */

static const tsr_dtype dtypes[] = {TSR_F32, TSR_F16, TSR_BF16};
enum { DTYPES = 3 };
#define FOR_EACH_DTYPE(d)                                                                                    \
    for (int d##_ = 0; d##_ < DTYPES; d##_++)                                                                \
        for (tsr_dtype d = dtypes[d##_], *once_ = &d; once_; once_ = NULL)

static bool quick;
static cudaStream_t stream;
static tsr_cuda_gemm *gemm;

/* Both backends' call of one op, and the values and weights it uses. */
typedef struct scene {
    tsr_call host;
    tsr_cuda_call device;
    value in[3], out[2];
    matrix weight[2];
    op_step step;
    int n_in, n_out, n_weights;
    int64_t bound;
} scene;

static inline void begin(scene *s, tsr_op op, int32_t tokens, int32_t slack, int dims, bool overlap)
{
    *s = (scene){.host = {.op = op}, .device = {.op = op, .gemm = gemm}};
    s->step = make_op_step(tokens, slack, dims, stream, overlap);
}

static inline int64_t bound_of(const scene *s, bool selected)
{
    return selected ? s->step.device.bound_rows : s->step.device.bound_tokens;
}

static inline void add_input(scene *s, int64_t cols, placing at, tsr_dtype dtype, bool selected,
                             float amplitude)
{
    value *v = &s->in[s->n_in];
    *v = make_value(bound_of(s, selected), cols, at, dtype, selected, amplitude);
    s->host.in[s->n_in] = v->host;
    s->device.in[s->n_in] = v->device;
    s->n_in = s->host.n_inputs = s->device.n_inputs = s->n_in + 1;
}

static inline void add_output(scene *s, int64_t cols, placing at, tsr_dtype dtype, bool selected)
{
    value *v = &s->out[s->n_out];
    s->bound = bound_of(s, selected);
    *v = make_value(s->bound, cols, at, dtype, selected, 1);
    s->host.out[s->n_out] = copy_operand(&v->host, s->bound);
    s->device.out[s->n_out++] = v->device;
}

static inline void add_weight(scene *s, matrix m, bool packed)
{
    matrix *w = &s->weight[s->n_weights];
    *w = m;
    s->host.weight[s->n_weights] = packed ? &w->packed : &w->raw;
    s->device.weight[s->n_weights++] = &w->device;
}

static inline void set_attrs(scene *s, tsr_attrs attrs)
{
    s->host.attrs = s->device.attrs = attrs;
}

static inline void free_scene(scene *s)
{
    for (int i = 0; i < s->n_in; i++) free_value(&s->in[i]);
    for (int i = 0; i < s->n_out; i++) free(s->host.out[i].data), free_value(&s->out[i]);
    for (int i = 0; i < s->n_weights; i++) free_matrix(&s->weight[i]);
    cudaFree(s->device.workspace);
    free_op_step(&s->step);
}

static inline void give_workspace(scene *s)
{
    tsr_cuda_call *c = &s->device;
    const tsr_cuda_step *step = &s->step.device;
    c->workspace_bytes =
        tsr_cuda_workspace_bytes(c, step->bound_tokens, step->bound_rows, step->n_processors);
    if (c->workspace_bytes) c->workspace = to_device(NULL, (size_t)c->workspace_bytes);
}

/* Runs both, compares every output, frees all. */
static inline void finish(scene *s, const char *what, double slackness)
{
    place_tables(&s->step);
    run_call(reference_kernels(), &s->host, &s->step.host, 1);
    give_workspace(s);
    if (tsr_cuda_kernels[s->device.op](&s->device, &s->step.device) != TSR_OK)
        fail_msg("%s", tsr_error_text());
    cuda_ok(cudaStreamSynchronize(stream));
    int64_t rows = tsr_rows_of(&s->host.out[0], &s->step.host);
    for (int i = 0; i < s->n_out; i++)
        check_value(what, &s->out[i], s->host.out[i].data, rows, s->bound,
                    slackness * tolerance_of(s->out[i].device.dtype));
    free_scene(s);
}

/* Rows behind each other without gaps; windows that stay aligned; rows that nothing aligns. */
static const placing placings[] = {{0, 0}, {8, 0}, {3, 0}, {16, 1}};
enum { PLACINGS = 4 };

static inline int set_up(void **state)
{
    (void)state;
    cuda_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    if (tsr_cuda_gemm_create(&gemm) != TSR_OK) fail_msg("%s", tsr_error_text());
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    tsr_cuda_gemm_destroy(&gemm);
    cuda_ok(cudaStreamDestroy(stream));
    return 0;
}

#endif
