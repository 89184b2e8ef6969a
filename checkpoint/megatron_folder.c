/* megatron_folder.c: how the files of a Megatron-LM checkpoint lie in a folder:
 *
 *     latest_checkpointed_iteration.txt             "1000": the checkpoint is in iter_0001000/; "release": in release/
 *     mp_rank_00/model_optim_rng.pt (model_rng.pt), mp_rank_01/..., one folder a rank
 *     mp_rank_00_model_states.pt, ...               as DeepSpeed saves them
 *     model_optim_rng.pt                            a single one
 *
 * The ranks must be complete. Folders mp_rank_00_000, of a pipeline's stages, are refused.
 */
#include "checkpoint/megatron.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_CAP = 300, LATEST_CAP = 64 };

static const char latest[] = "latest_checkpointed_iteration.txt", states[] = "_model_states.pt",
                  rank_head[] = "mp_rank_", single_states[] = "mp_rank_00_model_states.pt";
static const char *const file_names[] = {"model_optim_rng.pt", "model_rng.pt"};

static bool has_path(const tsr_source *s, const char *path)
{
    struct stat st;
    return fstatat(s->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- Which folder --- */

/* "" or "iter_0001000/", from what `latest` says. */
static tsr_status find_folder(tsr_source *s, char folder[LATEST_CAP])
{
    char text[LATEST_CAP] = "";
    int file;
    *folder = '\0';
    if (!tsr_source_has_file(s, latest)) return TSR_OK;
    TSR_TRY(tsr_source_add_file(s, latest, &file));
    int64_t bytes = s->files[file].bytes;
    if (bytes < (int64_t)sizeof text) TSR_TRY(tsr_source_pread(s, file, 0, bytes, text));
    text[strcspn(text, " \t\r\n")] = '\0';
    size_t digits = strspn(text, "0123456789");
    if (strcmp(text, "release") == 0)
        snprintf(folder, LATEST_CAP, "release/");
    else if (digits > 0 && digits <= 12 && !text[digits])
        snprintf(folder, LATEST_CAP, "iter_%07lld/", strtoll(text, NULL, 10));
    else
        return tsr_fail(TSR_ERR_FORMAT, "%s: expected a number of iterations or \"release\", found \"%s\"",
                        latest, text);
    return TSR_OK;
}

/* --- Which ranks --- */

typedef struct found {
    int ranks; /* one more than the highest number seen */
    bool folders, states, stages;
} found;

static void look_at(const char *name, found *f)
{
    size_t head = sizeof rank_head - 1;
    if (strncmp(name, rank_head, head) != 0) return;
    const char *digits = name + head;
    size_t n = strspn(digits, "0123456789");
    if (n < 2 || n > 4) return;
    const char *rest = digits + n;
    int rank = (int)strtol(digits, NULL, 10);
    bool folder = !*rest, state = strcmp(rest, states) == 0;
    bool stage = *rest == '_' && rest[1] >= '0' && rest[1] <= '9';
    if ((folder || state) && rank >= f->ranks) f->ranks = rank + 1;
    f->folders |= folder;
    f->states |= state;
    f->stages |= stage;
}

static tsr_status look_into(const tsr_source *s, const char *folder, found *out)
{
    int fd = openat(s->dir, *folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    *out = (found){0};
    if (!dir) {
        tsr_status status =
            tsr_fail(TSR_ERR_IO, "%s: cannot be opened as a folder: %s", folder, strerror(errno));
        if (fd >= 0) close(fd);
        return status;
    }
    for (struct dirent *e; (e = readdir(dir));) look_at(e->d_name, out);
    closedir(dir);
    return TSR_OK;
}

static tsr_status check_found(const char *folder, const found *f)
{
    const char *where = *folder ? folder : "the checkpoint";
    if (f->stages)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: holds mp_rank_RR_SSS: layers spread over stages of a pipeline are not read",
                        where);
    if (f->folders && f->states)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: holds both folders mp_rank_RR and files mp_rank_RR%s, expected one kind", where,
                        states);
    if (f->ranks > TSR_MEGATRON_MAX_RANKS)
        return tsr_fail(TSR_ERR_FORMAT, "%s: pieces of %d ranks, at most %d are accepted", where, f->ranks,
                        TSR_MEGATRON_MAX_RANKS);
    return TSR_OK;
}

/* --- Which files --- */

static tsr_status add_rank(tsr_source *s, const char *folder, const found *f, int rank, int *file)
{
    char path[PATH_CAP];
    if (f->states) {
        snprintf(path, sizeof path, "%s%s%02d%s", folder, rank_head, rank, states);
    } else {
        snprintf(path, sizeof path, "%s%s%02d/%s", folder, rank_head, rank, file_names[1]);
        if (!has_path(s, path))
            snprintf(path, sizeof path, "%s%s%02d/%s", folder, rank_head, rank, file_names[0]);
    }
    tsr_status status = tsr_source_add_path(s, path, file);
    return status == TSR_OK ? status : tsr_fail_in(status, "the piece of rank %d of %d", rank, f->ranks);
}

static tsr_status list_ranks(tsr_source *s, const char *folder, const found *f)
{
    void *p;
    TSR_TRY(tsr_calloc(f->ranks, sizeof(int), "the files of the ranks", &p));
    int *files = p;
    tsr_megatron_request q = {.files = files, .n = f->ranks, .version = -1};
    tsr_status status = TSR_OK;
    for (int r = 0; r < f->ranks && status == TSR_OK; r++) status = add_rank(s, folder, f, r, &files[r]);
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

static bool has_single(const tsr_source *s, const char *folder, char path[PATH_CAP])
{
    for (int i = 0; i < 2; i++) {
        snprintf(path, PATH_CAP, "%s%s", folder, file_names[i]);
        if (has_path(s, path)) return true;
    }
    return false;
}

/* A file of DeepSpeed's alone may be of whatever model. */
static tsr_status open_states(tsr_source *s)
{
    tsr_torch_file f;
    int file;
    tsr_megatron_request q = {.files = &file, .n = 1, .version = -1};
    TSR_TRY(tsr_source_add_file(s, s->named ? s->named : single_states, &file));
    TSR_TRY(tsr_torch_open(s, file, &f));
    bool megatron = tsr_megatron_is(&f);
    tsr_torch_close(&f);
    return megatron ? tsr_megatron_list(s, &q) : tsr_torch_list(s, file);
}

static tsr_status open_folder(tsr_source *s)
{
    char folder[LATEST_CAP], path[PATH_CAP];
    found f;
    if (s->named) return list_file(s, s->named);
    TSR_TRY(find_folder(s, folder));
    TSR_TRY(look_into(s, folder, &f));
    TSR_TRY(check_found(folder, &f));
    if (f.ranks == 1 && f.states && has_path(s, single_states)) return open_states(s);
    if (f.ranks > 0) return list_ranks(s, folder, &f);
    if (has_single(s, folder, path)) return list_file(s, path);
    return tsr_fail(TSR_ERR_IO, "%s: holds neither %s00 nor %s", *folder ? folder : s->dir_name, rank_head,
                    file_names[0]);
}

static bool probe(const tsr_source *s)
{
    char path[PATH_CAP];
    return tsr_source_has_file(s, latest) || tsr_source_has_file(s, "mp_rank_00") ||
           tsr_source_has_file(s, "mp_rank_00_000") || tsr_source_has_file(s, single_states) ||
           has_single(s, "", path);
}

const tsr_source_format tsr_format_megatron = {"Megatron-LM", "latest_checkpointed_iteration.txt, mp_rank_00",
                                               "_rng.pt", probe, open_folder};
const tsr_source_format tsr_format_megatron_states = {"torch", "", "_model_states.pt", NULL, open_states};
