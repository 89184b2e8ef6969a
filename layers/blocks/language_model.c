/* language_model.c: embeddings and head of a language model. */
#include "layers/blocks/language_model.h"

#include <math.h>

tsr_status tsr_embed_tokens(tsr_graph *g, const tsr_embedding_block *e, tsr_value *out)
{
    tsr_value positions;
    TSR_TRY(tsr_graph_embed(g, e->words, TSR_EMBED_IDS, 0, e->scale, out));
    if (e->project) TSR_TRY(tsr_project(g, *out, e->project, out));
    if (e->positions != TSR_NONE) {
        TSR_TRY(tsr_graph_embed(g, e->positions, TSR_EMBED_POSITIONS, e->position_offset, 1, &positions));
        TSR_TRY(tsr_graph_add(g, *out, positions, out));
    }
    return e->norm ? tsr_normalize(g, *out, e->norm, out) : TSR_OK;
}

/* In float32 where the models' training was: angles of late positions depend on it. */
void tsr_sinusoid_row(int64_t row, int64_t cols, float *out)
{
    int64_t half = cols / 2;
    float step = (float)(log(10000.0) / (double)(half > 1 ? half - 1 : 1));
    for (int64_t i = 0; i < half; i++) {
        float frequency = (float)exp((double)((float)i * -step)), angle = (float)row * frequency;
        out[i] = (float)sin((double)angle);
        out[half + i] = (float)cos((double)angle);
    }
    if (cols % 2) out[cols - 1] = 0;
}

tsr_status tsr_head_load(tsr_model *m, tsr_weight tied, const char *name, int64_t vocabulary, int64_t hidden,
                         unsigned flags, tsr_projection *out)
{
    if (tied == TSR_NONE) return tsr_projection_load(m, "", name, vocabulary, hidden, flags, out);
    *out = (tsr_projection){tied, TSR_NONE};
    return flags & TSR_BIAS ? tsr_model_vector(m, &out->b, vocabulary, "%s.bias", name) : TSR_OK;
}

tsr_status tsr_projected_head(tsr_graph *g, tsr_value x, const tsr_norm_weights *norm,
                              const tsr_projection *project, const tsr_projection *head)
{
    g->current_layer = TSR_NONE;
    TSR_TRY(tsr_graph_select_rows(g, x, &x));
    if (norm) TSR_TRY(tsr_normalize(g, x, norm, &x));
    if (project) TSR_TRY(tsr_project(g, x, project, &x));
    return tsr_project(g, x, head, &g->output);
}

tsr_status tsr_lm_head(tsr_graph *g, tsr_value x, const tsr_norm_weights *norm, const tsr_projection *head)
{
    return tsr_projected_head(g, x, norm, NULL, head);
}
