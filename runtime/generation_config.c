/* generation_config.c: reading generation_config.json, or what config.json says in its place. */
#include "runtime/generation_config.h"
#include "base/log.h"

#include <stdio.h>
#include <sys/stat.h>

typedef struct reader {
    tsr_object o;
    int64_t vocabulary;
    tsr_arena *arena;
} reader;

/* --- Ids --- */

/* The id, or -1 for one that can never be chosen: small vocabularies inherit defaults such as 50256, and some tools
 * write -1 for "none". */
static int32_t id_of(const reader *r, const json_t *value)
{
    int64_t id = json_integer_value(value);
    return id >= 0 && id < r->vocabulary ? (int32_t)id : -1;
}

static tsr_status not_ids(const reader *r, const char *key, const json_t *found)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" must be an integer or a list of them, found %s", r->o.where,
                    key, tsr_json_type_name(found));
}

/* A number or a list of them into ids [most]. */
static tsr_status read_ids(const reader *r, const char *key, int32_t *ids, int32_t most, int32_t *n)
{
    const json_t *value = json_object_get(r->o.object, key);
    bool list = json_is_array(value);
    *n = 0;
    for (size_t i = 0; i < (list ? json_array_size(value) : 1); i++) {
        const json_t *one = list ? json_array_get(value, i) : value;
        if (!json_is_integer(one)) return not_ids(r, key, one);
        int32_t id = id_of(r, one);
        if (id < 0) continue;
        if (*n == most)
            return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" lists more than %d tokens", r->o.where, key, most);
        ids[(*n)++] = id;
    }
    return TSR_OK;
}

/* One id; of a list the lowest, which is the one that ties go to. */
static tsr_status read_id(const reader *r, const char *key, int32_t *out)
{
    int32_t ids[TSR_MAX_EOS_IDS], n;
    *out = -1;
    if (!tsr_object_has(r->o, key)) return TSR_OK;
    TSR_TRY(read_ids(r, key, ids, TSR_MAX_EOS_IDS, &n));
    for (int32_t i = 0; i < n; i++)
        if (*out < 0 || ids[i] < *out) *out = ids[i];
    return TSR_OK;
}

static tsr_status make_ids(const reader *r, int64_t n, int32_t **out)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(r->arena, (n + 1) * (int64_t)sizeof **out, &p));
    *out = p;
    return TSR_OK;
}

/* The list under `key` with room for `more` ids behind it. */
static tsr_status read_list(const reader *r, const char *key, int64_t more, int32_t **ids, int32_t *n)
{
    const json_t *list;
    *n = 0;
    TSR_TRY(tsr_object_array(r->o, key, TSR_MAX_LISTED_IDS, &list));
    TSR_TRY(make_ids(r, (int64_t)json_array_size(list) + more, ids));
    return list ? read_ids(r, key, *ids, TSR_MAX_LISTED_IDS, n) : TSR_OK;
}

/* --- Bad words --- */

static bool is_eos(const tsr_generation_config *g, int32_t id)
{
    for (int32_t i = 0; i < g->n_eos; i++)
        if (g->eos_ids[i] == id) return true;
    return false;
}

/* *out.n = 0 for a sequence that can never come up. */
static tsr_status read_sequence(const reader *r, const json_t *list, tsr_id_sequence *out)
{
    int32_t *ids;
    *out = (tsr_id_sequence){0};
    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > TSR_MAX_LISTED_IDS)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"bad_words_ids\" must be a list of lists of ids", r->o.where);
    TSR_TRY(make_ids(r, (int64_t)json_array_size(list), &ids));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_integer(value)) return not_ids(r, "bad_words_ids", value);
        ids[i] = id_of(r, value);
        if (ids[i] < 0) return TSR_OK;
    }
    *out = (tsr_id_sequence){ids, (int32_t)json_array_size(list)};
    return TSR_OK;
}

/* Single tokens are suppressed, but for an end of sequence; longer ones are kept as sequences. */
static tsr_status read_bad_words(const reader *r, const json_t *list, int32_t *suppress,
                                 tsr_generation_config *g)
{
    void *p;
    size_t n = json_array_size(list);
    TSR_TRY(tsr_arena_alloc(r->arena, (int64_t)((n + 1) * sizeof *g->bad_words), &p));
    tsr_id_sequence *words = p;
    for (size_t i = 0; i < n; i++) {
        tsr_id_sequence word;
        TSR_TRY(read_sequence(r, json_array_get(list, i), &word));
        if (word.n > 1) words[g->n_bad_words++] = word;
        if (word.n == 1 && !is_eos(g, word.ids[0])) suppress[g->suppress.n++] = word.ids[0];
    }
    g->bad_words = words;
    return TSR_OK;
}

