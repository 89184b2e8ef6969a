/* components.h: the parts of a tokenizer.json that are chosen by "type": one table for each family.
 *
 * A family (normalizers, pre-tokenizers, post-processors, decoders) is an array of rows which begin with a
 * tsr_component_kind. An object of type "Sequence" is replaced by its elements, so a loaded family is a flat
 * list.
 */
#ifndef TSR_TOKENIZER_COMPONENTS_H
#define TSR_TOKENIZER_COMPONENTS_H

#include "base/json.h"
#include "base/memory.h"
#include "base/status.h"

enum { TSR_COMPONENTS_CAP = 64 };

typedef struct tsr_component_kind {
    const char *type;
    /* Reads the options. *state lives in the arena; what it holds elsewhere is freed by `release`, which is
     * called for every component whose load succeeded. Both may be NULL: no options. */
    tsr_status (*load)(tsr_object o, tsr_arena *arena, void **state);
    void (*release)(void *state);
} tsr_component_kind;

typedef struct tsr_component_family {
    const char *name;     /* "normalizer" */
    const char *list_key; /* of a Sequence: "normalizers" */
    const void *rows;     /* [count] rows of row_bytes each, or pointers to rows if row_bytes is 0 */
    int count, row_bytes;
} tsr_component_family;

typedef struct tsr_component {
    const tsr_component_kind *kind; /* the row */
    void *state;
} tsr_component;

typedef struct tsr_components {
    tsr_component item[TSR_COMPONENTS_CAP];
    int count;
} tsr_components;

/* o.object may be NULL: no component. On failure *out holds what was loaded, to be released all the same.
 * TSR_ERR_FORMAT names file, component and, for an unknown type, the types we have. */
tsr_status tsr_components_load(tsr_object o, const tsr_component_family *family, tsr_arena *arena,
                               tsr_components *out);
void tsr_components_release(tsr_components *c);

/* A child object under a key, with `where` extended by the key. object is NULL when absent or null. */
tsr_status tsr_component_child(tsr_object o, const char *key, tsr_arena *arena, tsr_object *out);
/* A string option copied to the arena; an error if absent. *n = its bytes. */
tsr_status tsr_component_string(tsr_object o, const char *key, tsr_arena *arena, const char **out,
                                int64_t *n);
/* A string option of exactly one character. */
tsr_status tsr_component_char(tsr_object o, const char *key, uint32_t fallback, uint32_t *out);

#endif
