/* cpu_kernels.c: asks the processor and the kernel which instruction sets run here, and picks a kernel set.
 */
#include "layers/cpu/cpu_kernels.h"

#include "base/log.h"
#include "layers/cpu/tuning.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

tsr_dot_choice tsr_cpu_dot_choice = TSR_DOT_UNTIMED;

extern const tsr_cpu_kernels tsr_cpu_kernels_portable;

#if TSR_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const tsr_cpu_kernels tsr_cpu_kernels_avx2, tsr_cpu_kernels_avx512, tsr_cpu_kernels_avx512bf16,
    tsr_cpu_kernels_amx;

/* Bit `bit` of a register (0 eax .. 3 edx) of a cpuid leaf; for features that not every compiler has a name for. */
static bool cpu_bit(unsigned leaf, unsigned subleaf, int reg, int bit)
{
    unsigned r[4];
    if (!__get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3])) return false;
    return r[reg] >> bit & 1;
}

static bool has_avx2(void)
{
    bool f16c = cpu_bit(1, 0, 2, 29);
    return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && cpu_bit(7, 1, 0, 5);
}

/* AMX tile data is state that a process must ask Linux for, once, before any thread uses it. */
static bool has_amx(void)
{
    enum { ARCH_REQUEST_STATE = 0x1023, STATE_TILE_DATA = 18 };
    return has_avx512bf16() && cpu_bit(7, 0, 3, 24) && cpu_bit(7, 0, 3, 22) &&
           syscall(SYS_arch_prctl, ARCH_REQUEST_STATE, STATE_TILE_DATA) == 0;
}
#endif

static bool always(void)
{
    return true;
}

/* Best first. */
static const struct {
    const tsr_cpu_kernels *set;
    bool (*runs_here)(void);
} sets[] = {
#if TSR_X86
    {&tsr_cpu_kernels_amx, has_amx},       {&tsr_cpu_kernels_avx512bf16, has_avx512bf16},
    {&tsr_cpu_kernels_avx512, has_avx512}, {&tsr_cpu_kernels_avx2, has_avx2},
#endif
    {&tsr_cpu_kernels_portable, always},
};

const tsr_cpu_kernels *tsr_cpu_kernels_named(const char *isa)
{
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (strcmp(sets[i].set->isa, isa) == 0) return sets[i].runs_here() ? sets[i].set : NULL;
    return NULL;
}

static const tsr_cpu_kernels *best;

static void find_best(void)
{
    const char *wanted = getenv("TESSERA_ISA");
    if (wanted) best = tsr_cpu_kernels_named(wanted);
    for (size_t i = 0; !best; i++)
        if (sets[i].runs_here()) best = sets[i].set;
    if (wanted && strcmp(wanted, best->isa) != 0)
        tsr_log(TSR_LOG_WARNING, "TESSERA_ISA names a set that does not exist or run here; using %s",
                best->isa);
}

const tsr_cpu_kernels *tsr_cpu_kernels_best(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_best);
    return best;
}
