/* test_parallel_affinity.c: which rank runs on which CPUs, on invented machines; and that this one gives a plan. */
#include "parallel/affinity.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_RANKS = 5 };

/* "0-3,8" */
static tsr_cpu_mask parse(const char *text)
{
    tsr_cpu_mask m = {{0}};
    while (text && *text) {
        int first, last, used = 0;
        if (sscanf(text, "%d-%d%n", &first, &last, &used) < 2 || !used) {
            assert_int_equal(sscanf(text, "%d%n", &first, &used), 1);
            last = first;
        }
        for (int cpu = first; cpu <= last; cpu++) m.bits[cpu / 64] |= (uint64_t)1 << (cpu % 64);
        text += used + (text[used] == ',');
    }
    return m;
}

/* Threads and CPUs of a rank as "2: 0 1", with '!' behind if oversubscribed. */
static void show(const tsr_affinity *a, char *out, size_t n)
{
    int used = snprintf(out, n, "%d:", a->n_threads);
    for (int t = 0; t < a->n_threads; t++) used += snprintf(out + used, n - (size_t)used, " %d", a->cpus[t]);
    if (a->oversubscribed) snprintf(out + used, n - (size_t)used, "!");
}

typedef struct machine {
    const char *name;
    int threads_per_core,
        cores; /* CPU c and c + cores are hyper-threads of one core; 0 cores: each CPU is one */
    int n_ranks;
    int wanted;
    double quota;
    bool own_cgroups;
    const char *mask[MOST_RANKS];   /* NULL: that of rank 0 */
    const char *widest[MOST_RANKS]; /* not NULL: the mask was the launcher's idea */
    const char *plan[MOST_RANKS];
} machine;

static const machine machines[] = {
    {"a laptop, alone", 2, 4, 1, 0, 0, false, {"0-7"}, {0}, {"4: 0 1 2 3"}},
    {"more threads than cores", 2, 4, 1, 6, 0, false, {"0-7"}, {0}, {"6: 0 1 2 3 4 5"}},
    {"more threads than CPUs", 1, 2, 1, 3, 0, false, {"0-1"}, {0}, {"3: 0 1 0!"}},
    {"fewer threads than cores", 1, 8, 1, 3, 0, false, {"0-7"}, {0}, {"3: 0 1 2"}},
    {"mpirun -n 2 bound each to a core",
     1,
     8,
     2,
     0,
     0,
     false,
     {"0", "1"},
     {"0-7", "0-7"},
     {"4: 0 1 2 3", "4: 4 5 6 7"}},
    {"the user bound each to a core", 1, 8, 2, 0, 0, false, {"0", "1"}, {0}, {"1: 0", "1: 1"}},
    {"unbound ranks share evenly", 1, 8, 3, 0, 0, false, {"0-7"}, {0}, {"2: 0 1", "3: 2 3 4", "3: 5 6 7"}},
    {"hyper-threads go with their core", 2, 4, 2, 0, 0, false, {"0-7"}, {0}, {"2: 0 1", "2: 2 3"}},
    {"hyper-threads when wanted", 2, 4, 2, 4, 0, false, {"0-7"}, {0}, {"4: 0 1 4 5", "4: 2 3 6 7"}},
    {"siblings next to each other", 2, 0, 2, 0, 0, false, {"0-7"}, {0}, {"2: 0 2", "2: 4 6"}},
    {"two ranks on one core of two threads", 2, 1, 2, 0, 0, false, {"0-1"}, {0}, {"1: 0", "1: 1"}},
    {"four ranks on two cores", 1, 2, 4, 0, 0, false, {"0-1"}, {0}, {"1: 0!", "1: 0!", "1: 1!", "1: 1!"}},
    {"three ranks on two cores", 1, 2, 3, 0, 0, false, {"0-1"}, {0}, {"1: 0!", "1: 0!", "1: 1"}},
    {"five ranks on two cores of two threads",
     2,
     2,
     5,
     0,
     0,
     false,
     {"0-3"},
     {0},
     {"1: 0!", "1: 2", "1: 0!", "1: 1", "1: 3"}},
    {"srun gave disjoint masks", 2, 4, 2, 0, 0, false, {"0,1,4,5", "2,3,6,7"}, {0}, {"2: 0 1", "2: 2 3"}},
    {"uneven disjoint masks", 1, 8, 2, 0, 0, false, {"0-5", "6-7"}, {0}, {"6: 0 1 2 3 4 5", "2: 6 7"}},
    {"overlapping masks", 1, 4, 2, 0, 0, false, {"0-2", "2-3"}, {0}, {"3: 0 1 2!", "2: 2 3!"}},
    {"two sockets, two ranks each",
     1,
     8,
     4,
     0,
     0,
     false,
     {"0-3", "0-3", "4-7", "4-7"},
     {0},
     {"2: 0 1", "2: 2 3", "2: 4 5", "2: 6 7"}},
    {"a cpuset with holes", 1, 16, 2, 0, 0, false, {"1,3,5,9"}, {0}, {"2: 1 3", "2: 5 9"}},
    {"a quota of two CPUs", 1, 8, 1, 0, 2.5, false, {"0-7"}, {0}, {"2: 0 1"}},
    {"a quota shared by two ranks", 1, 8, 2, 0, 4, false, {"0-7"}, {0}, {"2: 0 1", "2: 4 5"}},
    {"a quota of each rank", 1, 8, 2, 0, 3, true, {"0-7"}, {0}, {"3: 0 1 2", "3: 4 5 6"}},
    {"a quota below the ranks", 1, 8, 2, 0, 1.5, false, {"0-7"}, {0}, {"1: 0!", "1: 4!"}},
    {"a quota below the wanted threads", 1, 8, 1, 4, 2, false, {"0-7"}, {0}, {"4: 0 1 2 3!"}},
    {"CPU numbers past 64", 2, 96, 2, 2, 0, false, {"90-95,186-191", "60-70"}, {0}, {"2: 90 91", "2: 60 61"}},
};

