/* deepspeed_training.c: a folder that a DeepSpeed training run saved: `latest` and what it names, or that alone.
 *
 * What is in it decides how it is read, in this order: layers of a pipeline (layer_*), partitions of ZeRO (*optim_states,
 * then the weights are the float32 ones), else the module of mp_rank_00 as it stands. Where a part of one kind is missing
 * that is an error: another kind, older or less exact, does not take its place.
 */
#include "checkpoint/deepspeed_folder.h"
#include "checkpoint/deepspeed_zero.h"
#include "checkpoint/torch.h"

/* --- The weights of one model-parallel rank, as its module names them --- */

static tsr_status read_module(tsr_source *s, const char *path, tsr_state *state)
{
    tsr_torch_file f;
    int file;
    TSR_TRY(tsr_source_add_path(s, path, &file));
    TSR_TRY(tsr_torch_open(s, file, &f));
    tsr_status status = tsr_torch_collect(&f, tsr_pickle_get(f.object, "module"), state);
    if (status == TSR_OK) status = tsr_state_sort(state, f.name);
    if (status == TSR_OK && state->count == 0)
        status = tsr_fail(TSR_ERR_FORMAT, "%s: \"module\": holds no tensors", f.name);
    tsr_torch_close(&f);
    return status;
}

/* --- All ranks --- */

static tsr_status several_ranks(const tsr_deepspeed_folder *folder, int mp)
{
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: the weights of %d model-parallel ranks, which are read from one rank only",
                    tsr_deepspeed_folder_name(folder), mp);
}

static tsr_status open_zero(tsr_source *s, const tsr_deepspeed_folder *folder, const tsr_deepspeed_file *file,
                            int64_t n, tsr_state *state)
{
    int mp, dp;
    TSR_TRY(tsr_deepspeed_count(folder, file, n, &mp, &dp));
    if (mp > 1) return several_ranks(folder, mp);
    return tsr_deepspeed_zero(s, folder, 0, dp, state);
}

static tsr_status open_modules(tsr_source *s, const tsr_deepspeed_folder *folder,
                               const tsr_deepspeed_file *file, int64_t n, tsr_state *state)
{
    int mp, dp;
    TSR_TRY(tsr_deepspeed_count(folder, file, n, &mp, &dp));
    if (mp > 1) return several_ranks(folder, mp);
    return read_module(s, file[0].path, state);
}

static tsr_status open_state(tsr_source *s, const tsr_deepspeed_folder *folder, tsr_state *state)
{
    const tsr_deepspeed_file *file;
    int64_t n;
    const char *name = tsr_deepspeed_folder_name(folder);
    if (tsr_deepspeed_files(folder, TSR_DEEPSPEED_EXPERT, &file) > 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: of a mixture of experts, which is not read", file->path);
    if ((n = tsr_deepspeed_files(folder, TSR_DEEPSPEED_OPTIM, &file)) > 0)
        return open_zero(s, folder, file, n, state);
    if ((n = tsr_deepspeed_files(folder, TSR_DEEPSPEED_MODEL, &file)) > 0)
        return open_modules(s, folder, file, n, state);
    if (tsr_deepspeed_files(folder, TSR_DEEPSPEED_SHARD, &file) > 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: the weights of ZeRO stage 3 are in *_optim_states.pt: found none", name);
    return tsr_fail(TSR_ERR_FORMAT, "%s: no files of a DeepSpeed training checkpoint", name);
}

static tsr_status open_training(tsr_source *s)
{
    tsr_arena *arena;
    tsr_deepspeed_folder folder;
    tsr_state state = {.source = s};
    TSR_TRY(tsr_arena_create("the files of a checkpoint", &arena));
    tsr_status status = tsr_deepspeed_folder_find(s, arena, &folder);
    if (status == TSR_OK) status = open_state(s, &folder, &state);
    if (status == TSR_OK) status = tsr_state_list(&state);
    tsr_state_free(&state);
    tsr_arena_destroy(&arena);
    return status;
}

static bool probe(const tsr_source *s)
{
    return tsr_source_has_file(s, "latest") || tsr_source_has_file(s, "mp_rank_00_model_states.pt") ||
           tsr_source_has_file(s, "zero_pp_rank_0_mp_rank_00_model_states.pt") ||
           tsr_source_has_file(s, "layer_00-model_00-model_states.pt");
}

const tsr_source_format tsr_format_deepspeed_training = {"DeepSpeed training checkpoint", "latest", NULL,
                                                         probe, open_training};
