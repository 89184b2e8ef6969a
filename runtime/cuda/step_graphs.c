/* step_graphs.c: buckets, capture, replay. */
#include "runtime/cuda/step_graphs.h"
#include "base/memory.h"
#include "layers/cuda/cuda_kernel.h"

struct tsr_step_graphs {
    cudaGraphExec_t graph[TSR_GRAPH_MOST + 1]; /* by bound; NULL: not captured yet */
    bool warm[TSR_GRAPH_MOST + 1];             /* has run once */
};

tsr_status tsr_step_graphs_create(tsr_step_graphs **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_step_graphs), "the step graphs", &p));
    *out = p;
    return TSR_OK;
}

void tsr_step_graphs_destroy(tsr_step_graphs **graphs)
{
    if (!*graphs) return;
    for (int i = 0; i <= TSR_GRAPH_MOST; i++)
        if ((*graphs)->graph[i]) cudaGraphExecDestroy((*graphs)->graph[i]);
    tsr_free(*graphs);
    *graphs = NULL;
}

/* Few sizes, each at most a quarter above the last: rows beyond the true ones cost little, graphs cost memory. */
int32_t tsr_step_graphs_bound(int32_t n)
{
    static const struct {
        int32_t most, unit;
    } ranges[] = {{8, 1}, {32, 4}, {64, 8}, {128, 16}, {256, 32}, {TSR_GRAPH_MOST, 64}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (n <= ranges[i].most) return (n + ranges[i].unit - 1) / ranges[i].unit * ranges[i].unit;
    return 0;
}

static tsr_status capture(tsr_step_graphs *g, int32_t bound, cudaStream_t stream,
                          tsr_status (*enqueue)(void *ctx, int32_t bound), void *ctx)
{
    cudaGraph_t graph = NULL;
    TSR_TRY(
        tsr_cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a step"));
    tsr_status s = enqueue(ctx, bound);
    cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    if (s == TSR_OK) s = tsr_cuda_check(ended, "capturing a step");
    if (s == TSR_OK)
        s = tsr_cuda_check(cudaGraphInstantiate(&g->graph[bound], graph, 0), "making a step graph");
    if (graph) cudaGraphDestroy(graph);
    return s;
}

tsr_status tsr_step_graphs_run(tsr_step_graphs *g, int32_t bound, cudaStream_t stream,
                               tsr_status (*enqueue)(void *ctx, int32_t bound), void *ctx)
{
    if (!g->warm[bound]) {
        g->warm[bound] = true;
        return enqueue(ctx, bound);
    }
    if (!g->graph[bound]) TSR_TRY(capture(g, bound, stream, enqueue, ctx));
    return tsr_cuda_check(cudaGraphLaunch(g->graph[bound], stream), "launching a step");
}
