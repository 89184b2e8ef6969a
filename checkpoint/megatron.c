/* megatron.c: the files of a Megatron-LM checkpoint, one a rank: opened, compared, and handed on as state dicts. */
#include "checkpoint/megatron_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- One file --- */

/* The dict of the weights. */
static tsr_status find_weights(const tsr_torch_file *f, const tsr_pickle_node **out)
{
    const tsr_pickle_node *model = tsr_pickle_get(f->object, "model"),
                          *module = tsr_pickle_get(f->object, "module");
    bool a = tsr_pickle_is_dict(model), b = tsr_pickle_is_dict(module);
    if (a && b)
        return tsr_fail(TSR_ERR_FORMAT, "%s: weights under \"model\" and under \"module\", expected one",
                        f->name);
    if (!a && !b && (model || module))
        return tsr_fail(TSR_ERR_FORMAT, "%s: no weights: its \"%s\" is empty, as in a pipeline's checkpoint",
                        f->name, model ? "model" : "module");
    *out = a ? model : b ? module : f->object;
    if (tsr_pickle_is_dict(*out)) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: holds no dict of tensors", f->name);
}

static tsr_status collect(const tsr_torch_file *f, tsr_state *state)
{
    const tsr_pickle_node *weights = NULL;
    TSR_TRY(find_weights(f, &weights));
    return tsr_torch_collect(f, weights, state);
}

bool tsr_megatron_is_state(const tsr_state *state)
{
    bool words = false, layer = false;
    for (int64_t i = 0; i < state->count; i++) {
        megatron_place place;
        if (!megatron_find_place(megatron_plain_name(state->entries[i].name), &place)) continue;
        words |= place.cut == MEGATRON_VOCABULARY;
        layer |= place.cut == MEGATRON_QKV;
    }
    return words && layer;
}

bool tsr_megatron_is(const tsr_torch_file *f)
{
    tsr_state state = {.source = f->source};
    bool is = collect(f, &state) == TSR_OK && tsr_megatron_is_state(&state);
    tsr_state_free(&state);
    return is;
}

/* --- All files --- */

typedef struct listing {
    tsr_source *source;
    const tsr_megatron_request *request;
    tsr_state *ranks;  /* [n] */
    bool given;        /* they hold the weights already */
    const char **file; /* [n] */
    tsr_megatron_facts facts;
} listing;

static tsr_status check_degree(const listing *l, int64_t stated, const char *by)
{
    int n = l->request->n;
    if (stated == 0 || stated == n) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: a checkpoint of %" PRId64 " ranks (tensor parallel), found %d file%s from %s on", by,
                    stated, n, n > 1 ? "s" : "", l->file[0]);
}

static tsr_status check_stated(listing *l)
{
    const tsr_megatron_request *q = l->request;
    TSR_TRY(check_degree(l, l->source->wanted_mp, "training-mp-size"));
    TSR_TRY(check_degree(l, q->mp_size, q->stated_by));
    TSR_TRY(check_degree(l, l->facts.mp_size, l->file[0]));
    if (q->version < 0) return TSR_OK;
    if (l->facts.versioned && l->facts.version != q->version)
        return tsr_fail(TSR_ERR_FORMAT, "%s: version %g, but checkpoint_version of %s is %g", q->stated_by,
                        q->version, l->file[0], l->facts.version);
    if (q->version == 0 || q->version == 1 || q->version == 2 || q->version == 3) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: version: expected 0, 1.0, 2.0 or 3.0, found %g", q->stated_by,
                    q->version);
}

/* Rank r's may not contradict the first's. */
static tsr_status check_facts(const listing *l, const tsr_megatron_facts *f, int r)
{
    const struct {
        const char *what;
        int64_t here, first;
    } facts[] = {{"checkpoint_version", (int64_t)f->version, (int64_t)l->facts.version},
                 {"args.tensor_model_parallel_size", f->mp_size, l->facts.mp_size},
                 {"args.num_attention_heads", f->heads, l->facts.heads},
                 {"args.hidden_size", f->hidden, l->facts.hidden},
                 {"args.num_layers", f->layers, l->facts.layers}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (facts[i].here != facts[i].first)
            return tsr_fail(TSR_ERR_FORMAT, "%s: %s is %" PRId64 ", in %s %" PRId64, l->file[r],
                            facts[i].what, facts[i].here, l->file[0], facts[i].first);
    return TSR_OK;
}

static tsr_status read_file(listing *l, int r)
{
    tsr_torch_file f;
    tsr_megatron_facts facts = {0};
    TSR_TRY(tsr_torch_open(l->source, l->request->files[r], &f));
    tsr_status s = tsr_megatron_read_facts(&f, &facts);
    if (s == TSR_OK && !l->given) s = collect(&f, &l->ranks[r]);
    if (s == TSR_OK) s = tsr_megatron_plain_names(&l->ranks[r], f.name);
    tsr_torch_close(&f);
    TSR_TRY(s);
    if (r > 0) return check_facts(l, &facts, r);
    l->facts = facts;
    return check_stated(l);
}

/* Files under the names of ranks must stand in their order: nothing in them would tell. */
static tsr_status check_place(const char *path, int rank)
{
    const char *head = NULL;
    int said;
    for (const char *at = path; (at = strstr(at, "mp_rank_")); at++) head = at;
    if (!head || sscanf(head, "mp_rank_%4d", &said) != 1 || said == rank) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: stands where the file of rank %d is expected", path, rank);
}

static tsr_status list_files(listing *l)
{
    int n = l->request->n;
    for (int r = 0; r < n; r++) {
        l->file[r] = tsr_source_file_name(l->source, l->request->files[r]);
        TSR_TRY(check_place(l->file[r], r));
    }
    for (int r = 0; r < n; r++) TSR_TRY(read_file(l, r));
    if (l->request->version >= 0) l->facts.version = l->request->version;
    return tsr_megatron_join(l->source, l->ranks, n, l->file, &l->facts);
}

static tsr_status list_all(listing *l)
{
    void *file;
    tsr_megatron_request q = *l->request;
    const tsr_megatron_request *stated = l->source->stated;
    if (stated && !q.stated_by)
        q = (tsr_megatron_request){q.files, q.n, stated->mp_size, stated->version, stated->stated_by};
    l->request = &q;
    if (q.n > TSR_MEGATRON_MAX_RANKS)
        return tsr_fail(TSR_ERR_FORMAT, "a Megatron-LM checkpoint of %d ranks, at most %d are accepted", q.n,
                        TSR_MEGATRON_MAX_RANKS);
    TSR_TRY(tsr_calloc(l->request->n, sizeof *l->file, "the names of files", &file));
    l->file = file;
    tsr_status status = list_files(l);
    tsr_free(file);
    return status;
}

tsr_status tsr_megatron_list_states(tsr_source *source, tsr_state *ranks, const tsr_megatron_request *request)
{
    listing l = {.source = source, .request = request, .ranks = ranks, .given = true};
    return list_all(&l);
}

tsr_status tsr_megatron_list(tsr_source *source, const tsr_megatron_request *request)
{
    listing l = {.source = source, .request = request};
    void *ranks;
    TSR_TRY(tsr_calloc(request->n, sizeof *l.ranks, "the ranks' state dicts", &ranks));
    l.ranks = ranks;
    for (int r = 0; r < request->n; r++) l.ranks[r].source = source;
    tsr_status status = list_all(&l);
    for (int r = 0; r < request->n; r++) tsr_state_free(&l.ranks[r]);
    tsr_free(ranks);
    return status;
}
