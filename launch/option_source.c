/* option_source.c: rank 0 gathers statements of the environment and of a file as one run of bytes; every rank applies
 * them.
 *
 * A statement is: a letter for where it came from, then three texts, each with its NUL: place, key, value.
 */
#include "launch/option_source.h"

#include "base/memory.h"
#include "base/properties.h"
#include "base/text.h"
#include "launch/option_names.h"
#include "launch/option_row.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* FROM_FOLDER: the model that the serving.properties of a folder without one names. */
enum {
    FROM_OPTION_VARIABLE = 'o',
    FROM_OTHER_VARIABLE = 'v',
    FROM_FILE = 'f',
    FROM_FOLDER = 'd',
    GATHER_CAP = 8 << 20
};

extern char **environ;

static tsr_status put(tsr_text *out, char from, const char *place, const char *key, const char *value)
{
    TSR_TRY(tsr_text_append(out, &from, 1));
    TSR_TRY(tsr_text_append(out, place, (int64_t)strlen(place) + 1));
    TSR_TRY(tsr_text_append(out, key, (int64_t)strlen(key) + 1));
    return tsr_text_append(out, value, (int64_t)strlen(value) + 1);
}

/* --- The environment --- */

static tsr_status put_option_variable(const char *variable, tsr_text *out)
{
    static const char prefix[] = "OPTION_";
    char name[128], key[128];
    int n = (int)strcspn(variable, "="), skip = sizeof prefix - 1;
    if (strncmp(variable, prefix, (size_t)skip) != 0 || !variable[n] || !variable[n + 1]) return TSR_OK;
    if (n >= (int)sizeof name)
        return tsr_fail(TSR_ERR_USAGE, "environment variable %.60s...: no option has so long a name",
                        variable);
    snprintf(name, sizeof name, "%.*s", n, variable);
    for (int i = 0; i <= n - skip; i++) key[i] = (char)tolower((unsigned char)name[skip + i]);
    return put(out, FROM_OPTION_VARIABLE, name, key, variable + n + 1);
}

/* The first of the variables of a row that is set: NULL, or its value, and its name in `name`. */
static const char *other_variable(const tsr_option_name *row, char *name, size_t size)
{
    for (const char *at = row->variables; *at;) {
        int n = (int)strcspn(at, " ");
        snprintf(name, size, "%.*s", n, at);
        const char *value = getenv(name);
        if (value && value[0]) return value;
        at += n + (at[n] == ' ');
    }
    return NULL;
}

/* One part of "NAME:VERSION:ENGINE:DEVICES", which may be empty or missing; *at goes behind it. */
static tsr_status put_part(const char *variable, const char *key, const char **at, const char *end,
                           tsr_text *out)
{
    char part[256];
    size_t n = strcspn(*at, ":");
    if (n > (size_t)(end - *at)) n = (size_t)(end - *at);
    snprintf(part, sizeof part, "%.*s", (int)n, *at);
    *at += n;
    if (*at < end) ++*at;
    return n > 0 && key ? put(out, FROM_OTHER_VARIABLE, variable, key, part) : TSR_OK;
}

/* NAME:VERSION:ENGINE:DEVICES=FOLDER, as LMI names the model of a server; "ALL" and "NONE" name none. */
static tsr_status gather_load_models(tsr_text *out)
{
    static const char variable[] = "SERVING_LOAD_MODELS", scheme[] = "file://";
    static const char *const keys[] = {"served_model_name", NULL, "engine", "load_on_devices"};
    const char *value = getenv(variable), *equals = value ? strchr(value, '=') : NULL;
    if (!value || !value[0] || strcasecmp(value, "ALL") == 0 || strcasecmp(value, "NONE") == 0) return TSR_OK;
    if (strchr(value, ','))
        return tsr_fail(TSR_ERR_USAGE, "%s: a program serves one model, found \"%.80s\"", variable, value);
    const char *folder = equals ? equals + 1 : value;
    if (strncmp(folder, scheme, sizeof scheme - 1) == 0) folder += sizeof scheme - 1;
    for (size_t i = 0; equals && i < sizeof keys / sizeof keys[0]; i++)
        TSR_TRY(put_part(variable, keys[i], &value, equals, out));
    return folder[0] ? put(out, FROM_OTHER_VARIABLE, variable, "model", folder) : TSR_OK;
}

static tsr_status gather_variables(tsr_text *out)
{
    char name[128];
    int n;
    const tsr_option_name *rows = tsr_option_names(&n);
    for (char **variable = environ; *variable; variable++) TSR_TRY(put_option_variable(*variable, out));
    for (int i = 0; i < n; i++) {
        const char *value = other_variable(&rows[i], name, sizeof name);
        if (value) TSR_TRY(put(out, FROM_OTHER_VARIABLE, name, rows[i].name, value));
    }
    return gather_load_models(out);
}

