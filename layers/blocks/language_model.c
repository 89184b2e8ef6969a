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

static tsr_status load_head(tsr_model *m, const tsr_head_block *h, int64_t width, tsr_projection *out)
{
    if (m->task != TSR_TASK_TEXT_GENERATION)
        return tsr_projection_load(m, "", m->classifier.tensor, m->classifier.labels, width,
                                   m->classifier.bias ? TSR_BIAS : 0, out);
    if (h->tied != TSR_NONE) {
        *out = (tsr_projection){h->tied, TSR_NONE};
        return h->flags & TSR_BIAS ? tsr_model_vector(m, &out->b, m->vocabulary, "%s.bias", h->name) : TSR_OK;
    }
    TSR_TRY(tsr_projection_load(m, "", h->name, m->vocabulary, width, h->flags, out));
    m->weights[out->w].unit_rows = h->unit_rows;
    return TSR_OK;
}

tsr_status tsr_model_head(tsr_graph *g, tsr_value x, const tsr_head_block *h)
{
    tsr_projection head;
    g->current_layer = TSR_NONE;
    TSR_TRY(tsr_graph_select_rows(g, x, &x));
    if (h->norm) TSR_TRY(tsr_normalize(g, x, h->norm, &x));
    if (h->project) TSR_TRY(tsr_project(g, x, h->project, &x));
    TSR_TRY(load_head(g->model, h, g->values[x].cols, &head));
    return tsr_project(g, x, &head, &g->output);
}
