/* convert_plan.c: files by size or by rank, and the JSON files that tie them together. */
#include "runtime/convert_plan.h"
#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

/* --- Sizes --- */

static int64_t width_of(const tsr_export_item *item)
{
    int64_t elements = 1;
    if (item->dtype != TSR_DTYPE_COUNT) return tsr_dtype_bytes(item->dtype);
    for (int i = 0; i < item->tensor->rank; i++) elements *= item->tensor->shape[i];
    return elements > 0 ? item->tensor->bytes / elements : 1;
}

/* Names with their numbers as numbers: layers.2 before layers.10. Names are unique. */
static int by_name(const void *a, const void *b)
{
    const tsr_export_item *x = a, *y = b;
    return strverscmp(x->tensor->name, y->tensor->name);
}

/* Wider numbers first: then all lie aligned. */
static int by_width_and_name(const void *a, const void *b)
{
    int64_t x = width_of(a), y = width_of(b);
    return x != y ? (x > y ? -1 : 1) : by_name(a, b);
}

/* So that the same tensors make the same files, wherever they came from. */
static void sort_items(tsr_export_item *items, int64_t n, int (*order)(const void *, const void *))
{
    if (n > 1) qsort(items, (size_t)n, sizeof *items, order);
}

/* How many of the items from `first` on fit into one file; at least one. */
static int64_t fill_shard(const tsr_export_item *items, int64_t first, int64_t n, int64_t shard_bytes)
{
    int64_t i = first, bytes = 0;
    while (i < n && (i == first || tsr_export_bytes(&items[i]) <= shard_bytes - bytes))
        bytes += tsr_export_bytes(&items[i++]);
    return i - first;
}

static tsr_status new_files(tsr_convert_plan *plan, int64_t n)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(plan->arena, tsr_max(n, 1) * (int64_t)sizeof *plan->files, &p));
    plan->files = p;
    plan->n_files = n;
    return TSR_OK;
}

static tsr_status fill_files(tsr_convert_plan *plan, tsr_export_item *items, int64_t n, int64_t shard_bytes)
{
    int64_t files = 0;
    for (int64_t at = 0; at < n || files == 0; files++) at += fill_shard(items, at, n, shard_bytes);
    TSR_TRY(new_files(plan, files));
    for (int64_t k = 0, at = 0; k < files; k++) {
        tsr_export_file *f = &plan->files[k];
        f->items = items + at;
        f->n_items = fill_shard(items, at, n, shard_bytes);
        sort_items(items + at, f->n_items, by_width_and_name);
        at += f->n_items;
        if (files == 1)
            f->name = "model.safetensors";
        else
            TSR_TRY(tsr_arena_format(plan->arena, &f->name, "model-%05lld-of-%05lld.safetensors",
                                     (long long)k + 1, (long long)files));
    }
    return TSR_OK;
}

tsr_status tsr_convert_plan_sizes(const tsr_source *source, tsr_dtype dtype, int64_t shard_bytes,
                                  tsr_convert_plan *plan)
{
    void *p;
    int64_t n = tsr_source_count(source);
    TSR_TRY(tsr_arena_alloc(plan->arena, tsr_max(n, 1) * (int64_t)sizeof(tsr_export_item), &p));
    tsr_export_item *items = p;
    for (int64_t i = 0; i < n; i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        items[i] = (tsr_export_item){.tensor = t, .dtype = tsr_export_dtype(t, dtype)};
        plan->bytes += tsr_export_bytes(&items[i]);
    }
    sort_items(items, n, by_name);
    return fill_files(plan, items, n, shard_bytes);
}

/* --- Ranks --- */

/* Cutting goes through a view, which gives F32, F16 and BF16 alone. */
static bool can_be_cut(const tsr_tensor_info *t, tsr_dtype dtype)
{
    tsr_dtype as = tsr_export_dtype(t, dtype) == TSR_DTYPE_COUNT ? t->dtype : dtype;
    return as == TSR_F32 || as == TSR_F16 || as == TSR_BF16;
}

/* "part:NAME": "AXIS EXTENT BEGIN-END,BEGIN-END" */
static tsr_status note_part(tsr_arena *arena, const tsr_export_item *item, tsr_safetensors_note *note)
{
    tsr_text text;
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_text_format(&text, "%d %lld ", item->axis, (long long)item->tensor->shape[item->axis]);
    for (int i = 0; i < item->n_ranges && s == TSR_OK; i++)
        s = tsr_text_format(&text, i ? ",%lld-%lld" : "%lld-%lld", (long long)item->ranges[i].begin,
                            (long long)item->ranges[i].end);
    if (s == TSR_OK) s = tsr_arena_strdup(arena, text.data, &note->value);
    if (s == TSR_OK) s = tsr_arena_format(arena, &note->key, "part:%s", item->tensor->name);
    tsr_text_free(&text);
    return s;
}

static tsr_status note_parts(tsr_arena *arena, tsr_export_file *f)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, tsr_max(f->n_items, 1) * (int64_t)sizeof *f->notes, &p));
    f->notes = p;
    f->n_notes = f->n_items;
    for (int64_t i = 0; i < f->n_items; i++)
        TSR_TRY(note_part(arena, &f->items[i], (tsr_safetensors_note *)p + i));
    return TSR_OK;
}

