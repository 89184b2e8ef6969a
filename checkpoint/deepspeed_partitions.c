/* deepspeed_partitions.c: the optimizer's files of all ranks, read as vectors. */
#include "checkpoint/deepspeed_partitions.h"
#include "base/checked.h"
#include "checkpoint/shape.h"
#include "checkpoint/torch.h"

typedef struct reading {
    tsr_source *source;
    const tsr_deepspeed_folder *folder;
    int ranks;
    bool parted;
    int64_t groups;         /* vectors of a rank */
    const tsr_view **piece; /* [ranks, groups] */
} reading;

/* --- A file --- */

/* An enum is a call with its value. */
static bool enum_value(const tsr_pickle_node *n, int64_t *out)
{
    if (n && n->kind == TSR_PICKLE_CALL) n = tsr_pickle_at(n->args, 0);
    return tsr_pickle_int(n, out);
}

/* One number, or one a group. */
static tsr_status check_partition_count(const reading *z, const char *file, const tsr_pickle_node *n)
{
    int64_t count = 0;
    bool list = n && (n->kind == TSR_PICKLE_LIST || n->kind == TSR_PICKLE_TUPLE);
    const tsr_pickle_item *item = list ? n->first : NULL;
    if ((list ? item == NULL : !tsr_pickle_int(n, &count)))
        return tsr_fail(TSR_ERR_FORMAT, "%s: says in no known way how many partitions there are", file);
    do {
        if (item && !tsr_pickle_int(item->value, &count)) count = -1;
        if (count != z->ranks)
            return tsr_fail(TSR_ERR_FORMAT, "%s: \"partition_count\" is %lld, found %d files of partitions",
                            file, (long long)count, z->ranks);
        item = item ? item->next : NULL;
    } while (item);
    return TSR_OK;
}

/* The vectors of one file, and whether they are of stage 3. */
static tsr_status find_vectors(const reading *z, const tsr_torch_file *f, bool *parted,
                               const tsr_pickle_node **out)
{
    const tsr_pickle_node *dict = tsr_pickle_get(f->object, "optimizer_state_dict"),
                          *whole = tsr_pickle_get(dict, "single_partition_of_fp32_groups"),
                          *cut = tsr_pickle_get(dict, "fp32_flat_groups");
    int64_t stage;
    *out = cut ? cut : whole;
    *parted = cut != NULL;
    if (!whole == !cut || ((*out)->kind != TSR_PICKLE_LIST && (*out)->kind != TSR_PICKLE_TUPLE) ||
        (*out)->count < 1)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: not of ZeRO stage 1, 2 or 3: expected a list of float32 partitions", f->name);
    if (enum_value(tsr_pickle_get(dict, "zero_stage"), &stage) && (stage == 3) != *parted)
        return tsr_fail(TSR_ERR_FORMAT, "%s: of ZeRO stage %lld, with partitions of another stage", f->name,
                        (long long)stage);
    return check_partition_count(z, f->name, tsr_pickle_get(dict, "partition_count"));
}

