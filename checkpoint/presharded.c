/* presharded.c: what DeepSpeed writes for its save_mp_checkpoint_path: each rank's weights after injection.
 *
 * The names of a rank's weights are dealt to several files; a file holds a dict of them, a tensor or a list of a tensor
 * and the scales that int8 weights need (with other formats it means nothing). Weights of injected layers are put
 * together as injected.h says. All others, embeddings and last norms, every rank has whole, but for the output head,
 * which may be cut along its inputs. Some writers put those, of rank 0 alone, in the files of whole tensors.
 */
#include "base/checked.h"
#include "base/log.h"
#include "checkpoint/inference_files.h"
#include "checkpoint/injected.h"
#include "checkpoint/torch.h"

#include <stdio.h>
#include <string.h>

typedef struct presharded {
    tsr_source *source;
    const tsr_inference_files *files;
    int ranks;
    tsr_state *rank;         /* [ranks]: what each has */
    tsr_state whole, out;    /* of the files of whole tensors; the result */
    const tsr_view **pieces; /* [ranks] */
    tsr_injected injected;   /* family NULL: no layer is injected */
} presharded;

/* --- Reading the files --- */

static tsr_status collect_torch(tsr_source *source, int file, tsr_state *state)
{
    tsr_torch_file f;
    const tsr_pickle_node *dict;
    tsr_status status;
    TSR_TRY(tsr_torch_open(source, file, &f));
    TSR_TRY_OUT(tsr_torch_state_dict(&f, &dict));
    TSR_TRY_OUT(tsr_torch_collect_scaled(&f, dict, state));
out:
    tsr_torch_close(&f);
    return status;
}

static tsr_status add_safetensor(void *context, const tsr_tensor_info *t, const char *part)
{
    tsr_state *state = context;
    const tsr_tensor_info *kept;
    const tsr_view *v;
    tsr_tensor_info copy = *t;
    (void)part;
    TSR_TRY(tsr_arena_strdup(state->source->arena, t->name, &copy.name));
    TSR_TRY(tsr_arena_strdup(state->source->arena, t->dtype_label, &copy.dtype_label));
    TSR_TRY(tsr_source_keep(state->source, &copy, &kept));
    TSR_TRY(tsr_view_stored(state->source->arena, kept, &v));
    return tsr_state_add(state, kept->name, v);
}

static tsr_status collect(tsr_source *source, int file, tsr_state *state)
{
    if (tsr_is_safetensors(source, file)) return tsr_safetensors_scan(source, file, add_safetensor, state);
    return collect_torch(source, file, state);
}

static tsr_status collect_all(presharded *p)
{
    const tsr_inference_files *f = p->files;
    for (int64_t i = 0; i < f->whole_count; i++) TSR_TRY(collect(p->source, f->whole[i], &p->whole));
    for (int64_t i = 0; i < f->cut_count; i++) TSR_TRY(collect(p->source, f->cut[i], &p->rank[i % f->ranks]));
    TSR_TRY(tsr_state_sort(&p->whole, f->where));
    for (int r = 0; r < p->ranks; r++) TSR_TRY(tsr_state_sort(&p->rank[r], f->where));
    return TSR_OK;
}

/* --- Putting together --- */

static bool has_injected(const tsr_state *state)
{
    size_t layer;
    for (int64_t i = 0; i < state->count; i++)
        if (tsr_injected_find(state->entries[i].name, &layer) >= 0) return true;
    return false;
}

static tsr_status find_family(presharded *p)
{
    tsr_json config;
    if (!has_injected(&p->rank[0])) {
        if (p->ranks == 1) return TSR_OK;
        return tsr_fail(
            TSR_ERR_FORMAT,
            "%s: the files of %d ranks hold no layers that DeepSpeed injected: how other layers were cut "
            "is not said, and they are not read",
            p->files->where, p->ranks);
    }
    TSR_TRY(tsr_source_read_config(p->source, &config));
    tsr_status status = tsr_injected_from_config(tsr_json_root(&config), &p->injected);
    tsr_json_free(&config);
    return status;
}

/* Every rank has the same names. */
static tsr_status check_names(const presharded *p)
{
    for (int r = 1; r < p->ranks; r++)
        for (int64_t i = 0; i < p->rank[r].count; i++)
            if (!tsr_state_find(&p->rank[0], p->rank[r].entries[i].name))
                return tsr_fail(
                    TSR_ERR_FORMAT,
                    "%s: tensor \"%.200s\" is in the files of rank %d, but not in those of rank 0",
                    p->files->where, p->rank[r].entries[i].name, r);
    return TSR_OK;
}

static tsr_status find_pieces(const presharded *p, const char *name)
{
    for (int r = 0; r < p->ranks; r++) {
        p->pieces[r] = tsr_state_find(&p->rank[r], name);
        if (!p->pieces[r])
            return tsr_fail(TSR_ERR_FORMAT,
                            "%s: tensor \"%.200s\" is in the files of rank 0, but not in those of rank %d",
                            p->files->where, name, r);
    }
    return TSR_OK;
}

static tsr_status refuse_quantized(const presharded *p, const char *name)
{
    tsr_dtype dtype;
    const char *label;
    TSR_TRY(tsr_view_stored_dtype(p->pieces[0], name, &dtype, &label));
    if (dtype != TSR_I8) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: tensor \"%.200s\": weights that DeepSpeed quantized to int8 are not read",
                    p->files->where, name);
}

static const tsr_view *find_anywhere(const presharded *p, const char *name)
{
    const tsr_view *v = tsr_state_find(&p->rank[0], name);
    return v ? v : tsr_state_find(&p->whole, name);
}

