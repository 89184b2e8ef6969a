/* safetensors_index.c: a checkpoint in several .safetensors files, tied together by
 * model.safetensors.index.json:
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

#include <stdlib.h>
#include <string.h>

enum { INDEX_CAP = 100000000 };

static const char index_name[] = "model.safetensors.index.json";

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

static bool ends_in_safetensors(const char *name)
{
    static const char suffix[] = ".safetensors";
    size_t n = strlen(name), m = sizeof suffix - 1;
    return n > m && strcmp(name + n - m, suffix) == 0;
}

static tsr_status read_map(const json_t *map, entry *entries, int64_t *count)
{
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file)
    {
        const char *name = json_string_value(file);
        if (!name)
            return tsr_fail(TSR_ERR_FORMAT, "%s: weight_map: \"%.200s\": expected a file name, found %s",
                            index_name, tensor, tsr_json_type_name(file));
        if (strlen(name) != json_string_length(file) || !ends_in_safetensors(name))
            return tsr_fail(
                TSR_ERR_FORMAT,
                "%s: weight_map: \"%.200s\": expected the name of a .safetensors file, found \"%.200s\"",
                index_name, tensor, name);
        entries[(*count)++] = (entry){tensor, name, -1};
    }
    return TSR_OK;
}

/* Opens each file once; the entries are sorted by file. */
static tsr_status open_files(tsr_source *s, entry *entries, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(entries[i].file, entries[i - 1].file) == 0) {
            entries[i].index = entries[i - 1].index;
            continue;
        }
        tsr_status status = tsr_source_add_file(s, entries[i].file, &entries[i].index);
        if (status != TSR_OK) return tsr_fail_in(status, "%s: weight_map", index_name);
        TSR_TRY(tsr_safetensors_list(s, entries[i].index));
    }
    return TSR_OK;
}

/* Each tensor of the map lies in the file that the map names. */
static tsr_status check_map(const tsr_source *s, const entry *entries, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const tsr_tensor_info *t = tsr_source_find(s, entries[i].tensor);
        if (!t)
            return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\" should be in %s, found in no file",
                            index_name, entries[i].tensor, entries[i].file);
        if (t->file != entries[i].index)
            return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\" should be in %s, found in %s", index_name,
                            entries[i].tensor, entries[i].file, tsr_source_file_name(s, t->file));
    }
    return TSR_OK;
}

static tsr_status open_map(tsr_source *s, const json_t *map)
{
    if (!json_is_object(map) || json_object_size(map) == 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"weight_map\" must be an object with entries, found %s",
                        index_name, json_is_object(map) ? "none" : tsr_json_type_name(map));
    void *p;
    int64_t count = 0;
    TSR_TRY(tsr_calloc((int64_t)json_object_size(map), sizeof(entry), "a weight map", &p));
    tsr_status status = read_map(map, p, &count);
    if (status == TSR_OK) {
        qsort(p, (size_t)count, sizeof(entry), compare_entries);
        status = open_files(s, p, count);
    }
    if (status == TSR_OK) status = tsr_source_finish(s);
    if (status == TSR_OK) status = check_map(s, p, count);
    tsr_free(p);
    return status;
}

static tsr_status open_sharded(tsr_source *s)
{
    int file;
    void *text;
    tsr_json doc;
    TSR_TRY(tsr_source_add_file(s, index_name, &file));
    int64_t n = s->files[file].bytes;
    if (n > INDEX_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, at most %d are accepted", index_name, (long long)n,
                        INDEX_CAP);
    TSR_TRY(tsr_alloc(n, index_name, &text));
    tsr_status status = tsr_source_pread(s, file, 0, n, text);
    if (status == TSR_OK) status = tsr_json_parse(text, n, index_name, &doc);
    tsr_free(text);
    TSR_TRY(status);
    status = open_map(s, json_object_get(doc.root, "weight_map"));
    tsr_json_free(&doc);
    return status;
}

static bool probe(const tsr_source *s)
{
    return tsr_source_has_file(s, index_name);
}

const tsr_source_format tsr_format_safetensors_index = {"sharded safetensors", index_name, probe,
                                                        open_sharded};
