/* engine_cache.c: the weight cache of an engine: what its weights depend on, and one line if it did not serve. */
#include "base/log.h"
#include "runtime/engine_parts.h"

/* The checkpoint adds its own lines. Kernels, fusion and number format show in the loader's plan. */
tsr_status engine_cache_create(tsr_engine *e)
{
    char config[TSR_DIGEST_TEXT];
    tsr_text about;
    if (!e->options.cache[0] || !e->source) return TSR_OK;
    TSR_TRY(tsr_text_init(&about, TSR_TEXT_NO_CAP));
    tsr_status s =
        tsr_text_format(&about, "tessera %s\nmodel %s %s\nrank %d of %d\nconfig %s\n", tsr_version(),
                        e->model->family, tsr_dtype_name(e->dtype), tsr_world_rank(e->world),
                        tsr_world_size(e->world), tsr_digest_text(e->config, config));
    if (s == TSR_OK) s = tsr_weights_cache_create(e->options.cache, about.data, e->source, &e->cache);
    tsr_text_free(&about);
    return s;
}

/* The first rank with a doubt speaks for all. */
static void warn(const tsr_weights_cache_report *all, int ranks)
{
    int first = -1, doubting = 0;
    for (int r = 0; r < ranks; r++)
        if (all[r].doubt[0]) {
            if (first < 0) first = r;
            doubting++;
        }
    if (first < 0) return;
    const char *done = all[first].bytes_read ? "it was not stored anew"
                       : all[first].stored   ? "the checkpoint was read and stored anew"
                                             : "the checkpoint was read instead";
    if (ranks == 1)
        tsr_log(TSR_LOG_WARNING, "cache: %s; %s", all[0].doubt, done);
    else
        tsr_log(TSR_LOG_WARNING, "cache: rank %d: %s; %s (%d of %d ranks)", first, all[first].doubt, done,
                doubting, ranks);
}

tsr_status engine_cache_settle(tsr_engine *e)
{
    tsr_weights_cache_report mine;
    int ranks = tsr_world_size(e->world);
    void *all;
    if (!e->options.cache[0] || !e->source) return TSR_OK;
    tsr_weights_cache_get_report(e->cache, &mine);
    TSR_TRY(tsr_alloc(ranks * (int64_t)sizeof mine, "what the ranks say of the cache", &all));
    tsr_status s = tsr_world_all_gather(e->world, &mine, sizeof mine, all);
    if (s == TSR_OK && tsr_world_rank(e->world) == 0) warn(all, ranks);
    tsr_free(all);
    return s;
}
