/* safetensors.c: one .safetensors file: 8 bytes N (little endian), N bytes of JSON header, then the tensors.
 *
 * {"__metadata__": {"format": "pt"}, "wte.weight": {"dtype": "BF16", "shape": [50257, 768], "data_offsets":
 * [0, M]}}
 *
 * The file is accepted only if it is exactly what the format says: N at most 100 MB, the header an object
 * with no name twice and nothing around it but trailing spaces, each tensor as large as dtype and shape make
 * it, and the tensors covering the rest of the file without overlap, hole or trailing byte. So no byte has
 * two meanings.
 */
#include "base/checked.h"
#include "base/json.h"
#include "base/text.h"
#include "checkpoint/format.h"
#include "checkpoint/shape.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, HEADER_CAP = 100000000 };

/* Number formats of the file format that base/dtype.h does not know: listed, never converted. */
static const struct {
    const char *label;
    int bits;
} unconverted[] = {{"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"F8_E5M2", 8},
                   {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E4M3FNUZ", 8},
                   {"U16", 16},    {"U32", 32},    {"U64", 64},        {"C64", 64}};

typedef struct header {
    const char *file; /* its name */
    int64_t data;     /* where the tensors begin in the file */
    int64_t data_bytes;
    tsr_tensor_info *tensors; /* [count]; offsets count from `data` until the tensors are handed over */
    int64_t count;
    tsr_safetensors_sink *sink; /* gets them */
    void *context;
} header;

static tsr_status bad(const header *h, const tsr_tensor_info *t, const char *expected, const json_t *found)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": expected %s, found %s", h->file, t->name,
                    expected, tsr_json_type_name(found));
}

static tsr_status read_dtype(const header *h, const json_t *object, tsr_tensor_info *t, int *bits)
{
    const json_t *v = json_object_get(object, "dtype");
    if (!json_is_string(v)) return bad(h, t, "\"dtype\" to be a string", v);
    const char *label = json_string_value(v);
    t->dtype_label = label;
    t->dtype = TSR_DTYPE_COUNT;
    if (strlen(label) == json_string_length(v)) {
        if (tsr_dtype_from_safetensors(label, &t->dtype)) {
            *bits = 8 * tsr_dtype_bytes(t->dtype);
            return TSR_OK;
        }
        for (size_t i = 0; i < sizeof unconverted / sizeof unconverted[0]; i++)
            if (strcmp(label, unconverted[i].label) == 0) {
                *bits = unconverted[i].bits;
                return TSR_OK;
            }
    }
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": unknown dtype \"%.40s\"", h->file, t->name,
                    label);
}

static tsr_status read_shape(const header *h, const json_t *object, tsr_tensor_info *t)
{
    const json_t *v = json_object_get(object, "shape");
    if (!json_is_array(v)) return bad(h, t, "\"shape\" to be an array", v);
    if (json_array_size(v) > TSR_MAX_RANK)
        return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": %zu dimensions, at most %d are accepted",
                        h->file, t->name, json_array_size(v), TSR_MAX_RANK);
    t->rank = (int)json_array_size(v);
    for (int i = 0; i < t->rank; i++) {
        const json_t *extent = json_array_get(v, (size_t)i);
        if (!json_is_integer(extent)) return bad(h, t, "\"shape\" to hold integers", extent);
        t->shape[i] = json_integer_value(extent);
        if (t->shape[i] < 0)
            return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": negative extent %lld", h->file, t->name,
                            (long long)t->shape[i]);
    }
    return TSR_OK;
}

