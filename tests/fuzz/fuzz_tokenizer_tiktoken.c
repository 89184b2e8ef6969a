/* fuzz_tokenizer_tiktoken.c: a file of ranks of any bytes; its first byte chooses the family. Behind what the input says
 * stand the 256 bytes, if they fit there, so that inputs get past that demand. */
#include "use_tokenizer.h"

#include <stdio.h>
#include <string.h>

/* base64 of one byte. */
static void append_byte(tsr_text *t, int byte, int rank)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    tsr_text_format(t, "%c%c== %d\n", letters[byte >> 2], letters[(byte & 3) << 4], rank);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const configs[] = {"{\"tokenizer_class\":\"QWenTokenizer\"}",
                                          "{\"tokenizer_class\":\"ChatGLM4Tokenizer\"}", "{}"};
    tsr_tokenizer *t = NULL;
    tsr_json config;
    tsr_text file;
    if (size == 0 || tsr_text_init(&file, 1 << 26) != TSR_OK) return 0;
    tsr_text_append(&file, (const char *)data + 1, (int64_t)size - 1);
    if (data[0] & 4) tsr_text_append(&file, "\n", 1);
    for (int b = 0; b < 256 && (data[0] & 4); b++) append_byte(&file, b, 1000 + b);
    const char *chosen = configs[data[0] % 3];
    tsr_status status = tsr_json_parse(chosen, (int64_t)strlen(chosen), "tokenizer_config.json", &config);
    if (status == TSR_OK) status = tsr_tokenizer_create(&t);
    if (status == TSR_OK)
        status = tsr_tokenizer_from_tiktoken(file.data, file.length, "tokenizer.model", &config, t);
    tsr_json_free(&config);
    tsr_text_free(&file);
    return end_of_input(status, t);
}
