/* deepspeed_json.c: a checkpoint as DeepSpeed's inference describes it:
 *
 * {"type": "ds_model", "version": 1.0, "checkpoints": ["pytorch_model-00001-of-00002.bin", ...], "base_dir": "..."}
 *
 *   type             ds_model or BLOOM: Hugging Face's models; Megatron: Megatron-LM's. In any case of letters
 *   checkpoints      a list of torch or safetensors files; {"tp": [...], "non_tp": [...]} (of old "non-tp"), files with
 *                    the pieces of the ranks and files of whole tensors; or one name, of a folder
 *   parallelization  "pp", the files of a list hold whole tensors, or "tp": pieces. With "tp" lists it is always "tp"
 *   mp_size, tp_size the number of ranks that the pieces are of; that of the files if neither is there
 *   base_dir         where the files are looked for
 *
 * Files lie in the JSON's folder or below it. Writers leave the path in base_dir that they were started with, mostly
 * an absolute one of another machine, which is not followed: the files are looked for beside the JSON, as they are
 * where a relative one does not exist. It may not lead upwards.
 */
#include "base/log.h"
#include "checkpoint/inference_files.h"
#include "checkpoint/megatron.h"
#include "checkpoint/torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { JSON_CAP = 16 << 20, FILE_CAP = 1 << 16, PATH_CAP = 2048 };

/* The one that users write, and the one that comes with files cut for ranks. */
static const char marker[] = "ds_inference_checkpoint.json", cut_marker[] = "ds_inference_config.json";

typedef struct description {
    tsr_object root;
    const char *base;          /* "" or "below" */
    const json_t *whole, *cut; /* lists of names, or NULL */
    bool megatron;
    int64_t ranks;
    double version;
} description;

/* --- Reading the JSON --- */

static tsr_status read_type(description *d)
{
    const char *type;
    TSR_TRY(tsr_object_string(d->root, "type", "", &type));
    d->megatron = strcasecmp(type, "megatron") == 0;
    if (d->megatron || strcasecmp(type, "ds_model") == 0 || strcasecmp(type, "bloom") == 0) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"type\": expected ds_model, BLOOM or Megatron, found \"%.64s\"",
                    d->root.where, type);
}

/* Is it a folder below that of the JSON? */
static tsr_status find_base(const tsr_source *s, description *d)
{
    TSR_TRY(tsr_object_string(d->root, "base_dir", "", &d->base));
    while (strncmp(d->base, "./", 2) == 0) d->base += 2;
    if (!*d->base || strcmp(d->base, ".") == 0) {
        d->base = "";
        return TSR_OK;
    }
    bool found = false;
    tsr_status status = *d->base == '/' ? TSR_OK : tsr_source_has_folder(s, d->base, &found);
    if (status != TSR_OK) return tsr_fail_in(status, "%s: base_dir", d->root.where);
    if (found) return TSR_OK;
    tsr_log(TSR_LOG_INFO, "%s: \"base_dir\" is not a folder below it: files are looked for beside it",
            d->root.where);
    d->base = "";
    return TSR_OK;
}

static tsr_status need_names(const description *d, const json_t *list, const char *key)
{
    if (!json_is_array(list) || json_array_size(list) > FILE_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\": expected a list of at most %d files, found %s",
                        d->root.where, key, FILE_CAP,
                        json_is_array(list) ? "a longer one" : tsr_json_type_name(list));
    return TSR_OK;
}

/* {"tp": [...], "non_tp": [...]} */
static tsr_status read_cut_lists(description *d, const json_t *checkpoints)
{
    const json_t *whole = json_object_get(checkpoints, "non_tp"),
                 *old = json_object_get(checkpoints, "non-tp");
    if (whole && old)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": both \"non_tp\" and \"non-tp\", expected one",
                        d->root.where);
    d->whole = whole ? whole : old;
    d->cut = json_object_get(checkpoints, "tp");
    if (d->whole) TSR_TRY(need_names(d, d->whole, "checkpoints\": \"non_tp"));
    if (!d->cut)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": an object without a list \"tp\"",
                        d->root.where);
    return need_names(d, d->cut, "checkpoints\": \"tp");
}

