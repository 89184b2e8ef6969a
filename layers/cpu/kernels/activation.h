/* activation.h: the activations of layers/ops.h on a vector; `kind` is a constant where it is called. */
#ifndef TSR_LAYERS_CPU_KERNELS_ACTIVATION_H
#define TSR_LAYERS_CPU_KERNELS_ACTIVATION_H

#include "layers/cpu/kernels/vmath.h"
#include "layers/ops.h"

/* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2; (1 + tanh y) / 2 is the logistic function of 2y */
TSR_INLINE vf v_gelu_tanh(vf x)
{
    const float twice_root = 1.59576912f; /* 2 sqrt(2 / pi) */
    return x * v_sigmoid(twice_root * x * v_fma(x * x, v_set1(0.044715f), v_set1(1.0f)));
}

TSR_INLINE vf v_relu(vf x)
{
    return v_if(x < 0.0f, v_set1(0.0f), x);
}

TSR_INLINE vf v_activation(tsr_activation kind, vf x)
{
    switch (kind) {
    case TSR_ACT_GELU:
        return x * v_normal_cdf(x);
    case TSR_ACT_GELU_TANH:
        return v_gelu_tanh(x);
    case TSR_ACT_QUICK_GELU:
        return x * v_sigmoid(1.702f * x);
    case TSR_ACT_SILU:
        return x * v_sigmoid(x);
    case TSR_ACT_RELU:
        return v_relu(x);
    case TSR_ACT_TANH:
        return v_tanh(x);
    case TSR_ACT_SIGMOID:
        return v_sigmoid(x);
    case TSR_ACT_RELU2:
        return v_relu(x) * v_relu(x);
    default:
        return x;
    }
}

#endif