/* --- The file --- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* "a/b/serving.properties" and "c" as "a/b/c"; without a folder "./c". False if it is too long. */
static bool beside(const char *file, const char *name, char *out, size_t size)
{
    const char *slash = strrchr(file, '/');
    int n = slash ? (int)(slash - file) : 1;
    if (slash == file) n = 1;
    return snprintf(out, size, "%.*s/%s", n, slash ? file : ".", name) < (int)size;
}

/* folder: the file stands in a folder that holds nothing else of a model. */
static tsr_status put_property(const char *file, const tsr_property *p, bool folder, bool *names_model,
                               tsr_text *out)
{
    char place[PATH_MAX + 32], value[PATH_MAX], joined[PATH_MAX], whole[PATH_MAX];
    tsr_option_id id = TSR_OPT_HELP;
    bool opposite, further;
    const char *key = strncmp(p->key, "option.", 7) == 0 ? p->key + 7 : p->key;
    size_t n = strlen(p->value);
    while (n > 0 && (p->value[n - 1] == ' ' || p->value[n - 1] == '\t')) n--;
    snprintf(place, sizeof place, "%s:%d", file, p->line);
    if (n == 0) return TSR_OK;
    if (n >= sizeof value)
        return tsr_fail(TSR_ERR_USAGE, "%s: a value has at most %d bytes", place, PATH_MAX - 1);
    memcpy(value, p->value, n);
    value[n] = '\0';
    bool model = tsr_option_by_name(key, &id, &opposite, &further) && id == TSR_OPT_MODEL;
    *names_model |= model;
    bool relative =
        model && value[0] != '/' && beside(file, value, joined, sizeof joined) && is_folder(joined);
    return put(out, model && folder ? FROM_FOLDER : FROM_FILE, place, p->key,
               relative && realpath(joined, whole) ? whole : value);
}

/* A file of --config names the model, or is in its folder. Other ranks may be at work in other folders: the name is
 * whole. */
static tsr_status put_own_folder(const char *file, tsr_text *out)
{
    char folder[PATH_MAX], config[PATH_MAX], whole[PATH_MAX];
    if (!beside(file, "config.json", config, sizeof config) || access(config, F_OK) != 0) return TSR_OK;
    if (!beside(file, ".", folder, sizeof folder) || !realpath(folder, whole)) return TSR_OK;
    return put(out, FROM_FILE, file, "option.model", whole);
}

static tsr_status gather_file(const char *file, bool folder, tsr_text *out)
{
    tsr_properties p;
    bool names_model = false;
    TSR_TRY(tsr_properties_read(file, &p));
    tsr_status s = TSR_OK;
    for (int64_t i = 0; i < p.count && s == TSR_OK; i++)
        s = put_property(file, &p.items[i], folder, &names_model, out);
    if (s == TSR_OK && !names_model) s = put_own_folder(file, out);
    tsr_properties_free(&p);
    return s;
}

