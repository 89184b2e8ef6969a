/* affinity_machine.c: what a rank can tell of itself and its machine: masks, launcher, cgroup, cores. Linux.
 */
#include "base/checked.h"
#include "base/memory.h"
#include "parallel/affinity.h"
#include "parallel/world_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KERNEL_CPUS = 8192, ANCESTORS = 16 };

/* Masks ------------------------------------------------------------------------------------------------- */

/* The kernel refuses a buffer smaller than its own masks, so a large one is given; CPUs past TSR_MAX_CPUS
 * are left to others. */
static bool read_mask(pid_t pid, tsr_cpu_mask *out)
{
    uint64_t bits[KERNEL_CPUS / 64] = {0};
    if (sched_getaffinity(pid, sizeof bits, (cpu_set_t *)bits)) return false;
    memcpy(out, bits, sizeof *out);
    return true;
}

static int parent_of(pid_t pid)
{
    char path[64], line[256];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    while (fgets(line, sizeof line, f) && sscanf(line, "PPid: %d", &parent) != 1) {
    }
    fclose(f);
    return parent;
}

static bool is_launcher(pid_t pid)
{
    static const char *const names[] = {"mpirun", "mpiexec", "orterun", "orted", "prte", "prted", "prterun"};
    char path[64], name[64] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    if (!fgets(name, sizeof name, f)) *name = '\0';
    fclose(f);
    name[strcspn(name, "\n.")] = '\0'; /* "mpirun.openmpi" */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* The launcher was left unbound by itself: its mask is what the user, the batch system and the cpuset allow.
 */
static bool launcher_mask(tsr_cpu_mask *out)
{
    pid_t pid = getppid();
    for (int i = 0; i < ANCESTORS && pid > 1; i++, pid = parent_of(pid))
        if (is_launcher(pid)) return read_mask(pid, out);
    return false;
}

/* What is left of all CPUs when the kernel has cut them down to the cpuset. */
static bool cpuset_mask(tsr_cpu_mask *out)
{
    uint64_t before[KERNEL_CPUS / 64] = {0}, all[KERNEL_CPUS / 64];
    memset(all, 0xff, sizeof all);
    if (sched_getaffinity(0, sizeof before, (cpu_set_t *)before)) return false;
    if (sched_setaffinity(0, sizeof all, (cpu_set_t *)all)) return false;
    bool known = read_mask(0, out);
    sched_setaffinity(0, sizeof before, (cpu_set_t *)before);
    return known;
}

/* Open MPI marks a bound process, and passes --bind-to on as a parameter; without that it was its own idea.
 * Release 5 does not pass it on: there a mask is taken as it is, unless OMPI_MCA_orte_bound_at_launch is
 * set as well. */
static bool bound_by_default(void)
{
    return getenv("OMPI_MCA_orte_bound_at_launch") && !getenv("OMPI_MCA_hwloc_base_binding_policy") &&
           !getenv("OMPI_MCA_rmaps_base_mapping_policy") && !getenv("OMPI_MCA_hwloc_base_cpu_list") &&
           !getenv("OMPI_MCA_hwloc_base_cpu_set") && !getenv("OMPI_MCA_orte_rankfile");
}

/* Cgroups ----------------------------------------------------------------------------------------------- */

static bool read_line(const char *path, char *line, int n)
{
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool read = fgets(line, n, f) != NULL;
    fclose(f);
    return read;
}

/* "max 100000" or "200000 100000": quota and period in microseconds; 0 for no limit. */
static double quota_v2(const char *directory)
{
    char path[640], line[128];
    double quota, period;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", directory);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2) return 0;
    return period > 0 && quota > 0 ? quota / period : 0;
}

static double quota_file_v1(const char *directory, const char *what)
{
    char path[640], line[128];
    double microseconds;
    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_%s_us", directory, what);
    return read_line(path, line, sizeof line) && sscanf(line, "%lf", &microseconds) == 1 ? microseconds : 0;
}

/* The quota is -1 where there is none. */
static double quota_v1(const char *directory)
{
    double quota = quota_file_v1(directory, "quota"), period = quota_file_v1(directory, "period");
    return period > 0 && quota > 0 ? quota / period : 0;
}

/* The tightest limit from this directory up to the root. */
static double tightest(char *directory, double (*read)(const char *))
{
    double least = 0;
    for (;;) {
        double quota = read(directory);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
        char *slash = strrchr(directory, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup: "0::/path" (version 2) or "4:cpu,cpuacct:/path" (version 1). */
static double quota_of_line(char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path) return 0;
    *path++ = '\0';
    controllers++;
    if (!*controllers) return tightest(path, quota_v2);
    for (char *save, *name = strtok_r(controllers, ",", &save); name; name = strtok_r(NULL, ",", &save))
        if (!strcmp(name, "cpu")) return tightest(path, quota_v1);
    return 0;
}

static uint64_t hash(uint64_t h, const char *text)
{
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001b3; /* FNV-1a */
    return h;
}

static void read_cgroup(tsr_affinity_rank *out)
{
    char line[512];
    FILE *f = fopen("/proc/self/cgroup", "r");
    out->cgroup = 0xcbf29ce484222325;
    while (f && fgets(line, sizeof line, f)) {
        out->cgroup = hash(out->cgroup, line);
        double quota = quota_of_line(line);
        if (quota > 0 && (out->quota == 0 || quota < out->quota)) out->quota = quota;
    }
    if (f) fclose(f);
}

/* Cores ------------------------------------------------------------------------------------------------- */

/* "0,64" or "0-1": the lowest sibling is the first number. Unknown: each CPU is a core. */
static void read_cores(const tsr_cpu_mask *wanted, int *core_of)
{
    for (int cpu = 0; cpu < TSR_MAX_CPUS; cpu++) {
        char path[128], line[256];
        core_of[cpu] = cpu;
        if (!(wanted->bits[cpu / 64] >> (cpu % 64) & 1)) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        int lowest;
        if (read_line(path, line, sizeof line) && sscanf(line, "%d", &lowest) == 1 && lowest >= 0 &&
            lowest <= cpu)
            core_of[cpu] = lowest;
    }
}

/* The plan ---------------------------------------------------------------------------------------------- */

static tsr_status describe_self(int wanted_threads, tsr_affinity_rank *out)
{
    memset(out, 0, sizeof *out); /* it is compared and sent as bytes */
    out->wanted_threads = wanted_threads;
    if (!read_mask(0, &out->mask))
        return tsr_fail(TSR_ERR_INTERNAL, "the CPUs of this process cannot be read: %s", strerror(errno));
    out->bound_by_default = bound_by_default() && (launcher_mask(&out->widest) || cpuset_mask(&out->widest));
    read_cgroup(out);
    return TSR_OK;
}

/* The ranks of this node, out of those of the world. */
static int pick_local(const tsr_world *w, const tsr_affinity_rank *all, tsr_affinity_rank *local)
{
    if (!w->peers) local[0] = all[w->rank];
    for (int q = 0; w->peers && q < w->local_size; q++) local[q] = all[w->peers[q].rank];
    return w->local_size;
}

static tsr_status plan_with(tsr_world *world, tsr_affinity_rank *all, tsr_affinity_rank *local,
                            tsr_affinity *shares, int *core_of, int wanted_threads, tsr_affinity *out)
{
    tsr_status described = describe_self(wanted_threads, &all[world->rank]);
    TSR_TRY(tsr_world_agree(world, described));
    TSR_TRY(tsr_world_all_gather(world, &all[world->rank], sizeof *all, all));
    int n = pick_local(world, all, local);
    tsr_cpu_mask seen = {{0}};
    for (int q = 0; q < n; q++)
        for (int i = 0; i < TSR_MAX_CPUS / 64; i++)
            seen.bits[i] |= local[q].mask.bits[i] | local[q].widest.bits[i];
    read_cores(&seen, core_of);
    TSR_TRY(tsr_world_agree(world, tsr_affinity_decide(local, n, core_of, shares)));
    *out = shares[world->local_rank];
    world->yielding = out->oversubscribed;
    return TSR_OK;
}

tsr_status tsr_affinity_plan(tsr_world *world, int wanted_threads, tsr_affinity *out)
{
    void *all = NULL, *local = NULL, *shares = NULL, *core_of = NULL;
    tsr_status status = tsr_calloc(world->size, sizeof(tsr_affinity_rank), "thread placement", &all);
    if (status == TSR_OK)
        status = tsr_calloc(world->local_size, sizeof(tsr_affinity_rank), "thread placement", &local);
    if (status == TSR_OK)
        status = tsr_calloc(world->local_size, sizeof(tsr_affinity), "thread placement", &shares);
    if (status == TSR_OK) status = tsr_calloc(TSR_MAX_CPUS, sizeof(int), "thread placement", &core_of);
    status = tsr_world_agree(world, status);
    if (status == TSR_OK) status = plan_with(world, all, local, shares, core_of, wanted_threads, out);
    tsr_free(all);
    tsr_free(local);
    tsr_free(shares);
    tsr_free(core_of);
    return status;
}

void tsr_affinity_widen_self(void)
{
    tsr_affinity_rank self;
    uint64_t bits[KERNEL_CPUS / 64] = {0};
    if (describe_self(0, &self) != TSR_OK) {
        tsr_error_clear();
        return;
    }
    if (!self.bound_by_default) return;
    memcpy(bits, &self.widest, sizeof self.widest);
    sched_setaffinity(0, sizeof bits, (const cpu_set_t *)bits);
}
