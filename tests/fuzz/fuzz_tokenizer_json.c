/* fuzz_tokenizer_json.c: a tokenizer.json of any bytes, loaded and used. */
#include "use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_json doc;
    tsr_tokenizer *t;
    if (tsr_json_parse((const char *)data, (int64_t)size, "tokenizer.json", &doc) != TSR_OK) return 0;
    tsr_status status = tsr_tokenizer_create(&t);
    if (status == TSR_OK) status = tsr_tokenizer_from_json(&doc, &(tsr_json){0}, t);
    tsr_json_free(&doc);
    return end_of_input(status, t);
}
