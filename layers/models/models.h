/* models.h: the builders of layers/models/, one a family; the rows of the table in layers/model.c. */
#ifndef TSR_LAYERS_MODELS_MODELS_H
#define TSR_LAYERS_MODELS_MODELS_H

#include "layers/model.h"

tsr_status tsr_build_bloom(tsr_object config, tsr_model *m);
tsr_status tsr_build_gpt2(tsr_object config, tsr_model *m);
tsr_status tsr_build_gpt_neox(tsr_object config, tsr_model *m);
tsr_status tsr_build_llama(tsr_object config, tsr_model *m);
tsr_status tsr_build_mistral(tsr_object config, tsr_model *m);

#endif
