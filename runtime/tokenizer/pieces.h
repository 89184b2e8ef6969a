/* pieces.h: a text that is being cut: a buffer, and in order the pieces of it, some of which are tokens
 * already.
 *
 * Every step of encoding takes pieces and leaves pieces. Empty pieces are dropped. A piece knows whether it
 * begins where the original text begins, which is what Metaspace's scheme "first" asks.
 */
#ifndef TSR_TOKENIZER_PIECES_H
#define TSR_TOKENIZER_PIECES_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_piece {
    int64_t begin, end; /* bytes of the buffer */
    int32_t id;         /* the token it is, or -1: still text */
    bool at_start;
} tsr_piece;

typedef struct tsr_pieces {
    tsr_text text;
    tsr_piece *piece;
    int64_t count, capacity;
} tsr_pieces;

tsr_status tsr_pieces_init(tsr_pieces *p);
void tsr_pieces_free(tsr_pieces *p);
void tsr_pieces_clear(tsr_pieces *p);

/* Adds text[begin..end) of the buffer as a piece. */
tsr_status tsr_pieces_add(tsr_pieces *p, int64_t begin, int64_t end, int32_t id, bool at_start);
/* Appends bytes to the buffer and adds them as a piece. */
tsr_status tsr_pieces_append(tsr_pieces *p, const char *bytes, int64_t n, int32_t id, bool at_start);

/* A part of a text, found or left over by a pattern; the spans of a text cover it in order. */
typedef struct tsr_span {
    int64_t begin, end;
    bool match;
} tsr_span;

typedef struct tsr_spans {
    tsr_span *span;
    int64_t count, capacity;
} tsr_spans;

tsr_status tsr_spans_add(tsr_spans *s, int64_t begin, int64_t end, bool match);

/* What becomes of the matches ("delimiters") of a split. */
typedef enum tsr_split_behavior {
    TSR_SPLIT_REMOVED,       /* dropped */
    TSR_SPLIT_ISOLATED,      /* pieces of their own */
    TSR_SPLIT_WITH_PREVIOUS, /* joined to what stands before */
    TSR_SPLIT_WITH_NEXT,     /* joined to what follows */
    TSR_SPLIT_CONTIGUOUS,    /* neighbouring matches become one piece */
} tsr_split_behavior;

/* Applies a behavior: afterwards the spans with match = false are the pieces. */
void tsr_spans_split(tsr_spans *s, tsr_split_behavior behavior, bool invert);

#endif
