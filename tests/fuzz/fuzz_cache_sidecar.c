/* fuzz_cache_sidecar.c: any bytes as the sidecar of a cache file: refused with a line, or what was read fits
 * together and says the same again when it is written and read. */
#include "checkpoint/cache.h"
#include "checkpoint/cache_sidecar.h"
#include "checkpoint/source_identity.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
    if (!ok) abort();
}

static void write_and_read(const tsr_cache_sidecar *s)
{
    tsr_text text;
    tsr_cache_sidecar again;
    need(tsr_text_init(&text, TSR_CACHE_SIDECAR_CAP) == TSR_OK);
    need(tsr_cache_sidecar_print(s, &text) == TSR_OK);
    need(tsr_cache_sidecar_parse(text.data, text.length, "again", &again) == TSR_OK);
    need(again.n_parts == s->n_parts && again.data_offset == s->data_offset);
    need(tsr_digest_equal(again.frame, s->frame) && tsr_digest_equal(again.key, s->key));
    need(strcmp(again.origin, s->origin) == 0);
    need(memcmp(again.parts, s->parts, (size_t)s->n_parts * sizeof *s->parts) == 0);
    tsr_cache_sidecar_free(&again);
    tsr_text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_cache_sidecar s;
    tsr_error_clear();
    tsr_status status = tsr_cache_sidecar_parse((const char *)data, (int64_t)size, "fuzz.json", &s);
    if (status != TSR_OK) {
        need(status == TSR_ERR_FORMAT && *tsr_error_text() && !s.parts && !s.origin);
        return 0;
    }
    need(s.n_parts == tsr_cache_parts(s.data_bytes) && s.n_parts > 0);
    need(s.data_offset >= 0 && s.data_bytes <= s.file_bytes - s.data_offset);
    tsr_source_identity_current(s.origin);
    write_and_read(&s);
    tsr_cache_sidecar_free(&s);
    return 0;
}
