/* bench_cuda_comm.c: what a sum over GPUs costs, to run by hand: mpirun -n N bench_cuda_comm
 *
 * Microseconds of one sum of bfloat16 vectors, median of several runs of many sums one after another: enqueued one by
 * one, and replayed as a graph whose kernels overlap as those of a step do. Columns: NCCL; our kernels, by the names of
 * layers/cuda/kernels/reduce_peers.h; "+norm": with residual and norm in the same kernel (rows of 4096); numbers: blocks
 * of a row, or of a processor that send. */
#include "support_comm.h"

#include <stdio.h>
#include <string.h>

enum { CALLS = 20, ROUNDS = 9, COLS = 4096, MOST = 32 << 20 };

static rank_gpu_setup gpu;
static char *memory[4];
static tsr_cuda_weight weight;
static cudaEvent_t from, to;

typedef struct contender {
    const char *name;
    tsr_cuda_comm_options options;
    bool norm;
    int64_t most; /* bytes */
    tsr_cuda_comm *comm;
} contender;

static void enqueue(const contender *c, int64_t bytes)
{
    norm_call call = {.x = memory[0],
                      .residual = memory[1],
                      .sum = memory[1],
                      .normed = memory[2],
                      .w = &weight,
                      .dtype = TSR_BF16,
                      .rows = bytes / (2 * COLS),
                      .cols = COLS,
                      .ld = COLS,
                      .kind = TSR_NORM_RMS};
    if (c->norm && call.rows == 0) call.rows = 1, call.cols = call.ld = bytes / 2;
    must(&gpu, c->norm ? call_reduce_add_norm(&gpu, c->comm, &call)
                       : call_all_reduce(&gpu, c->comm, memory[0], TSR_BF16, bytes / 2));
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Microseconds of one call. */
static double time_runs(const contender *c, int64_t bytes, cudaGraphExec_t graph, int runs)
{
    double us[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        float ms;
        must(&gpu, tsr_world_barrier(gpu.world));
        for (int i = -2; i < runs; i++) { /* two runs to get into step */
            if (i == 0) must_cuda(&gpu, cudaEventRecord(from, gpu.step.stream), "an event");
            if (graph) must_cuda(&gpu, cudaGraphLaunch(graph, gpu.step.stream), "a graph");
            for (int k = 0; k < CALLS && !graph; k++) enqueue(c, bytes);
        }
        must_cuda(&gpu, cudaEventRecord(to, gpu.step.stream), "an event");
        must(&gpu, wait_all(&gpu, c->comm));
        must_cuda(&gpu, cudaEventElapsedTime(&ms, from, to), "a time");
        us[r] = ms * 1e3 / (runs * CALLS);
    }
    qsort(us, ROUNDS, sizeof *us, compare);
    return us[ROUNDS / 2];
}

static double time_graph(const contender *c, int64_t bytes, int runs)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    gpu.step.overlap = true;
    must_cuda(&gpu, cudaStreamBeginCapture(gpu.step.stream, cudaStreamCaptureModeThreadLocal), "a graph");
    for (int k = 0; k < CALLS; k++) enqueue(c, bytes);
    must_cuda(&gpu, cudaStreamEndCapture(gpu.step.stream, &graph), "a graph");
    must_cuda(&gpu, cudaGraphInstantiate(&exec, graph, 0), "a graph");
    double us = time_runs(c, bytes, exec, runs);
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    gpu.step.overlap = false;
    return us;
}

static void time_all(contender *all, int n, bool graphs)
{
    if (gpu.rank == 0) {
        printf("%s, us\n%10s", graphs ? "in a graph" : "one by one", "bytes");
        for (int i = 0; i < n; i++) printf(" %14s", all[i].name);
        printf("\n");
    }
    for (int64_t bytes = 4096; bytes <= MOST; bytes *= 2) {
        int runs = bytes <= 1 << 20 ? 20 : 4;
        if (gpu.rank == 0) printf("%10lld", (long long)bytes);
        for (int i = 0; i < n; i++) {
            double us = bytes > all[i].most ? 0
                        : graphs            ? time_graph(&all[i], bytes, runs)
                                            : time_runs(&all[i], bytes, NULL, runs);
            if (gpu.rank == 0) printf(" %14.2f", us);
        }
        if (gpu.rank == 0) printf("\n"), fflush(stdout);
    }
}

int main(void)
{
    contender all[] = {
        {"nccl", {.kind = "nccl"}, false, MOST, NULL},
        {"push", {.kind = "ipc", .push_bytes = 2 << 20}, false, 2 << 20, NULL},
        {"direct", {.kind = "ipc", .push_bytes = 256}, false, MOST, NULL},
        {"two_shot", {.kind = "ipc", .push_bytes = 256, .two_trips = true}, false, MOST, NULL},
        {"push+norm", {.kind = "ipc", .push_bytes = 2 << 20}, true, 2 << 20, NULL},
        {"direct+norm", {.kind = "ipc", .push_bytes = 256}, true, MOST, NULL},
        {"two_shot+norm", {.kind = "ipc", .push_bytes = 256, .two_trips = true}, true, MOST, NULL},
        {"push+norm, 1", {.kind = "ipc", .push_bytes = 2 << 20, .blocks_per_row = 1}, true, 2 << 20, NULL},
        {"push+norm, 2", {.kind = "ipc", .push_bytes = 2 << 20, .blocks_per_row = 2}, true, 2 << 20, NULL},
        {"direct, 2", {.kind = "ipc", .push_bytes = 256, .senders_per_processor = 2}, false, MOST, NULL},
        {"direct+norm, 2", {.kind = "ipc", .push_bytes = 256, .senders_per_processor = 2}, true, MOST, NULL},
        {"direct+norm, 3", {.kind = "ipc", .push_bytes = 256, .senders_per_processor = 3}, true, MOST, NULL},
        {"chosen+norm", {.kind = "ipc"}, true, MOST, NULL},
    };
    int n = sizeof all / sizeof *all;
    begin_rank(&gpu);
    if (gpu.size == 1) {
        printf("a sum over one GPU costs nothing: mpirun -n 2 bench_cuda_comm\n");
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        must_cuda(&gpu, cudaMalloc((void **)&memory[i], MOST), "vectors");
        must_cuda(&gpu, cudaMemset(memory[i], 0, MOST), "vectors");
    }
    weight = (tsr_cuda_weight){TSR_F32, COLS, 1, memory[3]};
    must_cuda(&gpu, cudaEventCreate(&from), "an event");
    must_cuda(&gpu, cudaEventCreate(&to), "an event");
    must_cuda(&gpu, cudaDeviceSynchronize(), "vectors");
    for (int i = 0; i < n; i++) {
        all[i].options.max_bytes = MOST;
        must(&gpu, tsr_cuda_comm_create(gpu.world, &all[i].options, &all[i].comm));
    }
    time_all(all, n, true);
    time_all(all, 7, false);
    for (int i = 0; i < n; i++) tsr_cuda_comm_destroy(&all[i].comm);
    end_rank(&gpu);
    return 0;
}