/* Columns of the word embedding; 0: there is none to be seen. */
static int64_t embedding_columns(const presharded *p)
{
    if (!p->injected.family) return 0;
    const char *name = tsr_injected_embedding(&p->injected);
    const tsr_view *v = find_anywhere(p, name);
    if (!v) v = find_anywhere(p, strchr(name, '.') + 1); /* of a model saved without its head */
    return v && tsr_view_rank(v) == 2 ? tsr_view_shape(v)[1] : 0;
}

static bool is_head(const presharded *p, const char *name, const tsr_view *v)
{
    return p->injected.family && strcmp(name, tsr_injected_head(&p->injected)) == 0 && tsr_view_rank(v) == 2;
}

/* The head, if its ranks' inputs together are as many as the embedding has. */
static tsr_status join_head(presharded *p, const char *name, bool *done)
{
    int64_t columns = 0, wanted = embedding_columns(p);
    const tsr_view *whole;
    *done = false;
    if (!is_head(p, name, p->pieces[0]) || tsr_view_shape(p->pieces[0])[1] == wanted) return TSR_OK;
    for (int r = 0; r < p->ranks; r++)
        if (tsr_view_rank(p->pieces[r]) != 2 || !tsr_add(columns, tsr_view_shape(p->pieces[r])[1], &columns))
            return TSR_OK;
    if (columns != wanted) return TSR_OK;
    *done = true;
    TSR_TRY(tsr_view_concat(p->source->arena, 1, p->ranks, p->pieces, &whole));
    return tsr_state_add(&p->out, name, whole);
}

static tsr_status add_same(presharded *p, const char *name)
{
    const tsr_view *first = p->pieces[0];
    bool same = true;
    for (int r = 1; r < p->ranks && same; r++) {
        same = tsr_view_rank(p->pieces[r]) == tsr_view_rank(first);
        for (int i = 0; i < tsr_view_rank(first) && same; i++)
            same = tsr_view_shape(p->pieces[r])[i] == tsr_view_shape(first)[i];
    }
    if (!same)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: tensor \"%.200s\": of no injected layer, but of different shapes on the ranks",
                        p->files->where, name);
    return tsr_state_add(&p->out, name, first);
}

/* "A.norm.weight" beside "A.weight": DeepSpeed's module for a norm keeps the one it was made from, which means
 * nothing. */
static bool is_leftover(const tsr_state *state, const char *name)
{
    static const char *const endings[] = {".norm.weight", ".norm.bias"};
    char used[1024];
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t m = strlen(endings[i]);
        if (n <= m || n >= sizeof used || strcmp(name + n - m, endings[i]) != 0) continue;
        snprintf(used, sizeof used, "%.*s%s", (int)(n - m), name, strchr(endings[i] + 1, '.'));
        return tsr_state_find(state, used) != NULL;
    }
    return false;
}

static tsr_status add_tensor(presharded *p, const char *name)
{
    size_t layer;
    bool done;
    int which = tsr_injected_find(name, &layer);
    if (is_leftover(&p->rank[0], name)) return TSR_OK;
    TSR_TRY(find_pieces(p, name));
    TSR_TRY(refuse_quantized(p, name));
    if (which >= 0) {
        tsr_status status = tsr_injected_add(&p->injected, which, name, p->ranks, p->pieces, &p->out);
        return status == TSR_OK ? status : tsr_fail_in(status, "%s", p->files->where);
    }
    TSR_TRY(join_head(p, name, &done));
    return done ? TSR_OK : add_same(p, name);
}

/* A head of fewer columns than the embedding is what rank 0 had of one that was cut: the rest was not written. It is
 * that of models whose head is the embedding. */
static tsr_status add_whole(presharded *p, const tsr_state_entry *e)
{
    int64_t wanted = embedding_columns(p);
    if (is_leftover(&p->whole, e->name)) return TSR_OK;
    if (!is_head(p, e->name, e->view) || tsr_view_shape(e->view)[1] == wanted)
        return tsr_state_add(&p->out, e->name, e->view);
    tsr_log(TSR_LOG_INFO, "%s: tensor \"%s\": only the part of rank 0 was saved; it is left out",
            p->files->where, e->name);
    return TSR_OK;
}

static tsr_status list(presharded *p)
{
    TSR_TRY(collect_all(p));
    TSR_TRY(check_names(p));
    TSR_TRY(find_family(p));
    for (int64_t i = 0; i < p->rank[0].count; i++) TSR_TRY(add_tensor(p, p->rank[0].entries[i].name));
    for (int64_t i = 0; i < p->whole.count; i++) TSR_TRY(add_whole(p, &p->whole.entries[i]));
    if (p->out.count == 0) return tsr_fail(TSR_ERR_FORMAT, "%s: its files hold no tensors", p->files->where);
    TSR_TRY(tsr_state_sort(&p->out, p->files->where));
    return tsr_state_list(&p->out);
}

tsr_status tsr_presharded_list(tsr_source *source, const tsr_inference_files *files)
{
    presharded p = {.source = source,
                    .files = files,
                    .ranks = (int)files->ranks,
                    .whole.source = source,
                    .out.source = source};
    void *rank, *pieces = NULL;
    TSR_TRY(tsr_calloc(p.ranks, sizeof *p.rank, "the ranks' weights", &rank));
    p.rank = rank;
    for (int r = 0; r < p.ranks; r++) p.rank[r].source = source;
    tsr_status status = tsr_calloc(p.ranks, sizeof *p.pieces, "pieces of a tensor", &pieces);
    p.pieces = pieces;
    if (status == TSR_OK) status = list(&p);
    for (int r = 0; r < p.ranks; r++) tsr_state_free(&p.rank[r]);
    tsr_state_free(&p.whole);
    tsr_state_free(&p.out);
    tsr_free(rank);
    tsr_free(pieces);
    return status;
}
