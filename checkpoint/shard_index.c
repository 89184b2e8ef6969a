/* shard_index.c: a checkpoint in several .safetensors or torch files, tied together by an index,
 * model.safetensors.index.json or pytorch_model.bin.index.json:
 *
 * {"metadata": {...}, "weight_map": {"wte.weight": "model-00001-of-00002.safetensors", ...}}
 *
 * The map decides which files are opened. Every tensor it names must be in the very file it says; a tensor in
 * two of the files is refused, for readers would disagree about which one counts. Tensors that lie in those
 * files without being in the map are listed too: Hugging Face's loader also takes the files as they are.
 * Nothing of "metadata" is used.
 */
#include "base/json.h"
#include "checkpoint/format.h"
#include "checkpoint/torch.h"

#include <stdlib.h>
#include <string.h>

enum { INDEX_CAP = 100000000 };

/* What the two kinds of index differ in. */
typedef struct index_kind {
    const char *suffix; /* of the files */
    const char *marker; /* the index in a folder */
    tsr_status (*list)(tsr_source *source, int file);
} index_kind;

static const index_kind of_safetensors = {".safetensors", "model.safetensors.index.json",
                                          tsr_safetensors_list};
static const index_kind of_torch = {".bin", "pytorch_model.bin.index.json", tsr_torch_list};

typedef struct shard_index {
    const index_kind *kind;
    tsr_source *source;
    const char *name; /* of the index file */
} shard_index;

typedef struct entry {
    const char *tensor, *file; /* owned by the document */
    int index;                 /* of the file, once opened */
} entry;

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    return order ? order : strcmp(x->tensor, y->tensor);
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

static tsr_status read_map(const shard_index *x, const json_t *map, entry *entries, int64_t *count)
{
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file)
    {
        const char *name = json_string_value(file);
        if (!name)
            return tsr_fail(TSR_ERR_FORMAT, "%s: weight_map: \"%.200s\": expected a file name, found %s",
                            x->name, tensor, tsr_json_type_name(file));
        if (strlen(name) != json_string_length(file) || !ends_in(name, x->kind->suffix))
            return tsr_fail(TSR_ERR_FORMAT,
                            "%s: weight_map: \"%.200s\": expected the name of a %s file, found \"%.200s\"",
                            x->name, tensor, x->kind->suffix, name);
        entries[(*count)++] = (entry){tensor, name, -1};
    }
    return TSR_OK;
}

/* Opens each file once; the entries are sorted by file. */
static tsr_status open_files(const shard_index *x, entry *entries, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(entries[i].file, entries[i - 1].file) == 0) {
            entries[i].index = entries[i - 1].index;
            continue;
        }
        tsr_status status = tsr_source_add_file(x->source, entries[i].file, &entries[i].index);
        if (status != TSR_OK) return tsr_fail_in(status, "%s: weight_map", x->name);
        TSR_TRY(x->kind->list(x->source, entries[i].index));
    }
    return TSR_OK;
}

/* Each tensor of the map lies in the file that the map names. */
static tsr_status check_map(const shard_index *x, const entry *entries, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const tsr_tensor_info *t = tsr_source_find(x->source, entries[i].tensor);
        if (!t)
            return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\" should be in %s, found in no file",
                            x->name, entries[i].tensor, entries[i].file);
        if (t->file != entries[i].index)
            return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\" should be in %s, found in %s", x->name,
                            entries[i].tensor, entries[i].file, tsr_source_file_name(x->source, t->file));
    }
    return TSR_OK;
}

static tsr_status open_map(const shard_index *x, const json_t *map)
{
    if (!json_is_object(map) || json_object_size(map) == 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"weight_map\" must be an object with entries, found %s",
                        x->name, json_is_object(map) ? "none" : tsr_json_type_name(map));
    void *p;
    int64_t count = 0;
    TSR_TRY(tsr_calloc((int64_t)json_object_size(map), sizeof(entry), "a weight map", &p));
    tsr_status status = read_map(x, map, p, &count);
    if (status == TSR_OK) {
        qsort(p, (size_t)count, sizeof(entry), compare_entries);
        status = open_files(x, p, count);
    }
    if (status == TSR_OK) status = tsr_source_finish(x->source);
    if (status == TSR_OK) status = check_map(x, p, count);
    tsr_free(p);
    return status;
}

static tsr_status open_sharded(tsr_source *s, const index_kind *kind)
{
    shard_index x = {.kind = kind, .source = s};
    tsr_json doc;
    int file;
    TSR_TRY(tsr_source_add_file(s, s->named ? s->named : kind->marker, &file));
    x.name = s->files[file].name;
    TSR_TRY(tsr_source_read_json(s, file, INDEX_CAP, &doc));
    x.name = doc.file; /* the list of files moves when it grows */
    tsr_status status = open_map(&x, json_object_get(doc.root, "weight_map"));
    tsr_json_free(&doc);
    return status;
}

static tsr_status open_safetensors(tsr_source *s)
{
    return open_sharded(s, &of_safetensors);
}

static tsr_status open_torch(tsr_source *s)
{
    return open_sharded(s, &of_torch);
}

static bool probe_safetensors(const tsr_source *s)
{
    return tsr_source_has_file(s, of_safetensors.marker);
}

static bool probe_torch(const tsr_source *s)
{
    return tsr_source_has_file(s, of_torch.marker);
}

const tsr_source_format tsr_format_safetensors_index = {"sharded safetensors", "model.safetensors.index.json",
                                                        ".safetensors.index.json", probe_safetensors,
                                                        open_safetensors};
const tsr_source_format tsr_format_torch_index = {"sharded torch", "pytorch_model.bin.index.json",
                                                  ".bin.index.json", probe_torch, open_torch};
