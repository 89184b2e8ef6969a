/* deepspeed_folder.c: `latest`, and what the names of the files say. */
#include "checkpoint/deepspeed_folder.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 1 << 18, MAX_NUMBER = 1 << 20 };

/* Which number of a name is which. */
enum { LAYER = 'L', MODEL_PARALLEL = 'M', DATA_PARALLEL = 'D' };

/* '#' stands for digits; the numbers are, in this order, what `numbers` says. */
static const struct {
    const char *pattern, *numbers;
    tsr_deepspeed_kind kind;
} names[] = {
    {"mp_rank_#_model_states.pt", "M", TSR_DEEPSPEED_MODEL},
    {"zero_pp_rank_#_mp_rank_#_model_states.pt", "DM", TSR_DEEPSPEED_SHARD},
    {"zero_pp_rank_#_mp_rank_#_optim_states.pt", "DM", TSR_DEEPSPEED_OPTIM},
    {"bf16_zero_pp_rank_#_mp_rank_#_optim_states.pt", "DM", TSR_DEEPSPEED_OPTIM},
    {"fp16_zero_pp_rank_#_mp_rank_#_optim_states.pt", "DM", TSR_DEEPSPEED_OPTIM},
    {"layer_#-model_#-model_states.pt", "LM", TSR_DEEPSPEED_LAYER},
    {"layer_#-model_states.pt", "L", TSR_DEEPSPEED_LAYER},
    {"layer_#_expert_#_mp_rank_#_model_states.pt", "", TSR_DEEPSPEED_EXPERT},
    {"expert_#_mp_rank_#_model_states.pt", "", TSR_DEEPSPEED_EXPERT},
    {"expp_rank_#_mp_rank_#_optim_states.pt", "", TSR_DEEPSPEED_EXPERT},
};

/* --- Names --- */

/* The number at *text, which is moved behind it. */
static bool take_number(const char **text, int *out)
{
    const char *c = *text;
    *out = 0;
    while (*c >= '0' && *c <= '9' && *out < MAX_NUMBER) *out = *out * 10 + (*c++ - '0');
    bool any = c > *text && *out < MAX_NUMBER;
    *text = c;
    return any;
}

static bool matches(const char *name, const char *pattern, const char *numbers, tsr_deepspeed_file *out)
{
    int number;
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern) return false;
            continue;
        }
        if (!take_number(&name, &number)) return false;
        if (*numbers == LAYER) out->layer = number;
        if (*numbers == MODEL_PARALLEL) out->mp = number;
        if (*numbers == DATA_PARALLEL) out->dp = number;
        if (*numbers) numbers++;
    }
    return *name == '\0';
}

static bool parse(const char *name, tsr_deepspeed_file *out)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *out = (tsr_deepspeed_file){.kind = names[i].kind};
        if (matches(name, names[i].pattern, names[i].numbers, out)) return true;
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    const tsr_deepspeed_file *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if (x->mp != y->mp) return x->mp < y->mp ? -1 : 1;
    return (x->dp > y->dp) - (x->dp < y->dp);
}

/* --- The folder --- */

static tsr_status read_latest(const tsr_source *s, tsr_arena *arena, const char **tag)
{
    char text[NAME_MAX + 2];
    int64_t bytes;
    TSR_TRY(tsr_source_read_small(s, "latest", sizeof text, text, &bytes));
    while (bytes > 0 && (text[bytes - 1] == '\n' || text[bytes - 1] == '\r' || text[bytes - 1] == ' '))
        bytes--;
    if (bytes == 0 || bytes > NAME_MAX || memchr(text, 0, (size_t)bytes))
        return tsr_fail(TSR_ERR_FORMAT, "latest: expected one line, the name of a folder beside it");
    return tsr_arena_format(arena, tag, "%.*s", (int)bytes, text);
}

static tsr_status keep(tsr_arena *arena, const char *folder, const char *const *listed, int64_t n,
                       tsr_deepspeed_file *files, int64_t *count)
{
    for (int64_t i = 0; i < n; i++) {
        tsr_deepspeed_file file;
        if (!parse(listed[i], &file)) continue;
        TSR_TRY(tsr_arena_format(arena, &file.path, "%s%s", folder, listed[i]));
        files[(*count)++] = file;
    }
    return TSR_OK;
}

tsr_status tsr_deepspeed_folder_find(const tsr_source *s, tsr_arena *arena, tsr_deepspeed_folder *out)
{
    const char *tag = NULL, *const * listed;
    int64_t n;
    void *p;
    *out = (tsr_deepspeed_folder){.name = ""};
    if (tsr_source_has_file(s, "latest")) TSR_TRY(read_latest(s, arena, &tag));
    tsr_status status = tsr_source_list_folder(s, tag, MAX_FILES, arena, &listed, &n);
    if (status != TSR_OK) return tag ? tsr_fail_in(status, "latest") : status;
    if (tag) TSR_TRY(tsr_arena_format(arena, &out->name, "%s/", tag));
    TSR_TRY(tsr_arena_alloc(arena, n * (int64_t)sizeof *out->files, &p));
    TSR_TRY(keep(arena, out->name, listed, n, p, &out->count));
    out->files = p;
    if (out->count > 0) qsort(p, (size_t)out->count, sizeof *out->files, compare);
    for (int64_t i = 1; i < out->count; i++)
        if (out->files[i].kind != TSR_DEEPSPEED_EXPERT && compare(&out->files[i - 1], &out->files[i]) == 0)
            return tsr_fail(TSR_ERR_FORMAT, "%s and %s are for the same rank, expected one of them",
                            out->files[i - 1].path, out->files[i].path);
    return TSR_OK;
}

/* --- Asking --- */

const char *tsr_deepspeed_folder_name(const tsr_deepspeed_folder *folder)
{
    return *folder->name ? folder->name : "the training checkpoint";
}

int64_t tsr_deepspeed_files(const tsr_deepspeed_folder *folder, tsr_deepspeed_kind kind,
                            const tsr_deepspeed_file **first)
{
    int64_t begin = 0, end;
    while (begin < folder->count && folder->files[begin].kind != kind) begin++;
    for (end = begin; end < folder->count && folder->files[end].kind == kind;) end++;
    *first = folder->files + begin;
    return end - begin;
}

tsr_status tsr_deepspeed_count(const tsr_deepspeed_folder *folder, const tsr_deepspeed_file *files, int64_t n,
                               int *mp, int *dp)
{
    *mp = files[n - 1].mp + 1; /* sorted by mp first */
    *dp = 0;
    for (int64_t i = 0; i < n; i++) *dp = files[i].dp >= *dp ? files[i].dp + 1 : *dp;
    for (int64_t i = 0; i < (int64_t)*mp * *dp; i++) {
        int want_mp = (int)(i / *dp), want_dp = (int)(i % *dp);
        if (i < n && files[i].mp == want_mp && files[i].dp == want_dp) continue;
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: a file of data-parallel rank %d and model-parallel rank %d is missing beside %s",
                        tsr_deepspeed_folder_name(folder), want_dp, want_mp, files[0].path);
    }
    return TSR_OK;
}
