/* bench_profile.h: the tables of `bench --profile`: where the time of a prefill and of a decode step goes. */
#ifndef TSR_LAUNCH_BENCH_PROFILE_H
#define TSR_LAUNCH_BENCH_PROFILE_H

#include "base/text.h"
#include "runtime/engine.h"

/* Appends the tables of this rank; nothing if no profile was taken. */
tsr_status tsr_bench_put_profile(const tsr_engine *engine, tsr_text *text);

#endif
