/* language_model.c: embeddings and head of a language model. */
#include "layers/blocks/language_model.h"

tsr_status tsr_embed_tokens(tsr_graph *g, const tsr_embedding_block *e, tsr_value *out)
{
    tsr_value words, positions;
    TSR_TRY(tsr_graph_embed(g, e->words, TSR_EMBED_IDS, 0, e->scale, &words));
    *out = words;
    if (e->positions == TSR_NONE) return TSR_OK;
    TSR_TRY(tsr_graph_embed(g, e->positions, TSR_EMBED_POSITIONS, e->position_offset, 1, &positions));
    return tsr_graph_add(g, words, positions, out);
}

tsr_status tsr_lm_head(tsr_graph *g, tsr_value x, const tsr_norm_weights *norm, const tsr_projection *head)
{
    g->current_layer = TSR_NONE;
    TSR_TRY(tsr_graph_select_rows(g, x, &x));
    if (norm) TSR_TRY(tsr_normalize(g, x, norm, &x));
    return tsr_project(g, x, head, &g->output);
}
