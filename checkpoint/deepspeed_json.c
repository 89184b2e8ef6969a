/* deepspeed_json.c: a checkpoint as DeepSpeed's inference describes it:
 *
 * {"type": "ds_model", "version": 1.0, "checkpoints": ["pytorch_model-00001-of-00002.bin", ...], "base_dir": "..."}
 *
 * `checkpoints` lists torch or safetensors files under Hugging Face names, in the JSON's folder or below it; a tensor
 * may stand in any of them. `type` is ds_model or bloom, in any case. Writers leave an absolute base_dir of their own
 * machine behind, which is not followed: the files are looked for beside the JSON. A relative one is, and may not lead
 * upwards. {"tp": [...]} of safetensors files is read by rank_files.c; other files cut for ranks (parallelization "tp",
 * {"tp": [...]}, type Megatron) are not read by this format yet.
 */
#include "base/log.h"
#include "checkpoint/torch.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { JSON_CAP = 16 << 20, FILE_CAP = 1 << 16 };

/* The one that users write, and the one that comes with files cut for ranks. */
static const char marker[] = "ds_inference_checkpoint.json", cut_marker[] = "ds_inference_config.json";

static tsr_status check_type(tsr_object root)
{
    const char *type, *cut;
    TSR_TRY(tsr_object_string(root, "type", "", &type));
    TSR_TRY(tsr_object_string(root, "parallelization", "pp", &cut));
    if (strcasecmp(type, "ds_model") != 0 && strcasecmp(type, "bloom") != 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"type\": expected ds_model or BLOOM, found \"%.64s\"",
                        root.where, type);
    if (strcmp(cut, "pp") != 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"parallelization\": expected \"pp\" (whole tensors), found \"%.64s\"",
                        root.where, cut);
    return TSR_OK;
}

/* "" or "below/", if the files' folder is told as one below the JSON's. */
static tsr_status find_base(tsr_object root, const char **out)
{
    TSR_TRY(tsr_object_string(root, "base_dir", "", out));
    if (**out != '/') return TSR_OK;
    tsr_log(TSR_LOG_INFO, "%s: the absolute \"base_dir\" is not followed: files are looked for beside it",
            root.where);
    *out = "";
    return TSR_OK;
}

static tsr_status add_file(tsr_source *s, const char *base, const json_t *entry, const char *where)
{
    static const char safetensors[] = ".safetensors";
    const char *name = json_string_value(entry);
    char path[2048];
    int file, n;
    if (!name || strlen(name) != json_string_length(entry))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": expected file names, found %s", where,
                        tsr_json_type_name(entry));
    n = snprintf(path, sizeof path, "%s%s%s", base, *base ? "/" : "", name);
    if (n >= (int)sizeof path) return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": a name too long", where);
    tsr_status status = tsr_source_add_path(s, path, &file);
    if (status != TSR_OK) return tsr_fail_in(status, "%s: checkpoints", where);
    size_t length = strlen(path), suffix = sizeof safetensors - 1;
    bool plain = length > suffix && strcmp(path + length - suffix, safetensors) == 0;
    return plain ? tsr_safetensors_list(s, file) : tsr_torch_list(s, file);
}

static tsr_status open_list(tsr_source *s, tsr_object root)
{
    const char *base;
    const json_t *list;
    const json_t *checkpoints = json_object_get(root.object, "checkpoints");
    if (tsr_rank_files_named(checkpoints)) {
        TSR_TRY(find_base(root, &base));
        return tsr_rank_files_list(s, base, checkpoints, root.where);
    }
    TSR_TRY(check_type(root));
    TSR_TRY(find_base(root, &base));
    TSR_TRY(tsr_object_array(root, "checkpoints", FILE_CAP, &list));
    if (json_array_size(list) == 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": expected a list of files, found none",
                        root.where);
    for (size_t i = 0; i < json_array_size(list); i++)
        TSR_TRY(add_file(s, base, json_array_get(list, i), root.where));
    return TSR_OK;
}

static tsr_status open_json(tsr_source *s)
{
    tsr_json doc;
    int file;
    const char *found = tsr_source_has_file(s, marker) ? marker : cut_marker;
    TSR_TRY(tsr_source_add_file(s, s->named ? s->named : found, &file));
    TSR_TRY(tsr_source_read_json(s, file, JSON_CAP, &doc));
    tsr_status status = open_list(s, tsr_json_root(&doc));
    tsr_json_free(&doc);
    return status;
}

static bool probe(const tsr_source *s)
{
    return tsr_source_has_file(s, marker) || tsr_source_has_file(s, cut_marker);
}

const tsr_source_format tsr_format_deepspeed_json = {"DeepSpeed inference JSON", marker, ".json", probe,
                                                     open_json};
