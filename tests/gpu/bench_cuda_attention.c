/* bench_cuda_attention.c: how long op attention takes on this GPU, as the layers of a captured step: one after the other,
 * each with a cache of its own, together larger than the device's own cache memory. */
#include "support_attention.h"

#include "layers/cuda/kernels.h"

enum { MOST_LAYERS = 32, RUNS = 9 };

static uint64_t random_state = 88172645463325252u;

/* Random bf16 numbers between -2 and 2 */
static void *random_on_device(int64_t bytes)
{
    enum { BLOCK = 1 << 20 };
    static uint16_t block[BLOCK / 2];
    char *p = to_device(NULL, (size_t)bytes);
    for (int i = 0; i < BLOCK / 2; i++) {
        random_state ^= random_state << 13, random_state ^= random_state >> 7,
            random_state ^= random_state << 17;
        block[i] = (uint16_t)((random_state & 0x80FF) | (0x3E + (random_state >> 20 & 1)) << 8);
    }
    for (int64_t at = 0; at < bytes; at += BLOCK)
        cuda_ok(cudaMemcpy(p + at, block, (size_t)(bytes - at < BLOCK ? bytes - at : BLOCK),
                           cudaMemcpyHostToDevice));
    return p;
}

typedef struct bench {
    attention_step step;
    tsr_cuda_call call;
    tsr_cache_data cache[MOST_LAYERS];
    int layers;
} bench;

static attention_extras extras;

static void make_bench(bench *b, const attention_sizes *m, const sequence_spec *specs, int n, bool decode)
{
    make_attention_step(&b->step, m, specs, n, 0, decode, false);
    int64_t tokens = b->step.host.n_tokens, cols = (int64_t)(m->heads + 2 * m->kv_heads) * m->head_dim;
    int64_t cache = (int64_t)b->step.n_pages * TSR_PAGE_TOKENS * m->kv_heads * m->head_dim * 2;
    b->layers = (int)(((int64_t)256 << 20) / (2 * cache)) + 1;
    if (b->layers > MOST_LAYERS) b->layers = MOST_LAYERS;
    if (b->layers < 4) b->layers = 4;
    for (int i = 0; i < b->layers; i++)
        b->cache[i] = (tsr_cache_data){TSR_BF16,
                                       random_on_device(cache),
                                       random_on_device(cache),
                                       TSR_PAGE_TOKENS,
                                       m->kv_heads,
                                       m->head_dim,
                                       m->head_dim};
    char *qkv = random_on_device(tokens * cols * 2);
    int64_t nq = (int64_t)m->heads * m->head_dim, nk = (int64_t)m->kv_heads * m->head_dim;
    b->call = (tsr_cuda_call){.op = TSR_OP_ATTENTION, .n_inputs = 3, .cache = &b->cache[0]};
    b->call.in[0] = (tsr_cuda_operand){qkv, cols, nq, TSR_BF16, false};
    b->call.in[1] = (tsr_cuda_operand){qkv + nq * 2, cols, nk, TSR_BF16, false};
    b->call.in[2] = (tsr_cuda_operand){qkv + (nq + nk) * 2, cols, nk, TSR_BF16, false};
    b->call.out[0] = (tsr_cuda_operand){random_on_device(tokens * nq * 2), nq, nq, TSR_BF16, false};
    set_attention_attrs(&b->call.attrs, m);
    set_attention_extras(&b->call.attrs, m, &extras);
    b->call.workspace_bytes =
        tsr_cuda_attention_workspace_bytes(&b->call, tokens, tokens, b->step.device.n_processors);
    b->call.workspace = to_device(NULL, (size_t)b->call.workspace_bytes);
}

static void free_bench(bench *b)
{
    for (int i = 0; i < b->layers; i++) cudaFree(b->cache[i].k), cudaFree(b->cache[i].v);
    cudaFree(b->call.in[0].data), cudaFree(b->call.out[0].data), cudaFree(b->call.workspace);
    free_attention_step(&b->step);
}

