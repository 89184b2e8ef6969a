/* device_choose.c: one GPU for each rank, and never one for two, unless a test asks for it. */
#include "base/memory.h"
#include "parallel/cuda/comm_cuda_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rank_gpu {
    char host[64];
    char uuid[sizeof(cudaUUID_t)]; /* of the GPU this rank would take */
    int32_t visible, local_size;
    bool shares; /* it may be another rank's too */
} rank_gpu;

static bool may_share(void)
{
    const char *value = getenv("TESSERA_SHARE_GPUS");
    return value && strcmp(value, "1") == 0;
}

/* Where ranks see the same GPUs, each has its own number; where each is shown its own, any will do. */
static tsr_status wish(const tsr_world *world, int *device, rank_gpu *own)
{
    int n = 0;
    cudaError_t error = cudaGetDeviceCount(&n);
    if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver ||
        (error == cudaSuccess && n == 0))
        return tsr_fail(TSR_ERR_DEVICE, "%s: no GPU to be seen (%s)", world->hostname,
                        error == cudaSuccess ? "none visible" : cudaGetErrorString(error));
    TSR_TRY(tsr_cuda_check(error, "GPUs of this node"));
    struct cudaDeviceProp p;
    *device = world->local_rank % n;
    TSR_TRY(tsr_cuda_check(cudaGetDeviceProperties(&p, *device), "properties of a GPU"));
    *own = (rank_gpu){.visible = n, .local_size = world->local_size, .shares = may_share()};
    snprintf(own->host, sizeof own->host, "%.63s", world->hostname);
    memcpy(own->uuid, &p.uuid, sizeof own->uuid);
    return TSR_OK;
}

static tsr_status refuse_sharing(const rank_gpu *all, int n)
{
    for (int q = 0; q < n; q++)
        for (int p = 0; p < q; p++)
            if (!memcmp(all[p].uuid, all[q].uuid, sizeof all[p].uuid) && !(all[p].shares && all[q].shares))
                return tsr_fail(
                    TSR_ERR_LAUNCH,
                    "%s: %d ranks see %d GPU%s; ranks %d and %d would share one: start one rank for "
                    "each GPU",
                    all[q].host, all[q].local_size, all[q].visible, all[q].visible > 1 ? "s" : "", p, q);
    return TSR_OK;
}

tsr_status tsr_cuda_device_choose(tsr_world *world, int *device)
{
    rank_gpu own = {.visible = 0};
    void *all;
    *device = 0;
    TSR_TRY(tsr_world_agree(world, wish(world, device, &own)));
    TSR_TRY(tsr_calloc(world->size, sizeof own, "the ranks' GPUs", &all));
    tsr_status status = tsr_world_all_gather(world, &own, sizeof own, all);
    if (status == TSR_OK) status = refuse_sharing(all, world->size);
    tsr_free(all);
    return status;
}
