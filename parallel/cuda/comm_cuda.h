/* comm_cuda.h: the collectives of a step on GPUs (layers/cuda/cuda_kernel.h, tsr_cuda_comm), made for the ranks of a
 * world, one GPU a rank.
 *
 * Two implementations; both give the same bits on every rank:
 *   ipc   the ranks are on one node, at most 8, and map each other's memory: kernels of our own
 *         (layers/cuda/kernels/reduce_peers.h), which add the residual and take the norm in the same pass. Sums are
 *         taken in the order of the ranks.
 *   nccl  otherwise. The communicator is non-blocking, so that no call of NCCL can hang this program. NVLink multicast
 *         stays off: on hosts that several jobs share it can take GPUs out of service.
 * Which one it is, and why, is one line of the log (info).
 *
 * A world of one rank has no communicator: create gives NULL, and everything here accepts it.
 *
 * Order. All collectives of a rank are enqueued on one stream, in the same order and with the same sizes on all ranks;
 * they may be captured, and a graph may be replayed any number of times, by all ranks alike. Enqueueing does not block
 * and does not allocate, except NCCL's first calls: run a step once before it is captured.
 *
 * Failure. A GPU that waits for a rank that is lost or late must be let go, and somebody must say so: whoever waits for
 * a step does it by tsr_cuda_comm_wait, or calls tsr_cuda_comm_poll while he waits and again when the step is through,
 * since after a failure a step runs to its end with garbage. TSR_ERR_RANK_LOST ("rank 1 (pid 4711) is gone, found in
 * GPU collective number 123") or TSR_ERR_DEADLINE (with the ranks whose data did not come). It is final and breaks the
 * world: what is left is tsr_world_abort. Numbers count from 1, and replays count; NCCL does not tell them.
 */
#ifndef TSR_PARALLEL_CUDA_COMM_CUDA_H
#define TSR_PARALLEL_CUDA_COMM_CUDA_H

#include "layers/cuda/cuda_kernel.h"
#include "parallel/world.h"

typedef struct tsr_cuda_comm_options {
    double deadline_seconds; /* of one collective, and of the wait for a step; 0: 60 */
    int64_t
        max_bytes;    /* the largest vector expected: tokens of a step x hidden size x bytes of a value. Sizes
                                the buffers, some 5 times that, 320 MiB at most; larger vectors go in pieces. 0: 16 MiB */
    const char *kind; /* NULL: choose; "ipc" or "nccl": that one, or TSR_ERR_USAGE */
    /* For measurements and tests, of ipc; 0: the best known. The terms: layers/cuda/kernels/reduce_peers.h. */
    int64_t push_bytes; /* up to here vectors are pushed */
    bool two_trips;     /* larger ones by two_shot, also between 2 ranks */
    int blocks_per_row, blocks_per_processor, senders_per_processor;
} tsr_cuda_comm_options;

/* Collective: the GPU of this rank, among those it sees (CUDA_VISIBLE_DEVICES). Rank i of a node takes GPU i; a launcher
 * may also show each rank GPUs of its own. TSR_ERR_LAUNCH where two ranks would share a GPU, TSR_ERR_DEVICE where there
 * is none; all ranks get the same status. Does not make it the current device. With TESSERA_SHARE_GPUS=1 in the
 * environment ranks may share: for tests of several ranks where there is one GPU, on which they take turns, slowly. */
tsr_status tsr_cuda_device_choose(tsr_world *world, int *device);

/* Collective; the options are the same on all ranks. The current device of the calling thread is the rank's. `options`
 * may be NULL. All ranks get the same status. The world must outlive the communicator. */
tsr_status tsr_cuda_comm_create(tsr_world *world, const tsr_cuda_comm_options *options, tsr_cuda_comm **out);
/* Collective, unless the world is broken. All that was enqueued has ended. */
void tsr_cuda_comm_destroy(tsr_cuda_comm **comm);

/* Local, one thread at a time, well below a microsecond unless something is wrong: is all well? */
tsr_status tsr_cuda_comm_poll(tsr_cuda_comm *comm);
/* Local, one thread at a time; blocks until the event has passed. Of a failed GPU (TSR_ERR_DEVICE) it asks first
 * whether a rank was lost: its memory goes with it. */
tsr_status tsr_cuda_comm_wait(tsr_cuda_comm *comm, cudaEvent_t event);

#endif
