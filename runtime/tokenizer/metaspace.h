/* metaspace.h: blanks written as a visible character (U+2581), as SentencePiece does. */
#ifndef TSR_TOKENIZER_METASPACE_H
#define TSR_TOKENIZER_METASPACE_H

#include "runtime/tokenizer/components.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum tsr_prepend_scheme {
    TSR_PREPEND_ALWAYS,
    TSR_PREPEND_FIRST,
    TSR_PREPEND_NEVER
} tsr_prepend_scheme;

typedef struct tsr_metaspace {
    char replacement[4]; /* [replacement_length] */
    int replacement_length;
    tsr_prepend_scheme prepend; /* put the character before every piece, before the first, before none */
    bool split;                 /* cut before each such character */
} tsr_metaspace;

/* *state is a tsr_metaspace; pre-tokenizer and decoder have the same options. */
tsr_status tsr_metaspace_load(tsr_object o, tsr_arena *arena, void **state);

#endif
