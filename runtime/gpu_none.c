/* gpu_none.c: gpu.h in a build without CUDA. */
#include "runtime/gpu.h"

#if !TSR_HAVE_CUDA

#include <string.h>

tsr_status tsr_gpu_open(tsr_world *world, const char *device, tsr_gpu **out)
{
    (void)world;
    *out = NULL;
    if (strcmp(device, "auto") == 0 || strcmp(device, "cpu") == 0) return TSR_OK;
    if (strcmp(device, "cuda") == 0)
        return tsr_fail(TSR_ERR_USAGE, "device cuda: this program was built without CUDA");
    return tsr_fail(TSR_ERR_USAGE, "device must be auto, cpu or cuda, found \"%s\"", device);
}

void tsr_gpu_close(tsr_gpu **gpu)
{
    *gpu = NULL;
}

tsr_status tsr_gpu_connect(tsr_gpu *gpu, tsr_world *world, int64_t max_tokens, int64_t cols,
                           double deadline_seconds)
{
    (void)gpu, (void)world, (void)max_tokens, (void)cols, (void)deadline_seconds;
    return tsr_fail(TSR_ERR_INTERNAL, "there is no GPU to connect");
}

tsr_gpu_info tsr_gpu_get_info(const tsr_gpu *gpu)
{
    (void)gpu;
    return (tsr_gpu_info){0};
}

tsr_status tsr_gpu_bandwidth(tsr_gpu *gpu, double *out)
{
    (void)gpu, (void)out;
    return tsr_fail(TSR_ERR_INTERNAL, "there is no GPU to measure");
}

tsr_status tsr_gpu_measure(const tsr_gpu *gpu, const tsr_model *local, const tsr_executor_options *options,
                           tsr_executor_sizes *out)
{
    (void)gpu, (void)local, (void)options, (void)out;
    return tsr_fail(TSR_ERR_INTERNAL, "there is no GPU to measure");
}

#endif
