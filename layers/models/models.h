/* models.h: the builders of layers/models/, one a family; the rows of the table in layers/model.c. */
#ifndef TSR_LAYERS_MODELS_MODELS_H
#define TSR_LAYERS_MODELS_MODELS_H

#include "layers/model.h"

tsr_status tsr_build_baichuan(tsr_object config, tsr_model *m);
tsr_status tsr_build_bloom(tsr_object config, tsr_model *m);
tsr_status tsr_build_chatglm(tsr_object config, tsr_model *m);
tsr_status tsr_build_chatglm_6b(tsr_object config, tsr_model *m); /* the first one, for chatglm.c */
tsr_status tsr_build_codegen(tsr_object config, tsr_model *m);
tsr_status tsr_build_falcon(tsr_object config, tsr_model *m);
tsr_status tsr_build_glm(tsr_object config, tsr_model *m);
tsr_status tsr_build_glm4(tsr_object config, tsr_model *m);
tsr_status tsr_build_glm_v1(tsr_object config, tsr_model *m); /* of 2022, for glm.c */
bool tsr_is_glm_v1(tsr_object config); /* a config of model_type "glm" that means this one */
tsr_status tsr_build_gpt2(tsr_object config, tsr_model *m);
tsr_status tsr_build_gpt_bigcode(tsr_object config, tsr_model *m);
tsr_status tsr_build_gpt_neo(tsr_object config, tsr_model *m);
tsr_status tsr_build_gpt_neox(tsr_object config, tsr_model *m);
tsr_status tsr_build_gptj(tsr_object config, tsr_model *m);
tsr_status tsr_build_internlm(tsr_object config, tsr_model *m);
tsr_status tsr_build_llama(tsr_object config, tsr_model *m);
tsr_status tsr_build_mistral(tsr_object config, tsr_model *m);
tsr_status tsr_build_mpt(tsr_object config, tsr_model *m);
tsr_status tsr_build_openai_gpt(tsr_object config, tsr_model *m);
tsr_status tsr_build_opt(tsr_object config, tsr_model *m);
tsr_status tsr_build_phi(tsr_object config, tsr_model *m);
tsr_status tsr_build_qwen(tsr_object config, tsr_model *m);
tsr_status tsr_build_qwen2(tsr_object config, tsr_model *m);
tsr_status tsr_build_refined_web(tsr_object config, tsr_model *m);
tsr_status tsr_build_stablelm(tsr_object config, tsr_model *m);
tsr_status tsr_build_xglm(tsr_object config, tsr_model *m);

#endif
