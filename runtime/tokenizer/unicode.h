/* unicode.h: properties of characters and normalization forms, as the reference tokenizer sees them.
 *
 * The model was trained on ids that the reference made, so its Unicode is part of the file format. It asks
 * several libraries of different ages: punctuation and the marks of BERT by version 8, normalization by
 * version 9, words and regular expressions by version 16, numbers and letter case by version 17. utf8proc
 * supplies the tables, of whatever version the system has; unicode_changes.inc holds what has changed since
 * version 8, so that the answers are the same everywhere. Local, thread-safe.
 */
#ifndef TSR_TOKENIZER_UNICODE_H
#define TSR_TOKENIZER_UNICODE_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <utf8proc.h>

/* A row of what has changed: characters [first, last] are of category `now`, and were of category `then` in
 * version 9 (unassigned if `since`, the version that brought them, is above 9; 10 stands for 10 to 14, 15 for
 * 15 and 16). */
typedef struct tsr_unicode_change {
    uint32_t first, last;
    uint8_t now, then, since;
} tsr_unicode_change;

const tsr_unicode_change *tsr_unicode_changes(int64_t *count); /* sorted */
const tsr_unicode_change *tsr_unicode_change_of(uint32_t c);   /* NULL if nothing has changed for c */

utf8proc_category_t tsr_char_category(uint32_t c);
bool tsr_char_is_space(uint32_t c);                 /* White_Space */
bool tsr_char_is_number(uint32_t c);                /* categories N* */
bool tsr_char_is_word(uint32_t c);                  /* alphabetic, mark, decimal digit, connector, joiner */
bool tsr_char_is_punctuation(uint32_t c);           /* ASCII punctuation, or P* of version 8 */
bool tsr_char_is_mark(uint32_t c);                  /* M* of version 9 */
bool tsr_char_is_nonspacing_mark(uint32_t c);       /* Mn of version 8 */
bool tsr_char_is_control(uint32_t c);               /* Cc, Cf, Co of version 8 */
int tsr_char_to_lower(uint32_t c, uint32_t out[2]); /* full mapping without context; returns 1 or 2 */

/* The forms of version 9; TSR_NFC_NOW is NFC of the version that the system's tables have, as in Python. */
typedef enum tsr_normal_form { TSR_NFC, TSR_NFD, TSR_NFKC, TSR_NFKD, TSR_NFC_NOW } tsr_normal_form;

/* Appends the normal form of valid UTF-8. Time is O(n log n) for any input. TSR_ERR_MEMORY, TSR_ERR_CAPACITY.
 */
tsr_status tsr_unicode_normalize(tsr_normal_form form, const char *bytes, int64_t n, tsr_text *out);

/* Decodes one character of valid UTF-8. */
static inline int tsr_char_decode(const char *bytes, uint32_t *c)
{
    const unsigned char *b = (const unsigned char *)bytes;
    if (b[0] < 0x80) return *c = b[0], 1;
    if (b[0] < 0xE0) return *c = (b[0] & 0x1Fu) << 6 | (b[1] & 0x3Fu), 2;
    if (b[0] < 0xF0) return *c = (b[0] & 0x0Fu) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu), 3;
    return *c = (b[0] & 0x07u) << 18 | (b[1] & 0x3Fu) << 12 | (b[2] & 0x3Fu) << 6 | (b[3] & 0x3Fu), 4;
}

/* Length of the character that begins with this byte of valid UTF-8. */
static inline int tsr_char_length(char lead)
{
    unsigned char b = (unsigned char)lead;
    return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

tsr_status tsr_text_append_char(tsr_text *t, uint32_t c);

#endif