static void enqueue_layers(bench *b)
{
    for (int i = 0; i < b->layers; i++) {
        b->call.cache = &b->cache[i];
        if (tsr_cuda_attention(&b->call, &b->step.device) != TSR_OK) fail_msg("%s", tsr_error_text());
    }
}

static int compare(const void *a, const void *b)
{
    float d = *(const float *)a - *(const float *)b;
    return (d > 0) - (d < 0);
}

/* Microseconds of one layer: the median of graph replays. */
static double time_layers(bench *b)
{
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t begin, end;
    float ms[RUNS];
    cuda_ok(cudaStreamCreate(&stream));
    cuda_ok(cudaEventCreate(&begin));
    cuda_ok(cudaEventCreate(&end));
    b->step.device.stream = stream;
    b->step.device.overlap = true;
    enqueue_layers(b);
    cuda_ok(cudaStreamSynchronize(stream));
    cuda_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    enqueue_layers(b);
    cuda_ok(cudaStreamEndCapture(stream, &graph));
    cuda_ok(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = -2; i < RUNS; i++) {
        cuda_ok(cudaEventRecord(begin, stream));
        cuda_ok(cudaGraphLaunch(exec, stream));
        cuda_ok(cudaEventRecord(end, stream));
        cuda_ok(cudaEventSynchronize(end));
        if (i >= 0) cuda_ok(cudaEventElapsedTime(&ms[i], begin, end));
    }
    qsort(ms, RUNS, sizeof *ms, compare);
    cudaGraphExecDestroy(exec), cudaGraphDestroy(graph);
    cudaEventDestroy(begin), cudaEventDestroy(end), cudaStreamDestroy(stream);
    return ms[RUNS / 2] * 1e3 / b->layers;
}

static void report(const attention_sizes *m, const sequence_spec *specs, int n, bool decode)
{
    static bench b;
    double keys = 0, pairs = 0;
    for (int i = 0; i < n; i++) {
        keys += specs[i].cached + specs[i].tokens;
        pairs += specs[i].tokens * (specs[i].cached + (specs[i].tokens + 1) / 2.0);
    }
    make_bench(&b, m, specs, n, decode);
    double us = time_layers(&b), bytes = keys * m->kv_heads * m->head_dim * 4;
    double flops = pairs * m->heads * m->head_dim * 4;
    printf("%3d sequences, %5d cached, %5d new, heads %2d/%-2d x %3d: %9.2f us, %7.1f GB/s, %6.1f TFLOP/s\n",
           n, specs[0].cached, specs[0].tokens, m->heads, m->kv_heads, m->head_dim, us, bytes / us / 1e3,
           flops / us / 1e6);
    fflush(stdout);
    free_bench(&b);
}

/* With an argument: with biases. */
int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) extras = (attention_extras){.alibi = 1, .alibi_max = 8};
    static const attention_sizes shapes[] = {{32, 32, 128, 128, 1, 0, 0, 0, 128, TSR_ROPE_HALF},
                                             {32, 8, 128, 128, 4, 0, 0, 0, 128, TSR_ROPE_HALF},
                                             {32, 8, 64, 64, 4, 0, 0, 0, 64, TSR_ROPE_HALF}};
    static const struct {
        int n, cached;
    } decodes[] = {{1, 128}, {1, 512}, {1, 4096}, {1, 32768}, {16, 512}, {64, 1024}};
    static const sequence_spec prompts[] = {{0, 2048}, {0, 8192}, {8192, 512}};
    static sequence_spec specs[64];
    need_gpus(1);
    for (int m = 0; m < 3; m++) {
        for (int i = 0; i < 6; i++) {
            for (int j = 0; j < decodes[i].n; j++) specs[j] = (sequence_spec){decodes[i].cached - 1, 1};
            report(&shapes[m], specs, decodes[i].n, true);
        }
        for (int i = 0; i < 3; i++) report(&shapes[m], &prompts[i], 1, false);
        for (int j = 0; j < 17; j++) specs[j] = j ? (sequence_spec){1023, 1} : (sequence_spec){1024, 496};
        report(&shapes[m], specs, 17, false);
    }
    return 0;
}
