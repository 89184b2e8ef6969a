/* copy_lane.h: one thread's way of bringing bytes to a GPU: two pinned buffers, of which one is filled while the other is
 * on its way.
 *
 *     TSR_TRY(tsr_cuda_lane_create(device, bytes, &lane));
 *     while (...) {
 *         TSR_TRY(tsr_cuda_lane_buffer(lane, &buffer));      // waits until it may be overwritten
 *         ... fills n <= bytes of it ...
 *         TSR_TRY(tsr_cuda_lane_send(lane, gpu_address, n)); // returns at once
 *     }
 *     TSR_TRY(tsr_cuda_lane_finish(lane));                   // all of it has arrived
 *
 * A lane belongs to one thread at a time. Local. Errors: TSR_ERR_MEMORY, TSR_ERR_DEVICE.
 */
#ifndef TSR_RUNTIME_CUDA_COPY_LANE_H
#define TSR_RUNTIME_CUDA_COPY_LANE_H

#include "base/status.h"

#include <stdint.h>

typedef struct tsr_cuda_lane tsr_cuda_lane;

/* Makes `device` this thread's current one. */
tsr_status tsr_cuda_lane_create(int device, int64_t buffer_bytes, tsr_cuda_lane **out);
void tsr_cuda_lane_destroy(tsr_cuda_lane **lane); /* accepts NULL inside */

tsr_status tsr_cuda_lane_buffer(tsr_cuda_lane *lane, void **buffer);
tsr_status tsr_cuda_lane_send(tsr_cuda_lane *lane, void *gpu, int64_t bytes);
tsr_status tsr_cuda_lane_finish(tsr_cuda_lane *lane);

#endif
