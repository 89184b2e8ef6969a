/* deepspeed_folder.h: the files of a DeepSpeed training checkpoint, found by their names.
 *
 *     DIR/latest                                           one line: the folder of the newest state, say global_step100
 *     DIR/global_step100/mp_rank_00_model_states.pt        weights of one model-parallel rank
 *                        zero_pp_rank_0_mp_rank_00_model_states.pt          the same where ZeRO stage 3 has them cut
 *                        [bf16_]zero_pp_rank_0_mp_rank_00_optim_states.pt   what one data-parallel rank optimizes
 *                        layer_02-model_00-model_states.pt                  weights of one stage of a pipeline
 *
 * `latest` is not trusted: it must be short, and its line the plain name of a real folder beside it: no path, no
 * link. A folder that has no `latest` is taken for the state itself. Only names are looked at here.
 *
 * Errors: TSR_ERR_FORMAT, TSR_ERR_IO, TSR_ERR_MEMORY, with a line naming the file. Private to checkpoint/; local.
 */
#ifndef TSR_CHECKPOINT_DEEPSPEED_FOLDER_H
#define TSR_CHECKPOINT_DEEPSPEED_FOLDER_H

#include "checkpoint/format.h"

typedef enum tsr_deepspeed_kind {
    TSR_DEEPSPEED_MODEL, /* mp */
    TSR_DEEPSPEED_SHARD, /* mp, dp: of the module under ZeRO stage 3 */
    TSR_DEEPSPEED_OPTIM, /* mp, dp */
    TSR_DEEPSPEED_LAYER, /* layer, mp */
    TSR_DEEPSPEED_EXPERT /* of a mixture of experts: which one is not told */
} tsr_deepspeed_kind;

typedef struct tsr_deepspeed_file {
    const char *path; /* from the source's folder on */
    tsr_deepspeed_kind kind;
    int layer, mp, dp; /* 0 where the kind has none */
} tsr_deepspeed_file;

typedef struct tsr_deepspeed_folder {
    const char *name;                /* "global_step100/", or "": where the files are */
    const tsr_deepspeed_file *files; /* [count], sorted by kind, layer, mp, dp; none twice */
    int64_t count;
} tsr_deepspeed_folder;

/* Everything belongs to the arena. */
tsr_status tsr_deepspeed_folder_find(const tsr_source *source, tsr_arena *arena, tsr_deepspeed_folder *out);

/* For messages. */
const char *tsr_deepspeed_folder_name(const tsr_deepspeed_folder *folder);

/* Those of one kind: *first .. *first + the returned count. */
int64_t tsr_deepspeed_files(const tsr_deepspeed_folder *folder, tsr_deepspeed_kind kind,
                            const tsr_deepspeed_file **first);

/* The n files are those of mp 0..M-1, each with dp 0..N-1, or TSR_ERR_FORMAT naming the one that is missing. */
tsr_status tsr_deepspeed_count(const tsr_deepspeed_folder *folder, const tsr_deepspeed_file *files, int64_t n,
                               int *mp, int *dp);

#endif
