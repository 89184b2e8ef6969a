/* bench_cuda_linear.c: what the products of a Llama-2-7B layer take on this GPU, by our kernels and by cuBLASLt, bf16, random
 * numbers, in captured steps of many calls whose weights together are far larger than the device's cache memory; then whole
 * layers, with their norms and with one in the place of attention.
 *
 *   bench_cuda_linear [MOST_ROWS]
 */
#include "support_gpu.h"

#include "layers/cuda/fill.h"
#include "layers/cuda/gemm.h"
#include "layers/cuda/kernels.h"

enum { RUNS = 7, MOST_CALLS = 512, LAYERS = 6 };
static const int64_t TOTAL_BYTES = (int64_t)1 << 30;

static cudaStream_t stream;
static tsr_cuda_gemm *gemm;
static tsr_cuda_step step;

static void ok(tsr_status s)
{
    if (s == TSR_OK) return;
    fprintf(stderr, "%s\n", tsr_error_text());
    exit(1);
}

static void good(cudaError_t e)
{
    ok(tsr_cuda_check(e, "the benchmark"));
}

static void *filled(int64_t elements, uint64_t seed)
{
    void *p;
    good(cudaMalloc(&p, (size_t)elements * 2 + 256));
    ok(tsr_cuda_random_fill(p, TSR_BF16, 0, elements, seed, 1, stream));
    return p;
}

/* One call of a program: by our choice of kernels, or by the library whatever the rows. */
typedef struct entry {
    tsr_cuda_call call;
    tsr_cuda_weight weight;
    bool library;
} entry;

static void enqueue(const entry *e)
{
    const tsr_cuda_call *c = &e->call;
    if (!e->library) {
        ok(tsr_cuda_kernels[c->op](c, &step));
        return;
    }
    tsr_cuda_gemm_shape shape = {step.bound_tokens, c->out[0].cols, e->weight.cols, c->in[0].ld,
                                 c->out[0].ld,      TSR_BF16,       c->out[0].dtype};
    bool done;
    ok(tsr_cuda_gemm_run(gemm, &shape, c->in[0].data, e->weight.data, c->out[0].data, stream, &done));
    if (!done) fprintf(stderr, "the library has no way for this shape\n");
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Microseconds of one replay, the median of RUNS. */
static double time_program(entry *program, int n)
{
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    cudaEvent_t begin, end;
    float ms[RUNS];
    for (int i = 0; i < n; i++) program[i].call.weight[0] = &program[i].weight;
    enqueue(&program[0]); /* chooses the library's algorithms */
    for (int i = 1; i < n && program[0].library; i++) enqueue(&program[i]);
    good(cudaStreamSynchronize(stream));
    good(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < n; i++) enqueue(&program[i]);
    good(cudaStreamEndCapture(stream, &graph));
    good(cudaGraphInstantiate(&executable, graph, 0));
    good(cudaEventCreate(&begin));
    good(cudaEventCreate(&end));
    good(cudaGraphLaunch(executable, stream));
    for (int i = 0; i < RUNS; i++) {
        good(cudaEventRecord(begin, stream));
        good(cudaGraphLaunch(executable, stream));
        good(cudaEventRecord(end, stream));
        good(cudaEventSynchronize(end));
        good(cudaEventElapsedTime(&ms[i], begin, end));
    }
    qsort(ms, RUNS, sizeof *ms, ascending);
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    return ms[RUNS / 2] * 1000.0;
}

typedef struct shape {
    const char *name;
    tsr_op op;
    int64_t w_rows, w_cols;
    bool wide; /* float32 out */
} shape;

static const shape shapes[] = {
    {"qkv", TSR_OP_LINEAR, 12288, 4096, false},     {"o", TSR_OP_LINEAR, 4096, 4096, false},
    {"gate_up", TSR_OP_LINEAR, 22016, 4096, false}, {"gated", TSR_OP_GATED_LINEAR, 22016, 4096, false},
    {"down", TSR_OP_LINEAR, 4096, 11008, false},    {"head", TSR_OP_LINEAR, 32000, 4096, true},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], MOST_COLS = 32000, MOST_ROWS = 2048 };

static void *x, *out, *hidden, *workspace;
static int64_t workspace_bytes;

static entry entry_of(const shape *s, const void *weight, bool library)
{
    int64_t cols = s->op == TSR_OP_GATED_LINEAR ? s->w_rows / 2 : s->w_rows;
    entry e = {.library = library, .weight = {TSR_BF16, s->w_rows, s->w_cols, weight}};
    e.call = (tsr_cuda_call){
        .op = s->op, .n_inputs = 1, .gemm = gemm, .workspace = workspace, .workspace_bytes = workspace_bytes};
    e.call.attrs.act.kind = TSR_ACT_SILU;
    e.call.in[0] = (tsr_cuda_operand){x, s->w_cols, s->w_cols, TSR_BF16, false};
    e.call.out[0] = (tsr_cuda_operand){out, cols, cols, s->wide ? TSR_F32 : TSR_BF16, false};
    return e;
}

