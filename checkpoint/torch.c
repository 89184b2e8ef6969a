/* torch.c: the container of a torch file, and its tensors. */
#include "checkpoint/torch.h"
#include "base/checked.h"
#include "base/utf8.h"
#include "checkpoint/shape.h"

#include <stdio.h>
#include <string.h>

/* Tensors made larger than their storage by strides of 0 are read up to so many elements. */
enum { REPEATED_CAP = 1 << 24, ROOT_CAP = 512 };

/* As safetensors spells the number format; what lies behind `as` is moved, never converted, if they differ. */
static const struct {
    const char *storage, *dtype, *label;
    tsr_dtype as;
} formats[] = {
    {"FloatStorage", "float32", "F32", TSR_F32},
    {"HalfStorage", "float16", "F16", TSR_F16},
    {"BFloat16Storage", "bfloat16", "BF16", TSR_BF16},
    {"DoubleStorage", "float64", "F64", TSR_F64},
    {"LongStorage", "int64", "I64", TSR_I64},
    {"IntStorage", "int32", "I32", TSR_I32},
    {"ShortStorage", "int16", "I16", TSR_I16},
    {"CharStorage", "int8", "I8", TSR_I8},
    {"ByteStorage", "uint8", "U8", TSR_U8},
    {"BoolStorage", "bool", "BOOL", TSR_BOOL},
    {"ComplexFloatStorage", "complex64", "C64", TSR_I64},
    {"", "uint16", "U16", TSR_I16},
    {"", "uint32", "U32", TSR_I32},
    {"", "uint64", "U64", TSR_I64},
    {"", "float8_e4m3fn", "F8_E4M3", TSR_U8},
    {"", "float8_e5m2", "F8_E5M2", TSR_U8},
    {"", "float8_e4m3fnuz", "F8_E4M3FNUZ", TSR_U8},
    {"", "float8_e5m2fnuz", "F8_E5M2FNUZ", TSR_U8},
    {"", "float8_e8m0fnu", "F8_E8M0", TSR_U8},
};
enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

/* --- The file --- */

