/* json.h: reading JSON files that strangers made (jansson underneath), with errors a user can act on.
 *
 * Files are capped in size, must be strict UTF-8 JSON, without duplicate keys. Values are read through tsr_object,
 * which knows its file's name: every failure names file, key, what was expected and what was found.
 * Ownership: a tsr_json document owns everything reached from it. Local; a document may be read by many threads.
 */
#ifndef TSR_BASE_JSON_H
#define TSR_BASE_JSON_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_json {
    json_t *root;
    char *file; /* the name used in messages */
} tsr_json;

enum { TSR_JSON_CONFIG_CAP = 16 << 20 };

/* Reads a whole file of at most `cap` bytes; the root must be an object. TSR_ERR_IO, TSR_ERR_FORMAT. */
tsr_status tsr_json_read(const char *path, int64_t cap, tsr_json *out);
/* Same from memory; `name` is used in messages. */
tsr_status tsr_json_parse(const char *bytes, int64_t n, const char *name, tsr_json *out);
void tsr_json_free(tsr_json *doc); /* accepts a zeroed struct */

/* An object inside a document, and where it stands ("config.json", or "config.json: rope_scaling"). */
typedef struct tsr_object {
    const json_t *object;
    const char *where;
} tsr_object;

static inline tsr_object tsr_json_root(const tsr_json *doc)
{
    return (tsr_object){doc->root, doc->file};
}

/* Getters: `keys` is one name or several spellings separated by '|' ("hidden_size|n_embd"); the first present and
 * not null wins. Absent or null: *out = fallback. A wrong type or a value outside [low, high] is TSR_ERR_FORMAT. */
bool tsr_object_has(tsr_object o, const char *keys); /* present and not null */
tsr_status tsr_object_int(tsr_object o, const char *keys, int64_t fallback, int64_t low, int64_t high,
                          int64_t *out);
/* As above, and absence is an error too. */
tsr_status tsr_object_need_int(tsr_object o, const char *keys, int64_t low, int64_t high, int64_t *out);
tsr_status tsr_object_number(tsr_object o, const char *keys, double fallback, double low, double high,
                             double *out);
tsr_status tsr_object_bool(tsr_object o, const char *keys, bool fallback, bool *out);
/* Borrowed; *out = fallback (may be NULL) when absent. */
tsr_status tsr_object_string(tsr_object o, const char *keys, const char *fallback, const char **out);
/* out->object is NULL when absent. `where` stays that of the parent. */
tsr_status tsr_object_child(tsr_object o, const char *keys, tsr_object *out);
/* *out is NULL when absent, else an array of at most `cap` elements. */
tsr_status tsr_object_array(tsr_object o, const char *keys, int64_t cap, const json_t **out);

/* "an integer", "a string", ...: for messages about a found value. */
const char *tsr_json_type_name(const json_t *value);

#endif
