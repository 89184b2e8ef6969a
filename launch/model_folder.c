/* model_folder.c: names of models and revisions, and the layout of the Hugging Face cache. */
#include "launch/model_folder.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMMIT_DIGITS = 40 };

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* PARENT/CHILD; false if it does not fit or is no folder. */
static bool folder_in(const char *parent, const char *child, char *out, int size)
{
    return snprintf(out, (size_t)size, "%s/%s", parent, child) < size && is_folder(out);
}

/* Letters, digits and "._-", and '/' between them: nothing that leads out of a folder. */
static bool is_plain_name(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-/", *c)) return false;
    return name[0] && name[0] != '/' && name[0] != '.' && !strstr(name, "..");
}

/* $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub. */
static bool cache_folder(char *out, int size)
{
    const char *cache = getenv("HF_HUB_CACHE"), *base = getenv("HF_HOME"), *home = getenv("HOME");
    if (cache && cache[0]) return snprintf(out, (size_t)size, "%s", cache) < size;
    if (base && base[0]) return snprintf(out, (size_t)size, "%s/hub", base) < size;
    return home && snprintf(out, (size_t)size, "%s/.cache/huggingface/hub", home) < size;
}

/* "ORG/NAME" */
static bool names_hub(const char *model)
{
    const char *slash = strchr(model, '/');
    return is_plain_name(model) && slash && slash[1] && !strchr(slash + 1, '/');
}

/* The cache's folder for "ORG/NAME". */
static bool cached_model(const char *model, char *out, int size)
{
    char cache[PATH_MAX], name[PATH_MAX];
    const char *slash = strchr(model, '/');
    if (!names_hub(model) || !cache_folder(cache, sizeof cache)) return false;
    int n = snprintf(name, sizeof name, "models--%.*s--%s", (int)(slash - model), model, slash + 1);
    return n < (int)sizeof name && folder_in(cache, name, out, size);
}

/* The commit that refs/REVISION holds. */
static bool read_commit(const char *folder, const char *revision, char *commit)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/refs/%s", folder, revision) >= (int)sizeof path) return false;
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    size_t n = fread(commit, 1, COMMIT_DIGITS, f);
    fclose(f);
    commit[n] = '\0';
    return n == COMMIT_DIGITS && strspn(commit, "0123456789abcdef") == COMMIT_DIGITS;
}

static tsr_status choose_snapshot(const char *folder, const char *revision, char *out, int size)
{
    char snapshots[PATH_MAX], commit[COMMIT_DIGITS + 1];
    const char *wanted = revision ? revision : "main";
    if (!folder_in(folder, "snapshots", snapshots, sizeof snapshots))
        return tsr_fail(TSR_ERR_USAGE, "%s: has no folder snapshots", folder);
    if (is_plain_name(wanted)) {
        if (read_commit(folder, wanted, commit) && folder_in(snapshots, commit, out, size)) return TSR_OK;
        if (!strchr(wanted, '/') && folder_in(snapshots, wanted, out, size)) return TSR_OK;
    }
    return tsr_fail(TSR_ERR_USAGE, "%s: there is no revision \"%s\" here, and nothing is downloaded", folder,
                    wanted);
}

tsr_status tsr_model_folder(const char *model, const char *revision, char *out, int size)
{
    char folder[PATH_MAX], snapshots[PATH_MAX];
    bool there = is_folder(model);
    if (!there && strstr(model, "://"))
        return tsr_fail(TSR_ERR_USAGE, "%s: nothing is downloaded: %s, and name that folder", model,
                        strncmp(model, "s3://", 5) == 0 ? "copy it here first (`aws s3 sync`)"
                                                        : "copy it to a folder of this machine");
    if (!there && cached_model(model, folder, sizeof folder))
        return choose_snapshot(folder, revision, out, size);
    if (access(model, F_OK) != 0 && names_hub(model))
        return tsr_fail(
            TSR_ERR_IO,
            "%s: there is no such folder, nor such a model in the Hugging Face cache of this "
            "machine, and nothing is downloaded: fetch it first (`hf download`), or name a folder",
            model);
    if (there && folder_in(model, "snapshots", snapshots, sizeof snapshots) &&
        !(snprintf(folder, sizeof folder, "%s/config.json", model) < (int)sizeof folder &&
          access(folder, F_OK) == 0))
        return choose_snapshot(model, revision, out, size);
    if (there && revision)
        return tsr_fail(TSR_ERR_USAGE,
                        "%s: is one model, not a cache of revisions, so \"%s\" cannot be chosen", model,
                        revision);
    if (snprintf(out, (size_t)size, "%s", model) >= size)
        return tsr_fail(TSR_ERR_USAGE, "the name of the model folder is too long");
    return TSR_OK;
}