static void bench_shape(const shape *s, const void *weights, int most_rows)
{
    static const int32_t rows[] = {1, 2, 4, 8, 16, 32, 64, 512, 2048};
    static entry program[MOST_CALLS];
    int64_t elements = s->w_rows * s->w_cols, copies = TOTAL_BYTES / (2 * elements);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i] > most_rows) break;
        double us[2];
        int n = rows[i] > 64 ? 6 : (int)(2 * copies);
        step.bound_tokens = step.bound_rows = rows[i];
        for (int library = 0; library < 2; library++) {
            for (int k = 0; k < n; k++)
                program[k] = entry_of(s, (const uint16_t *)weights + k % copies * elements, library);
            us[library] = library && s->op != TSR_OP_LINEAR ? 0 : time_program(program, n) / n;
        }
        double bytes = 2.0 * (double)elements, flops = 2.0 * rows[i] * (double)elements;
        printf("%-8s %5d x %5d %4d %9.2f %6.2f %7.1f", s->name, (int)s->w_rows, (int)s->w_cols, rows[i],
               us[0], bytes / us[0] / 1e6, flops / us[0] / 1e6);
        if (us[1] > 0) printf(" %9.2f %6.2f %7.1f", us[1], bytes / us[1] / 1e6, flops / us[1] / 1e6);
        printf("\n");
        fflush(stdout);
    }
}

static tsr_cuda_weight norm_weight;

static entry norm_of(void *sum, void *added, void *to)
{
    enum { HIDDEN = 4096 };
    entry e = {.weight = norm_weight};
    e.call = (tsr_cuda_call){.op = TSR_OP_ADD_NORM, .n_inputs = 2};
    e.call.attrs.norm.kind = TSR_NORM_RMS;
    e.call.attrs.norm.eps = 1e-5f;
    e.call.in[0] = e.call.out[1] = (tsr_cuda_operand){sum, HIDDEN, HIDDEN, TSR_BF16, false};
    e.call.in[1] = (tsr_cuda_operand){added, HIDDEN, HIDDEN, TSR_BF16, false};
    e.call.out[0] = (tsr_cuda_operand){to, HIDDEN, HIDDEN, TSR_BF16, false};
    return e;
}

/* LAYERS layers one after the other; returns the number of calls. The library's are without the gate. */
static int layers_of(entry *program, const uint16_t *at, bool library)
{
    const int order[] = {0, 1, library ? 2 : 3, 4}; /* of shapes */
    int n = 0;
    for (int i = 0; i < 4 * LAYERS; i++) {
        const shape *s = &shapes[order[i % 4]];
        program[n++] = entry_of(s, at, library);
        at += s->w_rows * s->w_cols;
        if (i % 4 != 2) program[n++] = norm_of(hidden, out, x);
    }
    return n;
}

static void bench_layers(const void *weights, int64_t layer_elements)
{
    static entry program[7 * LAYERS];
    printf("%-8s %4s %8s %18s %18s\n", "", "rows", "", "us a layer, TB/s", "without overlap");
    for (int32_t rows = 1; rows <= 32; rows *= 2)
        for (int library = 0; library < (rows > 1 ? 2 : 1); library++) {
            double us[2];
            step.bound_tokens = step.bound_rows = rows;
            for (int overlap = 0; overlap < 2; overlap++) {
                step.overlap = overlap;
                us[overlap] = time_program(program, layers_of(program, weights, library)) / LAYERS;
            }
            printf("%-8s %4d %8s %9.2f %8.2f %9.2f %8.2f\n", "layer", rows, library ? "library" : "ours",
                   us[1], 2.0 * (double)layer_elements / us[1] / 1e6, us[0],
                   2.0 * (double)layer_elements / us[0] / 1e6);
        }
    step.overlap = true;
}

int main(int argc, char **argv)
{
    need_gpus(1);
    int processors;
    good(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    good(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
    ok(tsr_cuda_gemm_create(&gemm));
    step = (tsr_cuda_step){.stream = stream, .overlap = true, .n_processors = processors};
    int64_t layer_elements = 0, elements = TOTAL_BYTES / 2;
    for (int i = 0; i < SHAPES; i++)
        layer_elements += i == 2 || i == 5 ? 0 : shapes[i].w_rows * shapes[i].w_cols;
    if (elements < LAYERS * layer_elements) elements = LAYERS * layer_elements;
    void *weights = filled(elements, 1);
    x = filled((int64_t)MOST_ROWS * 11008, 2);
    out = filled((int64_t)MOST_ROWS * MOST_COLS * 2, 3);
    workspace_bytes = (int64_t)MOST_ROWS * 22016 * 2;
    workspace = filled(workspace_bytes / 2, 4);
    hidden = filled((int64_t)MOST_ROWS * 4096, 5);
    norm_weight = (tsr_cuda_weight){TSR_F32, 4096, 1, filled(4096 * 2, 6)};
    bench_layers(weights, layer_elements);
    printf("%-8s %13s %4s %9s %6s %7s %9s %6s %7s\n", "", "W", "rows", "ours: us", "TB/s", "TFLOP/s",
           "library: us", "TB/s", "TFLOP/s");
    for (int i = 0; i < SHAPES; i++) bench_shape(&shapes[i], weights, argc > 1 ? atoi(argv[1]) : MOST_ROWS);
    return 0;
}
