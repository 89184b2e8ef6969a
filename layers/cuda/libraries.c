/* libraries.c: finding the functions of cuBLASLt and NCCL by name. */
#include "layers/cuda/libraries.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

const tsr_cublaslt_functions *tsr_cublaslt;
const tsr_nccl_functions *tsr_nccl;

typedef struct symbol {
    const char *name;
    void **at;
} symbol;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The names a library may have, best first: beside the program, on the loader's path, in the toolkit's folder. */
static tsr_status open_library(const char *const *names, const symbol *symbols, size_t n)
{
    void *library = NULL;
    for (int i = 0; names[i] && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) return tsr_fail(TSR_ERR_DEVICE, "%s cannot be loaded: %s", names[0], dlerror());
    for (size_t i = 0; i < n; i++) {
        *symbols[i].at = dlsym(library, symbols[i].name);
        if (!*symbols[i].at)
            return tsr_fail(TSR_ERR_DEVICE, "%s has no function %s", names[0], symbols[i].name);
    }
    return TSR_OK;
}

#define TSR_SYMBOL(name) {#name, (void **)&found.name},

tsr_status tsr_cublaslt_open(void)
{
    static tsr_cublaslt_functions found;
    static const char *const names[] = {TSR_CUBLASLT_SONAME, TSR_CUDA_LIBRARIES "/" TSR_CUBLASLT_SONAME,
                                        NULL};
    const symbol symbols[] = {TSR_CUBLASLT_FUNCTIONS(TSR_SYMBOL)};
    pthread_mutex_lock(&lock);
    tsr_status s = tsr_cublaslt ? TSR_OK : open_library(names, symbols, sizeof symbols / sizeof symbols[0]);
    if (s == TSR_OK) tsr_cublaslt = &found;
    pthread_mutex_unlock(&lock);
    return s;
}

tsr_status tsr_nccl_open(void)
{
    static tsr_nccl_functions found;
    static const char *const names[] = {TSR_NCCL_SONAME, TSR_CUDA_LIBRARIES "/" TSR_NCCL_SONAME, NULL};
    const symbol symbols[] = {TSR_NCCL_FUNCTIONS(TSR_SYMBOL)};
    pthread_mutex_lock(&lock);
    tsr_status s = tsr_nccl ? TSR_OK : open_library(names, symbols, sizeof symbols / sizeof symbols[0]);
    if (s == TSR_OK) tsr_nccl = &found;
    pthread_mutex_unlock(&lock);
    return s;
}
