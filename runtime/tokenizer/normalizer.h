/* normalizer.h: rewriting text before it is cut: the "normalizer" of a tokenizer.json. */
#ifndef TSR_TOKENIZER_NORMALIZER_H
#define TSR_TOKENIZER_NORMALIZER_H

#include "runtime/tokenizer/components.h"
#include "runtime/tokenizer/work.h"

/* Appends the rewritten text[0..n), n > 0, to *out. *at_start: whether the text begins where the original
 * does; to be cleared when the beginning is removed. */
typedef tsr_status (*tsr_normalize)(const void *state, tsr_work *work, const char *text, int64_t n,
                                    tsr_text *out, bool *at_start);

typedef struct tsr_normalizer_kind {
    tsr_component_kind base;
    tsr_normalize run;
} tsr_normalizer_kind;

tsr_status tsr_normalizers_load(tsr_object o, tsr_arena *arena, tsr_components *out);

extern const tsr_normalizer_kind tsr_normalizer_nfc_now; /* not in a tokenizer.json */

/* Runs all of them. The result is borrowed: it lies in `text` or in work->text, until the next call. */
tsr_status tsr_normalizers_run(const tsr_components *c, tsr_work *work, const char *text, int64_t n,
                               bool *at_start, const char **out, int64_t *out_n);

/* normalizer_bert.c */
tsr_status tsr_bert_normalizer_load(tsr_object o, tsr_arena *arena, void **state);
tsr_status tsr_bert_normalizer_run(const void *state, tsr_work *work, const char *text, int64_t n,
                                   tsr_text *out, bool *at_start);
/* normalizer_precompiled.c */
tsr_status tsr_precompiled_load(tsr_object o, tsr_arena *arena, void **state);
tsr_status tsr_precompiled_run(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                               bool *at_start);
/* Drops the characters that fail `keep`. */
typedef bool (*tsr_char_keep)(uint32_t c);
tsr_status tsr_text_filter(const char *text, int64_t n, tsr_char_keep keep, tsr_text *out, bool *at_start);
tsr_status tsr_text_lowercase(const char *text, int64_t n, tsr_text *out);

#endif