/* The bytes that dtype and shape ask for: whole ones, and no more than can be counted. */
static tsr_status size_of(const header *h, const tsr_tensor_info *t, int bits, int64_t *bytes)
{
    char shape[TSR_SHAPE_TEXT];
    int64_t elements, total;
    if (!tsr_shape_elements(t->rank, t->shape, &elements) || !tsr_mul(elements, bits, &total))
        return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": shape %s is too large to exist", h->file,
                        t->name, tsr_shape_text(t->rank, t->shape, shape));
    if (total % 8 != 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": %s of shape %s do not fill whole bytes",
                        h->file, t->name, t->dtype_label, tsr_shape_text(t->rank, t->shape, shape));
    *bytes = total / 8;
    return TSR_OK;
}

static tsr_status read_offsets(const header *h, const json_t *object, tsr_tensor_info *t, int bits)
{
    const json_t *v = json_object_get(object, "data_offsets");
    const json_t *first = json_array_get(v, 0), *second = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return bad(h, t, "\"data_offsets\" to be an array of two integers", v);
    int64_t begin = json_integer_value(first), end = json_integer_value(second), size = 0;
    if (begin < 0 || end < begin || end > h->data_bytes)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: tensor \"%.200s\": bytes %lld..%lld lie outside of the file's %lld data bytes",
                        h->file, t->name, (long long)begin, (long long)end, (long long)h->data_bytes);
    TSR_TRY(size_of(h, t, bits, &size));
    char shape[TSR_SHAPE_TEXT];
    if (size != end - begin)
        return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": %s %s takes %lld bytes, found %lld", h->file,
                        t->name, t->dtype_label, tsr_shape_text(t->rank, t->shape, shape), (long long)size,
                        (long long)(end - begin));
    t->offset = begin;
    t->bytes = size;
    return TSR_OK;
}

static tsr_status check_metadata(const header *h, const json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return tsr_fail(TSR_ERR_FORMAT, "%s: __metadata__ must be an object, found %s", h->file,
                        tsr_json_type_name(metadata));
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value))
            return tsr_fail(TSR_ERR_FORMAT, "%s: __metadata__ \"%.200s\" must be a string, found %s", h->file,
                            key, tsr_json_type_name(value));
    }
    return TSR_OK;
}

static tsr_status read_tensors(header *h, const json_t *root)
{
    const char *name;
    json_t *object;
    json_object_foreach((json_t *)root, name, object)
    {
        if (strcmp(name, "__metadata__") == 0) {
            TSR_TRY(check_metadata(h, object));
            continue;
        }
        tsr_tensor_info *t = &h->tensors[h->count];
        int bits = 0;
        t->name = name;
        if (!json_is_object(object)) return bad(h, t, "an object", object);
        TSR_TRY(read_dtype(h, object, t, &bits));
        TSR_TRY(read_shape(h, object, t));
        TSR_TRY(read_offsets(h, object, t, bits));
        h->count++;
    }
    return TSR_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    const tsr_tensor_info *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes
               ? -1
               : x->bytes > y->bytes; /* empty tensors stand before the one that begins there */
}

