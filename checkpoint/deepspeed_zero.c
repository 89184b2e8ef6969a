/* deepspeed_zero.c: which parameters are where in the partitions, and what is stored elsewhere. */
#include "checkpoint/deepspeed_zero.h"
#include "base/checked.h"
#include "checkpoint/deepspeed_partitions.h"
#include "checkpoint/shape.h"
#include "checkpoint/torch.h"

enum { PARTS_CAP = 1 << 21 }; /* of all parameters on all ranks, under stage 3: each takes some memory */

typedef struct zero {
    tsr_source *source;
    const tsr_deepspeed_folder *folder;
    int mp;
    tsr_partitions from;
    tsr_torch_file model; /* the module's file, of data-parallel rank 0 */
    tsr_state *state;
    int64_t parts; /* so far */
} zero;

/* An entry of param_shapes or of its like. */
typedef struct entry {
    char name[TSR_TORCH_KEY];
    int rank;
    int64_t shape[TSR_MAX_RANK], elements;
} entry;

static tsr_status bad(const zero *z, const char *name, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": %s", z->model.name, name, what);
}

static bool is_list(const tsr_pickle_node *n)
{
    return n && (n->kind == TSR_PICKLE_LIST || n->kind == TSR_PICKLE_TUPLE);
}

static tsr_status read_entry(const zero *z, const tsr_pickle_item *item, entry *e)
{
    TSR_TRY(tsr_torch_key(&z->model, item->key, e->name));
    if (!tsr_torch_size(item->value, &e->rank, e->shape))
        return bad(z, e->name, "its shape is none, or of too many");
    if (!tsr_shape_elements(e->rank, e->shape, &e->elements))
        return bad(z, e->name, "its shape is negative or too large to exist");
    return TSR_OK;
}

/* --- What is optimized --- */

static tsr_status too_large(const zero *z, const entry *e)
{
    return bad(z, e->name, "larger than what is left of its partitions");
}

static tsr_status add_group(zero *z, const tsr_pickle_node *dict, int64_t group)
{
    entry e;
    const tsr_view *vector = z->from.vector[group], *view;
    tsr_arena *arena = z->source->arena;
    int64_t at = 0, unit = 2 * (int64_t)z->from.ranks, available = tsr_view_elements(vector);
    for (const tsr_pickle_item *i = dict->first; i; i = i->next, at += e.elements) {
        TSR_TRY(read_entry(z, i, &e));
        if (e.elements > available - at) return too_large(z, &e);
        TSR_TRY(tsr_view_slice(arena, vector, 0, at, at + e.elements, &view));
        TSR_TRY(tsr_view_reshape(arena, view, e.rank, e.shape, &view));
        TSR_TRY(tsr_state_add(z->state, e.name, view));
    }
    if (tsr_round_up(at, unit) != tsr_round_up(available, unit))
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: the parameters of group %lld have %lld elements, its partitions %lld",
                        z->model.name, (long long)group, (long long)at, (long long)available);
    return TSR_OK;
}

static tsr_status add_parted(zero *z, const tsr_pickle_node *dict, int64_t *at)
{
    entry e;
    const tsr_view *view;
    const tsr_partitions *from = &z->from;
    for (const tsr_pickle_item *i = dict->first; i; i = i->next) {
        TSR_TRY(read_entry(z, i, &e));
        int64_t part = tsr_parted_elements(e.elements, from->ranks);
        if (part > tsr_view_elements(from->vector[0]) - *at) return too_large(z, &e);
        z->parts += from->ranks;
        if (z->parts > PARTS_CAP)
            return tsr_fail(TSR_ERR_FORMAT, "%s: parameters in more than %d parts", z->model.name, PARTS_CAP);
        TSR_TRY(tsr_parted_view(z->source->arena, from->ranks, from->vector, *at, e.rank, e.shape, &view));
        TSR_TRY(tsr_state_add(z->state, e.name, view));
        *at += part;
    }
    return TSR_OK;
}

