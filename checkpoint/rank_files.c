/* rank_files.c: a checkpoint in one safetensors file a rank, as `tessera convert --tp` writes it:
 *
 * {"type": "ds_model", "version": 1.0, "parallelization": "tp", "tp_size": 2, "base_dir": "",
 *  "checkpoints": {"non_tp": ["non_tp.safetensors"], "tp": ["tp_00_00.safetensors", "tp_01_00.safetensors"]}}
 *
 * The files under non_tp hold whole tensors. Those under tp hold pieces, under the tensors' own names; the file's
 * __metadata__ says of each which part it is: "part:NAME": "AXIS EXTENT BEGIN-END,BEGIN-END": these indices along
 * that axis of a tensor that has EXTENT of them, laid end to end. Pieces may overlap (a head that two ranks need);
 * together they must be the tensor. Each tensor becomes a concatenation of slices of its pieces, so a rank of
 * whatever number of ranks reads what it needs from whichever files have it.
 */
#include "base/checked.h"
#include "checkpoint/inference_files.h"
#include "checkpoint/shape.h"
#include "checkpoint/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANGES_CAP = 1 << 16 };

/* Indices begin .. end - 1 of the whole are those from `at` on of a piece. */
typedef struct segment {
    const char *name; /* of the tensor */
    const tsr_tensor_info *piece;
    int axis;
    int64_t extent, begin, end, at;
} segment;

typedef struct pieces {
    tsr_source *source;
    segment *list;
    int64_t count, capacity;
    const char *file; /* being read */
} pieces;

static tsr_status bad(const pieces *p, const char *name, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": %s", p->file, name, what);
}

/* --- Notes --- */

static bool read_number(const char **at, char after, int64_t *out)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    errno = 0;
    *out = strtoll(*at, &end, 10);
    if (errno || (after && *end != after)) return false;
    *at = end + (after != 0);
    return true;
}

static tsr_status add_segment(pieces *p, const segment *s)
{
    void *array = p->list;
    TSR_TRY(tsr_grow(&array, &p->capacity, p->count + 1, sizeof *p->list, "pieces of tensors"));
    p->list = array;
    p->list[p->count++] = *s;
    return TSR_OK;
}

/* "BEGIN-END,BEGIN-END" */
static tsr_status read_ranges(pieces *p, const char *text, segment *s)
{
    for (int n = 0;; n++) {
        int64_t last = s->end;
        if (n == RANGES_CAP || !read_number(&text, '-', &s->begin) || !read_number(&text, 0, &s->end) ||
            s->begin < last || s->end <= s->begin || s->end > s->extent)
            return bad(p, s->name, "its part is not told by ascending ranges within it");
        TSR_TRY(add_segment(p, s));
        s->at += s->end - s->begin;
        if (!*text) return TSR_OK;
        if (*text++ != ',') return bad(p, s->name, "its part is not told by ranges and commas");
    }
}

static tsr_status keep_piece(tsr_source *source, const tsr_tensor_info *t, const tsr_tensor_info **out)
{
    tsr_tensor_info copy = *t;
    TSR_TRY(tsr_arena_strdup(source->arena, t->name, &copy.name));
    TSR_TRY(tsr_arena_strdup(source->arena, t->dtype_label, &copy.dtype_label));
    return tsr_source_keep(source, &copy, out);
}

static tsr_status add_piece(void *context, const tsr_tensor_info *t, const char *part)
{
    pieces *p = context;
    segment s = {.axis = 0};
    int64_t axis;
    if (!part) return bad(p, t->name, "the file does not say which part of it this is");
    if (!read_number(&part, ' ', &axis) || axis >= t->rank || !read_number(&part, ' ', &s.extent))
        return bad(p, t->name, "its part is not told as \"AXIS EXTENT BEGIN-END,...\"");
    TSR_TRY(keep_piece(p->source, t, &s.piece));
    s.name = s.piece->name;
    s.axis = (int)axis;
    TSR_TRY(read_ranges(p, part, &s));
    if (s.at != t->shape[s.axis])
        return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": its ranges are %lld indices, it has %lld",
                        p->file, t->name, (long long)s.at, (long long)t->shape[s.axis]);
    return TSR_OK;
}

