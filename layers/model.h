/* model.h: from a checkpoint's config.json to a graph.
 *
 * A table of families (model.c) maps the "model_type" of a config to a builder; a family is one row and one
 * file in layers/models/. A builder reads sizes and options from the config, with the defaults of the
 * family's own configuration class, and states the model as a graph over named tensors. It knows nothing of
 * ranks, devices, number formats or the tensors actually present (that is checked when the views meet a
 * source).
 *
 * Nothing a config says is executed or opened: "auto_map" and the like are ignored, with a line in the log.
 * Which head stands above the layers is the task's matter (layers/task.h), not the family's.
 * Token ids (eos, bos, pad) are not read here, but for the padding of models that classify. Local.
 */
#ifndef TSR_LAYERS_MODEL_H
#define TSR_LAYERS_MODEL_H

#include "base/json.h"
#include "checkpoint/source.h"
#include "layers/graph.h"

/* What a config may ask for. Larger numbers are refused before anything is allocated for them. */
enum {
    TSR_MAX_HIDDEN = 1 << 20,
    TSR_MAX_FFN = 1 << 22,
    TSR_MAX_LAYERS = 4096,
    TSR_MAX_HEADS = 4096,
    TSR_MAX_HEAD_DIM = 1 << 14,
    TSR_MAX_VOCABULARY = 1 << 24,
    TSR_MAX_POSITIONS = 1 << 30,
    TSR_MAX_LEARNED_POSITIONS = 1 << 24 /* rows of a table */
};

typedef struct tsr_family {
    const char *model_type;  /* as in config.json */
    const char *name_prefix; /* see tsr_model.name_prefix */
    /* Fills a fresh model. On failure the model holds what was built so far; the caller destroys it. */
    tsr_status (*build)(tsr_object config, tsr_model *m);
    const char *text_classifier; /* the tensor of the head that classifies texts; NULL: the family has none */
    const char *token_classifier; /* likewise of that for tokens, which has a bias */
} tsr_family;

/* NULL if there is none; and the names of all, as "gpt2, gpt_neox, llama, ...". */
const tsr_family *tsr_family_find(const char *model_type);
const char *tsr_family_names(void);

/* Builds the model a config describes. TSR_ERR_FORMAT with one line naming file, key, what was expected and
 * found; TSR_ERR_MEMORY. *out is NULL on failure. The config may be freed afterwards. */
tsr_status tsr_model_from_config(const tsr_json *config, tsr_model **out);
/* The same under the head of a task that its "architectures" may not name. TSR_ERR_FORMAT if the family has no such
 * head. */
tsr_status tsr_model_for_task(const tsr_json *config, tsr_task task, tsr_model **out);
/* The same from MODEL_DIR/config.json; TSR_ERR_IO where it cannot be read. */
tsr_status tsr_model_from_dir(const char *model_dir, tsr_model **out);
/* The same from what describes the request's model (tsr_source_config; *source as there). */
tsr_status tsr_model_from_source(const tsr_source_request *request, tsr_source **source, tsr_model **out);

#endif
