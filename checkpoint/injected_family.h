/* injected_family.h: how a family of models calls and stores what injected layers hold. Private to injected*.c. */
#ifndef TSR_CHECKPOINT_INJECTED_FAMILY_H
#define TSR_CHECKPOINT_INJECTED_FAMILY_H

#include "checkpoint/injected.h"

/* How a family stores q, k and v. */
typedef enum tsr_injected_qkv {
    TSR_QKV_APART,    /* three tensors */
    TSR_QKV_TOGETHER, /* one of [q | k | v] */
    TSR_QKV_BY_HEAD,  /* one of q, k and v of each head in turn; injected as [q | k | v] */
    TSR_QKV_KEPT      /* as before, and injected so too */
} tsr_injected_qkv;

struct tsr_injected_family {
    const char *model_type;
    tsr_injected_qkv layout;
    const char *qkv[3], *attention_out;
    const char *inter[2]; /* up and gate, or one */
    const char *mlp_out, *attention_norm, *mlp_norm;
    bool in_out;           /* matrices are stored [in, out] */
    bool plain_norms;      /* neither norms nor MLP have a bias */
    int64_t default_heads; /* where the config says none and the layout depends on it */
    const char *embedding, *head;
};

#endif
