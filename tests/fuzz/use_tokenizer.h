/* use_tokenizer.h: what the fuzz targets of tokenizers do with one that could be loaded: text to ids, ids to text. */
#ifndef TSR_TESTS_FUZZ_USE_TOKENIZER_H
#define TSR_TESTS_FUZZ_USE_TOKENIZER_H

#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/parts.h"
#include "base/utf8.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void use_tokenizer(const tsr_tokenizer *t)
{
    static const char text[] =
        "It's 12 e\xCC\x81 \xE6\xBC\xA2\xF0\x9F\x98\x80  <s>a \xFF b\n\t   <n><|blank_3|><|im_end|>";
    tsr_token_list ids = {0};
    tsr_text out;
    if (tsr_text_init(&out, 1 << 24) != TSR_OK) return;
    tsr_status status = tsr_tokenizer_encode(t, text, (int64_t)sizeof text - 1, true, &ids);
    for (int32_t id = 0; id < 40 && status == TSR_OK; id++) status = tsr_token_list_add(&ids, id);
    if (status == TSR_OK) status = tsr_tokenizer_decode(t, ids.ids, ids.count, false, &out);
    if (!tsr_utf8_valid(out.data, out.length)) abort();
    tsr_text_free(&out);
    tsr_token_list_free(&ids);
}

/* Ends an input: every failure has a line. */
static inline int end_of_input(tsr_status status, tsr_tokenizer *t)
{
    if (status == TSR_OK) use_tokenizer(t);
    if (status != TSR_OK && !*tsr_error_text()) abort();
    tsr_tokenizer_destroy(&t);
    return 0;
}

#endif
