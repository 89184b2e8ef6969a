/* fuzz_tokenizer_regex.c: any pattern (up to the first NUL) on any text (what follows). Seeds: the patterns
 * of tests/tokenizer/regexes.json. */
#include "runtime/tokenizer/regex.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const tsr_regex *regex, const char *text, int64_t n)
{
    tsr_regex_work *work;
    if (tsr_regex_work_create(&work) != TSR_OK) return;
    tsr_regex_work_reset(work, n);
    tsr_regex_scan scan = tsr_regex_scan_begin(regex, work, text, n);
    bool found = true;
    int64_t begin, end, last = 0;
    while (found && tsr_regex_next(&scan, &found, &begin, &end) == TSR_OK && found) {
        if (begin < last || end < begin || end > n) abort();
        last = end;
    }
    tsr_regex_work_destroy(&work);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *split = size > 0 ? memchr(data, 0, size) : NULL;
    int64_t n = split ? split - data : (int64_t)size, rest = split ? (int64_t)size - n - 1 : 0;
    tsr_regex *regex;
    if (n > 4096 || !tsr_utf8_valid((const char *)data, n)) return 0;
    if (tsr_regex_compile((const char *)data, n, "pattern", &regex) != TSR_OK) return 0;
    if (rest > 0 && tsr_utf8_valid((const char *)split + 1, rest)) run(regex, (const char *)split + 1, rest);
    tsr_regex_destroy(&regex);
    return 0;
}
