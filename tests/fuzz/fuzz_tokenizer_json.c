/* fuzz_tokenizer_json.c: a tokenizer.json of any bytes, loaded and used. Seeds: tests/tokenizer, the
 * tokenizer.json files. */
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/parts.h"
#include "base/utf8.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const tsr_tokenizer *t)
{
    static const char text[] = "It's 12 e\xCC\x81 \xE6\xBC\xA2\xF0\x9F\x98\x80  <s>a \xFF b";
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_json doc;
    tsr_tokenizer *t;
    if (tsr_json_parse((const char *)data, (int64_t)size, "tokenizer.json", &doc) != TSR_OK) return 0;
    tsr_status status = tsr_tokenizer_create(&t);
    if (status == TSR_OK) status = tsr_tokenizer_from_json(&doc, &(tsr_json){0}, t);
    tsr_json_free(&doc);
    if (status == TSR_OK) use(t);
    if (status != TSR_OK && !*tsr_error_text()) abort();
    tsr_tokenizer_destroy(&t);
    return 0;
}
