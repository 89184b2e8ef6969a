/* model.c: the table of families, and the way from a config to the family's builder. */
#include "layers/model.h"
#include "base/log.h"
#include "checkpoint/source_config.h"
#include "layers/models/models.h"

#include <string.h>

/* X(model_type, head prefix, builder, tensors of the heads that classify texts and tokens) in alphabetical order. */
#define FAMILIES(X)                                                                                          \
    X("baichuan", "model.", tsr_build_baichuan, NULL, NULL)                                                  \
    X("bloom", "transformer.", tsr_build_bloom, "score", "classifier")                                       \
    X("chatglm", "transformer.", tsr_build_chatglm, NULL, NULL)                                              \
    X("codegen", "transformer.", tsr_build_codegen, NULL, NULL)                                              \
    X("falcon", "transformer.", tsr_build_falcon, "score", "classifier")                                     \
    X("glm", "model.", tsr_build_glm, "score", "score")                                                      \
    X("glm4", "model.", tsr_build_glm4, "score", "score")                                                    \
    X("gpt2", "transformer.", tsr_build_gpt2, "score", "classifier")                                         \
    X("gpt_bigcode", "transformer.", tsr_build_gpt_bigcode, "score", "classifier")                           \
    X("gpt_neo", "transformer.", tsr_build_gpt_neo, "score", "classifier")                                   \
    X("gpt_neox", "gpt_neox.", tsr_build_gpt_neox, "score", "classifier")                                    \
    X("gptj", "transformer.", tsr_build_gptj, "score", NULL)                                                 \
    X("internlm", "model.", tsr_build_internlm, "score", NULL)                                               \
    X("llama", "model.", tsr_build_llama, "score", "score")                                                  \
    X("mistral", "model.", tsr_build_mistral, "score", "score")                                              \
    X("mpt", "transformer.", tsr_build_mpt, "score", "classifier")                                           \
    X("openai-gpt", "transformer.", tsr_build_openai_gpt, "score", NULL)                                     \
    X("opt", "model.", tsr_build_opt, "score", NULL)                                                         \
    X("phi", "model.", tsr_build_phi, "score", "score")                                                      \
    X("qwen", "transformer.", tsr_build_qwen, NULL, NULL)                                                    \
    X("qwen2", "model.", tsr_build_qwen2, "score", "score")                                                  \
    X("RefinedWeb", "transformer.", tsr_build_refined_web, "score", "classifier")                            \
    X("RefinedWebModel", "transformer.", tsr_build_falcon, "score", "classifier")                            \
    X("stablelm", "model.", tsr_build_stablelm, "score", "score")                                            \
    X("xglm", "model.", tsr_build_xglm, NULL, NULL)

static const tsr_family families[] = {
#define FAMILY_ROW(model_type, prefix, build, text, token) {model_type, prefix, build, text, token},
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
#define FAMILY_NAME(model_type, prefix, build, text, token) ", " model_type
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

static tsr_status no_head(tsr_object config, const tsr_model *m)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: model_type \"%s\" has no head for %s", config.where, m->family,
                    tsr_task_name(m->task));
}

/* The classifier that is to stand in the place of the language model's head, if any is. */
static tsr_status choose_task(tsr_object config, const tsr_family *family, tsr_task task, tsr_model *m)
{
    if (task == TSR_TASK_AUTO) TSR_TRY(tsr_task_of_config(config, &task));
    m->task = task;
    if (task == TSR_TASK_TEXT_GENERATION) return TSR_OK;
    bool tokens = task == TSR_TASK_TOKEN_CLASSIFICATION;
    TSR_TRY(tsr_classifier_read(config, task, m->arena, &m->classifier));
    m->classifier.tensor = tokens ? family->token_classifier : family->text_classifier;
    m->classifier.bias = tokens;
    return m->classifier.tensor ? TSR_OK : no_head(config, m);
}

/* An absent key is what the family's class says, which its builder has set. */
static tsr_status read_pad(tsr_object config, tsr_model *m)
{
    if (json_is_null(json_object_get(config.object, "pad_token_id"))) m->classifier.pad_id = -1;
    return tsr_object_int(config, "pad_token_id", m->classifier.pad_id, -1, INT32_MAX, &m->classifier.pad_id);
}

static tsr_status build(tsr_object config, const tsr_family *family, tsr_task task, tsr_model *m)
{
    m->family = family->model_type;
    m->name_prefix = family->name_prefix;
    TSR_TRY(choose_task(config, family, task, m));
    TSR_TRY(family->build(config, m));
    if (m->task == TSR_TASK_TEXT_GENERATION) return TSR_OK;
    return m->prefix.enabled ? no_head(config, m) : read_pad(config, m);
}

tsr_status tsr_model_for_task(const tsr_json *config, tsr_task task, tsr_model **out)
{
    const tsr_family *family = NULL;
    tsr_object root = tsr_json_root(config);
    *out = NULL;
    TSR_TRY(choose_family(root, &family));
    if (tsr_object_has(root, "auto_map"))
        tsr_log(TSR_LOG_INFO, "%s: \"auto_map\" is ignored: code that comes with a model is never run",
                root.where);
    TSR_TRY(tsr_model_create(out));
    tsr_status status = build(root, family, task, *out);
    if (status != TSR_OK) tsr_model_destroy(out);
    return status;
}

tsr_status tsr_model_from_config(const tsr_json *config, tsr_model **out)
{
    return tsr_model_for_task(config, TSR_TASK_AUTO, out);
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
