/* fuzz_properties.c: any bytes as serving.properties: keys and values, or one line, never a crash. */
#include "base/properties.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_properties p;
    if (tsr_properties_parse((const char *)data, (int64_t)size, "serving.properties", &p) != TSR_OK) {
        if (tsr_error_text()[0] == '\0' || p.count > 0) abort();
        return 0;
    }
    for (int64_t i = 0; i < p.count; i++) {
        const tsr_property *item = &p.items[i];
        if (!item->key[0] || item->line < 1) abort();
        if (!tsr_utf8_valid(item->key, (int64_t)strlen(item->key))) abort();
        if (!tsr_utf8_valid(item->value, (int64_t)strlen(item->value))) abort();
    }
    tsr_properties_free(&p);
    return 0;
}
