/* weights_cuda_cache.h: a rank's block of weights between the cache (runtime/weights_cache.h) and GPU memory.
 *
 * The cache's parts, 16 MiB each, go through pinned buffers, those of the next parts being read meanwhile; host memory
 * does not grow with the model. Local; blocking. Nothing fails for the sake of the cache: a doubt is noted there.
 */
#ifndef TSR_RUNTIME_CUDA_WEIGHTS_CUDA_CACHE_H
#define TSR_RUNTIME_CUDA_WEIGHTS_CUDA_CACHE_H

#include "runtime/weights_cache.h"

/* False: not there, or doubted; the block then holds anything. A NULL cache has nothing. */
bool tsr_cuda_weights_from_cache(tsr_weights_cache *cache, const char *plan, int64_t bytes, tsr_pool *pool,
                                 int device, char *block);
void tsr_cuda_weights_to_cache(tsr_weights_cache *cache, const char *plan, int64_t bytes, const char *block);

#endif