static tsr_status make_item(tsr_arena *arena, const tsr_tensor_info *t, tsr_dtype dtype,
                            const tsr_tensor_split *split, int rank, tsr_export_item *out)
{
    *out = (tsr_export_item){.tensor = t, .dtype = tsr_export_dtype(t, dtype)};
    if (rank < 0) return TSR_OK;
    const tsr_tensor_part *part = &split->parts[rank];
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, tsr_max(part->n_ranges, 1) * (int64_t)sizeof(tsr_export_range), &p));
    tsr_export_range *ranges = p;
    for (int64_t i = 0; i < part->n_ranges; i++)
        ranges[i] = (tsr_export_range){part->ranges[i].begin, part->ranges[i].end};
    out->axis = split->axis;
    out->n_ranges = (int)part->n_ranges;
    out->ranges = ranges;
    return TSR_OK;
}

/* The file of one rank, or (-1) that of all tensors that are not cut. */
static tsr_status fill_rank(const tsr_source *source, tsr_dtype dtype, const tsr_tensor_split *splits,
                            int rank, tsr_convert_plan *plan, tsr_export_file *f)
{
    void *p;
    int64_t n = tsr_source_count(source);
    TSR_TRY(tsr_arena_alloc(plan->arena, tsr_max(n, 1) * (int64_t)sizeof(tsr_export_item), &p));
    tsr_export_item *items = p;
    for (int64_t i = 0; i < n; i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        bool cut = splits[i].axis != TSR_NONE && can_be_cut(t, dtype);
        if (cut != (rank >= 0) || (cut && splits[i].parts[rank].n_ranges == 0)) continue;
        TSR_TRY(make_item(plan->arena, t, dtype, &splits[i], rank, &items[f->n_items]));
        plan->bytes += tsr_export_bytes(&items[f->n_items++]);
        plan->cut += rank == 0;
    }
    f->items = items;
    sort_items(items, f->n_items, by_width_and_name);
    return rank < 0 ? TSR_OK : note_parts(plan->arena, f);
}

tsr_status tsr_convert_plan_ranks(const tsr_source *source, tsr_dtype dtype, int ranks,
                                  const tsr_tensor_split *splits, tsr_convert_plan *plan)
{
    TSR_TRY(new_files(plan, ranks + 1));
    plan->files[0].name = "non_tp.safetensors";
    TSR_TRY(fill_rank(source, dtype, splits, -1, plan, &plan->files[0]));
    for (int r = 0; r < ranks; r++) {
        tsr_export_file *f = &plan->files[r + 1];
        TSR_TRY(tsr_arena_format(plan->arena, &f->name, "tp_%02d_00.safetensors", r));
        TSR_TRY(fill_rank(source, dtype, splits, r, plan, f));
    }
    return TSR_OK;
}

/* --- JSON --- */

tsr_status tsr_convert_print_index(const tsr_convert_plan *plan, tsr_text *out)
{
    bool first = true;
    TSR_TRY(tsr_text_format(out, "{\n  \"metadata\": {\"total_size\": %lld},\n  \"weight_map\": {",
                            (long long)plan->bytes));
    for (int64_t k = 0; k < plan->n_files; k++) {
        const tsr_export_file *f = &plan->files[k];
        for (int64_t i = 0; i < f->n_items; i++) {
            const char *name = f->items[i].tensor->name;
            TSR_TRY(tsr_text_puts(out, first ? "\n    " : ",\n    "));
            TSR_TRY(tsr_text_json(out, name, (int64_t)strlen(name)));
            TSR_TRY(tsr_text_format(out, ": \"%s\"", f->name));
            first = false;
        }
    }
    return tsr_text_puts(out, "\n  }\n}\n");
}

static tsr_status print_names(const tsr_export_file *files, int64_t n, tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, "["));
    for (int64_t k = 0; k < n; k++) TSR_TRY(tsr_text_format(out, k ? ", \"%s\"" : "\"%s\"", files[k].name));
    return tsr_text_puts(out, "]");
}

tsr_status tsr_convert_print_deepspeed(const tsr_convert_plan *plan, int ranks, const char *dtype,
                                       tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, "{\n  \"type\": \"ds_model\",\n  \"version\": 1.0,\n  \"checkpoints\": "));
    if (ranks == 1) {
        TSR_TRY(print_names(plan->files, plan->n_files, out));
    } else {
        TSR_TRY(tsr_text_puts(out, "{\"non_tp\": "));
        TSR_TRY(print_names(plan->files, 1, out));
        TSR_TRY(tsr_text_puts(out, ", \"tp\": "));
        TSR_TRY(print_names(plan->files + 1, ranks, out));
        TSR_TRY(tsr_text_format(out, "},\n  \"parallelization\": \"tp\",\n  \"tp_size\": %d", ranks));
    }
    TSR_TRY(tsr_text_puts(out, ",\n  \"base_dir\": \"\""));
    if (dtype) TSR_TRY(tsr_text_format(out, ",\n  \"dtype\": \"%s\"", dtype));
    return tsr_text_puts(out, "\n}\n");
}
