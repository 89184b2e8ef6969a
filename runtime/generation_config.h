/* generation_config.h: what a model folder says about generating: which tokens end a text, which may not stand or
 * must, and how tokens are to be chosen unless a request says otherwise.
 *
 * Its do_sample is not obeyed: text is continued greedily unless a request says otherwise.
 *
 * Read from generation_config.json; in a folder without that file, as older ones are, from config.json. (eos_token_id
 * is looked for in config.json too where generation_config.json lacks it.) Ids outside the vocabulary can never be
 * chosen and are passed over. Options that ask for a search we do not have (beams, ...) are named in the log. Local.
 * Memory comes from the arena. TSR_ERR_FORMAT names file and key.
 */
#ifndef TSR_RUNTIME_GENERATION_CONFIG_H
#define TSR_RUNTIME_GENERATION_CONFIG_H

#include "base/json.h"
#include "base/memory.h"

enum { TSR_MAX_EOS_IDS = 64, TSR_MAX_LISTED_IDS = 1 << 16 };

typedef struct tsr_id_sequence {
    const int32_t *ids; /* [n] */
    int32_t n;
} tsr_id_sequence;

typedef struct tsr_generation_config {
    int32_t eos_ids[TSR_MAX_EOS_IDS];
    int32_t n_eos;
    int32_t bos_id, pad_id; /* -1: none */

    tsr_id_sequence suppress;         /* never chosen: suppress_tokens, bad words of one token */
    tsr_id_sequence begin_suppress;   /* not chosen for the first new token */
    const tsr_id_sequence *bad_words; /* [n_bad_words] of two tokens and more: not completed */
    int32_t n_bad_words;
    int32_t forced_bos_id; /* the token at position 1; -1: none */
    int32_t forced_eos_id; /* the last token that a request has room for; -1: none */

    double temperature, top_p, min_p, repetition_penalty; /* neutral values where the file says nothing */
    int64_t top_k, no_repeat_ngram, min_length;
    int64_t min_new_tokens; /* -1: not said; else it stands in for min_length */
} tsr_generation_config;

tsr_status tsr_generation_config_read(const char *model_dir, const tsr_json *config, int64_t vocabulary,
                                      tsr_arena *arena, tsr_generation_config *out);

#endif
