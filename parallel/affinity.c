/* affinity.c: the rule of affinity.h, as a pure function of what the ranks of a node report. */
#include "parallel/affinity.h"

#include "base/checked.h"
#include "base/memory.h"

#include <string.h>

/* The CPUs of one mask by physical core, cores in the order of their lowest CPU. */
typedef struct core_list {
    int n;
    int first[TSR_MAX_CPUS + 1]; /* core c has cpus[first[c] .. first[c + 1]) */
    int cpus[TSR_MAX_CPUS];
} core_list;

static bool has(const tsr_cpu_mask *m, int cpu)
{
    return m->bits[cpu / 64] >> (cpu % 64) & 1;
}

static void list_cores(const tsr_cpu_mask *mask, const int *core_of, core_list *list)
{
    bool taken[TSR_MAX_CPUS] = {false};
    int n_cpus = 0;
    list->n = 0;
    for (int cpu = 0; cpu < TSR_MAX_CPUS; cpu++) {
        if (!has(mask, cpu) || taken[cpu]) continue;
        list->first[list->n++] = n_cpus;
        for (int sibling = cpu; sibling < TSR_MAX_CPUS; sibling++) {
            if (!has(mask, sibling) || taken[sibling] || core_of[sibling] != core_of[cpu]) continue;
            taken[sibling] = true;
            list->cpus[n_cpus++] = sibling;
        }
    }
    list->first[list->n] = n_cpus;
}

static const tsr_cpu_mask *mask_of(const tsr_affinity_rank *r)
{
    return r->bound_by_default ? &r->widest : &r->mask;
}

/* Where a rank stands among those with its mask, or in its cgroup. */
typedef struct place {
    int index, n;
} place;

static place among_equal_masks(const tsr_affinity_rank *ranks, int n_ranks, int rank)
{
    place p = {0, 0};
    for (int q = 0; q < n_ranks; q++) {
        if (memcmp(mask_of(&ranks[q]), mask_of(&ranks[rank]), sizeof(tsr_cpu_mask))) continue;
        p.index += q < rank;
        p.n++;
    }
    return p;
}

static int ranks_in_cgroup(const tsr_affinity_rank *ranks, int n_ranks, int rank)
{
    int n = 0;
    for (int q = 0; q < n_ranks; q++) n += ranks[q].cgroup == ranks[rank].cgroup;
    return n;
}

/* The cores [begin, end) of the list that fall to a rank; of several ranks on one core, which it is. */
typedef struct portion {
    int begin, end, turn;
} portion;

static portion portion_of(place p, int cores)
{
    if (p.n <= cores) return (portion){cores * p.index / p.n, cores * (p.index + 1) / p.n, 0};
    int core = p.index * cores / p.n;
    int first = (core * p.n + cores - 1) / cores; /* the lowest index that lands on this core */
    return (portion){core, core + 1, p.index - first};
}

static int automatic_threads(const tsr_affinity_rank *r, int cores, int in_cgroup)
{
    int n = cores;
    if (r->quota > 0 && r->quota / in_cgroup < n) n = (int)(r->quota / in_cgroup);
    return (int)tsr_max(1, tsr_min(n, TSR_MAX_THREADS));
}

/* First one CPU of each core, then the second ones, ...; round again when all are taken. `turn` lets ranks
 * that share a core begin with different hyper-threads of it. */
static void deal_cpus(const core_list *list, portion part, tsr_affinity *out)
{
    int dealt = 0, most = 0;
    for (int c = part.begin; c < part.end; c++)
        most = (int)tsr_max(most, list->first[c + 1] - list->first[c]);
    for (int sibling = 0; dealt < out->n_threads; sibling = (sibling + 1) % most)
        for (int c = part.begin; c < part.end && dealt < out->n_threads; c++) {
            int width = list->first[c + 1] - list->first[c];
            if (sibling < width)
                out->cpus[dealt++] = list->cpus[list->first[c] + (sibling + part.turn) % width];
        }
}

static tsr_status decide_one(const tsr_affinity_rank *ranks, int n_ranks, int rank, const int *core_of,
                             core_list *list, tsr_affinity *out)
{
    const tsr_affinity_rank *r = &ranks[rank];
    if (r->wanted_threads < 0 || r->wanted_threads > TSR_MAX_THREADS)
        return tsr_fail(TSR_ERR_USAGE, "threads: expected 0 (automatic) to %d, found %d", TSR_MAX_THREADS,
                        (int)r->wanted_threads);
    list_cores(mask_of(r), core_of, list);
    if (list->n == 0) return tsr_fail(TSR_ERR_INTERNAL, "local rank %d may run on no CPU at all", rank);
    portion part = portion_of(among_equal_masks(ranks, n_ranks, rank), list->n);
    out->n_threads = r->wanted_threads
                         ? r->wanted_threads
                         : automatic_threads(r, part.end - part.begin, ranks_in_cgroup(ranks, n_ranks, rank));
    deal_cpus(list, part, out);
    return TSR_OK;
}

static void mark_oversubscribed(const tsr_affinity_rank *ranks, int n_ranks, tsr_affinity *out)
{
    int on_cpu[TSR_MAX_CPUS] = {0};
    for (int q = 0; q < n_ranks; q++)
        for (int t = 0; t < out[q].n_threads; t++) on_cpu[out[q].cpus[t]]++;
    for (int q = 0; q < n_ranks; q++) {
        int in_cgroup = 0;
        for (int other = 0; other < n_ranks; other++)
            if (ranks[other].cgroup == ranks[q].cgroup) in_cgroup += out[other].n_threads;
        out[q].oversubscribed = ranks[q].quota > 0 && ranks[q].quota < in_cgroup;
        for (int t = 0; t < out[q].n_threads; t++) out[q].oversubscribed |= on_cpu[out[q].cpus[t]] > 1;
    }
}

tsr_status tsr_affinity_decide(const tsr_affinity_rank *ranks, int n_ranks, const int *core_of,
                               tsr_affinity *out)
{
    void *list;
    TSR_TRY(tsr_calloc(1, sizeof(core_list), "the list of cores", &list));
    tsr_status status = TSR_OK;
    for (int q = 0; q < n_ranks && status == TSR_OK; q++)
        status = decide_one(ranks, n_ranks, q, core_of, list, &out[q]);
    tsr_free(list);
    if (status == TSR_OK) mark_oversubscribed(ranks, n_ranks, out);
    return status;
}
