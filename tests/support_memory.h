/* support_memory.h: for tests: opening a checkpoint while one allocation after another fails. */
#ifndef TSR_TESTS_SUPPORT_MEMORY_H
#define TSR_TESTS_SUPPORT_MEMORY_H

#include "base/memory.h"
#include "checkpoint/source.h"

/* Opens the folder with its first allocation failing, then its second, and so on until it opens; every failure must be
 * an error of memory that leaves nothing behind. The number of them. After cmocka.h. */
static inline int64_t failures_of_opening(const char *folder)
{
    int64_t failures = 0;
    for (int64_t n = 1;; n++) {
        tsr_source *s;
        tsr_memory_fail_after(n);
        tsr_status status = tsr_source_open(folder, &s);
        tsr_memory_fail_after(0);
        if (status == TSR_OK) {
            tsr_source_destroy(&s);
            return failures;
        }
        if (status != TSR_ERR_MEMORY) fail_msg("allocation %lld: %s", (long long)n, tsr_error_text());
        assert_null(s);
        failures++;
    }
}

#endif