static void fill_cores(const machine *m, int *core_of)
{
    for (int cpu = 0; cpu < TSR_MAX_CPUS; cpu++) {
        core_of[cpu] = cpu;
        if (m->threads_per_core == 2) core_of[cpu] = m->cores ? cpu % m->cores : cpu / 2 * 2;
    }
}

static void each_machine_is_shared_by_the_rule(void **state)
{
    (void)state;
    static int core_of[TSR_MAX_CPUS];
    static tsr_affinity plan[MOST_RANKS];
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        const machine *m = &machines[i];
        tsr_affinity_rank ranks[MOST_RANKS] = {0};
        print_message("  %s\n", m->name);
        fill_cores(m, core_of);
        for (int q = 0; q < m->n_ranks; q++) {
            ranks[q].mask = parse(m->mask[q] ? m->mask[q] : m->mask[0]);
            ranks[q].widest = parse(m->widest[q]);
            ranks[q].bound_by_default = m->widest[q] != NULL;
            ranks[q].wanted_threads = m->wanted;
            ranks[q].cgroup = m->own_cgroups ? (uint64_t)q : 0;
            ranks[q].quota = m->quota;
        }
        assert_int_equal(tsr_affinity_decide(ranks, m->n_ranks, core_of, plan), TSR_OK);
        for (int q = 0; q < m->n_ranks; q++) {
            char found[512];
            show(&plan[q], found, sizeof found);
            assert_string_equal(found, m->plan[q]);
        }
    }
}

static void wanted_numbers_have_a_range(void **state)
{
    (void)state;
    static int core_of[TSR_MAX_CPUS];
    static tsr_affinity plan;
    tsr_affinity_rank rank = {.mask = parse("0-1"), .wanted_threads = TSR_MAX_THREADS + 1};
    assert_int_equal(tsr_affinity_decide(&rank, 1, core_of, &plan), TSR_ERR_USAGE);
    rank.wanted_threads = -1;
    assert_int_equal(tsr_affinity_decide(&rank, 1, core_of, &plan), TSR_ERR_USAGE);
    rank.wanted_threads = TSR_MAX_THREADS;
    assert_int_equal(tsr_affinity_decide(&rank, 1, core_of, &plan), TSR_OK);
    assert_int_equal(plan.n_threads, TSR_MAX_THREADS);
    rank.mask = parse("");
    assert_int_equal(tsr_affinity_decide(&rank, 1, core_of, &plan), TSR_ERR_INTERNAL);
}

static void this_machine_gives_a_plan(void **state)
{
    (void)state;
    tsr_world_options alone = {.alone = true};
    tsr_world *world;
    static tsr_affinity plan;
    cpu_set_t allowed, after;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    assert_int_equal(tsr_world_create(&alone, &world), TSR_OK);
    assert_int_equal(tsr_affinity_plan(world, 0, &plan), TSR_OK);
    assert_true(plan.n_threads >= 1 && plan.n_threads <= CPU_COUNT(&allowed));
    for (int t = 0; t < plan.n_threads; t++) assert_true(CPU_ISSET(plan.cpus[t], &allowed));
    assert_int_equal(tsr_affinity_plan(world, 3, &plan), TSR_OK);
    assert_int_equal(plan.n_threads, 3);
    assert_int_equal(tsr_affinity_plan(world, -1, &plan), TSR_ERR_USAGE);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&allowed, &after));
    tsr_world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_machine_is_shared_by_the_rule),
        cmocka_unit_test(wanted_numbers_have_a_range),
        cmocka_unit_test(this_machine_gives_a_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
