/* text_places.c: tokens beside their text. */
#include "launch/serve/text_places.h"

#include "base/checked.h"

#include <string.h>

typedef struct walk {
    const tsr_tokenizer *tokenizer;
    const char *text;
    int64_t length, at;          /* bytes gone by */
    int64_t counted, characters; /* so many characters are in the first `counted` bytes */
    bool lost;
    int64_t open; /* first token that has said nothing yet, of those in front of the present one */
} walk;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Bytes of a character are its first one and those that continue it. */
static int64_t count_characters(const char *bytes, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += (bytes[i] & 0xC0) != 0x80;
    return count;
}

static bool stands_here(const walk *w, const char *said, int64_t n)
{
    return n <= w->length - w->at && memcmp(w->text + w->at, said, (size_t)n) == 0;
}

static bool continues(const walk *w, int64_t at)
{
    return at < w->length && (w->text[at] & 0xC0) == 0x80;
}

/* Of bytes [from, to) behind w->at, and of the characters they are parts of. Places are asked for in their order. */
static tsr_place place_of(walk *w, int64_t from, int64_t to)
{
    int64_t first = w->at + from, end = w->at + to;
    while (from < to && first > w->at && continues(w, first)) first--;
    while (from < to && continues(w, end)) end++;
    w->characters += count_characters(w->text + w->counted, first - w->counted);
    w->counted = first;
    return (tsr_place){.start = w->characters,
                       .end = w->characters + count_characters(w->text + first, end - first),
                       .first_byte = first,
                       .bytes = end - first};
}

/* "<0x0A>": a token of one byte, which decoders hold back as long as more of them may come. */
static bool is_byte(const walk *w, int32_t id)
{
    int64_t n = 0;
    const char *piece = tsr_tokenizer_piece(w->tokenizer, id, &n);
    return piece && n == 6 && memcmp(piece, "<0x", 3) == 0 && piece[5] == '>';
}

/* Goes behind blanks that the text has and the tokens have not, and the reverse. */
static void pass_blanks(walk *w, const char **said, int64_t *n)
{
    while (*n > 0 && is_blank(**said)) ++*said, --*n;
    while (w->at < w->length && is_blank(w->text[w->at])) w->at++;
}

/* The tokens from w->open to i have said these bytes. Of those that said nothing themselves the last may have been held
 * back, and had a byte each; others are parts of the first character. */
static void settle(walk *w, const int32_t *ids, int64_t i, const char *said, int64_t n, tsr_place *places)
{
    if (!w->lost && !stands_here(w, said, n)) pass_blanks(w, &said, &n);
    w->lost |= !stands_here(w, said, n);
    int64_t held = i;
    while (held > w->open && i - held < n && is_byte(w, ids[held - 1])) held--;
    for (int64_t k = w->open; k < i && !w->lost; k++) {
        int64_t from = k < held ? 0 : k - held;
        places[k] = place_of(w, from, tsr_min(from + 1, n));
    }
    if (!w->lost) places[i] = place_of(w, i - held, n);
    if (!w->lost) w->at += n;
    w->open = i + 1;
}

/* A special token says nothing, but may have been written in the text. */
static void settle_special(walk *w, int64_t i, int32_t id, tsr_place *places)
{
    int64_t n = 0;
    const char *piece = tsr_tokenizer_piece(w->tokenizer, id, &n);
    if (piece && !w->lost && stands_here(w, piece, n)) w->at += n;
    places[i] = place_of(w, 0, 0);
    w->open = i + 1;
}

tsr_status tsr_text_places(const tsr_tokenizer *tokenizer, const char *text, int64_t length,
                           const int32_t *ids, int64_t n_ids, tsr_place *places)
{
    tsr_detokenizer *d;
    tsr_text said = {0};
    walk w = {.tokenizer = tokenizer, .text = text, .length = length};
    for (int64_t i = 0; i < n_ids; i++) places[i] = (tsr_place){.start = -1, .end = -1};
    TSR_TRY(tsr_detokenizer_create(tokenizer, true, &d));
    tsr_status s = tsr_text_init(&said, TSR_TEXT_NO_CAP);
    for (int64_t i = 0; i < n_ids && s == TSR_OK; i++) {
        tsr_text_clear(&said);
        s = tsr_detokenizer_push(d, ids[i], &said);
        if (s == TSR_OK && i + 1 == n_ids) s = tsr_detokenizer_finish(d, &said);
        if (s != TSR_OK) break;
        if (said.length > 0)
            settle(&w, ids, i, said.data, said.length, places);
        else if (tsr_tokenizer_is_special(tokenizer, ids[i]))
            settle_special(&w, i, ids[i], places);
    }
    tsr_detokenizer_destroy(&d);
    tsr_text_free(&said);
    return s;
}
