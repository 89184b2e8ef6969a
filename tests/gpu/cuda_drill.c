/* cuda_drill.c: a job on GPUs that goes wrong on purpose, for tests/parallel_drill.sh to watch from outside.
 *
 *   cuda_drill lost | late | fine  [ipc|nccl]
 */
#include "support_comm.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { N = 40000, SUMS = 60, STEPS = 50 };

static void on_term(int signal)
{
    (void)signal;
    tsr_world_request_stop();
}

/* Steps of a job, as graphs are: many sums enqueued, then a wait. In step 3 the last rank dies or sleeps. */
static tsr_status work(rank_gpu_setup *s, tsr_cuda_comm *comm, void *data, const char *what)
{
    for (int step = 0; step < STEPS; step++) {
        if (step == 3 && s->rank == s->size - 1) {
            if (!strcmp(what, "lost")) raise(SIGKILL);
            if (!strcmp(what, "late")) sleep(12);
        }
        for (int i = 0; i < SUMS; i++) TSR_TRY(call_all_reduce(s, comm, data, TSR_F32, i % 2 ? N : 16 * N));
        TSR_TRY(wait_all(s, comm));
    }
    return TSR_OK;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    tsr_cuda_comm_options o = {.deadline_seconds = 2, .kind = argc > 2 ? argv[2] : NULL};
    rank_gpu_setup s = {0};
    tsr_cuda_comm *comm;
    void *data;
    int gpus = 0;
    if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus < 2) {
        printf("SKIPPED: this drill needs 2 GPUs, found %d\n", gpus);
        return 77;
    }
    signal(SIGTERM, on_term);
    begin_rank(&s);
    must(&s, tsr_cuda_comm_create(s.world, &o, &comm));
    must_cuda(&s, cudaMalloc(&data, 16 * N * sizeof(float)), "a vector");
    must_cuda(&s, cudaMemset(data, 0, 16 * N * sizeof(float)), "a vector");
    must_cuda(&s, cudaDeviceSynchronize(), "a vector");
    must(&s, work(&s, comm, data, what));
    cudaFree(data);
    tsr_cuda_comm_destroy(&comm);
    printf("rank %d of %d is fine\n", s.rank, s.size);
    end_rank(&s);
    return 0;
}
