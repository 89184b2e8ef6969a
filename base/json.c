/* json.c: strict JSON reading on jansson, and typed getters that explain themselves. */
#include "base/json.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *tsr_json_type_name(const json_t *value)
{
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

tsr_status tsr_json_parse(const char *bytes, int64_t n, const char *name, tsr_json *out)
{
    *out = (tsr_json){0};
    json_error_t e;
    json_t *root = json_loadb(bytes, (size_t)n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!root) return tsr_fail(TSR_ERR_FORMAT, "%s: not valid JSON: %s (line %d)", name, e.text, e.line);
    if (!json_is_object(root)) {
        tsr_status s = tsr_fail(TSR_ERR_FORMAT, "%s: the top of the file must be an object, found %s", name,
                                tsr_json_type_name(root));
        json_decref(root);
        return s;
    }
    void *copy;
    tsr_status s = tsr_alloc((int64_t)strlen(name) + 1, "a file name", &copy);
    if (s != TSR_OK) {
        json_decref(root);
        return s;
    }
    out->root = root;
    out->file = memcpy(copy, name, strlen(name) + 1);
    return TSR_OK;
}

static tsr_status read_all(int fd, const char *path, int64_t cap, char **data, int64_t *size)
{
    struct stat st;
    void *p;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return tsr_fail(TSR_ERR_IO, "%s: not a regular file", path);
    if (st.st_size > cap)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, at most %lld are accepted", path,
                        (long long)st.st_size, (long long)cap);
    TSR_TRY(tsr_alloc(st.st_size, path, &p));
    *data = p;
    for (*size = 0; *size < st.st_size;) {
        ssize_t n = read(fd, *data + *size, (size_t)(st.st_size - *size));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (n == 0) break;
        *size += n;
    }
    return TSR_OK;
}

tsr_status tsr_json_read(const char *path, int64_t cap, tsr_json *out)
{
    *out = (tsr_json){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    char *data = NULL;
    int64_t size = 0;
    tsr_status s = read_all(fd, path, cap, &data, &size);
    close(fd);
    if (s == TSR_OK) s = tsr_json_parse(data, size, base_name(path), out);
    tsr_free(data);
    return s;
}

void tsr_json_free(tsr_json *doc)
{
    if (doc->root) json_decref(doc->root);
    tsr_free(doc->file);
    *doc = (tsr_json){0};
}

/* Finds the first present, non-null spelling; *key and *key_length tell which it was (or the first one). */
static const json_t *find(tsr_object o, const char *keys, const char **key, int *key_length)
{
    *key = keys;
    *key_length = (int)strcspn(keys, "|");
    for (const char *k = keys; o.object && *k;) {
        int n = (int)strcspn(k, "|");
        const json_t *v = json_object_getn(o.object, k, (size_t)n);
        if (v && !json_is_null(v)) {
            *key = k;
            *key_length = n;
            return v;
        }
        k += n + (k[n] == '|');
    }
    return NULL;
}

bool tsr_object_has(tsr_object o, const char *keys)
{
    const char *key;
    int n;
    return find(o, keys, &key, &n) != NULL;
}

static tsr_status wrong_type(tsr_object o, const char *key, int n, const char *expected, const json_t *found)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"%.*s\" must be %s, found %s", o.where, n, key, expected,
                    tsr_json_type_name(found));
}

tsr_status tsr_object_int(tsr_object o, const char *keys, int64_t fallback, int64_t low, int64_t high,
                          int64_t *out)
{
    const char *key;
    int n;
    const json_t *v = find(o, keys, &key, &n);
    *out = fallback;
    if (!v) return TSR_OK;
    int64_t value;
    if (json_is_integer(v))
        value = json_integer_value(v);
    else if (json_is_real(v) && fabs(json_real_value(v)) < 9e15 &&
             json_real_value(v) == floor(json_real_value(v)))
        value = (int64_t)json_real_value(v); /* some tools write 2048.0 */
    else
        return wrong_type(o, key, n, "an integer", v);
    if (value < low || value > high)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%.*s\" must lie in %lld..%lld, found %lld", o.where, n, key,
                        (long long)low, (long long)high, (long long)value);
    *out = value;
    return TSR_OK;
}

tsr_status tsr_object_need_int(tsr_object o, const char *keys, int64_t low, int64_t high, int64_t *out)
{
    if (!tsr_object_has(o, keys))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%.*s\" is missing", o.where, (int)strcspn(keys, "|"), keys);
    return tsr_object_int(o, keys, 0, low, high, out);
}

tsr_status tsr_object_number(tsr_object o, const char *keys, double fallback, double low, double high,
                             double *out)
{
    const char *key;
    int n;
    const json_t *v = find(o, keys, &key, &n);
    *out = fallback;
    if (!v) return TSR_OK;
    if (!json_is_number(v)) return wrong_type(o, key, n, "a number", v);
    double value = json_number_value(v);
    if (!(value >= low && value <= high))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%.*s\" must lie in %g..%g, found %g", o.where, n, key, low,
                        high, value);
    *out = value;
    return TSR_OK;
}

tsr_status tsr_object_bool(tsr_object o, const char *keys, bool fallback, bool *out)
{
    const char *key;
    int n;
    const json_t *v = find(o, keys, &key, &n);
    *out = fallback;
    if (!v) return TSR_OK;
    if (!json_is_boolean(v)) return wrong_type(o, key, n, "true or false", v);
    *out = json_is_true(v);
    return TSR_OK;
}

tsr_status tsr_object_string(tsr_object o, const char *keys, const char *fallback, const char **out)
{
    const char *key;
    int n;
    const json_t *v = find(o, keys, &key, &n);
    *out = fallback;
    if (!v) return TSR_OK;
    if (!json_is_string(v)) return wrong_type(o, key, n, "a string", v);
    *out = json_string_value(v);
    return TSR_OK;
}

tsr_status tsr_object_child(tsr_object o, const char *keys, tsr_object *out)
{
    const char *key;
    int n;
    const json_t *v = find(o, keys, &key, &n);
    *out = (tsr_object){NULL, o.where};
    if (!v) return TSR_OK;
    if (!json_is_object(v)) return wrong_type(o, key, n, "an object", v);
    out->object = v;
    return TSR_OK;
}

tsr_status tsr_object_array(tsr_object o, const char *keys, int64_t cap, const json_t **out)
{
    const char *key;
    int n;
    const json_t *v = find(o, keys, &key, &n);
    *out = NULL;
    if (!v) return TSR_OK;
    if (!json_is_array(v)) return wrong_type(o, key, n, "an array", v);
    if ((int64_t)json_array_size(v) > cap)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%.*s\" has %zu elements, at most %lld are accepted", o.where,
                        n, key, json_array_size(v), (long long)cap);
    *out = v;
    return TSR_OK;
}
