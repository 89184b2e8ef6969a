/* convert_plan.h: which tensor goes to which file. Private to runtime/convert*.c. Local. */
#ifndef TSR_RUNTIME_CONVERT_PLAN_H
#define TSR_RUNTIME_CONVERT_PLAN_H

#include "base/text.h"
#include "checkpoint/export.h"
#include "parallel/tensor_split.h"

typedef struct tsr_convert_plan {
    tsr_arena *arena;       /* owns all of it */
    tsr_export_file *files; /* [n_files] */
    int64_t n_files;
    int64_t bytes, cut;
} tsr_convert_plan;

/* By size: model.safetensors, or numbered files of at most shard_bytes (or one tensor) each. */
tsr_status tsr_convert_plan_sizes(const tsr_source *source, tsr_dtype dtype, int64_t shard_bytes,
                                  tsr_convert_plan *plan);
/* By rank. The notes of a rank's file say of each of its pieces which part it is (checkpoint/rank_files.h). */
tsr_status tsr_convert_plan_ranks(const tsr_source *source, tsr_dtype dtype, int ranks,
                                  const tsr_tensor_split *splits, tsr_convert_plan *plan);

/* model.safetensors.index.json of a plan by size. */
tsr_status tsr_convert_print_index(const tsr_convert_plan *plan, tsr_text *out);
/* The DeepSpeed JSON of either plan. `dtype` as the file shall say it, NULL: nothing. */
tsr_status tsr_convert_print_deepspeed(const tsr_convert_plan *plan, int ranks, const char *dtype,
                                       tsr_text *out);

#endif
