/* pipeline_gpt2.c: GPT-2 in a pipeline: its layers under the names that Megatron-LM gives them in one model. */
#include "checkpoint/megatron.h"
#include "checkpoint/pipeline.h"

#include <string.h>

/* Outside of the transformer: how names within a layer begin, and within a model. */
static const char *const outside[][2] = {
    {"weight", "final_layernorm.weight"},
    {"bias", "final_layernorm.bias"},
    {"norm.", "final_layernorm."},
    {"final_linear.", "output_layer."},
};

static tsr_status add_entry(tsr_state *state, const tsr_state_entry *e, const int *layer)
{
    const char *name, *head = "";
    int index;
    const char *rest = tsr_pipeline_rest(e->name, &index);
    if (!rest) return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\": in no layer of a pipeline", e->name);
    if (layer[index] >= 0) {
        TSR_TRY(tsr_arena_format(state->source->arena, &name, "layers.%d.%s", layer[index], rest));
        return tsr_state_add(state, name, e->view);
    }
    for (size_t i = 0; i < sizeof outside / sizeof outside[0] && !*head; i++) {
        size_t n = strlen(outside[i][0]);
        if (strncmp(rest, outside[i][0], n) != 0 || (outside[i][0][n - 1] != '.' && rest[n])) continue;
        head = outside[i][1];
        rest += n;
    }
    TSR_TRY(tsr_arena_format(state->source->arena, &name, "%s%s", head, rest));
    return tsr_state_add(state, name, e->view);
}

static tsr_status list(tsr_source *source, const tsr_state *ranks, int n, const char *const *file,
                       const int *layer, tsr_state *states)
{
    const tsr_megatron_facts facts = {.versioned = true, .version = 2};
    for (int r = 0; r < n; r++) {
        states[r].source = source;
        for (int64_t i = 0; i < ranks[r].count; i++) {
            tsr_status status = add_entry(&states[r], &ranks[r].entries[i], layer);
            if (status != TSR_OK) return tsr_fail_in(status, "%s", file[r]);
        }
        TSR_TRY(tsr_megatron_plain_names(&states[r], file[r]));
    }
    return tsr_megatron_join(source, states, n, file, &facts);
}

tsr_status tsr_pipeline_list_gpt2(tsr_source *source, const tsr_state *ranks, int n, const char *const *file,
                                  const int *layer)
{
    void *p;
    TSR_TRY(tsr_calloc(n, sizeof(tsr_state), "the states of the ranks", &p));
    tsr_status status = list(source, ranks, n, file, layer, p);
    for (int r = 0; r < n; r++) tsr_state_free(&((tsr_state *)p)[r]);
    tsr_free(p);
    return status;
}
