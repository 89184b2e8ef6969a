/* chatglm_text.h: how the first ChatGLM writes white space as pieces: "\n" as <n>, "\t" as <|tab|>, and a run of 2 to
 * 80 blanks as <|blank_2|> .. <|blank_80|>, a longer one as several. The normalizer writes them, the decoder reads
 * them back. Neither has options. */
#ifndef TSR_TOKENIZER_CHATGLM_TEXT_H
#define TSR_TOKENIZER_CHATGLM_TEXT_H

#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/normalizer.h"

extern const tsr_normalizer_kind tsr_normalizer_chatglm;
extern const tsr_decoder_kind tsr_decoder_chatglm;

#endif
