/* token_rules.h: which tokens may not be chosen next, or which one must, from what has been said so far.
 *
 * In the terms of transformers' generation_config.json, for the token at position p (0 is the first of the prompt) of
 * a text whose prompt has P tokens:
 *   suppress_tokens, bad_words_ids   never; a bad word of several tokens is not completed
 *   begin_suppress_tokens            not at p = P (a prompt of one token whose position 1 is forced: at P + 1)
 *   min_length, min_new_tokens       no end of sequence before p = min_length, or P + min_new_tokens if that is said
 *   no_repeat_ngram_size             no token that would make a sequence of n tokens a second time
 *   forced_bos_token_id              at p = 1 this one and no other
 *   forced_eos_token_id              at the last position that a request has room for, this one and no other
 *
 * A function of the rules, the request and the tokens so far, all of which every rank has; so every rank finds the
 * same. Local.
 */
#ifndef TSR_RUNTIME_TOKEN_RULES_H
#define TSR_RUNTIME_TOKEN_RULES_H

#include "runtime/generation_config.h"
#include "runtime/sampler.h"

/* What has been said, and what comes next. */
typedef struct tsr_text_so_far {
    const int32_t *ids; /* [n] prompt and new tokens; needed where tsr_token_rules_need_history says so */
    int32_t n;
    int32_t prompt_length;
    int32_t position; /* of the token to choose */
} tsr_text_so_far;

/* A growing list. Zero-initialize; free `ids` with tsr_free. */
typedef struct tsr_banned_list {
    int32_t *ids;
    int64_t n, capacity;
} tsr_banned_list;

/* Whether the rules look at the tokens themselves. */
bool tsr_token_rules_need_history(const tsr_generation_config *g, const tsr_sampling *s);

/* Appends the ids that may not be chosen (perhaps more than once); *forced is the one that must be, or -1. */
tsr_status tsr_token_rules_apply(const tsr_generation_config *g, const tsr_sampling *s,
                                 const tsr_text_so_far *text, tsr_banned_list *banned, int32_t *forced);

#endif
