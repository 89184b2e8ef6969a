/* cache_sidecar.c: the sidecar as JSON. */
#include "checkpoint/cache_sidecar.h"
#include "base/checked.h"
#include "base/json.h"
#include "base/memory.h"
#include "checkpoint/cache.h"

#include <string.h>

enum { SIDECAR_VERSION = 1 };

static tsr_status read_digest(tsr_object o, const char *key, tsr_digest *out)
{
    const char *text;
    TSR_TRY(tsr_object_string(o, key, "", &text));
    if (!tsr_digest_parse(text, out))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" must be 32 hexadecimal digits", o.where, key);
    return TSR_OK;
}

static tsr_status read_sizes(tsr_object o, tsr_cache_sidecar *s)
{
    int64_t version, part, end;
    TSR_TRY(tsr_object_need_int(o, "tessera_cache", SIDECAR_VERSION, SIDECAR_VERSION, &version));
    TSR_TRY(tsr_object_need_int(o, "part_bytes", TSR_CACHE_PART_BYTES, TSR_CACHE_PART_BYTES, &part));
    TSR_TRY(tsr_object_need_int(o, "file_bytes", 1, INT64_MAX, &s->file_bytes));
    TSR_TRY(tsr_object_need_int(o, "data_offset", 0, INT64_MAX, &s->data_offset));
    TSR_TRY(tsr_object_need_int(o, "data_bytes", 1, INT64_MAX, &s->data_bytes));
    if (!tsr_add(s->data_offset, s->data_bytes, &end) || end > s->file_bytes)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a block of %lld bytes at %lld does not lie in a file of %lld",
                        o.where, (long long)s->data_bytes, (long long)s->data_offset,
                        (long long)s->file_bytes);
    return TSR_OK;
}

static tsr_status read_origin(tsr_object o, tsr_cache_sidecar *s)
{
    const char *text;
    void *p;
    TSR_TRY(tsr_object_string(o, "origin", "", &text));
    int64_t n = (int64_t)strlen(text) + 1;
    TSR_TRY(tsr_alloc(n, "a sidecar", &p));
    s->origin = memcpy(p, text, (size_t)n);
    return TSR_OK;
}

static tsr_status read_parts(tsr_object o, tsr_cache_sidecar *s)
{
    const json_t *list;
    void *p;
    int64_t parts = tsr_cache_parts(s->data_bytes);
    TSR_TRY(tsr_object_array(o, "parts", TSR_CACHE_SIDECAR_CAP, &list));
    if (!list || (int64_t)json_array_size(list) != parts)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"parts\" must be %lld digests, found %lld", o.where,
                        (long long)parts, list ? (long long)json_array_size(list) : 0);
    TSR_TRY(tsr_calloc(parts, sizeof *s->parts, "a sidecar", &p));
    s->parts = p;
    s->n_parts = parts;
    for (int64_t i = 0; i < parts; i++) {
        const char *text = json_string_value(json_array_get(list, (size_t)i));
        if (!text || !tsr_digest_parse(text, &s->parts[i]))
            return tsr_fail(TSR_ERR_FORMAT, "%s: \"parts\": entry %lld must be 32 hexadecimal digits",
                            o.where, (long long)i);
    }
    return TSR_OK;
}

static tsr_status read_all(tsr_object o, tsr_cache_sidecar *s)
{
    TSR_TRY(read_sizes(o, s));
    TSR_TRY(read_digest(o, "frame", &s->frame));
    TSR_TRY(read_digest(o, "key", &s->key));
    TSR_TRY(read_origin(o, s));
    return read_parts(o, s);
}

tsr_status tsr_cache_sidecar_parse(const char *bytes, int64_t n, const char *name, tsr_cache_sidecar *out)
{
    tsr_json doc;
    *out = (tsr_cache_sidecar){0};
    TSR_TRY(tsr_json_parse(bytes, n, name, &doc));
    tsr_status s = read_all(tsr_json_root(&doc), out);
    if (s != TSR_OK) tsr_cache_sidecar_free(out);
    tsr_json_free(&doc);
    return s;
}

static tsr_status print_digest(tsr_text *out, const char *before, tsr_digest d)
{
    char text[TSR_DIGEST_TEXT];
    return tsr_text_format(out, "%s\"%s\"", before, tsr_digest_text(d, text));
}

tsr_status tsr_cache_sidecar_print(const tsr_cache_sidecar *s, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out,
                            "{\"tessera_cache\": %d, \"file_bytes\": %lld, \"data_offset\": %lld, "
                            "\"data_bytes\": %lld, \"part_bytes\": %d",
                            SIDECAR_VERSION, (long long)s->file_bytes, (long long)s->data_offset,
                            (long long)s->data_bytes, TSR_CACHE_PART_BYTES));
    TSR_TRY(print_digest(out, ",\n \"frame\": ", s->frame));
    TSR_TRY(print_digest(out, ", \"key\": ", s->key));
    TSR_TRY(tsr_text_puts(out, ",\n \"origin\": "));
    TSR_TRY(tsr_text_json(out, s->origin, (int64_t)strlen(s->origin)));
    TSR_TRY(tsr_text_puts(out, ",\n \"parts\": ["));
    for (int64_t i = 0; i < s->n_parts; i++) TSR_TRY(print_digest(out, i ? ",\n  " : "", s->parts[i]));
    return tsr_text_puts(out, "]}\n");
}

void tsr_cache_sidecar_free(tsr_cache_sidecar *s)
{
    tsr_free(s->origin);
    tsr_free(s->parts);
    *s = (tsr_cache_sidecar){0};
}
