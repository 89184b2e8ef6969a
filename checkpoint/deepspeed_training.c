/* deepspeed_training.c: a folder that a DeepSpeed training run saved: `latest` and what it names, or that alone.
 *
 * What is in it decides how it is read, in this order: layers of a pipeline (layer_*), partitions of ZeRO (*optim_states,
 * then the weights are the float32 ones), else the modules of the ranks as they stand. Where a part of one kind is missing
 * that is an error: another kind, older or less exact, does not take its place. Where the weights are Megatron-LM's,
 * megatron.h puts the ranks together.
 */
#include "checkpoint/deepspeed_folder.h"
#include "checkpoint/deepspeed_layers.h"
#include "checkpoint/deepspeed_zero.h"
#include "checkpoint/megatron.h"
#include "checkpoint/pipeline.h"
#include "checkpoint/torch.h"

typedef struct training {
    tsr_source *source;
    tsr_deepspeed_folder folder;
    const tsr_deepspeed_file *file; /* [mp, dp] */
    int mp, dp;
    bool zero;
    tsr_state *state;   /* [mp] */
    const char **where; /* [mp]: a file of each, for messages */
} training;

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

static tsr_status read_ranks(training *t)
{
    for (int r = 0; r < t->mp; r++) {
        const char *path = t->where[r] = t->file[(int64_t)r * t->dp].path;
        t->state[r].source = t->source;
        TSR_TRY(t->zero ? tsr_deepspeed_zero(t->source, &t->folder, r, t->dp, &t->state[r])
                        : read_module(t->source, path, &t->state[r]));
    }
    return TSR_OK;
}

/* --- All ranks --- */

/* The file of rank r's module, which also tells what stands beside the weights. */
static tsr_status add_module(training *t, int r, int *file)
{
    const tsr_deepspeed_file *first;
    static const tsr_deepspeed_kind kinds[] = {TSR_DEEPSPEED_MODEL, TSR_DEEPSPEED_SHARD};
    for (int k = 0; k < 2; k++) {
        int64_t n = tsr_deepspeed_files(&t->folder, kinds[k], &first);
        for (int64_t i = 0; i < n; i++)
            if (first[i].mp == r) return tsr_source_add_path(t->source, first[i].path, file);
    }
    return tsr_fail(TSR_ERR_FORMAT, "%s: no *_model_states.pt of model-parallel rank %d",
                    tsr_deepspeed_folder_name(&t->folder), r);
}

static tsr_status list_megatron(training *t)
{
    void *p;
    TSR_TRY(tsr_calloc(t->mp, sizeof(int), "the files of the ranks", &p));
    int *files = p;
    tsr_megatron_request q = {.files = files, .n = t->mp, .version = -1};
    tsr_status status = TSR_OK;
    for (int r = 0; r < t->mp && status == TSR_OK; r++) status = add_module(t, r, &files[r]);
    if (status == TSR_OK) status = tsr_megatron_list_states(t->source, t->state, &q);
    tsr_free(files);
    return status;
}

/* What the ranks' weights are together. */
static tsr_status list_ranks(training *t)
{
    bool sequential = true;
    for (int r = 0; r < t->mp; r++) sequential = tsr_pipeline_is_sequential(&t->state[r]) && sequential;
    if (!sequential && tsr_megatron_is_state(&t->state[0])) return list_megatron(t);
    if (!sequential && t->mp == 1) return tsr_state_list(&t->state[0]);
    if (!sequential)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: the weights of %d model-parallel ranks, in no order that is known",
                        tsr_deepspeed_folder_name(&t->folder), t->mp);
    return tsr_pipeline_list(t->source, t->state, t->mp, t->where);
}

static tsr_status list_modules(training *t, int64_t n)
{
    void *states = NULL, *where = NULL;
    tsr_status status;
    TSR_TRY(tsr_deepspeed_count(&t->folder, t->file, n, &t->mp, &t->dp));
    TSR_TRY_OUT(tsr_calloc(t->mp, sizeof *t->state, "the states of the ranks", &states));
    TSR_TRY_OUT(tsr_calloc(t->mp, sizeof *t->where, "the files of the ranks", &where));
    t->state = states;
    t->where = where;
    TSR_TRY_OUT(read_ranks(t));
    TSR_TRY_OUT(list_ranks(t));
out:
    for (int r = 0; states && r < t->mp; r++) tsr_state_free(&((tsr_state *)states)[r]);
    tsr_free(states);
    tsr_free(where);
    return status;
}

static tsr_status list_all(training *t)
{
    int64_t n;
    const char *name = tsr_deepspeed_folder_name(&t->folder);
    if (tsr_deepspeed_files(&t->folder, TSR_DEEPSPEED_EXPERT, &t->file) > 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: of a mixture of experts, which is not read", t->file->path);
    if (tsr_deepspeed_files(&t->folder, TSR_DEEPSPEED_LAYER, &t->file) > 0)
        return tsr_deepspeed_layers(t->source, &t->folder);
    n = tsr_deepspeed_files(&t->folder, TSR_DEEPSPEED_OPTIM, &t->file);
    t->zero = n > 0;
    if (!t->zero) n = tsr_deepspeed_files(&t->folder, TSR_DEEPSPEED_MODEL, &t->file);
    if (n > 0) return list_modules(t, n);
    if (tsr_deepspeed_files(&t->folder, TSR_DEEPSPEED_SHARD, &t->file) > 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: the weights of ZeRO stage 3 are in *_optim_states.pt: found none", name);
    return tsr_fail(TSR_ERR_FORMAT, "%s: no files of a DeepSpeed training checkpoint", name);
}

static tsr_status open_training(tsr_source *s)
{
    tsr_arena *arena;
    training t = {.source = s};
    TSR_TRY(tsr_arena_create("the files of a checkpoint", &arena));
    tsr_status status = tsr_deepspeed_folder_find(s, arena, &t.folder);
    if (status == TSR_OK) status = list_all(&t);
    tsr_arena_destroy(&arena);
    return status;
}

static bool probe(const tsr_source *s)
{
    return tsr_source_has_file(s, "latest") || tsr_source_has_file(s, "mp_rank_00_model_states.pt") ||
           tsr_source_has_file(s, "zero_pp_rank_0_mp_rank_00_model_states.pt") ||
           tsr_source_has_file(s, "layer_00-model_00-model_states.pt") ||
           tsr_source_has_file(s, "layer_01-model_00-model_states.pt");
}

const tsr_source_format tsr_format_deepspeed_training = {"DeepSpeed training checkpoint", "latest", NULL,
                                                         probe, open_training};