static tsr_status read_rules(const reader *r, tsr_generation_config *g)
{
    int32_t *ids;
    const json_t *words;
    TSR_TRY(tsr_object_array(r->o, "bad_words_ids", TSR_MAX_LISTED_IDS, &words));
    TSR_TRY(read_list(r, "suppress_tokens", (int64_t)json_array_size(words), &ids, &g->suppress.n));
    g->suppress.ids = ids;
    TSR_TRY(read_bad_words(r, words, ids, g));
    TSR_TRY(read_list(r, "begin_suppress_tokens", 0, &ids, &g->begin_suppress.n));
    g->begin_suppress.ids = ids;
    TSR_TRY(read_id(r, "bos_token_id", &g->bos_id));
    TSR_TRY(read_id(r, "pad_token_id", &g->pad_id));
    TSR_TRY(read_id(r, "forced_bos_token_id", &g->forced_bos_id));
    return read_id(r, "forced_eos_token_id", &g->forced_eos_id);
}

/* --- Numbers --- */

static tsr_status read_numbers(const reader *r, tsr_generation_config *g)
{
    TSR_TRY(tsr_object_number(r->o, "temperature", 1, 0, 100, &g->temperature));
    TSR_TRY(tsr_object_number(r->o, "top_p", 1, 0, 1, &g->top_p));
    TSR_TRY(tsr_object_number(r->o, "min_p", 0, 0, 1, &g->min_p));
    TSR_TRY(tsr_object_number(r->o, "repetition_penalty", 1, 0.01, 100, &g->repetition_penalty));
    TSR_TRY(tsr_object_int(r->o, "top_k", 0, 0, INT32_MAX, &g->top_k));
    TSR_TRY(tsr_object_int(r->o, "no_repeat_ngram_size", 0, 0, INT32_MAX, &g->no_repeat_ngram));
    TSR_TRY(tsr_object_int(r->o, "min_length", 0, 0, INT32_MAX, &g->min_length));
    TSR_TRY(tsr_object_int(r->o, "min_new_tokens", -1, 0, INT32_MAX, &g->min_new_tokens));
    if (g->top_p == 0) g->top_p = 1; /* some tools write 0 for "off" */
    return TSR_OK;
}

/* What we do not do is said: X(key, the value that asks for nothing). */
#define UNSUPPORTED(X)                                                                                       \
    X("num_beams", 1)                                                                                        \
    X("num_beam_groups", 1)                                                                                  \
    X("penalty_alpha", 0)                                                                                    \
    X("typical_p", 1)                                                                                        \
    X("epsilon_cutoff", 0)                                                                                   \
    X("eta_cutoff", 0)                                                                                       \
    X("guidance_scale", 1)                                                                                   \
    X("encoder_repetition_penalty", 1)                                                                       \
    X("encoder_no_repeat_ngram_size", 0)                                                                     \
    X("exponential_decay_length_penalty", 0)                                                                 \
    X("sequence_bias", 0)

static void name_unsupported(const reader *r)
{
    static const struct {
        const char *key;
        double neutral;
    } keys[] = {
#define UNSUPPORTED_ROW(key, neutral) {key, neutral},
        UNSUPPORTED(UNSUPPORTED_ROW)
#undef UNSUPPORTED_ROW
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const json_t *value = json_object_get(r->o.object, keys[i].key);
        bool neutral =
            json_is_null(value) || (json_is_number(value) && json_number_value(value) == keys[i].neutral);
        if (value && !neutral)
            tsr_log(TSR_LOG_WARNING, "%s: \"%s\" is not supported and has no effect", r->o.where,
                    keys[i].key);
    }
}

/* --- Files --- */

static tsr_status read_all(const reader *r, tsr_object config, tsr_generation_config *g)
{
    reader eos = *r;
    if (!tsr_object_has(r->o, "eos_token_id")) eos.o = config;
    if (tsr_object_has(eos.o, "eos_token_id"))
        TSR_TRY(read_ids(&eos, "eos_token_id", g->eos_ids, TSR_MAX_EOS_IDS, &g->n_eos));
    TSR_TRY(read_rules(r, g));
    name_unsupported(r);
    return read_numbers(r, g);
}

tsr_status tsr_generation_config_read(const char *model_dir, const tsr_json *config, int64_t vocabulary,
                                      tsr_arena *arena, tsr_generation_config *out)
{
    char path[4096];
    struct stat st;
    tsr_json file = {0};
    reader r = {tsr_json_root(config), vocabulary, arena};
    *out = (tsr_generation_config){.n_eos = 0};
    snprintf(path, sizeof path, "%s/generation_config.json", model_dir);
    if (lstat(path, &st) == 0) { /* a link into nowhere is a fault, no absence */
        TSR_TRY(tsr_json_read(path, TSR_JSON_CONFIG_CAP, &file));
        r.o = tsr_json_root(&file);
    }
    tsr_status status = read_all(&r, tsr_json_root(config), out);
    tsr_json_free(&file);
    return status;
}
