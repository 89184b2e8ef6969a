/* special_tokens.h: what tokenizer_config.json says about special tokens, for formats whose own files do not.
 */
#ifndef TSR_TOKENIZER_SPECIAL_TOKENS_H
#define TSR_TOKENIZER_SPECIAL_TOKENS_H

#include "runtime/tokenizer/parts.h"

/* The content of a named token ("bos_token"): a string, or an object with "content". NULL: not named. */
tsr_status tsr_config_token(tsr_object config, const char *key, const char **out);

/* Makes added tokens of "added_tokens_decoder" ({"32000": {"content": ..}, ..}), and special ones of the
 * named tokens (bos_token, eos_token, ..., additional_special_tokens) that the tokenizer knows. */
tsr_status tsr_config_add_tokens(tsr_object config, tsr_tokenizer *t);

/* The same for a tokenizer.json, whose own added tokens are known: tokens of "added_tokens_decoder" take the flags that
 * stand there, in order of their ids, and named tokens that are no added tokens yet become special ones; what the
 * model does not know gets the next free id. */
tsr_status tsr_config_update_tokens(tsr_object config, tsr_tokenizer *t);

/* Classes whose tokenizer.json does not decide what goes around a text: bos and eos do, if the configuration or the
 * class says so. Leaves other classes alone. */
tsr_status tsr_config_replace_template(tsr_object config, tsr_tokenizer *t);

/* Sets t->around: bos in front if add_bos_token (or its default), eos behind if add_eos_token. An id of -1:
 * none. */
tsr_status tsr_config_put_around(tsr_object config, bool add_bos, bool add_eos, int32_t bos, int32_t eos,
                                 tsr_tokenizer *t);

#endif
