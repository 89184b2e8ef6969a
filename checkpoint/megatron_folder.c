/* megatron_folder.c: how the files of a Megatron-LM checkpoint lie in a folder:
 *
 *     latest_checkpointed_iteration.txt             "1000": the checkpoint is in iter_0001000/; "release": in release/
 *     mp_rank_00/model_optim_rng.pt (model_rng.pt), mp_rank_01/..., one folder a rank
 *     model_optim_rng.pt                            a single one
 *
 * The ranks must be complete. Folders mp_rank_00_000, of a pipeline's stages, are refused. The files that DeepSpeed
 * saves, mp_rank_00_model_states.pt, are found by deepspeed_training.c; one of them that is named is read here.
 */
#include "checkpoint/megatron.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_CAP = 300, LATEST_CAP = 64, ENTRIES_CAP = 1 << 18 };

static const char latest[] = "latest_checkpointed_iteration.txt", rank_head[] = "mp_rank_";
static const char *const file_names[] = {"model_optim_rng.pt", "model_rng.pt"};

static bool has_path(const tsr_source *s, const char *path)
{
    struct stat st;
    return fstatat(s->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- Which folder --- */

/* "" or "iter_0001000", from what `latest` says. */
static tsr_status find_folder(const tsr_source *s, char folder[LATEST_CAP])
{
    char text[LATEST_CAP + 1] = "";
    int64_t bytes;
    *folder = '\0';
    if (!tsr_source_has_file(s, latest)) return TSR_OK;
    TSR_TRY(tsr_source_read_small(s, latest, LATEST_CAP, text, &bytes));
    text[strcspn(text, " \t\r\n")] = '\0';
    size_t digits = strspn(text, "0123456789");
    if (strcmp(text, "release") == 0)
        snprintf(folder, LATEST_CAP, "release");
    else if (digits > 0 && digits <= 12 && !text[digits])
        snprintf(folder, LATEST_CAP, "iter_%07lld", strtoll(text, NULL, 10));
    else
        return tsr_fail(TSR_ERR_FORMAT, "%s: expected a number of iterations or \"release\", found \"%s\"",
                        latest, text);
    return TSR_OK;
}

/* --- Which ranks --- */

/* Raises *ranks to one more than the number in the name. */
static void look_at(const char *name, int *ranks, bool *stages)
{
    size_t head = sizeof rank_head - 1;
    if (strncmp(name, rank_head, head) != 0) return;
    size_t digits = strspn(name + head, "0123456789");
    if (digits < 2 || digits > 4) return;
    const char *rest = name + head + digits;
    int rank = (int)strtol(name + head, NULL, 10);
    if (!*rest && rank >= *ranks) *ranks = rank + 1;
    *stages |= *rest == '_' && rest[1] >= '0' && rest[1] <= '9';
}

static tsr_status count_ranks(const tsr_source *s, const char *folder, int *ranks)
{
    tsr_arena *arena;
    const char *const *names;
    int64_t n;
    bool stages = false;
    *ranks = 0;
    TSR_TRY(tsr_arena_create("the names in a folder", &arena));
    tsr_status status = tsr_source_list_folder(s, *folder ? folder : NULL, ENTRIES_CAP, arena, &names, &n);
    for (int64_t i = 0; status == TSR_OK && i < n; i++) look_at(names[i], ranks, &stages);
    tsr_arena_destroy(&arena);
    if (status == TSR_OK && stages)
        status = tsr_fail(TSR_ERR_FORMAT,
                          "%s: holds mp_rank_RR_SSS: layers spread over stages of a pipeline are not read",
                          *folder ? folder : "the checkpoint");
    return status;
}

/* --- Which files --- */

/* "iter_0001000/mp_rank_00/", "": the file in it, under either of its names. */
static void find_file(const tsr_source *s, const char *folder, char path[PATH_CAP])
{
    for (int i = 1; i >= 0; i--) {
        snprintf(path, PATH_CAP, "%s%s", folder, file_names[i]);
        if (has_path(s, path)) return;
    }
}

static tsr_status add_rank(tsr_source *s, const char *folder, int rank, int ranks, int *file)
{
    char below[LATEST_CAP * 2], path[PATH_CAP];
    snprintf(below, sizeof below, "%s%s%s%02d/", folder, *folder ? "/" : "", rank_head, rank);
    find_file(s, below, path);
    tsr_status status = tsr_source_add_path(s, path, file);
    return status == TSR_OK ? status : tsr_fail_in(status, "the piece of rank %d of %d", rank, ranks);
}

static tsr_status list_ranks(tsr_source *s, const char *folder, int ranks)
{
    void *p;
    if (ranks > TSR_MEGATRON_MAX_RANKS)
        return tsr_fail(TSR_ERR_FORMAT, "%s: pieces of %d ranks, at most %d are accepted",
                        *folder ? folder : "the checkpoint", ranks, TSR_MEGATRON_MAX_RANKS);
    TSR_TRY(tsr_calloc(ranks, sizeof(int), "the files of the ranks", &p));
    int *files = p;
    tsr_megatron_request q = {.files = files, .n = ranks, .version = -1};
    tsr_status status = TSR_OK;
    for (int r = 0; r < ranks && status == TSR_OK; r++) status = add_rank(s, folder, r, ranks, &files[r]);
    if (status == TSR_OK) status = tsr_megatron_list(s, &q);
    tsr_free(p);
    return status;
}

static tsr_status list_file(tsr_source *s, const char *path)
{
    int file;
    tsr_megatron_request q = {.files = &file, .n = 1, .version = -1};
    TSR_TRY(tsr_source_add_path(s, path, &file));
    return tsr_megatron_list(s, &q);
}

/* --- The formats --- */

static tsr_status open_folder(tsr_source *s)
{
    char folder[LATEST_CAP], below[LATEST_CAP + 1], path[PATH_CAP];
    int ranks;
    if (s->named) return list_file(s, s->named);
    TSR_TRY(find_folder(s, folder));
    TSR_TRY(count_ranks(s, folder, &ranks));
    if (ranks > 0) return list_ranks(s, folder, ranks);
    snprintf(below, sizeof below, "%s%s", folder, *folder ? "/" : "");
    find_file(s, below, path);
    if (has_path(s, path)) return list_file(s, path);
    return tsr_fail(TSR_ERR_IO, "%s: holds neither %s00 nor %s", *folder ? folder : s->dir_name, rank_head,
                    file_names[0]);
}

static bool probe(const tsr_source *s)
{
    char path[PATH_CAP];
    find_file(s, "", path);
    return tsr_source_has_file(s, latest) || tsr_source_has_file(s, "mp_rank_00") ||
           tsr_source_has_file(s, "mp_rank_00_000") || has_path(s, path);
}

/* Of whatever model. */
static tsr_status open_states(tsr_source *s)
{
    tsr_torch_file f;
    int file;
    tsr_megatron_request q = {.files = &file, .n = 1, .version = -1};
    TSR_TRY(tsr_source_add_file(s, s->named, &file));
    TSR_TRY(tsr_torch_open(s, file, &f));
    bool megatron = tsr_megatron_is(&f);
    tsr_torch_close(&f);
    if (!megatron) return tsr_torch_list(s, file);
    s->format = &tsr_format_megatron;
    return tsr_megatron_list(s, &q);
}

const tsr_source_format tsr_format_megatron = {"Megatron-LM", "latest_checkpointed_iteration.txt, mp_rank_00",
                                               "_rng.pt", probe, open_folder};
const tsr_source_format tsr_format_megatron_states = {"torch", "", "_model_states.pt", NULL, open_states};