/* The first file decides what all must agree on. */
static tsr_status agree(reading *z, const tsr_torch_file *f, int rank, bool parted, int64_t groups)
{
    void *p;
    int64_t n;
    if (rank > 0 && (parted != z->parted || groups != z->groups))
        return tsr_fail(
            TSR_ERR_FORMAT, "%s: %lld partitions of stage %s, those of rank 0 are %lld of stage %s", f->name,
            (long long)groups, parted ? "3" : "1 or 2", (long long)z->groups, z->parted ? "3" : "1 or 2");
    if (rank > 0) return TSR_OK;
    z->parted = parted;
    z->groups = groups;
    if (!tsr_mul(groups, z->ranks, &n) || n > TSR_VIEW_LEAF_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: too many partitions", f->name);
    TSR_TRY(tsr_calloc(n, sizeof *z->piece, "the partitions of a checkpoint", &p));
    z->piece = p;
    return TSR_OK;
}

static tsr_status read_partitions(reading *z, const tsr_torch_file *f, int rank)
{
    const tsr_pickle_node *list;
    bool parted;
    int64_t g = 0;
    TSR_TRY(find_vectors(z, f, &parted, &list));
    TSR_TRY(agree(z, f, rank, parted, list->count));
    for (const tsr_pickle_item *i = list->first; i; i = i->next, g++) {
        const tsr_view **out = &z->piece[rank * z->groups + g];
        TSR_TRY(tsr_torch_view(f, i->value, "a partition", out));
        if (tsr_view_rank(*out) != 1)
            return tsr_fail(TSR_ERR_FORMAT, "%s: a partition of %d dimensions, expected 1", f->name,
                            tsr_view_rank(*out));
    }
    return TSR_OK;
}

static tsr_status read_files(reading *z, const tsr_deepspeed_file *file)
{
    tsr_torch_file f;
    int index;
    for (int rank = 0; rank < z->ranks; rank++) {
        TSR_TRY(tsr_source_add_path(z->source, file[rank].path, &index));
        TSR_TRY(tsr_torch_open(z->source, index, &f));
        tsr_status status = read_partitions(z, &f, rank);
        tsr_torch_close(&f);
        TSR_TRY(status);
    }
    return TSR_OK;
}

/* --- All of them --- */

static int64_t piece_elements(const reading *z, int rank, int64_t group)
{
    return tsr_view_elements(z->piece[rank * z->groups + group]);
}

/* Ranks have equal partitions; the last may lack its padding where groups are cut. */
static tsr_status check_lengths(const reading *z)
{
    for (int64_t g = 0; g < z->groups; g++)
        for (int r = 1; r < z->ranks; r++) {
            int64_t n = piece_elements(z, r, g), first = piece_elements(z, 0, g);
            if (n == first || (!z->parted && r == z->ranks - 1 && n < first)) continue;
            return tsr_fail(
                TSR_ERR_FORMAT, "%s: partition %lld of rank %d has %lld elements, that of rank 0 has %lld",
                tsr_deepspeed_folder_name(z->folder), (long long)g, r, (long long)n, (long long)first);
        }
    return TSR_OK;
}

/* Vector i is partition i of all ranks, or all partitions of rank i. */
static tsr_status join(const reading *z, int64_t i, const tsr_view **part, const tsr_view **out)
{
    int64_t n = z->parted ? z->groups : z->ranks;
    for (int64_t j = 0; j < n; j++) part[j] = z->piece[z->parted ? i * z->groups + j : j * z->groups + i];
    return tsr_view_concat(z->source->arena, 0, (int)n, part, out);
}

static tsr_status join_all(const reading *z, tsr_partitions *out)
{
    void *vectors, *part;
    out->vectors = z->parted ? z->ranks : z->groups;
    TSR_TRY(tsr_calloc(out->vectors, sizeof *out->vector, "the partitions of a checkpoint", &vectors));
    out->vector = vectors;
    TSR_TRY(
        tsr_calloc(z->parted ? z->groups : z->ranks, sizeof *out->vector, "the parts of a vector", &part));
    tsr_status status = TSR_OK;
    for (int64_t i = 0; i < out->vectors && status == TSR_OK; i++) status = join(z, i, part, &out->vector[i]);
    tsr_free(part);
    return status;
}

tsr_status tsr_partitions_read(tsr_source *source, const tsr_deepspeed_folder *folder, int mp, int ranks,
                               tsr_partitions *out)
{
    reading z = {.source = source, .folder = folder, .ranks = ranks};
    const tsr_deepspeed_file *file;
    *out = (tsr_partitions){.ranks = ranks};
    tsr_deepspeed_files(folder, TSR_DEEPSPEED_OPTIM, &file);
    tsr_status status = read_files(&z, file + (int64_t)mp * ranks);
    if (status == TSR_OK) status = check_lengths(&z);
    if (status == TSR_OK) status = join_all(&z, out);
    out->parted = z.parted;
    tsr_free(z.piece);
    if (status != TSR_OK) tsr_partitions_free(out);
    return status;
}

void tsr_partitions_free(tsr_partitions *p)
{
    tsr_free(p->vector);
    *p = (tsr_partitions){0};
}

/* --- Stage 3 --- */

int64_t tsr_parted_elements(int64_t elements, int ranks)
{
    return elements / ranks + (elements % ranks != 0);
}

tsr_status tsr_parted_view(tsr_arena *arena, int ranks, const tsr_view *const *vectors, int64_t begin,
                           int rank, const int64_t *shape, const tsr_view **out)
{
    void *p;
    int64_t elements = 0;
    tsr_status status;
    if (!tsr_shape_elements(rank, shape, &elements))
        return tsr_fail(TSR_ERR_INTERNAL, "a shape too large to exist");
    int64_t part = tsr_parted_elements(elements, ranks);
    int used = part > 0 ? (int)((elements + part - 1) / part) : 1; /* ranks that have more than padding */
    TSR_TRY(tsr_alloc(used * (int64_t)sizeof(const tsr_view *), "the parts of a parameter", &p));
    const tsr_view **parts = p;
    for (int r = 0; r < used; r++)
        TSR_TRY_OUT(tsr_view_slice(arena, vectors[r], 0, begin, begin + part, &parts[r]));
    TSR_TRY_OUT(tsr_view_concat(arena, 0, used, parts, out));
    TSR_TRY_OUT(tsr_view_slice(arena, *out, 0, 0, elements, out));
    TSR_TRY_OUT(tsr_view_reshape(arena, *out, rank, shape, out));
out:
    tsr_free(p);
    return status;
}
