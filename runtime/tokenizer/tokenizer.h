/* tokenizer.h: text to token ids and back, exactly as the model's own tokenizer does.
 *
 *     tsr_tokenizer *t;
 *     TSR_TRY(tsr_tokenizer_load(model_dir, &t));
 *     tsr_token_list ids = {0};
 *     TSR_TRY(tsr_tokenizer_encode(t, text, n, true, &ids));
 *
 * FORMATS, the first that is present in the directory:
 *     tokenizer.json             the format of the `tokenizers` library. Models: BPE, Unigram. What transformers
 *                                takes from tokenizer_config.json is taken: the flags of added_tokens_decoder,
 *                                named special tokens, and for the classes that make their own template (Llama,
 *                                GPTNeoX, ...) add_bos_token and add_eos_token.
 *     vocab.json + merges.txt    byte-level BPE of GPT-2 and its heirs; tokenizer_config.json names the family
 *                                (tokenizer_class), the special tokens and add_bos_token / add_eos_token.
 *     qwen.tiktoken              ranks of byte strings, as of the package `tiktoken`: Qwen of the first generation.
 *     tokenizer.model            such a file of GLM-4 (tokenizer_class ChatGLM4Tokenizer), or else
 *                                SentencePiece, models of type BPE or UNIGRAM. bos is put in front and no eos behind, if
 *                                tokenizer_config.json does not say otherwise (add_bos_token, add_eos_token);
 *                                it may also name special tokens, further ones (added_tokens_decoder) and
 *                                "legacy". Without it no special token is found inside a text, as in the
 *                                package `sentencepiece`. The classes of InternLM, Baichuan, XGLM and ChatGLM
 *                                (1 to 3) number pieces and put tokens around a text as they do.
 *     ice_text.model             the same, of the first ChatGLM
 *     sentencepiece.bpe.model    the same, of XGLM
 *     cog-pretrain.model         the same, of the Chinese GLM of 2022
 *                                Beside vocab.json and SentencePiece files an added_tokens.json is read too.
 * A file may hold what we do not have: the error names the file, the component, and those we have.
 *
 * EXACTNESS. Ids and text equal those of the Python packages `tokenizers`, `sentencepiece` and `tiktoken`. Padding and
 * truncation settings of a tokenizer.json are not applied: they describe batches of the program that wrote
 * the file, and here a prompt is neither cut nor filled silently.
 *
 * TEXT is UTF-8. Invalid sequences are read as U+FFFD, one for each maximal part of a character, like
 * Python's bytes.decode(errors="replace"). A text may have up to TSR_TOKENIZER_TEXT_CAP bytes
 * (TSR_ERR_CAPACITY).
 *
 * COST. Time is O(n log n) for any text, long runs of anything included: under a second per MB. Memory during
 * a call is some 20 bytes per byte of ordinary text, up to 130 where all of it is one word; it is given back,
 * except for buffers of up to 8 MB for each thread that calls at the same time. A tokenizer of 50 000 pieces
 * takes 4 MB; loading it from a tokenizer.json takes 15 MB for a moment.
 *
 * THREADS. A tokenizer never changes after loading: any number of threads may use it at once. A detokenizer
 * belongs to one thread at a time and must not outlive its tokenizer. Nothing here communicates; only load
 * reads files.
 *
 * ERRORS. TSR_ERR_IO: no or unreadable files; TSR_ERR_FORMAT: malformed or unsupported, or a pattern in the
 * file that exceeds its bounds on this text (regex.h); TSR_ERR_MEMORY. On failure *out is NULL, and lists and
 * texts hold what was appended before.
 */
#ifndef TSR_RUNTIME_TOKENIZER_H
#define TSR_RUNTIME_TOKENIZER_H

#include "runtime/tokenizer/token_list.h"
#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_TOKENIZER_TEXT_CAP = 256 << 20 };

typedef struct tsr_tokenizer tsr_tokenizer;
typedef struct tsr_detokenizer tsr_detokenizer;

/* *out: whether the directory holds the files of any format. Says nothing about what is in them. */
tsr_status tsr_tokenizer_exists(const char *model_dir, bool *out);
tsr_status tsr_tokenizer_load(const char *model_dir, tsr_tokenizer **out);
void tsr_tokenizer_destroy(tsr_tokenizer **t);

/* Appends the ids of text[0..n). add_special_tokens: with those the model expects around a text (bos, ...).
 * Special tokens that are written in the text ("<|im_end|>") become their ids in either case. */
tsr_status tsr_tokenizer_encode(const tsr_tokenizer *t, const char *text, int64_t n, bool add_special_tokens,
                                tsr_token_list *out);

/* Appends the text of n ids, always valid UTF-8. Ids that are no tokens give no text (a model's vocabulary is
 * often padded beyond the tokenizer's). skip_special_tokens: those give no text either. */
tsr_status tsr_tokenizer_decode(const tsr_tokenizer *t, const int32_t *ids, int64_t n,
                                bool skip_special_tokens, tsr_text *out);

/* Streaming: each push appends the text that has become certain: whole characters that no later token
 * changes. What is still open (half a character, a run of byte tokens) comes with a later push or with
 * finish. All that was appended is, together, what decode gives for all ids. After finish the detokenizer can
 * be used for another stream. */
tsr_status tsr_detokenizer_create(const tsr_tokenizer *t, bool skip_special_tokens, tsr_detokenizer **out);
void tsr_detokenizer_destroy(tsr_detokenizer **d);
tsr_status tsr_detokenizer_push(tsr_detokenizer *d, int32_t id, tsr_text *out);
tsr_status tsr_detokenizer_finish(tsr_detokenizer *d, tsr_text *out);

/* One more than the largest id, added tokens included. Ids below may be unused. */
int32_t tsr_tokenizer_size(const tsr_tokenizer *t);
/* The id of a piece as it stands in the vocabulary ("<|im_end|>", "\xC4\xA0the"), -1 if there is none. */
int32_t tsr_tokenizer_id(const tsr_tokenizer *t, const char *piece);
/* The piece of an id: borrowed, not terminated; NULL if there is none. *n = its bytes. */
const char *tsr_tokenizer_piece(const tsr_tokenizer *t, int32_t id, int64_t *n);
/* Whether "skip special tokens" skips the id. */
bool tsr_tokenizer_is_special(const tsr_tokenizer *t, int32_t id);

#endif