/* What the command line says of an option, else what is gathered from the environment. */
static const char *stated_so_far(const tsr_options *o, tsr_option_id wanted, const tsr_text *gathered)
{
    const char *end = gathered->data + gathered->length;
    if (o->given[wanted]) return o->text[wanted];
    for (const char *at = gathered->data; at < end;) {
        tsr_option_id id;
        bool opposite, further;
        const char *key = at + 1 + strlen(at + 1) + 1, *value = key + strlen(key) + 1;
        if (tsr_option_by_name(key, &id, &opposite, &further) && id == wanted) return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

static tsr_status gather(const tsr_options *o, tsr_text *out)
{
    char path[PATH_MAX], own[PATH_MAX];
    TSR_TRY(gather_variables(out));
    const char *config = stated_so_far(o, TSR_OPT_CONFIG, out), *model = stated_so_far(o, TSR_OPT_MODEL, out);
    if (config) {
        snprintf(path, sizeof path, "%s", config);
        return gather_file(path, false, out);
    }
    if (!model || snprintf(path, sizeof path, "%s/serving.properties", model) >= (int)sizeof path ||
        access(path, F_OK) != 0)
        return TSR_OK;
    return gather_file(path, !beside(path, "config.json", own, sizeof own) || access(own, F_OK) != 0, out);
}

/* --- Applying --- */

typedef struct statement {
    char from;
    const char *place, *key, *value;
} statement;

static bool is_of_file(const statement *s)
{
    return s->from == FROM_FILE || s->from == FROM_FOLDER;
}

static tsr_status unknown_key(const statement *s, const char *name)
{
    char nearest[64], spelled[80] = "";
    bool found = tsr_option_nearest(name, TSR_CMD_CONFIG, '_', nearest, sizeof nearest);
    snprintf(spelled, sizeof spelled, "%s%s", is_of_file(s) ? "option." : "OPTION_", nearest);
    for (char *c = spelled; !is_of_file(s) && *c; c++) *c = (char)toupper((unsigned char)*c);
    if (found)
        return tsr_fail(TSR_ERR_USAGE, "%s: unknown option \"%s\"; did you mean %s?", s->place, s->key,
                        spelled);
    return tsr_fail(TSR_ERR_USAGE, "%s: unknown option \"%s\"; `tessera config` lists all", s->place, s->key);
}

static bool is_number(const char *value)
{
    char *end;
    double number = strtod(value, &end);
    return end != value && !*end && isfinite(number);
}

/* Whether a value is one of the words; of one that ends in '.' it need only be the beginning. */
static bool is_accepted(const tsr_known_key *known, const char *value)
{
    if (strcmp(known->words, TSR_KEY_NUMBER) == 0) return is_number(value);
    for (const char *at = known->words;; at++) {
        int n = (int)strcspn(at, "|");
        bool begins = n == 0 || at[n - 1] == '.';
        if (strncasecmp(value, at, (size_t)n) == 0 && (begins || !value[n])) return true;
        at += n;
        if (!*at) return false;
    }
}

/* Keys that are no options. */
static tsr_status check_known(const statement *s, const tsr_known_key *known)
{
    bool number = strcmp(known->words, TSR_KEY_NUMBER) == 0;
    if (known->accepted && is_accepted(known, s->value)) return TSR_OK;
    if (number || strcmp(known->words, TSR_KEY_TRUTH) == 0)
        return tsr_fail(TSR_ERR_USAGE, "%s: \"%s\" must be %s, found \"%s\"", s->place, s->key,
                        number ? TSR_KEY_NUMBER : "true or false", s->value);
    return tsr_fail(TSR_ERR_USAGE, "%s: \"%s\" cannot be \"%s\": %s", s->place, s->key, s->value, known->why);
}

/* Whether a key may stand in a file without `option.`. */
static bool is_server_key(const char *name)
{
    int n;
    const tsr_option_name *rows = tsr_option_names(&n);
    for (int i = 0; i < n; i++)
        if (rows[i].server && strcmp(rows[i].name, name) == 0) return true;
    return false;
}

static tsr_status apply_one(tsr_options *o, const statement *s)
{
    tsr_statement said = {.text = s->value, .place = s->place};
    bool further, file = is_of_file(s), prefixed = !file || strncmp(s->key, "option.", 7) == 0;
    const char *name = file && prefixed ? s->key + 7 : s->key;
    const tsr_known_key *known = tsr_known_key_by_name(name);
    said.origin = file ? TSR_ORIGIN_FILE : TSR_ORIGIN_ENVIRONMENT;
    if (known) return check_known(s, known);
    if (!tsr_option_by_name(name, &said.id, &said.opposite, &further) || (!prefixed && !is_server_key(name)))
        return unknown_key(s, name);
    if (!tsr_option_configurable(said.id) || (said.id == TSR_OPT_CONFIG && file))
        return tsr_fail(TSR_ERR_USAGE, "%s: \"%s\" is for the command line alone", s->place, name);
    /* Who named the folder meant the model that its file names. */
    if (s->from == FROM_FOLDER && o->origin[said.id] > TSR_ORIGIN_FILE)
        o->origin[said.id] = TSR_ORIGIN_DEFAULT;
    if (o->origin[said.id] == said.origin) {
        if (s->from == FROM_OTHER_VARIABLE) return TSR_OK;
        return tsr_fail(TSR_ERR_USAGE, "%s: \"%s\" is the option that %s states too", s->place, name,
                        o->place[said.id]);
    }
    tsr_status status = tsr_option_state(o, &said);
    return status == TSR_OK ? TSR_OK : tsr_fail_in(status, "%s", s->place);
}

static tsr_status apply(tsr_options *o, const char *bytes, int64_t n)
{
    for (const char *at = bytes; at < bytes + n;) {
        statement s = {.from = at[0], .place = at + 1};
        s.key = s.place + strlen(s.place) + 1;
        s.value = s.key + strlen(s.key) + 1;
        TSR_TRY(apply_one(o, &s));
        at = s.value + strlen(s.value) + 1;
    }
    return TSR_OK;
}

static tsr_status share(tsr_world *world, tsr_text *gathered)
{
    int64_t n = gathered->length;
    if (tsr_world_size(world) == 1) return TSR_OK;
    TSR_TRY(tsr_world_broadcast(world, &n, sizeof n, 0, TSR_WAIT_DEADLINE));
    tsr_status s = TSR_OK;
    for (char zeros[256] = {0}; s == TSR_OK && gathered->length < n;)
        s = tsr_text_append(gathered, zeros, n - gathered->length < 256 ? n - gathered->length : 256);
    TSR_TRY(tsr_world_agree(world, s));
    return n > 0 ? tsr_world_broadcast(world, gathered->data, n, 0, TSR_WAIT_DEADLINE) : TSR_OK;
}

tsr_status tsr_options_complete(tsr_options *o, tsr_world *world)
{
    tsr_text gathered;
    tsr_status s = tsr_text_init(&gathered, GATHER_CAP);
    if (s == TSR_OK && tsr_world_rank(world) == 0) s = gather(o, &gathered);
    s = tsr_world_agree(world, s);
    if (s == TSR_OK) s = share(world, &gathered);
    o->settings = gathered.data; /* what is stated points into it, also after a failure */
    return s == TSR_OK ? apply(o, gathered.data, gathered.length) : s;
}
