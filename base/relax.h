/* relax.h: what a thread does between two looks at a flag that another core will set. */
#ifndef TSR_BASE_RELAX_H
#define TSR_BASE_RELAX_H

static inline void tsr_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::
                         : "memory"); /* `yield` is a no-op on most ARM cores and does not slow the loop */
#else
    __asm__ volatile("" ::: "memory");
#endif
}

#endif