static tsr_status hand_over(const header *h, const json_t *root, const tsr_tensor_info *t)
{
    tsr_text key;
    TSR_TRY(tsr_text_init(&key, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_text_puts(&key, "part:");
    if (s == TSR_OK) s = tsr_text_puts(&key, t->name);
    if (s == TSR_OK) {
        const json_t *part = json_object_get(json_object_get(root, "__metadata__"), key.data);
        s = h->sink(h->context, t, json_string_value(part));
    }
    tsr_text_free(&key);
    return s;
}

/* Sorts the tensors by place, checks that they tile the data, and hands them to the source. */
static tsr_status place_tensors(header *h, const json_t *root, int file)
{
    int64_t end = 0;
    qsort(h->tensors, (size_t)h->count, sizeof *h->tensors, compare_offsets);
    for (int64_t i = 0; i < h->count; i++) {
        tsr_tensor_info *t = &h->tensors[i];
        if (t->offset != end)
            return tsr_fail(TSR_ERR_FORMAT,
                            "%s: tensor \"%.200s\": begins at data byte %lld, expected %lld (%s)", h->file,
                            t->name, (long long)t->offset, (long long)end,
                            t->offset < end ? "tensors overlap" : "a hole between tensors");
        end = t->offset + t->bytes;
        t->offset += h->data;
        t->file = file;
        TSR_TRY(hand_over(h, root, t));
    }
    if (end != h->data_bytes)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld data bytes expected, found %lld", h->file, (long long)end,
                        (long long)h->data_bytes);
    return TSR_OK;
}

static tsr_status list_header(header *h, int file, const char *text, int64_t n)
{
    tsr_json doc;
    int64_t used = n;
    while (used > 0 && text[used - 1] == ' ') used--;
    if (used < 2 || text[0] != '{' || text[used - 1] != '}')
        return tsr_fail(TSR_ERR_FORMAT, "%s: the header must be a JSON object from its first byte on",
                        h->file);
    TSR_TRY(tsr_json_parse(text, used, h->file, &doc));
    void *p;
    tsr_status status =
        tsr_calloc((int64_t)json_object_size(doc.root), sizeof *h->tensors, "a safetensors header", &p);
    if (status == TSR_OK) {
        h->tensors = p;
        status = read_tensors(h, doc.root);
        if (status == TSR_OK) status = place_tensors(h, doc.root, file);
        tsr_free(p);
    }
    tsr_json_free(&doc);
    return status;
}

/* The length N of the header, checked against the cap and the file. */
static tsr_status header_length(const tsr_source *s, int file, int64_t *out)
{
    const tsr_source_file *f = &s->files[file];
    unsigned char raw[LENGTH_BYTES];
    if (f->bytes < LENGTH_BYTES)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, too short for a safetensors file", f->name,
                        (long long)f->bytes);
    TSR_TRY(tsr_source_pread(s, file, 0, LENGTH_BYTES, raw));
    uint64_t n = 0;
    for (int i = 0; i < LENGTH_BYTES; i++) n |= (uint64_t)raw[i] << 8 * i;
    if (n > HEADER_CAP)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: not a safetensors file: a header of %llu bytes, at most %d are accepted",
                        f->name, (unsigned long long)n, HEADER_CAP);
    if ((int64_t)n > f->bytes - LENGTH_BYTES)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: truncated: a header of %llu bytes does not fit into the file's %lld", f->name,
                        (unsigned long long)n, (long long)f->bytes);
    *out = (int64_t)n;
    return TSR_OK;
}

tsr_status tsr_safetensors_scan(tsr_source *s, int file, tsr_safetensors_sink *sink, void *context)
{
    int64_t n = 0;
    void *text;
    TSR_TRY(header_length(s, file, &n));
    TSR_TRY(tsr_alloc(n, "a safetensors header", &text));
    tsr_status status = tsr_source_pread(s, file, LENGTH_BYTES, n, text);
    if (status == TSR_OK) {
        header h = {.file = s->files[file].name, .data = LENGTH_BYTES + n, .sink = sink, .context = context};
        h.data_bytes = s->files[file].bytes - h.data;
        status = list_header(&h, file, text, n);
    }
    tsr_free(text);
    return status;
}

static tsr_status add_tensor(void *source, const tsr_tensor_info *t, const char *part)
{
    (void)part;
    return tsr_source_add_tensor(source, t);
}

tsr_status tsr_safetensors_list(tsr_source *s, int file)
{
    return tsr_safetensors_scan(s, file, add_tensor, s);
}

static const char single_name[] = "model.safetensors";

static bool probe(const tsr_source *s)
{
    return tsr_source_has_file(s, single_name);
}

static tsr_status open_single(tsr_source *s)
{
    int file;
    TSR_TRY(tsr_source_add_file(s, s->named ? s->named : single_name, &file));
    return tsr_safetensors_list(s, file);
}

const tsr_source_format tsr_format_safetensors = {"safetensors", single_name, ".safetensors", probe,
                                                  open_single};
