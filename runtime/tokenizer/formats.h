/* formats.h: the files that a tokenizer is read from. Each function fills an empty tokenizer. */
#ifndef TSR_TOKENIZER_FORMATS_H
#define TSR_TOKENIZER_FORMATS_H

#include "runtime/tokenizer/tokenizer.h"
#include "base/json.h"

enum { TSR_TOKENIZER_FILE_CAP = 64 << 20 };

typedef struct tsr_tokenizer_format {
    const char *files[2]; /* all must exist; NULL if one is enough */
    tsr_status (*load)(const char *dir, tsr_tokenizer *t);
} tsr_tokenizer_format;

extern const tsr_tokenizer_format tsr_format_tokenizer_json, tsr_format_vocab_merges, tsr_format_cog_pretrain,
    tsr_format_sentencepiece, tsr_format_ice_text, tsr_format_sentencepiece_bpe, tsr_format_tiktoken;

/* From memory; `name` and doc->file are used in errors. `config` is tokenizer_config.json, config.root may be
 * NULL. */
tsr_status tsr_tokenizer_from_json(const tsr_json *doc, const tsr_json *config, tsr_tokenizer *t);
tsr_status tsr_tokenizer_from_vocab_merges(const tsr_json *vocab, const char *merges, int64_t n,
                                           const tsr_json *config, tsr_tokenizer *t);
tsr_status tsr_tokenizer_from_sentencepiece(const char *bytes, int64_t n, const char *name,
                                            const tsr_json *config, tsr_tokenizer *t);

tsr_status tsr_tokenizer_from_tiktoken(const char *bytes, int64_t n, const char *name, const tsr_json *config,
                                       tsr_tokenizer *t);

/* dir/file, and reading it. A missing tokenizer_config.json leaves *out empty. */
tsr_status tsr_tokenizer_path(const char *dir, const char *file, char **out);
tsr_status tsr_tokenizer_read_json(const char *dir, const char *file, tsr_json *out);
tsr_status tsr_tokenizer_read_config(const char *dir, tsr_json *out);
/* The same; the tokens of an added_tokens.json, which older folders have, become its added_tokens_decoder. */
tsr_status tsr_tokenizer_read_config_and_added(const char *dir, tsr_json *out);
tsr_status tsr_tokenizer_read_bytes(const char *dir, const char *file, char **data, int64_t *n);

#endif
