/* gated_decoder.c: a stack of layers with gated MLPs, from the names and sizes of a family. */
#include "layers/models/gated_decoder.h"

tsr_status tsr_gated_mlp_load(tsr_model *m, const char *at, const char *const names[3], int64_t hidden,
                              int64_t ffn, unsigned flags, tsr_mlp_block *out)
{
    out->gated = true;
    TSR_TRY(tsr_projection_load(m, at, names[0], ffn, hidden, flags, &out->gate));
    TSR_TRY(tsr_projection_load(m, at, names[1], ffn, hidden, flags, &out->up));
    return tsr_projection_load(m, at, names[2], hidden, ffn, flags, &out->down);
}

static unsigned norm_flags(const tsr_gated_decoder *d)
{
    return d->norm_kind == TSR_NORM_LAYER ? TSR_BIAS : 0;
}

static int norms_of(tsr_layer_order order)
{
    return order == TSR_LAYER_SANDWICH ? 4 : order == TSR_LAYER_PARALLEL_ONE_NORM ? 1 : 2;
}

static tsr_status layer(tsr_graph *g, const tsr_gated_decoder *d, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    tsr_layer_block l = {.order = d->order, .normed_residual = d->normed_residual};
    g->current_layer = index;
    TSR_TRY(tsr_arena_format(m->arena, &at, "%s%d.", d->layer_scope, index));
    for (int i = 0; i < norms_of(d->order); i++)
        TSR_TRY(tsr_norm_load(m, at, d->norm[i], d->hidden, d->norm_kind, d->eps, norm_flags(d), &l.norm[i]));
    TSR_TRY(d->load(m, at, d->config, &l));
    return tsr_transformer_layer(g, *x, &l, x);
}

/* A tied head is the table of the embedding itself, unless its rows are to be brought to length 1. */
static tsr_status add_head(tsr_graph *g, const tsr_gated_decoder *d, tsr_weight words, tsr_value x)
{
    tsr_norm_weights norm;
    bool shared = d->tied && !d->unit_head;
    if (d->final_norm)
        TSR_TRY(tsr_norm_load(g->model, "", d->final_norm, d->hidden, d->norm_kind, d->eps, norm_flags(d),
                              &norm));
    return tsr_model_head(g, x,
                          &(tsr_head_block){.norm = d->final_norm ? &norm : NULL,
                                            .name = d->tied ? d->embedding : d->head,
                                            .tied = shared ? words : TSR_NONE,
                                            .unit_rows = d->unit_head});
}

tsr_status tsr_gated_decoder_build(tsr_model *m, const tsr_gated_decoder *d)
{
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1};
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, d->vocabulary, d->hidden, "%s.weight", d->embedding));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < d->layers; i++) TSR_TRY(layer(g, d, i, &x));
    return add_head(g, d, e.words, x);
}