static tsr_status read_lists(description *d)
{
    const json_t *checkpoints = json_object_get(d->root.object, "checkpoints");
    bool lists = json_is_object(checkpoints);
    const char *how;
    TSR_TRY(tsr_object_string(d->root, "parallelization", lists || d->megatron ? "tp" : "pp", &how));
    bool cut = strcmp(how, "tp") == 0;
    if ((!cut && strcmp(how, "pp") != 0) || (lists && !cut))
        return tsr_fail(
            TSR_ERR_FORMAT, "%s: \"parallelization\": expected %s, found \"%.64s\"", d->root.where,
            lists ? "\"tp\", as \"checkpoints\" has a list of that name" : "\"pp\" or \"tp\"", how);
    if (lists) {
        TSR_TRY(read_cut_lists(d, checkpoints));
    } else {
        TSR_TRY(need_names(d, checkpoints, "checkpoints"));
        *(cut || d->megatron ? &d->cut : &d->whole) = checkpoints;
    }
    if (json_array_size(d->cut ? d->cut : d->whole) == 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": expected a list of files, found none",
                        d->root.where);
    return TSR_OK;
}

static tsr_status read_ranks(description *d)
{
    int64_t files = (int64_t)json_array_size(d->cut), tp;
    TSR_TRY(tsr_object_number(d->root, "version", -1, 0, 1e6, &d->version));
    TSR_TRY(tsr_object_int(d->root, "tp_size", files, 1, TSR_INFERENCE_RANKS_CAP, &tp));
    return tsr_object_int(d->root, "mp_size", tp, 1, TSR_INFERENCE_RANKS_CAP, &d->ranks);
}

/* --- Its files --- */

/* PATH_CAP bytes of `path`: below the base. */
static tsr_status find_path(const description *d, const json_t *entry, char *path)
{
    const char *name = json_string_value(entry);
    if (!name || strlen(name) != json_string_length(entry))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": expected file names, found %s", d->root.where,
                        tsr_json_type_name(entry));
    if (snprintf(path, PATH_CAP, "%s%s%s", d->base, *d->base ? "/" : "", name) >= PATH_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": a name too long", d->root.where);
    return TSR_OK;
}

static tsr_status add_files(tsr_source *s, const description *d, const json_t *list, int *files)
{
    char path[PATH_CAP];
    for (size_t i = 0; i < json_array_size(list); i++) {
        TSR_TRY(find_path(d, json_array_get(list, i), path));
        tsr_status status = tsr_source_add_path(s, path, &files[i]);
        if (status != TSR_OK) return tsr_fail_in(status, "%s: checkpoints", d->root.where);
    }
    return TSR_OK;
}

bool tsr_is_safetensors(const tsr_source *s, int file)
{
    static const char ending[] = ".safetensors";
    const char *name = tsr_source_file_name(s, file);
    size_t n = strlen(name), m = sizeof ending - 1;
    return n > m && strcmp(name + n - m, ending) == 0;
}

static tsr_status list_whole(tsr_source *s, const tsr_inference_files *f)
{
    for (int64_t i = 0; i < f->whole_count; i++)
        TSR_TRY(tsr_is_safetensors(s, f->whole[i]) ? tsr_safetensors_list(s, f->whole[i])
                                                   : tsr_torch_list(s, f->whole[i]));
    return TSR_OK;
}

/* A file called tp_RR_PP is of rank RR and must stand in the list where one of that rank belongs. */
static tsr_status check_place(const tsr_source *s, const tsr_inference_files *f, int64_t i)
{
    const char *path = tsr_source_file_name(s, f->cut[i]), *slash = strrchr(path, '/');
    int said, part, end = 0;
    sscanf(slash ? slash + 1 : path, "tp_%4d_%4d.%n", &said, &part, &end);
    if (end == 0 || said == i % f->ranks) return TSR_OK;
    return tsr_fail(
        TSR_ERR_FORMAT,
        "%s: \"checkpoints\": %.200s stands where a file of rank %lld is expected: those of all %lld "
        "ranks belong together, one part after the other",
        f->where, path, (long long)(i % f->ranks), (long long)f->ranks);
}

