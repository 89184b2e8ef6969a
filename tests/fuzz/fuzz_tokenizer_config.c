/* fuzz_tokenizer_config.c: a tokenizer_config.json of any bytes beside a small tokenizer.json. */
#include "use_tokenizer.h"

#include <string.h>

static const char tokenizer[] =
    "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true}],\"model\":{\"type\":\"Unigram\","
    "\"unk_id\":0,"
    "\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"ab\",-1.5],[\"<s>\",-2],[\" \",-3],[\"</s>\",-4]]}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_tokenizer *t = NULL;
    tsr_json config = {0}, doc = {0};
    tsr_status status = tsr_json_parse((const char *)data, (int64_t)size, "tokenizer_config.json", &config);
    if (status == TSR_OK)
        status = tsr_json_parse(tokenizer, (int64_t)sizeof tokenizer - 1, "tokenizer.json", &doc);
    if (status == TSR_OK) status = tsr_tokenizer_create(&t);
    if (status == TSR_OK) status = tsr_tokenizer_from_json(&doc, &config, t);
    tsr_json_free(&doc);
    tsr_json_free(&config);
    return end_of_input(status, t);
}
