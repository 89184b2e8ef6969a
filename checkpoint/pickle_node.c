/* pickle_node.c: questions about the nodes of a pickle. */
#include "checkpoint/pickle.h"

#include <string.h>

static bool same(const char *text, int64_t length, const char *wanted)
{
    return (size_t)length == strlen(wanted) && memcmp(text, wanted, (size_t)length) == 0;
}

bool tsr_pickle_is_text(const tsr_pickle_node *n, const char *text)
{
    return n && n->kind == TSR_PICKLE_STRING && same(n->text, n->length, text);
}

bool tsr_pickle_is_class(const tsr_pickle_node *n, const char *module, const char *name)
{
    return n && n->kind == TSR_PICKLE_CLASS && same(n->text, n->length, module) &&
           same(n->name, n->name_length, name);
}

bool tsr_pickle_is_call(const tsr_pickle_node *n, const char *module, const char *name)
{
    return n && n->kind == TSR_PICKLE_CALL && tsr_pickle_is_class(n->callee, module, name);
}

bool tsr_pickle_is_dict(const tsr_pickle_node *n)
{
    if (!n) return false;
    if (n->kind == TSR_PICKLE_DICT) return true;
    return n->kind == TSR_PICKLE_CALL &&
           (n->first ? n->first->key != NULL : tsr_pickle_is_call(n, "collections", "OrderedDict"));
}

bool tsr_pickle_int(const tsr_pickle_node *n, int64_t *out)
{
    if (!n || (n->kind != TSR_PICKLE_INT && n->kind != TSR_PICKLE_BOOL)) return false;
    *out = n->integer;
    return true;
}

bool tsr_pickle_number(const tsr_pickle_node *n, double *out)
{
    int64_t integer;
    if (n && n->kind == TSR_PICKLE_FLOAT) {
        *out = n->real;
        return true;
    }
    if (!tsr_pickle_int(n, &integer)) return false;
    *out = (double)integer;
    return true;
}

const tsr_pickle_node *tsr_pickle_at(const tsr_pickle_node *n, int64_t i)
{
    if (!n || (n->kind != TSR_PICKLE_TUPLE && n->kind != TSR_PICKLE_LIST) || i < 0) return NULL;
    const tsr_pickle_item *item = n->first;
    for (; item && i > 0; i--) item = item->next;
    return item ? item->value : NULL;
}

const tsr_pickle_node *tsr_pickle_get(const tsr_pickle_node *n, const char *key)
{
    const tsr_pickle_node *found = NULL;
    if (!n) return NULL;
    if (n->kind == TSR_PICKLE_CALL && !n->first && n->state && n->state->kind == TSR_PICKLE_DICT)
        n = n->state;
    if (!tsr_pickle_is_dict(n)) return NULL;
    for (const tsr_pickle_item *item = n->first; item; item = item->next)
        if (tsr_pickle_is_text(item->key, key)) found = item->value;
    return found;
}
