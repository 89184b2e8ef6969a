/* libraries.h: cuBLASLt and NCCL, opened when the first GPU is used.
 *
 * Both are hundreds of megabytes; linking them would cost every start of the program, also on a CPU, and would tie it
 * to machines that have them. A call is written tsr_cublaslt->cublasLtMatmul(...), with the type its header gives it.
 * Process-wide, thread-safe, never closed. TSR_ERR_DEVICE names the library and the loader's own words.
 */
#ifndef TSR_LAYERS_CUDA_LIBRARIES_H
#define TSR_LAYERS_CUDA_LIBRARIES_H

#include "base/status.h"

#include <cublasLt.h>
#include <nccl.h>

#define TSR_CUBLASLT_FUNCTIONS(X)                                                                            \
    X(cublasLtCreate)                                                                                        \
    X(cublasLtDestroy)                                                                                       \
    X(cublasLtGetVersion)                                                                                    \
    X(cublasLtMatmul)                                                                                        \
    X(cublasLtMatmulAlgoGetHeuristic)                                                                        \
    X(cublasLtMatmulDescCreate)                                                                              \
    X(cublasLtMatmulDescDestroy)                                                                             \
    X(cublasLtMatmulDescSetAttribute)                                                                        \
    X(cublasLtMatmulPreferenceCreate)                                                                        \
    X(cublasLtMatmulPreferenceDestroy)                                                                       \
    X(cublasLtMatmulPreferenceSetAttribute)                                                                  \
    X(cublasLtMatrixLayoutCreate)                                                                            \
    X(cublasLtMatrixLayoutDestroy)                                                                           \
    X(cublasLtMatrixLayoutSetAttribute)

#define TSR_NCCL_FUNCTIONS(X)                                                                                \
    X(ncclGetVersion)                                                                                        \
    X(ncclGetUniqueId)                                                                                       \
    X(ncclCommInitRankConfig)                                                                                \
    X(ncclCommGetAsyncError)                                                                                 \
    X(ncclCommAbort)                                                                                         \
    X(ncclCommFinalize)                                                                                      \
    X(ncclCommDestroy)                                                                                       \
    X(ncclGetErrorString)                                                                                    \
    X(ncclGetLastError)                                                                                      \
    X(ncclAllReduce)                                                                                         \
    X(ncclGroupStart)                                                                                        \
    X(ncclGroupEnd)

#define TSR_LIBRARY_MEMBER(name) __typeof__(&name) name;
typedef struct tsr_cublaslt_functions {
    TSR_CUBLASLT_FUNCTIONS(TSR_LIBRARY_MEMBER)
} tsr_cublaslt_functions;
typedef struct tsr_nccl_functions {
    TSR_NCCL_FUNCTIONS(TSR_LIBRARY_MEMBER)
} tsr_nccl_functions;
#undef TSR_LIBRARY_MEMBER

#ifdef __cplusplus
extern "C" {
#endif
extern const tsr_cublaslt_functions *tsr_cublaslt; /* NULL until opened */
extern const tsr_nccl_functions *tsr_nccl;
tsr_status tsr_cublaslt_open(void);
tsr_status tsr_nccl_open(void);
#ifdef __cplusplus
}
#endif

#endif
