/* executor_backend.h: what a kind of device gives executor.c: one row of functions, with executor.h's meanings. */
#ifndef TSR_RUNTIME_EXECUTOR_BACKEND_H
#define TSR_RUNTIME_EXECUTOR_BACKEND_H

#include "runtime/executor.h"

typedef struct tsr_executor_backend {
    tsr_status (*create)(const tsr_model *local, const tsr_executor_options *options, void **out);
    void (*destroy)(void *executor);
    tsr_status (*run)(void *executor, const tsr_step *step);
    const float *(*output)(const void *executor, int64_t *ld, int64_t *cols);
    /* NULL on devices that leave the choice of tokens to the host. */
    bool (*samples)(const void *executor, const tsr_sample_row *rows, int32_t n_rows);
    tsr_status (*start)(void *executor, const tsr_step *step, const tsr_sample_row *rows);
    tsr_status (*finish)(void *executor, tsr_sample_result *results);
    tsr_executor_sizes (*sizes)(const void *executor);
    const tsr_profile *(*profile)(const void *executor);
    void (*reset_profile)(void *executor);
} tsr_executor_backend;

extern const tsr_executor_backend tsr_executor_cpu;
#if TSR_HAVE_CUDA
extern const tsr_executor_backend tsr_executor_cuda;
#endif

/* The cache of a rank: one block; for each layer its keys, then its values (layers/kernel.h). */
tsr_status tsr_cache_bytes(const tsr_model *local, tsr_dtype dtype, int64_t n_pages, int64_t *out);
/* layers: [n_cache_layers]. */
void tsr_cache_lay_out(const tsr_model *local, tsr_dtype dtype, int64_t n_pages, void *block,
                       tsr_cache_data *layers);

#endif
