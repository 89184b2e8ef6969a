/* fuzz_tokenizer_model.c: a SentencePiece file of any bytes, loaded and used. */
#include "use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_tokenizer *t;
    tsr_status status = tsr_tokenizer_create(&t);
    if (status == TSR_OK)
        status = tsr_tokenizer_from_sentencepiece((const char *)data, (int64_t)size, "tokenizer.model",
                                                  &(tsr_json){0}, t);
    return end_of_input(status, t);
}
