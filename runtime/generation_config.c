/* generation_config.c: end-of-sequence ids from generation_config.json or config.json. */
#include "runtime/generation_config.h"

#include <stdio.h>
#include <sys/stat.h>

static tsr_status add_eos(const json_t *value, const char *where, int64_t vocabulary,
                          tsr_generation_config *out)
{
    if (!json_is_integer(value))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"eos_token_id\" must be an integer or a list of them, found %s",
                        where, tsr_json_type_name(value));
    int64_t id = json_integer_value(value);
    if (id == -1) return TSR_OK; /* some tools write -1 for "none" */
    if (id < 0 || id >= vocabulary) {
        /* Small vocabularies inherit defaults such as 50256: such an id can never be chosen, so it ends
         * nothing. */
        return TSR_OK;
    }
    if (out->n_eos == TSR_MAX_EOS_IDS)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"eos_token_id\" lists more than %d tokens", where,
                        TSR_MAX_EOS_IDS);
    out->eos_ids[out->n_eos++] = (int32_t)id;
    return TSR_OK;
}

static tsr_status read_eos(tsr_object o, int64_t vocabulary, tsr_generation_config *out)
{
    const json_t *value = json_object_get(o.object, "eos_token_id");
    if (!json_is_array(value)) return add_eos(value, o.where, vocabulary, out);
    for (size_t i = 0; i < json_array_size(value); i++)
        TSR_TRY(add_eos(json_array_get(value, i), o.where, vocabulary, out));
    return TSR_OK;
}

tsr_status tsr_generation_config_read(const char *model_dir, const tsr_json *config, int64_t vocabulary,
                                      tsr_generation_config *out)
{
    char path[4096];
    struct stat st;
    *out = (tsr_generation_config){.n_eos = 0};
    snprintf(path, sizeof path, "%s/generation_config.json", model_dir);
    if (lstat(path, &st) == 0) { /* a link into nowhere is a fault, no absence */
        tsr_json file;
        TSR_TRY(tsr_json_read(path, TSR_JSON_CONFIG_CAP, &file));
        bool has = tsr_object_has(tsr_json_root(&file), "eos_token_id");
        tsr_status s = has ? read_eos(tsr_json_root(&file), vocabulary, out) : TSR_OK;
        tsr_json_free(&file);
        if (s != TSR_OK || has) return s;
    }
    tsr_object root = tsr_json_root(config);
    return tsr_object_has(root, "eos_token_id") ? read_eos(root, vocabulary, out) : TSR_OK;
}
