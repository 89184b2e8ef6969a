/* activation.c: the names that config files give to activations. */
#include "layers/graph.h"

#include <string.h>

/* Spellings of one activation, separated by '|'; the first is the usual one. */
static const char *const spellings[TSR_ACT_COUNT] = {
#define TSR_ACTIVATION_NAMES(NAME, names, formula) names,
    TSR_ACTIVATION_TABLE(TSR_ACTIVATION_NAMES)
#undef TSR_ACTIVATION_NAMES
};

#define TSR_ACTIVATION_LIST(NAME, names, formula) " " names
static const char all_spellings[] = TSR_ACTIVATION_TABLE(TSR_ACTIVATION_LIST);

static bool is_among(const char *name, const char *list)
{
    size_t length = strlen(name);
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, "|");
        if (n == length && memcmp(p, name, n) == 0) return true;
        p += n + (p[n] == '|');
    }
    return false;
}

tsr_status tsr_activation_from_name(const char *name, const char *where, tsr_activation *out)
{
    for (int i = 0; i < TSR_ACT_COUNT; i++)
        if (is_among(name, spellings[i])) {
            *out = (tsr_activation)i;
            return TSR_OK;
        }
    return tsr_fail(TSR_ERR_FORMAT, "%s: activation \"%.64s\" is not one of those we have:%s", where, name,
                    all_spellings);
}

const char *tsr_activation_name(tsr_activation kind)
{
    static const char *const names[TSR_ACT_COUNT] = {
#define TSR_ACTIVATION_LABEL(NAME, names, formula) #NAME,
        TSR_ACTIVATION_TABLE(TSR_ACTIVATION_LABEL)
#undef TSR_ACTIVATION_LABEL
    };
    return (unsigned)kind < TSR_ACT_COUNT ? names[kind] : "?";
}
