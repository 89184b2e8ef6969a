/* token.h: a template as tokens: text between tags, and what stands inside of tags. Whitespace control is done here. */
#ifndef TSR_TEMPLATE_TOKEN_H
#define TSR_TEMPLATE_TOKEN_H

#include "base/memory.h"

#include <stdbool.h>

typedef enum tpl_token_kind {
    TPL_TOKEN_DATA,
    TPL_TOKEN_BLOCK_BEGIN,
    TPL_TOKEN_BLOCK_END,
    TPL_TOKEN_PRINT_BEGIN,
    TPL_TOKEN_PRINT_END,
    TPL_TOKEN_NAME,
    TPL_TOKEN_STRING,
    TPL_TOKEN_INTEGER,
    TPL_TOKEN_REAL,
    TPL_TOKEN_OPERATOR,
    TPL_TOKEN_END
} tpl_token_kind;

/* Operators of two characters: TPL_OP2('=', '='). Others are their character. */
#define TPL_OP2(a, b) ((a) << 8 | (b))

typedef struct tpl_token {
    tpl_token_kind kind;
    int line, op;
    const char *text; /* [n] of data, names and strings (escapes undone); NUL behind it */
    int64_t n, integer;
    double real;
} tpl_token;

typedef struct tpl_tokens {
    tpl_token *items; /* the last is TPL_TOKEN_END */
    int64_t count, capacity;
} tpl_tokens;

/* Texts are made in the arena; items are to be freed by tsr_free. TSR_ERR_FORMAT. */
tsr_status tsr_tpl_tokenize(const char *source, int64_t n, const char *name, tsr_arena *arena,
                            tpl_tokens *out);

/* Whether Python's str.isspace holds for the character; *n is its bytes. Shared with filters. */
bool tsr_tpl_is_space(const char *at, const char *end, int *n);

#endif
