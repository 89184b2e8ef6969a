/* fuzz_config.c: any bytes as config.json: a model or one line, never a crash. What is built is also printed.
 */
#include "layers/model.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_graphs(const tsr_model *m)
{
    for (int i = 0; i < m->n_graphs; i++) {
        tsr_text text;
        if (tsr_text_init(&text, 64 << 20) != TSR_OK) continue;
        if (tsr_graph_print(&m->graphs[i], &text) != TSR_OK) abort();
        tsr_text_free(&text);
    }
}

/* Angles of a position within and one beyond the model's length must be numbers. */
static void turn(const tsr_model *m)
{
    for (int64_t i = 0; i < m->n_ropes; i++) {
        size_t bytes = sizeof(float) * (size_t)m->ropes[i].dims / 2;
        float *cosine = malloc(bytes), *sine = malloc(bytes);
        for (int64_t beyond = 0; beyond < 2 && cosine && sine; beyond++) {
            tsr_rope_angles(&m->ropes[i], m->max_positions - 1 + beyond, m->max_positions + beyond, cosine,
                            sine);
            for (int k = 0; k < m->ropes[i].dims / 2; k++)
                if (cosine[k] != cosine[k] || sine[k] != sine[k]) abort();
        }
        free(cosine);
        free(sine);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_json doc;
    tsr_model *m;
    if (tsr_json_parse((const char *)data, (int64_t)size, "config.json", &doc) != TSR_OK) return 0;
    if (tsr_model_from_config(&doc, &m) == TSR_OK) {
        print_graphs(m);
        turn(m);
    } else if (tsr_error_text()[0] == '\0' || strchr(tsr_error_text(), '\n')) {
        abort();
    }
    tsr_model_destroy(&m);
    tsr_json_free(&doc);
    return 0;
}
