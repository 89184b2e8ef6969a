/* format_json.c: tokenizer.json, with what tokenizer_config.json changes of it. */
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/parts.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/special_tokens.h"

typedef tsr_status (*load_family)(tsr_object o, tsr_arena *arena, tsr_components *out);

static tsr_status family(tsr_object root, const char *key, load_family load, tsr_arena *arena,
                         tsr_components *out)
{
    tsr_object o;
    TSR_TRY(tsr_component_child(root, key, arena, &o));
    return load(o, arena, out);
}

/* "truncation" and "padding" are left alone: see tokenizer.h. */
tsr_status tsr_tokenizer_from_json(const tsr_json *doc, const tsr_json *config, tsr_tokenizer *t)
{
    tsr_object root = tsr_json_root(doc), o;
    const char *version;
    const json_t *added;
    TSR_TRY(tsr_object_string(root, "version", "1.0", &version));
    if (strcmp(version, "1.0") != 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"version\" must be 1.0, found \"%.20s\"", root.where, version);
    TSR_TRY(tsr_component_child(root, "model", t->arena, &o));
    TSR_TRY(tsr_model_load(o, &t->model));
    TSR_TRY(family(root, "normalizer", tsr_normalizers_load, t->arena, &t->normalizers));
    TSR_TRY(family(root, "pre_tokenizer", tsr_pre_tokenizers_load, t->arena, &t->pre_tokenizers));
    TSR_TRY(family(root, "decoder", tsr_decoders_load, t->arena, &t->decoders));
    TSR_TRY(tsr_component_child(root, "post_processor", t->arena, &o));
    TSR_TRY(tsr_post_processor_load(o, t->arena, &t->around));
    TSR_TRY(tsr_object_array(root, "added_tokens", TSR_ADDED_TOKENS_CAP, &added));
    TSR_TRY(tsr_added_tokens_create(t->model.vocabulary, &t->added));
    TSR_TRY(tsr_added_tokens_load(t->added, root.where, added));
    TSR_TRY(tsr_config_update_tokens(tsr_json_root(config), t));
    TSR_TRY(tsr_config_replace_template(tsr_json_root(config), t));
    return tsr_added_tokens_finish(t->added, &t->normalizers);
}

static tsr_status load(const char *dir, tsr_tokenizer *t)
{
    tsr_json doc, config = {0};
    TSR_TRY(tsr_tokenizer_read_json(dir, "tokenizer.json", &doc));
    tsr_status status = tsr_tokenizer_read_config(dir, &config);
    if (status == TSR_OK) status = tsr_tokenizer_from_json(&doc, &config, t);
    tsr_json_free(&config);
    tsr_json_free(&doc);
    return status;
}

const tsr_tokenizer_format tsr_format_tokenizer_json = {{"tokenizer.json", NULL}, load};