/* Equally many files of each rank, in the right order. */
static tsr_status check_ranks(const tsr_source *s, const tsr_inference_files *f)
{
    if (f->ranks > TSR_INFERENCE_RANKS_CAP || f->cut_count % f->ranks != 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"checkpoints\": %lld files cannot be equally many of each of %lld ranks",
                        f->where, (long long)f->cut_count, (long long)f->ranks);
    for (int64_t i = 0; i < f->cut_count; i++) TSR_TRY(check_place(s, f, i));
    return TSR_OK;
}

/* The files of Megatron's ranks, in order: f->cut, f->ranks of them. */
static tsr_status list_megatron(tsr_source *s, const tsr_inference_files *f)
{
    tsr_megatron_request q = {f->cut, (int)f->cut_count, (int)f->ranks, f->version, f->where};
    return tsr_megatron_list(s, &q);
}

static tsr_status list_tensors(tsr_source *s, const description *d, const tsr_inference_files *f)
{
    bool told = false;
    if (!d->cut) return list_whole(s, f);
    if (!d->megatron && tsr_is_safetensors(s, f->cut[0])) TSR_TRY(tsr_rank_files_told(s, f->cut[0], &told));
    if (told) return tsr_rank_files_list(s, f);
    if (d->megatron && d->whole)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"checkpoints\": Megatron's files all belong under \"tp\"",
                        f->where);
    if (d->megatron) return list_megatron(s, f);
    TSR_TRY(check_ranks(s, f));
    if (s->wanted_mp) s->trained_mp = s->wanted_mp; /* it was cut after training, which it says nothing of */
    return tsr_presharded_list(s, f);
}

static tsr_status open_lists(tsr_source *s, const description *d)
{
    tsr_inference_files f = {.where = d->root.where,
                             .whole_count = (int64_t)json_array_size(d->whole),
                             .cut_count = (int64_t)json_array_size(d->cut),
                             .ranks = d->ranks,
                             .version = d->version};
    void *p;
    TSR_TRY(tsr_calloc(f.whole_count + f.cut_count, sizeof(int), "a list of files", &p));
    int *whole = p, *cut = whole + f.whole_count;
    tsr_status status = add_files(s, d, d->whole, whole);
    if (status == TSR_OK) status = add_files(s, d, d->cut, cut);
    f.whole = whole;
    f.cut = cut;
    if (status == TSR_OK) status = list_tensors(s, d, &f);
    tsr_free(p);
    return status;
}

/* --- The format --- */

static tsr_status open_folder(tsr_source *s, description *d, const json_t *name)
{
    char path[PATH_CAP];
    TSR_TRY(read_ranks(d));
    TSR_TRY(find_path(d, name, path));
    tsr_megatron_request stated = {NULL, 0, (int)d->ranks, d->version, d->root.where};
    s->stated = d->megatron ? &stated : NULL;
    tsr_status status = tsr_source_open_below(s, path);
    s->stated = NULL;
    return status == TSR_OK ? status : tsr_fail_in(status, "%s: checkpoints", d->root.where);
}

static tsr_status open_description(tsr_source *s, tsr_object root)
{
    description d = {.root = root};
    const json_t *checkpoints = json_object_get(root.object, "checkpoints");
    TSR_TRY(read_type(&d));
    TSR_TRY(find_base(s, &d));
    if (json_is_string(checkpoints)) return open_folder(s, &d, checkpoints);
    TSR_TRY(read_lists(&d));
    TSR_TRY(read_ranks(&d));
    return open_lists(s, &d);
}

static tsr_status open_json(tsr_source *s)
{
    tsr_json doc;
    int file;
    const char *found = tsr_source_has_file(s, marker) ? marker : cut_marker;
    TSR_TRY(tsr_source_add_file(s, s->named ? s->named : found, &file));
    TSR_TRY(tsr_source_read_json(s, file, JSON_CAP, &doc));
    tsr_status status = open_description(s, tsr_json_root(&doc));
    tsr_json_free(&doc);
    return status;
}

static bool probe(const tsr_source *s)
{
    return tsr_source_has_file(s, marker) || tsr_source_has_file(s, cut_marker);
}

const tsr_source_format tsr_format_deepspeed_json = {"DeepSpeed inference JSON", marker, ".json", probe,
                                                     open_json};