/* --- Putting together --- */

static int by_name_and_begin(const void *a, const void *b)
{
    const segment *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (order) return order;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static bool alike(const segment *a, const segment *b)
{
    bool same = a->axis == b->axis && a->extent == b->extent && a->piece->rank == b->piece->rank &&
                strcmp(a->piece->dtype_label, b->piece->dtype_label) == 0;
    for (int i = 0; same && i < a->piece->rank; i++)
        same = i == a->axis || a->piece->shape[i] == b->piece->shape[i];
    return same;
}

/* From index `begin` of the whole to the end of the segment. */
static tsr_status take_rest(tsr_arena *arena, const segment *s, int64_t begin, const tsr_view **out)
{
    int64_t first = s->at + (begin - s->begin);
    TSR_TRY(tsr_view_stored(arena, s->piece, out));
    return tsr_view_slice(arena, *out, s->axis, first, s->at + (s->end - s->begin), out);
}

/* Always goes on with the segment that reaches farthest. */
static tsr_status join(const pieces *p, const segment *s, int64_t n, const tsr_view **parts)
{
    int64_t reached = 0, next = 0, used = 0;
    while (reached < s->extent) {
        const segment *best = NULL;
        for (; next < n && s[next].begin <= reached; next++)
            if (!best || s[next].end > best->end) best = &s[next];
        if (!best || best->end <= reached)
            return tsr_fail(TSR_ERR_FORMAT,
                            "tensor \"%.200s\": index %lld of %lld along axis %d is in no file", s->name,
                            (long long)reached, (long long)s->extent, s->axis);
        TSR_TRY(take_rest(p->source->arena, best, reached, &parts[used++]));
        reached = best->end;
    }
    const tsr_view *whole;
    TSR_TRY(tsr_view_concat(p->source->arena, s->axis, (int)used, parts, &whole));
    return tsr_source_add_view(p->source, s->name, whole);
}

static tsr_status join_tensor(const pieces *p, const segment *s, int64_t n)
{
    void *parts;
    for (int64_t i = 1; i < n; i++)
        if (!alike(&s[0], &s[i]))
            return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\": its pieces in %s and %s do not fit together",
                            s->name, tsr_source_file_name(p->source, s[0].piece->file),
                            tsr_source_file_name(p->source, s[i].piece->file));
    TSR_TRY(tsr_calloc(n, sizeof(const tsr_view *), "pieces of a tensor", &parts));
    tsr_status status = join(p, s, n, parts);
    tsr_free(parts);
    return status;
}

static tsr_status join_all(const pieces *p)
{
    if (p->count > 1) qsort(p->list, (size_t)p->count, sizeof *p->list, by_name_and_begin);
    for (int64_t i = 0, end; i < p->count; i = end) {
        for (end = i; end < p->count && strcmp(p->list[end].name, p->list[i].name) == 0;) end++;
        TSR_TRY(join_tensor(p, &p->list[i], end - i));
    }
    return TSR_OK;
}

/* --- The files --- */

static tsr_status note_part(void *context, const tsr_tensor_info *t, const char *part)
{
    (void)t;
    *(bool *)context |= part != NULL;
    return TSR_OK;
}

tsr_status tsr_rank_files_told(tsr_source *source, int file, bool *out)
{
    *out = false;
    return tsr_safetensors_scan(source, file, note_part, out);
}

static tsr_status list_files(pieces *p, const tsr_inference_files *files)
{
    for (int64_t i = 0; i < files->whole_count; i++)
        TSR_TRY(tsr_safetensors_list(p->source, files->whole[i]));
    for (int64_t i = 0; i < files->cut_count; i++) {
        p->file = tsr_source_file_name(p->source, files->cut[i]);
        TSR_TRY(tsr_safetensors_scan(p->source, files->cut[i], add_piece, p));
    }
    return join_all(p);
}

tsr_status tsr_rank_files_list(tsr_source *source, const tsr_inference_files *files)
{
    pieces p = {.source = source};
    tsr_status status = list_files(&p, files);
    tsr_free(p.list);
    return status;
}
