/* model.c: the table of models that a tokenizer.json can hold. */
#include "runtime/tokenizer/model.h"

static const tsr_model_kind *const rows[] = {&tsr_model_bpe, &tsr_model_unigram};

tsr_status tsr_model_load(tsr_object o, tsr_model *out)
{
    const char *type;
    *out = (tsr_model){0};
    if (!o.object) return tsr_fail(TSR_ERR_FORMAT, "%s: the model is missing", o.where);
    TSR_TRY(tsr_object_string(o, "type", tsr_object_has(o, "merges") ? "BPE" : "nothing", &type));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(type, rows[i]->type) != 0) continue;
        out->kind = rows[i];
        TSR_TRY(tsr_vocabulary_create(&out->vocabulary));
        return rows[i]->load(o, out);
    }
    return tsr_fail(TSR_ERR_FORMAT, "%s: unknown model \"%.40s\"; we have BPE and Unigram", o.where, type);
}

void tsr_model_release(tsr_model *model)
{
    if (model->kind) model->kind->release(model);
    tsr_vocabulary_destroy(&model->vocabulary);
    *model = (tsr_model){0};
}