/* Names what it is instead, where that can be told. */
static tsr_status check_kind(const tsr_torch_file *f)
{
    static const unsigned char bare[] = {0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                         0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    unsigned char head[512] = {0};
    int64_t bytes = f->source->files[f->file].bytes;
    TSR_TRY(tsr_source_pread(f->source, f->file, 0, tsr_min(bytes, (int64_t)sizeof head), head));
    if (memcmp(head, "PK\3\4", 4) == 0) return TSR_OK;
    bool old = memcmp(head, bare, sizeof bare) == 0, tar = memcmp(head + 257, "ustar", 5) == 0;
    if (old || tar)
        return tsr_fail(
            TSR_ERR_FORMAT, "%s: %s, which is not read: save it again with torch 1.6 or later", f->name,
            tar ? "a torch file in the old tar format" : "a torch file in the format of before torch 1.6");
    return tsr_fail(TSR_ERR_FORMAT, "%s: not a torch file: expected a zip archive", f->name);
}

/* The folder within the archive: that of the only data.pkl. */
static tsr_status find_root(tsr_torch_file *f, const tsr_zip_entry **pickle)
{
    static const char wanted[] = "data.pkl";
    *pickle = NULL;
    for (int64_t i = 0; i < f->zip.count; i++) {
        const tsr_zip_entry *e = &f->zip.entries[i];
        const char *slash = strrchr(e->name, '/');
        if (strcmp(slash ? slash + 1 : e->name, wanted) != 0) continue;
        if (*pickle)
            return tsr_fail(TSR_ERR_FORMAT, "%s: two entries called %s, expected one", f->name, wanted);
        *pickle = e;
        TSR_TRY(
            tsr_arena_format(f->arena, &f->root, "%.*s", (int)(slash ? slash + 1 - e->name : 0), e->name));
    }
    if (!*pickle || strlen(f->root) > ROOT_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a zip archive without %s: not a torch file", f->name, wanted);
    return TSR_OK;
}

static tsr_status check_byte_order(const tsr_torch_file *f)
{
    char name[ROOT_CAP + 16], text[8] = "";
    snprintf(name, sizeof name, "%sbyteorder", f->root);
    const tsr_zip_entry *e = tsr_zip_find(&f->zip, name);
    if (!e) return TSR_OK;
    if (e->bytes < (int64_t)sizeof text)
        TSR_TRY(tsr_source_pread(f->source, f->file, e->offset, e->bytes, text));
    if (strcmp(text, "little") == 0) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: byte order \"%s\", expected \"little\"", f->name, text);
}

static tsr_status read_pickle(tsr_torch_file *f, const tsr_zip_entry *e)
{
    void *bytes;
    if (e->bytes > TSR_PICKLE_BYTES_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a pickle of %lld bytes, at most %d are accepted", f->name,
                        (long long)e->bytes, TSR_PICKLE_BYTES_CAP);
    TSR_TRY(tsr_arena_alloc(f->arena, e->bytes, &bytes));
    TSR_TRY(tsr_source_pread(f->source, f->file, e->offset, e->bytes, bytes));
    return tsr_pickle_parse(bytes, e->bytes, f->name, f->arena, &f->object);
}

tsr_status tsr_torch_open(tsr_source *source, int file, tsr_torch_file *out)
{
    const tsr_zip_entry *pickle;
    tsr_status status;
    *out = (tsr_torch_file){.source = source, .file = file, .name = source->files[file].name};
    TSR_TRY(check_kind(out));
    TSR_TRY(tsr_arena_create("a torch file", &out->arena));
    TSR_TRY_OUT(tsr_zip_open(source, file, out->arena, &out->zip));
    TSR_TRY_OUT(find_root(out, &pickle));
    TSR_TRY_OUT(check_byte_order(out));
    TSR_TRY_OUT(read_pickle(out, pickle));
out:
    if (status != TSR_OK) tsr_torch_close(out);
    return status;
}

void tsr_torch_close(tsr_torch_file *f)
{
    tsr_arena_destroy(&f->arena);
    f->object = NULL;
}

/* --- Tensors --- */

/* The call that makes the tensor, without the wrapping of parameters; NULL if it is none. */
static const tsr_pickle_node *tensor_call(const tsr_pickle_node *n)
{
    for (int depth = 0; depth < 8; depth++) {
        if (tsr_pickle_is_call(n, "torch._utils", "_rebuild_tensor_v2") ||
            tsr_pickle_is_call(n, "torch._utils", "_rebuild_tensor_v3") ||
            tsr_pickle_is_call(n, "torch._utils", "_rebuild_tensor"))
            return n;
        if (!tsr_pickle_is_call(n, "torch._utils", "_rebuild_parameter") &&
            !tsr_pickle_is_call(n, "torch._utils", "_rebuild_parameter_with_state") &&
            !tsr_pickle_is_call(n, "torch.nn.parameter", "Parameter"))
            return NULL;
        n = tsr_pickle_at(n->args, 0);
    }
    return NULL;
}

bool tsr_torch_is_tensor(const tsr_pickle_node *n)
{
    return tensor_call(n) != NULL;
}

bool tsr_torch_size(const tsr_pickle_node *n, int *rank, int64_t shape[TSR_MAX_RANK])
{
    if (tsr_pickle_is_call(n, "torch", "Size")) n = tsr_pickle_at(n->args, 0);
    if (!n || (n->kind != TSR_PICKLE_TUPLE && n->kind != TSR_PICKLE_LIST) || n->count > TSR_MAX_RANK)
        return false;
    *rank = 0;
    for (const tsr_pickle_item *i = n->first; i; i = i->next)
        if (!tsr_pickle_int(i->value, &shape[(*rank)++])) return false;
    return true;
}

static tsr_status bad(const tsr_torch_file *f, const char *name, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": %s", f->name, name, what);
}

/* The row of a storage class ("torch", "FloatStorage") or a dtype ("torch", "float32"); -1 if there is none. */
static int find_format(const tsr_pickle_node *n, bool storage)
{
    for (int i = 0; i < FORMAT_COUNT; i++) {
        const char *name = storage ? formats[i].storage : formats[i].dtype;
        if (*name && tsr_pickle_is_class(n, "torch", name)) return i;
    }
    return -1;
}

/* Finds the entry that a persistent id ('storage', class, key, location, count) names, and its number format: the
 * id's, or for an untyped storage the dtype that comes with the tensor. */
