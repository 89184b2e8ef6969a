/* convert_carry.c: what a model folder holds besides weights, taken along. */
#include "runtime/convert_carry.h"
#include "base/json.h"
#include "checkpoint/source_config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_CAP = 512 << 20 };

static const char config_name[] = "config.json";

static bool ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

static bool is_data(const char *name)
{
    static const char *const endings[] = {".json", ".txt", ".model", ".jinja", ".md"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_in(name, endings[i])) return true;
    return strncmp(name, "LICENSE", 7) == 0;
}

/* Would lead a reader to weight files that are not there, or is written anew. */
static bool names_weights(const char *name)
{
    return ends_in(name, ".index.json") || strncmp(name, "ds_inference_", 13) == 0 ||
           strcmp(name, "latest_checkpointed_iteration.txt") == 0 || strcmp(name, config_name) == 0;
}

static bool regular(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

static tsr_status carry_all(DIR *from, tsr_out_folder *folder)
{
    for (struct dirent *e; (e = readdir(from));)
        if (e->d_name[0] != '.' && is_data(e->d_name) && !names_weights(e->d_name) &&
            regular(dirfd(from), e->d_name))
            TSR_TRY(tsr_out_folder_copy(folder, dirfd(from), e->d_name, FILE_CAP));
    return TSR_OK;
}

/* Under the spelling that the file uses. */
static tsr_status write_config(json_t *config, tsr_dtype dtype, tsr_out_folder *folder)
{
    const char *key =
        json_object_get(config, "dtype") && !json_object_get(config, "torch_dtype") ? "dtype" : "torch_dtype";
    if (dtype != TSR_DTYPE_COUNT && json_object_set_new(config, key, json_string(tsr_dtype_name(dtype))) != 0)
        return tsr_fail(TSR_ERR_MEMORY, "out of memory: %s", config_name);
    char *text = json_dumps(config, JSON_INDENT(2));
    if (!text) return tsr_fail(TSR_ERR_MEMORY, "out of memory: %s", config_name);
    tsr_status s = tsr_out_folder_write(folder, config_name, text, (int64_t)strlen(text));
    free(text);
    return s;
}

static tsr_status carry_config(const tsr_source_request *request, tsr_source *source, int from,
                               tsr_dtype dtype, tsr_out_folder *folder)
{
    tsr_json config;
    bool present = regular(from, config_name);
    if (!present && !tsr_source_tells_config(source)) return TSR_OK;
    if (present && dtype == TSR_DTYPE_COUNT)
        return tsr_out_folder_copy(folder, from, config_name, TSR_JSON_CONFIG_CAP);
    TSR_TRY(tsr_source_config(request, &source, &config));
    tsr_status s = write_config(config.root, dtype, folder);
    tsr_json_free(&config);
    return s;
}

tsr_status tsr_convert_carry(const tsr_source_request *request, tsr_source *source, tsr_dtype dtype,
                             tsr_out_folder *folder)
{
    DIR *from = opendir(request->model_dir);
    if (!from) return tsr_fail(TSR_ERR_IO, "%s: cannot be listed: %s", request->model_dir, strerror(errno));
    tsr_status s = carry_config(request, source, dirfd(from), dtype, folder);
    if (s == TSR_OK) s = carry_all(from, folder);
    closedir(from);
    return s;
}
