/* model.c: the table of families, and the way from a config to the family's builder. */
#include "layers/model.h"
#include "base/log.h"
#include "checkpoint/source_config.h"
#include "layers/models/models.h"

#include <string.h>

/* X(model_type, head prefix, builder) in alphabetical order. */
#define FAMILIES(X)                                                                                          \
    X("baichuan", "model.", tsr_build_baichuan)                                                              \
    X("bloom", "transformer.", tsr_build_bloom)                                                              \
    X("chatglm", "transformer.", tsr_build_chatglm)                                                          \
    X("codegen", "transformer.", tsr_build_codegen)                                                          \
    X("falcon", "transformer.", tsr_build_falcon)                                                            \
    X("glm", "model.", tsr_build_glm)                                                                        \
    X("glm4", "model.", tsr_build_glm4)                                                                      \
    X("gpt2", "transformer.", tsr_build_gpt2)                                                                \
    X("gpt_bigcode", "transformer.", tsr_build_gpt_bigcode)                                                  \
    X("gpt_neo", "transformer.", tsr_build_gpt_neo)                                                          \
    X("gpt_neox", "gpt_neox.", tsr_build_gpt_neox)                                                           \
    X("gptj", "transformer.", tsr_build_gptj)                                                                \
    X("internlm", "model.", tsr_build_internlm)                                                              \
    X("llama", "model.", tsr_build_llama)                                                                    \
    X("mistral", "model.", tsr_build_mistral)                                                                \
    X("mpt", "transformer.", tsr_build_mpt)                                                                  \
    X("openai-gpt", "transformer.", tsr_build_openai_gpt)                                                    \
    X("opt", "model.", tsr_build_opt)                                                                        \
    X("qwen", "transformer.", tsr_build_qwen)                                                                \
    X("qwen2", "model.", tsr_build_qwen2)                                                                    \
    X("RefinedWeb", "transformer.", tsr_build_refined_web)                                                   \
    X("RefinedWebModel", "transformer.", tsr_build_falcon)                                                   \
    X("xglm", "model.", tsr_build_xglm)

static const tsr_family families[] = {
#define FAMILY_ROW(model_type, prefix, build) {model_type, prefix, build},
    FAMILIES(FAMILY_ROW)
#undef FAMILY_ROW
};

const tsr_family *tsr_family_find(const char *model_type)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}

const char *tsr_family_names(void)
{
#define FAMILY_NAME(model_type, prefix, build) ", " model_type
    static const char names[] = FAMILIES(FAMILY_NAME);
#undef FAMILY_NAME
    return names + 2;
}

static tsr_status choose_family(tsr_object config, const tsr_family **out)
{
    const char *type;
    TSR_TRY(tsr_object_string(config, "model_type", NULL, &type));
    if (!type)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"model_type\" is missing; the ones we have: %s", config.where,
                        tsr_family_names());
    *out = tsr_family_find(type);
    if (!*out)
        return tsr_fail(TSR_ERR_FORMAT, "%s: model_type \"%.64s\" is not one of those we have: %s",
                        config.where, type, tsr_family_names());
    return TSR_OK;
}

tsr_status tsr_model_from_config(const tsr_json *config, tsr_model **out)
{
    const tsr_family *family = NULL;
    tsr_object root = tsr_json_root(config);
    *out = NULL;
    TSR_TRY(choose_family(root, &family));
    if (tsr_object_has(root, "auto_map"))
        tsr_log(TSR_LOG_INFO, "%s: \"auto_map\" is ignored: code that comes with a model is never run",
                root.where);
    TSR_TRY(tsr_model_create(out));
    (*out)->family = family->model_type;
    (*out)->name_prefix = family->name_prefix;
    tsr_status status = family->build(root, *out);
    if (status != TSR_OK) tsr_model_destroy(out);
    return status;
}

tsr_status tsr_model_from_source(const tsr_source_request *request, tsr_source **source, tsr_model **out)
{
    tsr_json config;
    *out = NULL;
    TSR_TRY(tsr_source_config(request, source, &config));
    tsr_status status = tsr_model_from_config(&config, out);
    tsr_json_free(&config);
    return status;
}

tsr_status tsr_model_from_dir(const char *model_dir, tsr_model **out)
{
    tsr_source *source = NULL;
    tsr_status status = tsr_model_from_source(&(tsr_source_request){.model_dir = model_dir}, &source, out);
    tsr_source_destroy(&source);
    return status;
}