static tsr_status add_parameters(zero *z)
{
    const tsr_pickle_node *dicts = tsr_pickle_get(z->model.object, "param_shapes");
    int64_t group = 0, at = 0;
    bool parted = z->from.parted;
    if (!is_list(dicts) || (!parted && dicts->count != z->from.vectors))
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"param_shapes\": expected a list of %lld dicts, one a partition", z->model.name,
                        (long long)z->from.vectors);
    for (const tsr_pickle_item *d = dicts->first; d; d = d->next) {
        if (!tsr_pickle_is_dict(d->value))
            return tsr_fail(TSR_ERR_FORMAT, "%s: \"param_shapes\": expected dicts in the list",
                            z->model.name);
        TSR_TRY(parted ? add_parted(z, d->value, &at) : add_group(z, d->value, group++));
    }
    if (parted && at != tsr_view_elements(z->from.vector[0]))
        return tsr_fail(TSR_ERR_FORMAT, "%s: the parameters have %lld elements a rank, the partitions %lld",
                        z->model.name, (long long)at, (long long)tsr_view_elements(z->from.vector[0]));
    return TSR_OK;
}

/* --- What is frozen --- */

static tsr_status collect_fragments(const tsr_torch_file *f, tsr_state *state)
{
    TSR_TRY(tsr_torch_collect(f, tsr_pickle_get(f->object, "frozen_param_fragments"), state));
    return tsr_state_sort(state, f->name);
}

/* In the files of all ranks, or whole in that of rank 0. */
static tsr_status read_fragments(zero *z, tsr_state *of_rank)
{
    const tsr_deepspeed_file *file;
    tsr_torch_file f;
    int index, mp, dp;
    int64_t n = tsr_deepspeed_files(z->folder, TSR_DEEPSPEED_SHARD, &file);
    for (int r = 0; r < z->from.ranks; r++) of_rank[r].source = z->source;
    TSR_TRY(collect_fragments(&z->model, &of_rank[0]));
    if (!z->from.parted) return TSR_OK;
    TSR_TRY(tsr_deepspeed_count(z->folder, file, n, &mp, &dp));
    if (dp != z->from.ranks)
        return tsr_fail(TSR_ERR_FORMAT, "%s: has frozen parameters in %d files, expected %d", z->model.name,
                        dp, z->from.ranks);
    for (int r = 1; r < z->from.ranks; r++) {
        TSR_TRY(tsr_source_add_path(z->source, file[(int64_t)z->mp * dp + r].path, &index));
        TSR_TRY(tsr_torch_open(z->source, index, &f));
        tsr_status status = collect_fragments(&f, &of_rank[r]);
        tsr_torch_close(&f);
        TSR_TRY(status);
    }
    return TSR_OK;
}

/* part: room for [ranks]. */
static tsr_status add_frozen_entry(zero *z, const tsr_state *of_rank, const tsr_pickle_item *item,
                                   const tsr_view **part)
{
    entry e;
    const tsr_view *view;
    TSR_TRY(read_entry(z, item, &e));
    int64_t length = tsr_parted_elements(e.elements, z->from.ranks);
    for (int r = 0; r < (z->from.parted ? z->from.ranks : 1); r++) {
        view = part[r] = tsr_state_find(&of_rank[r], e.name);
        if (!view) return bad(z, e.name, "frozen, and not in \"frozen_param_fragments\"");
        bool fits = z->from.parted
                        ? tsr_shape_equal(1, &length, tsr_view_rank(view), tsr_view_shape(view))
                        : tsr_shape_equal(e.rank, e.shape, tsr_view_rank(view), tsr_view_shape(view));
        if (!fits) return bad(z, e.name, "frozen, and of another shape than \"frozen_param_shapes\" says");
    }
    if (z->from.parted)
        TSR_TRY(tsr_parted_view(z->source->arena, z->from.ranks, part, 0, e.rank, e.shape, &view));
    return tsr_state_add(z->state, e.name, view);
}

static tsr_status add_frozen(zero *z)
{
    const tsr_pickle_node *shapes = tsr_pickle_get(z->model.object, "frozen_param_shapes");
    void *states = NULL, *part = NULL;
    tsr_status status;
    if (!tsr_pickle_is_dict(shapes) || !shapes->first) return TSR_OK;
    TSR_TRY_OUT(tsr_calloc(z->from.ranks, sizeof(tsr_state), "the frozen parameters", &states));
    TSR_TRY_OUT(tsr_calloc(z->from.ranks, sizeof(const tsr_view *), "the parts of a parameter", &part));
    TSR_TRY_OUT(read_fragments(z, states));
    for (const tsr_pickle_item *i = shapes->first; i; i = i->next)
        TSR_TRY_OUT(add_frozen_entry(z, states, i, part));
out:
    for (int r = 0; states && r < z->from.ranks; r++) tsr_state_free(&((tsr_state *)states)[r]);
    tsr_free(states);
    tsr_free(part);
    return status;
}

/* --- The rest --- */

