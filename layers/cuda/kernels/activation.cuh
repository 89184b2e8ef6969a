/* activation.cuh: the activations of layers/ops.h on one number, by the formulas of layers/cpu/kernels/activation.h. */
#ifndef TSR_LAYERS_CUDA_KERNELS_ACTIVATION_CUH
#define TSR_LAYERS_CUDA_KERNELS_ACTIVATION_CUH

#include "layers/cuda/device.cuh"

static __device__ __forceinline__ float tsr_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static __device__ __forceinline__ float tsr_activate(tsr_activation kind, float x)
{
    switch (kind) {
    case TSR_ACT_GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case TSR_ACT_GELU_TANH: /* (1 + tanh y) / 2 is the logistic function of 2y */
        return x * tsr_sigmoid(1.59576912f * x * fmaf(0.044715f * x, x, 1.0f));
    case TSR_ACT_QUICK_GELU:
        return x * tsr_sigmoid(1.702f * x);
    case TSR_ACT_SILU:
        return x * tsr_sigmoid(x);
    case TSR_ACT_RELU:
        return x < 0 ? 0 : x;
    case TSR_ACT_TANH:
        return tanhf(x);
    case TSR_ACT_SIGMOID:
        return tsr_sigmoid(x);
    case TSR_ACT_RELU2:
        return x < 0 ? 0 : x * x;
    default:
        return x;
    }
}

#endif
