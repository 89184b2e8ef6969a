/* source_config.c: config.json, or what stands in for it. */
#include "checkpoint/source_config.h"
#include "checkpoint/format.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

tsr_status tsr_source_config(const tsr_source_request *request, tsr_source **source, tsr_json *out)
{
    char path[4096];
    struct stat st;
    *out = (tsr_json){0};
    if (snprintf(path, sizeof path, "%s/config.json", request->model_dir) >= (int)sizeof path)
        return tsr_fail(TSR_ERR_USAGE, "the name of the model folder is too long");
    bool present = lstat(path, &st) == 0; /* a link into nowhere is a fault, no absence */
    if (!present && !*source && tsr_source_recognised(request))
        TSR_TRY(tsr_source_open_request(request, source));
    const char *stated = !present && *source ? (*source)->config : NULL;
    if (stated) return tsr_json_parse(stated, (int64_t)strlen(stated), (*source)->config_name, out);
    return tsr_json_read(path, TSR_JSON_CONFIG_CAP, out);
}

bool tsr_source_tells_config(const tsr_source *source)
{
    return source->config != NULL;
}