/* What was sorted, while more is appended to it. */
static const tsr_view *find_among(const tsr_state *state, int64_t sorted, const char *name)
{
    tsr_state known = *state;
    known.count = sorted;
    return tsr_state_find(&known, name);
}

/* Second names of parameters. One whose first name is not there stays away as well. */
static tsr_status add_shared(zero *z)
{
    const tsr_pickle_node *pairs = tsr_pickle_get(z->model.object, "shared_params");
    char name[TSR_TORCH_KEY], first[TSR_TORCH_KEY];
    int64_t sorted = z->state->count;
    if (!tsr_pickle_is_dict(pairs)) return TSR_OK;
    for (const tsr_pickle_item *i = pairs->first; i; i = i->next) {
        TSR_TRY(tsr_torch_key(&z->model, i->key, name));
        TSR_TRY(tsr_torch_key(&z->model, i->value, first));
        const tsr_view *view = find_among(z->state, sorted, first);
        if (view) TSR_TRY(tsr_state_add(z->state, name, view));
    }
    return tsr_state_sort(z->state, z->model.name);
}

/* Under stage 3 the module's parameters are empty: its buffers alone count. */
static tsr_status add_buffers(zero *z, const tsr_state *module)
{
    const tsr_pickle_node *names = tsr_pickle_get(z->model.object, "buffer_names");
    char name[TSR_TORCH_KEY];
    for (const tsr_pickle_item *i = is_list(names) ? names->first : NULL; i; i = i->next) {
        TSR_TRY(tsr_torch_key(&z->model, i->value, name));
        const tsr_view *view = tsr_state_find(module, name);
        if (view) TSR_TRY(tsr_state_add(z->state, name, view));
    }
    return TSR_OK;
}

static tsr_status add_module(zero *z, const tsr_state *module)
{
    int64_t sorted = z->state->count;
    for (int64_t i = 0; i < module->count; i++) {
        const tsr_view *view = module->entries[i].view;
        const char *name = module->entries[i].name;
        const tsr_view *own = find_among(z->state, sorted, name);
        if (!own)
            TSR_TRY(tsr_state_add(z->state, name, view));
        else if (!tsr_shape_equal(tsr_view_rank(own), tsr_view_shape(own), tsr_view_rank(view),
                                  tsr_view_shape(view)))
            return bad(z, name, "of another shape in the module than in \"param_shapes\"");
    }
    return TSR_OK;
}

static tsr_status add_rest(zero *z)
{
    tsr_state module = {.source = z->source};
    tsr_status status;
    TSR_TRY_OUT(tsr_torch_collect(&z->model, tsr_pickle_get(z->model.object, "module"), &module));
    TSR_TRY_OUT(tsr_state_sort(&module, z->model.name));
    TSR_TRY_OUT(z->from.parted ? add_buffers(z, &module) : add_module(z, &module));
out:
    tsr_state_free(&module);
    return status;
}

static tsr_status open_model(zero *z)
{
    const tsr_deepspeed_file *file;
    int index;
    bool parted = z->from.parted;
    int64_t n = tsr_deepspeed_files(z->folder, parted ? TSR_DEEPSPEED_SHARD : TSR_DEEPSPEED_MODEL, &file);
    for (int64_t i = 0; i < n; i++) {
        if (file[i].mp != z->mp || file[i].dp != 0) continue;
        TSR_TRY(tsr_source_add_path(z->source, file[i].path, &index));
        return tsr_torch_open(z->source, index, &z->model);
    }
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s%smp_rank_%02d_model_states.pt is missing, which says what the parameters are",
                    z->folder->name, parted ? "zero_pp_rank_0_" : "", z->mp);
}

tsr_status tsr_deepspeed_zero(tsr_source *source, const tsr_deepspeed_folder *folder, int mp, int dp,
                              tsr_state *state)
{
    zero z = {.source = source, .folder = folder, .mp = mp, .state = state};
    tsr_status status;
    TSR_TRY_OUT(tsr_partitions_read(source, folder, mp, dp, &z.from));
    TSR_TRY_OUT(open_model(&z));
    TSR_TRY_OUT(add_parameters(&z));
    TSR_TRY_OUT(add_frozen(&z));
    TSR_TRY_OUT(tsr_state_sort(state, z.model.name));
    TSR_TRY_OUT(add_shared(&z));
    TSR_TRY_OUT(add_rest(&z));
    TSR_TRY_OUT(tsr_state_sort(state, z.model.name));
out:
    tsr_torch_close(&z.model);
    tsr_partitions_free(&z.from);
    return status;
}
