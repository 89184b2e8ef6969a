/* comm_internal.h: what the communicators have in common: their counter, their deadline and their first
 * failure. */
#ifndef TSR_PARALLEL_COMM_INTERNAL_H
#define TSR_PARALLEL_COMM_INTERNAL_H

#include "parallel/channel.h"
#include "parallel/comm.h"
#include "parallel/patience.h"
#include "parallel/world_internal.h"

#include <stdatomic.h>

enum { TSR_FAILURE_BYTES = 512 };

/* Each implementation's object begins with this one. */
typedef struct tsr_comm_base {
    tsr_comm comm;
    tsr_world *world; /* NULL in tests that play ranks by threads */
    double deadline;
    bool yielding;
    _Atomic int failing; /* 1: some thread is writing the failure */
    _Atomic int failed;  /* the tsr_status that ended this comm; `text` is complete then */
    char text[TSR_FAILURE_BYTES];
    void (*destroy)(struct tsr_comm_base *self); /* frees the object itself */
} tsr_comm_base;

void tsr_comm_base_init(tsr_comm_base *base, const tsr_comm_ops *ops, tsr_world *world,
                        const tsr_comm_options *options);

/* Keeps `status` and this thread's error record as the failure of the comm, unless there is one. Returns
 * `status`. */
tsr_status tsr_comm_fail(tsr_comm_base *base, tsr_status status);

static inline tsr_patience tsr_comm_patience(const tsr_comm_base *base, uint64_t number)
{
    return (tsr_patience){
        .what = "all-reduce", .number = number, .deadline = base->deadline, .yielding = base->yielding};
}

/* One for each comm_*.c. */
tsr_status tsr_comm_self_create(tsr_world *world, const tsr_comm_options *options, tsr_comm **out);
tsr_status tsr_comm_mpi_create(tsr_world *world, const tsr_comm_options *options, tsr_comm **out);
tsr_status tsr_comm_shm_create(tsr_world *world, const tsr_comm_options *options, tsr_comm **out);

/* The same over memory that the caller has, for ranks played by the threads of one process (tests under the
 * thread sanitizer): parts: [size] zeroed, TSR_CHANNEL_LINE-aligned, part_bytes long; slot_bytes: a
 * multiple of 1024. */
int64_t tsr_comm_shm_part_bytes(int64_t slot_bytes);
tsr_status tsr_comm_shm_over(int rank, int size, int64_t slot_bytes, void *const *parts,
                             const tsr_comm_options *options, tsr_comm **out);

#endif