static tsr_status find_storage(const tsr_torch_file *f, const char *name, const tsr_pickle_node *id,
                               const tsr_pickle_node *dtype, const tsr_zip_entry **entry, int *format,
                               int64_t *count)
{
    const tsr_pickle_node *class = tsr_pickle_at(id, 1), *key = tsr_pickle_at(id, 2);
    char path[ROOT_CAP + 64];
    if (!tsr_pickle_is_text(tsr_pickle_at(id, 0), "storage") || !key || key->kind != TSR_PICKLE_STRING ||
        key->length > 32 || !tsr_pickle_int(tsr_pickle_at(id, 4), count) || *count < 0)
        return bad(f, name, "its storage is described in an unknown way");
    bool untyped = tsr_pickle_is_class(class, "torch.storage", "UntypedStorage") ||
                   tsr_pickle_is_class(class, "torch", "UntypedStorage");
    *format = untyped ? find_format(dtype, false) : find_format(class, true);
    if (*format < 0) return bad(f, name, "of an unknown number format");
    snprintf(path, sizeof path, "%sdata/%.*s", f->root, (int)key->length, key->text);
    *entry = tsr_zip_find(&f->zip, path);
    if (!*entry || memchr(key->text, 0, (size_t)key->length))
        return bad(f, name, "its storage is not in the archive");
    int64_t element = tsr_dtype_bytes(formats[*format].as), bytes;
    if (untyped) *count /= element;
    if (!tsr_mul(*count, element, &bytes) || bytes != (*entry)->bytes)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: tensor \"%.200s\": a storage of %lld %s elements, found %lld bytes", f->name,
                        name, (long long)*count, formats[*format].label, (long long)(*entry)->bytes);
    return TSR_OK;
}

/* The storage as a tensor of rank 1, and the tensor as a view of it. */
static tsr_status lay_out(const tsr_torch_file *f, const char *name, const tsr_tensor_info *storage,
                          int64_t offset, int rank, const int64_t *shape, const int64_t *stride,
                          const tsr_view **out)
{
    const tsr_tensor_info *kept;
    const tsr_view *whole;
    tsr_arena *arena = f->source->arena;
    int64_t elements, dense[TSR_MAX_RANK];
    if (!tsr_shape_elements(rank, shape, &elements))
        return bad(f, name, "its shape is negative or too large to exist");
    if (elements > tsr_max(storage->shape[0], REPEATED_CAP)) return bad(f, name, "larger than its storage");
    TSR_TRY(tsr_source_keep(f->source, storage, &kept));
    TSR_TRY(tsr_view_stored(arena, kept, &whole));
    tsr_shape_strides(rank, shape, dense);
    bool plain = true;
    for (int i = 0; i < rank; i++) plain &= shape[i] < 2 || stride[i] == dense[i];
    if (!plain && elements > 0) return tsr_view_strided(arena, whole, offset, rank, shape, stride, out);
    if (elements == 0) offset = 0;
    if (offset < 0 || offset > storage->shape[0] || elements > storage->shape[0] - offset)
        return bad(f, name, "it reaches beyond its storage");
    TSR_TRY(tsr_view_slice(arena, whole, 0, offset, offset + elements, &whole));
    return tsr_view_reshape(arena, whole, rank, shape, out);
}

tsr_status tsr_torch_view(const tsr_torch_file *f, const tsr_pickle_node *node, const char *name,
                          const tsr_view **out)
{
    const tsr_pickle_node *call = tensor_call(node), *args = call ? call->args : NULL,
                          *id = tsr_pickle_at(args, 0);
    bool with_dtype = tsr_pickle_is_call(call, "torch._utils", "_rebuild_tensor_v3");
    const tsr_zip_entry *entry = NULL;
    int64_t offset, shape[TSR_MAX_RANK], stride[TSR_MAX_RANK], count = 0;
    int rank, strides, format = 0;
    *out = NULL;
    if (!id || id->kind != TSR_PICKLE_PERSISTENT || !tsr_pickle_int(tsr_pickle_at(args, 1), &offset) ||
        !tsr_torch_size(tsr_pickle_at(args, 2), &rank, shape) ||
        !tsr_torch_size(tsr_pickle_at(args, 3), &strides, stride) || strides != rank)
        return bad(f, name, "described in an unknown way, or of more than 8 dimensions");
    TSR_TRY(
        find_storage(f, name, id->args, with_dtype ? tsr_pickle_at(args, 6) : NULL, &entry, &format, &count));
    tsr_tensor_info storage = {
        .name = "", .dtype = formats[format].as, .dtype_label = formats[format].label, .rank = 1};
    storage.shape[0] = count;
    storage.bytes = entry->bytes;
    storage.file = f->file;
    storage.offset = entry->offset;
    TSR_TRY(tsr_arena_strdup(f->source->arena, name, &storage.name));
    tsr_status status = lay_out(f, name, &storage, offset, rank, shape, stride, out);
    return status == TSR_OK || strstr(tsr_error_text(), f->name) ? status
                                                                 : tsr_fail_in(status, "%s", f->name);
}

/* --- State dicts --- */

static bool holds_tensors(const tsr_pickle_node *dict)
{
    for (const tsr_pickle_item *i = dict->first; i; i = i->next)
        if (tsr_torch_is_tensor(i->value)) return true;
    return false;
}

