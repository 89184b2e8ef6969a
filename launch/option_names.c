/* option_names.c: finding an option or a known key by any of its names, and the nearest to a wrong one. */
#include "launch/option_names.h"

#include "launch/option_row.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SAME = 0, OPPOSITE = 1, OPTION = 0, SERVER = 1, REFUSED = 0, ACCEPTED = 1 };

static const tsr_option_name names[] = {
#define NAME_ROW(ID, sense, name, place, variables) {TSR_OPT_##ID, sense, place, name, variables},
    TSR_OPTION_NAME_TABLE(NAME_ROW)
#undef NAME_ROW
};

static const tsr_known_key known[] = {
#define KEY_ROW(key, words, accepted, why) {key, words, accepted, why},
    TSR_KNOWN_KEY_TABLE(KEY_ROW)
#undef KEY_ROW
};

enum { N_NAMES = sizeof names / sizeof names[0], N_KNOWN = sizeof known / sizeof known[0] };

const tsr_option_name *tsr_option_names(int *n)
{
    *n = N_NAMES;
    return names;
}

const tsr_known_key *tsr_known_keys(int *n)
{
    *n = N_KNOWN;
    return known;
}

const tsr_known_key *tsr_known_key_by_name(const char *key)
{
    bool device = strncasecmp(key, "gpu.", 4) == 0 || strncasecmp(key, "cpu.", 4) == 0;
    const char *name = device ? key + 4 : key;
    for (int i = 0; i < N_KNOWN; i++)
        if (strcasecmp(known[i].key, name) == 0 &&
            (!device || strstr(name, "orkers") || strstr(name, "memory")))
            return &known[i];
    return NULL;
}

/* Names are equal if they differ in '-' and '_' alone. */
static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_'))) return false;
    return *a == *b;
}

bool tsr_option_by_name(const char *name, tsr_option_id *id, bool *opposite, bool *further)
{
    *opposite = *further = false;
    for (int i = 0; i < TSR_OPTION_COUNT; i++)
        if (same_name(name, tsr_option_row_of((tsr_option_id)i)->name)) {
            *id = (tsr_option_id)i;
            return true;
        }
    for (int i = 0; i < N_NAMES; i++)
        if (same_name(name, names[i].name)) {
            *id = names[i].id;
            *opposite = names[i].opposite;
            *further = true;
            return true;
        }
    return false;
}

int tsr_name_distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    int n = (int)strlen(a), m = (int)strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (int j = 0; j <= m; j++) row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            int best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < best ? change : best;
        }
    }
    return row[m];
}

void tsr_option_spell(const char *name, char separator, char *out, int size)
{
    int n = 0;
    for (; name[n] && n < size - 1; n++) out[n] = name[n] == '-' || name[n] == '_' ? separator : name[n];
    out[n] = '\0';
}

bool tsr_option_nearest(const char *name, int commands, char separator, char *out, int size)
{
    char wrong[64], candidate[64];
    int nearest = 4;
    tsr_option_spell(name, separator, wrong, sizeof wrong);
    for (int i = 0; i < TSR_OPTION_COUNT + N_NAMES; i++) {
        bool own = i < TSR_OPTION_COUNT;
        tsr_option_id id = own ? (tsr_option_id)i : names[i - TSR_OPTION_COUNT].id;
        const tsr_option_row *row = tsr_option_row_of(id);
        tsr_option_spell(own ? row->name : names[i - TSR_OPTION_COUNT].name, separator, candidate,
                         sizeof candidate);
        int d = tsr_option_belongs(row, commands) ? tsr_name_distance(wrong, candidate) : nearest;
        if (d >= nearest) continue;
        snprintf(out, (size_t)size, "%s", candidate);
        nearest = d;
    }
    return nearest < 4;
}
