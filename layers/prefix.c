/* prefix.c: finding the mask and the start token of a prompt. */
#include "layers/prefix.h"

static int64_t find(const int32_t *ids, int64_t n, int32_t id)
{
    for (int64_t i = 0; i < n && id >= 0; i++)
        if (ids[i] == id) return i;
    return -1;
}

static int64_t find_mask(const tsr_prefix_ids *rules, const int32_t *ids, int64_t n)
{
    int64_t best = -1;
    for (int i = 0; i < rules->n_masks; i++) {
        int64_t at = find(ids, n, rules->mask[i]);
        if (at < 0) continue;
        if (!rules->first_mask) return at;
        if (best < 0 || at < best) best = at;
    }
    return best;
}

tsr_status tsr_prefix_find(const tsr_prefix_ids *rules, const int32_t *ids, int64_t n, tsr_prefix *out)
{
    *out = (tsr_prefix){0, 0};
    if (!rules->enabled) return TSR_OK;
    int64_t start = find(ids, n, rules->start);
    if (start < 0 && !rules->required) return TSR_OK;
    int64_t mask = start < 0 ? -1 : find_mask(rules, ids, start);
    if (mask < 0)
        return tsr_fail(TSR_ERR_USAGE,
                        "this model's prompts hold a mask token and then its start token (id %d): found none",
                        rules->start);
    *out = (tsr_prefix){(int32_t)start, (int32_t)mask};
    return TSR_OK;
}
