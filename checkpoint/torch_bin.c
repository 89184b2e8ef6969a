/* torch_bin.c: a checkpoint in one torch file: pytorch_model.bin, or whichever --checkpoint names. */
#include "checkpoint/torch.h"

static const char marker[] = "pytorch_model.bin";

tsr_status tsr_torch_list(tsr_source *source, int file)
{
    tsr_torch_file f;
    const tsr_pickle_node *dict;
    tsr_state state = {.source = source};
    tsr_status status;
    TSR_TRY(tsr_torch_open(source, file, &f));
    TSR_TRY_OUT(tsr_torch_state_dict(&f, &dict));
    TSR_TRY_OUT(tsr_torch_collect(&f, dict, &state));
    TSR_TRY_OUT(tsr_state_sort(&state, f.name));
    if (state.count == 0) {
        status = tsr_fail(TSR_ERR_FORMAT, "%s: holds no tensors", f.name);
        goto out;
    }
    TSR_TRY_OUT(tsr_state_list(&state));
out:
    tsr_state_free(&state);
    tsr_torch_close(&f);
    return status;
}

static bool probe(const tsr_source *s)
{
    return tsr_source_has_file(s, marker);
}

static tsr_status open_single(tsr_source *s)
{
    int file;
    TSR_TRY(tsr_source_add_file(s, s->named ? s->named : marker, &file));
    return tsr_torch_list(s, file);
}

const tsr_source_format tsr_format_torch = {"torch", marker, "", probe, open_single};
