/* cmd_cache.c: `tessera cache list|prune --cache DIR`: which weights are kept, and removing what is of no use. */
#include "checkpoint/cache.h"
#include "launch/command.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const states[] = {[TSR_CACHE_GOOD] = "good",
                                     [TSR_CACHE_STALE] = "stale",
                                     [TSR_CACHE_BROKEN] = "broken",
                                     [TSR_CACHE_BUSY] = "being written"};

typedef struct cache_walk {
    const tsr_options *options;
    const tsr_cache *cache;
    tsr_text out;
    int64_t entries, bytes;
    int64_t useful; /* bytes of entries that prune would keep */
    int64_t removed, freed;
} cache_walk;

static tsr_status print_text(cache_walk *w, const tsr_cache_entry *e)
{
    char when[32];
    struct tm local;
    time_t used = (time_t)e->used;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M", localtime_r(&used, &local));
    TSR_TRY(tsr_text_format(&w->out, "%s  %-7s %13lld bytes  last used %s\n", e->name, states[e->state],
                            (long long)e->bytes, when));
    for (const char *line = e->origin; *line;) {
        size_t n = strcspn(line, "\n");
        TSR_TRY(tsr_text_format(&w->out, "    %.*s\n", (int)n, line));
        line += n + (line[n] == '\n');
    }
    return TSR_OK;
}

static tsr_status print_json(cache_walk *w, const tsr_cache_entry *e)
{
    TSR_TRY(tsr_text_format(
        &w->out, "{\"name\":\"%s\",\"state\":\"%s\",\"bytes\":%lld,\"used\":%lld,\"origin\":", e->name,
        states[e->state], (long long)e->bytes, (long long)e->used));
    TSR_TRY(tsr_text_json(&w->out, e->origin, (int64_t)strlen(e->origin)));
    return tsr_text_puts(&w->out, "}\n");
}

static tsr_status list_entry(void *context, const tsr_cache_entry *e)
{
    cache_walk *w = context;
    w->entries++;
    w->bytes += e->bytes;
    return w->options->flag[TSR_OPT_JSON] ? print_json(w, e) : print_text(w, e);
}

static tsr_status list(cache_walk *w)
{
    TSR_TRY(tsr_cache_list(w->cache, list_entry, w));
    if (w->options->flag[TSR_OPT_JSON]) return TSR_OK;
    return tsr_text_format(&w->out, "%lld entries, %lld bytes\n", (long long)w->entries, (long long)w->bytes);
}

/* Entries of other versions are as good as stale: nothing will ask for them again. */
static bool useful(const tsr_cache_entry *e)
{
    char version[64];
    int n = snprintf(version, sizeof version, "tessera %s\n", tsr_version());
    return e->state == TSR_CACHE_BUSY ||
           (e->state == TSR_CACHE_GOOD && strncmp(e->origin, version, (size_t)n) == 0);
}

static tsr_status sum_useful(void *context, const tsr_cache_entry *e)
{
    cache_walk *w = context;
    if (useful(e)) w->useful += e->bytes;
    return TSR_OK;
}

static tsr_status prune_entry(void *context, const tsr_cache_entry *e)
{
    cache_walk *w = context;
    int64_t most =
        w->options->given[TSR_OPT_KEEP_MB] ? w->options->integer[TSR_OPT_KEEP_MB] * 1000000 : INT64_MAX;
    bool keep = useful(e);
    if (keep && (w->useful <= most || e->state == TSR_CACHE_BUSY)) return TSR_OK;
    if (keep) w->useful -= e->bytes; /* the least recently used come first */
    TSR_TRY(tsr_cache_remove(w->cache, e->name));
    w->removed++;
    w->freed += e->bytes;
    return TSR_OK;
}

static tsr_status prune(cache_walk *w)
{
    TSR_TRY(tsr_cache_list(w->cache, sum_useful, w));
    TSR_TRY(tsr_cache_list(w->cache, prune_entry, w));
    if (w->options->flag[TSR_OPT_JSON])
        return tsr_text_format(&w->out, "{\"removed\":%lld,\"bytes\":%lld,\"kept_bytes\":%lld}\n",
                               (long long)w->removed, (long long)w->freed, (long long)w->useful);
    return tsr_text_format(&w->out, "%lld entries removed, %lld bytes; %lld bytes kept\n",
                           (long long)w->removed, (long long)w->freed, (long long)w->useful);
}

static tsr_status run(const tsr_options *o)
{
    const char *verb = o->argument ? o->argument : "";
    tsr_cache *cache;
    bool prunes = strcmp(verb, "prune") == 0;
    if (!prunes && strcmp(verb, "list") != 0)
        return tsr_fail(TSR_ERR_USAGE, "cache: expected list or prune, found \"%.60s\"", verb);
    if (!o->text[TSR_OPT_CACHE]) return tsr_fail(TSR_ERR_USAGE, "no cache was named (--cache DIR)");
    TSR_TRY(tsr_cache_open_existing(o->text[TSR_OPT_CACHE], &cache));
    cache_walk w = {.options = o, .cache = cache};
    tsr_status s = tsr_text_init(&w.out, TSR_TEXT_NO_CAP);
    if (s == TSR_OK) s = prunes ? prune(&w) : list(&w);
    if (s == TSR_OK) s = tsr_put(w.out.data, w.out.length);
    tsr_text_free(&w.out);
    tsr_cache_close(&cache);
    return s;
}

tsr_status tsr_cmd_cache(tsr_world *world, const tsr_options *o)
{
    return tsr_world_agree(world, tsr_world_rank(world) == 0 ? run(o) : TSR_OK);
}
