/* fuzz_tokenizer_families.c: a SentencePiece file of any bytes under a family whose name the first byte chooses. */
#include "use_tokenizer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const configs[] = {
        "{\"tokenizer_class\":\"XGLMTokenizer\"}", "{\"tokenizer_class\":\"ChatGLMTokenizer\"}",
        "{\"tokenizer_class\":\"ChatGLMTokenizer\",\"num_image_tokens\":7}",
        "{\"tokenizer_class\":\"InternLMTokenizer\"}",
        "{\"tokenizer_class\":\"BaichuanTokenizer\",\"add_bos_token\":false}"};
    tsr_tokenizer *t = NULL;
    tsr_json config;
    if (size == 0) return 0;
    const char *chosen = configs[data[0] % 5];
    tsr_status status = tsr_json_parse(chosen, (int64_t)strlen(chosen), "tokenizer_config.json", &config);
    if (status == TSR_OK) status = tsr_tokenizer_create(&t);
    if (status == TSR_OK)
        status = tsr_tokenizer_from_sentencepiece((const char *)data + 1, (int64_t)size - 1,
                                                  "tokenizer.model", &config, t);
    tsr_json_free(&config);
    return end_of_input(status, t);
}