tsr_status tsr_torch_state_dict(const tsr_torch_file *f, const tsr_pickle_node **out)
{
    static const char *const keys[] = {"module", "model", "state_dict"};
    const tsr_pickle_node *dict = f->object;
    for (int depth = 0; depth < 4 && tsr_pickle_is_dict(dict) && !holds_tensors(dict); depth++) {
        const tsr_pickle_node *inner = NULL;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            const tsr_pickle_node *found = tsr_pickle_get(dict, keys[i]);
            if (!tsr_pickle_is_dict(found)) continue;
            if (inner)
                return tsr_fail(TSR_ERR_FORMAT,
                                "%s: weights under \"%s\" and under another key, expected one", f->name,
                                keys[i]);
            inner = found;
        }
        if (!inner) break;
        dict = inner;
    }
    if (!tsr_pickle_is_dict(dict)) return tsr_fail(TSR_ERR_FORMAT, "%s: holds no dict of tensors", f->name);
    *out = dict;
    return TSR_OK;
}

typedef struct collecting {
    const tsr_torch_file *file;
    tsr_state *state;
    bool scaled; /* [tensor, scales] is a tensor */
    int64_t visits;
    char name[1024];
} collecting;

tsr_status tsr_torch_key(const tsr_torch_file *f, const tsr_pickle_node *key, char out[TSR_TORCH_KEY])
{
    int64_t integer;
    if (tsr_pickle_int(key, &integer)) {
        snprintf(out, TSR_TORCH_KEY, "%lld", (long long)integer);
        return TSR_OK;
    }
    if (!key || key->kind != TSR_PICKLE_STRING)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a tensor whose key is no text", f->name);
    if (key->length < 1 || key->length >= TSR_TORCH_KEY || memchr(key->text, 0, (size_t)key->length) ||
        !tsr_utf8_valid(key->text, key->length))
        return tsr_fail(TSR_ERR_FORMAT, "%s: a tensor name that is empty, too long or no text", f->name);
    memcpy(out, key->text, (size_t)key->length);
    out[key->length] = '\0';
    return TSR_OK;
}

/* Appends ".KEY" to the name. */
static tsr_status extend_name(collecting *c, size_t used, const tsr_pickle_node *key, size_t *length)
{
    char text[TSR_TORCH_KEY];
    TSR_TRY(tsr_torch_key(c->file, key, text));
    size_t n = strlen(text);
    if (used + n + 2 > sizeof c->name)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a tensor name that is empty, too long or no text",
                        c->file->name);
    if (used > 0) c->name[used++] = '.';
    memcpy(c->name + used, text, n + 1);
    *length = used + n;
    return TSR_OK;
}

static tsr_status collect(collecting *c, const tsr_pickle_node *dict, size_t used, int depth)
{
    if (depth > TSR_PICKLE_DEPTH_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: dicts nested deeper than %d, or in themselves", c->file->name,
                        TSR_PICKLE_DEPTH_CAP);
    for (const tsr_pickle_item *i = dict->first; i; i = i->next) {
        const tsr_pickle_node *value = i->value;
        if (c->scaled && value->kind == TSR_PICKLE_LIST && value->count == 2) value = tsr_pickle_at(value, 0);
        bool tensor = tsr_torch_is_tensor(value);
        size_t length = 0;
        if (++c->visits > TSR_PICKLE_NODE_CAP)
            return tsr_fail(TSR_ERR_FORMAT, "%s: more than %d entries", c->file->name, TSR_PICKLE_NODE_CAP);
        if (!tensor && !tsr_pickle_is_dict(value)) continue;
        TSR_TRY(extend_name(c, used, i->key, &length));
        if (tensor) {
            const tsr_view *view;
            TSR_TRY(tsr_torch_view(c->file, value, c->name, &view));
            TSR_TRY(tsr_state_add(c->state, c->name, view));
        } else {
            TSR_TRY(collect(c, value, length, depth + 1));
        }
    }
    return TSR_OK;
}

tsr_status tsr_torch_collect(const tsr_torch_file *f, const tsr_pickle_node *dict, tsr_state *state)
{
    collecting c = {.file = f, .state = state};
    return tsr_pickle_is_dict(dict) ? collect(&c, dict, 0, 0) : TSR_OK;
}

tsr_status tsr_torch_collect_scaled(const tsr_torch_file *f, const tsr_pickle_node *dict, tsr_state *state)
{
    collecting c = {.file = f, .state = state, .scaled = true};
    return tsr_pickle_is_dict(dict) ? collect(&c, dict, 0, 0) : TSR_OK;
}
