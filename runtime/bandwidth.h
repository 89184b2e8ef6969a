/* bandwidth.h: the read bandwidth that a pool's threads reach: the ceiling of decoding on a CPU.
 *
 * Each thread reads its part of a buffer several times; the best pass counts. Local; for all ranks of a node
 * together call it on all at once and add. TSR_ERR_MEMORY.
 */
#ifndef TSR_RUNTIME_BANDWIDTH_H
#define TSR_RUNTIME_BANDWIDTH_H

#include "base/pool.h"

/* buffer_bytes: well above the caches. *bytes_per_second: all threads of the pool together. */
tsr_status tsr_measure_bandwidth(tsr_pool *pool, long long buffer_bytes, double *bytes_per_second);

#endif
