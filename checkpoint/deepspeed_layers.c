/* deepspeed_layers.c: layer_LL-model_MM-model_states.pt, one a layer and a rank. */
#include "checkpoint/deepspeed_layers.h"
#include "checkpoint/pipeline.h"
#include "checkpoint/torch.h"

/* Every layer on ranks 0 .. *ranks - 1. */
static tsr_status count_ranks(const tsr_deepspeed_folder *folder, const tsr_deepspeed_file *file, int64_t n,
                              int *ranks)
{
    *ranks = 0;
    for (int64_t i = 0; i < n; i++) *ranks = file[i].mp >= *ranks ? file[i].mp + 1 : *ranks;
    for (int64_t i = 0; i < n || i % *ranks != 0; i++) {
        bool here = i < n && file[i].mp == i % *ranks && file[i].layer == file[i - i % *ranks].layer;
        if (!here)
            return tsr_fail(TSR_ERR_FORMAT, "%s: model-parallel rank %d of layer %d is missing",
                            tsr_deepspeed_folder_name(folder), (int)(i % *ranks), file[i - i % *ranks].layer);
    }
    return TSR_OK;
}

/* Adds the tensors of one file as "LAYER.NAME". */
static tsr_status read_layer(tsr_source *source, const tsr_deepspeed_file *file, tsr_state *state)
{
    tsr_torch_file f;
    tsr_state own = {.source = source};
    const char *name;
    int index;
    TSR_TRY(tsr_source_add_path(source, file->path, &index));
    TSR_TRY(tsr_torch_open(source, index, &f));
    tsr_status status = tsr_torch_collect(&f, f.object, &own);
    for (int64_t i = 0; i < own.count && status == TSR_OK; i++) {
        status = tsr_arena_format(source->arena, &name, "%d.%s", file->layer, own.entries[i].name);
        if (status == TSR_OK) status = tsr_state_add(state, name, own.entries[i].view);
    }
    tsr_state_free(&own);
    tsr_torch_close(&f);
    return status;
}

static tsr_status read_layers(tsr_source *source, const tsr_deepspeed_folder *folder, int ranks,
                              tsr_state *states, const char **names)
{
    const tsr_deepspeed_file *file;
    int64_t n = tsr_deepspeed_files(folder, TSR_DEEPSPEED_LAYER, &file);
    for (int r = 0; r < ranks; r++) {
        states[r].source = source;
        TSR_TRY(tsr_arena_format(source->arena, &names[r], "%slayer_*-model_%02d-model_states.pt",
                                 folder->name, r));
    }
    for (int64_t i = 0; i < n; i++) TSR_TRY(read_layer(source, &file[i], &states[file[i].mp]));
    for (int r = 0; r < ranks; r++) TSR_TRY(tsr_state_sort(&states[r], names[r]));
    return tsr_pipeline_list(source, states, ranks, names);
}

tsr_status tsr_deepspeed_layers(tsr_source *source, const tsr_deepspeed_folder *folder)
{
    const tsr_deepspeed_file *file;
    int64_t n = tsr_deepspeed_files(folder, TSR_DEEPSPEED_LAYER, &file);
    int ranks;
    void *states = NULL, *names = NULL;
    tsr_status status;
    TSR_TRY(count_ranks(folder, file, n, &ranks));
    TSR_TRY_OUT(tsr_calloc(ranks, sizeof(tsr_state), "the states of the ranks", &states));
    TSR_TRY_OUT(tsr_calloc(ranks, sizeof(char *), "the files of the ranks", &names));
    TSR_TRY_OUT(read_layers(source, folder, ranks, states, names));
out:
    for (int r = 0; states && r < ranks; r++) tsr_state_free(&((tsr_state *)states)[r]);
    tsr_free(states);
    tsr_free(names);
    return status;
}
