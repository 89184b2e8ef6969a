/* step_record.c: the bytes of a step record, and the checks that need no history. */
#include "runtime/step_record.h"

#include "base/checked.h"
#include "base/memory.h"
#include "layers/kernel.h"

#include <stdbool.h>
#include <string.h>

typedef struct wire_header {
    uint32_t magic;
    int32_t version;
    int64_t bytes; /* of the whole record, header included */
    int64_t number;
    int32_t kind;
    int32_t n_releases, n_starts, n_sequences, n_pages, n_tokens, n_rows;
    int32_t ahead; /* 0 or 1 */
    int32_t n_biases, n_shared_ids;
} wire_header;

/* The arrays of a record in the order of the wire. */
enum { SECTIONS = 8 };
typedef struct section {
    void *data;
    int64_t size;
    int32_t count, most;
} section;

/* Pages that the sequences of one step can begin to use: new ones are all different, shared ones need not be. */
static int32_t most_pages(const tsr_step_limits *l)
{
    int64_t most = (int64_t)l->max_tokens / TSR_PAGE_TOKENS + l->max_sequences;
    return (int32_t)(most < l->n_pages ? most : l->n_pages) + tsr_most_shared_pages(l);
}

static int32_t most_shared_ids(const tsr_step_limits *l)
{
    return tsr_most_shared_pages(l) * TSR_PAGE_TOKENS;
}

static int32_t most_biases(const tsr_step_limits *l)
{
    return l->max_sequences * TSR_MAX_LOGIT_BIASES; /* 20 million at most: tsr_step_limits_check */
}

static void list_sections(const tsr_step_record *r, const tsr_step_limits *l, section out[SECTIONS])
{
    const section all[SECTIONS] = {
        {r->releases, sizeof *r->releases, r->n_releases, l->max_sequences},
        {r->starts, sizeof *r->starts, r->n_starts, l->max_sequences},
        {r->sequences, sizeof *r->sequences, r->n_sequences, l->max_sequences},
        {r->pages, sizeof *r->pages, r->n_pages, most_pages(l)},
        {r->ids, sizeof *r->ids, r->n_tokens, l->max_tokens},
        {r->rows, sizeof *r->rows, r->n_rows, l->max_rows},
        {r->biases, sizeof *r->biases, r->n_biases, most_biases(l)},
        {r->shared_ids, sizeof *r->shared_ids, r->n_shared_ids, most_shared_ids(l)},
    };
    memcpy(out, all, sizeof all);
}

static tsr_status make_array(int64_t count, size_t size, void **out)
{
    return tsr_calloc(count, (int64_t)size, "a step record", out);
}

static tsr_status make_arrays(tsr_step_record *r, const tsr_step_limits *l)
{
    void *p;
    TSR_TRY(make_array(l->max_sequences, sizeof *r->releases, &p));
    r->releases = p;
    TSR_TRY(make_array(l->max_sequences, sizeof *r->starts, &p));
    r->starts = p;
    TSR_TRY(make_array(l->max_sequences, sizeof *r->sequences, &p));
    r->sequences = p;
    TSR_TRY(make_array(most_pages(l), sizeof *r->pages, &p));
    r->pages = p;
    TSR_TRY(make_array(l->max_tokens, sizeof *r->ids, &p));
    r->ids = p;
    TSR_TRY(make_array(l->max_rows, sizeof *r->rows, &p));
    r->rows = p;
    TSR_TRY(make_array(most_biases(l), sizeof *r->biases, &p));
    r->biases = p;
    TSR_TRY(make_array(most_shared_ids(l), sizeof *r->shared_ids, &p));
    r->shared_ids = p;
    return TSR_OK;
}

tsr_status tsr_step_record_create(const tsr_step_limits *limits, tsr_step_record **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(make_array(1, sizeof(tsr_step_record), &p));
    tsr_step_record *r = p;
    tsr_status status = make_arrays(r, limits);
    if (status != TSR_OK)
        tsr_step_record_destroy(&r);
    else
        *out = r;
    return status;
}

void tsr_step_record_destroy(tsr_step_record **record)
{
    tsr_step_record *r = *record;
    if (!r) return;
    tsr_free(r->releases);
    tsr_free(r->starts);
    tsr_free(r->sequences);
    tsr_free(r->pages);
    tsr_free(r->ids);
    tsr_free(r->rows);
    tsr_free(r->biases);
    tsr_free(r->shared_ids);
    tsr_free(r);
    *record = NULL;
}

void tsr_step_record_clear(tsr_step_record *record, tsr_record_kind kind, int64_t number)
{
    record->kind = kind;
    record->number = number;
    record->ahead = false;
    record->n_releases = record->n_starts = record->n_sequences = 0;
    record->n_pages = record->n_tokens = record->n_rows = record->n_biases = record->n_shared_ids = 0;
}

/* ---- Bytes ---- */

int64_t tsr_step_record_max_bytes(const tsr_step_limits *limits)
{
    tsr_step_record r = {0};
    section s[SECTIONS];
    list_sections(&r, limits, s);
    int64_t bytes = sizeof(wire_header);
    for (int i = 0; i < SECTIONS; i++) bytes += s[i].size * s[i].most;
    return bytes > TSR_RECORD_INLINE ? bytes : TSR_RECORD_INLINE;
}

int64_t tsr_step_record_encode(const tsr_step_record *record, void *buffer)
{
    const tsr_step_record *r = record;
    section s[SECTIONS];
    list_sections(r, &(tsr_step_limits){0}, s);
    char *at = (char *)buffer + sizeof(wire_header);
    for (int i = 0; i < SECTIONS; i++) {
        size_t bytes = (size_t)(s[i].size * s[i].count);
        memcpy(at, s[i].data, bytes);
        at += bytes;
    }
    int64_t bytes = at - (char *)buffer;
    wire_header h = {.magic = TSR_RECORD_MAGIC,
                     .version = TSR_RECORD_VERSION,
                     .bytes = bytes,
                     .number = r->number,
                     .kind = (int32_t)r->kind,
                     .n_releases = r->n_releases,
                     .n_starts = r->n_starts,
                     .n_sequences = r->n_sequences,
                     .n_pages = r->n_pages,
                     .n_tokens = r->n_tokens,
                     .n_rows = r->n_rows,
                     .ahead = r->ahead,
                     .n_biases = r->n_biases,
                     .n_shared_ids = r->n_shared_ids};
    memcpy(buffer, &h, sizeof h);
    if (bytes < TSR_RECORD_INLINE) memset(at, 0, (size_t)(TSR_RECORD_INLINE - bytes));
    return bytes;
}

static tsr_status bad(const char *what, int64_t found)
{
    return tsr_fail(TSR_ERR_INTERNAL, "bad step record: %s %lld", what, (long long)found);
}

/* Reads the header; its counts are within the limits, and its size is theirs. */
static tsr_status read_header(const void *buffer, const tsr_step_limits *limits, tsr_step_record *r,
                              int64_t *bytes)
{
    wire_header h;
    memcpy(&h, buffer, sizeof h);
    if (h.magic != TSR_RECORD_MAGIC) return bad("magic number", h.magic);
    if (h.version != TSR_RECORD_VERSION) return bad("version", h.version);
    if (h.kind < 0 || h.kind >= TSR_RECORD_KIND_COUNT) return bad("kind", h.kind);
    if (h.number < 1) return bad("number", h.number);
    if (h.ahead < 0 || h.ahead > 1) return bad("mark of going ahead", h.ahead);
    r->ahead = h.ahead;
    r->kind = (tsr_record_kind)h.kind;
    r->number = h.number;
    r->n_releases = h.n_releases;
    r->n_starts = h.n_starts;
    r->n_sequences = h.n_sequences;
    r->n_pages = h.n_pages;
    r->n_tokens = h.n_tokens;
    r->n_rows = h.n_rows;
    r->n_biases = h.n_biases;
    r->n_shared_ids = h.n_shared_ids;
    section s[SECTIONS];
    list_sections(r, limits, s);
    *bytes = sizeof h;
    for (int i = 0; i < SECTIONS; i++) {
        if (s[i].count < 0 || s[i].count > s[i].most) return bad("count", s[i].count);
        *bytes += s[i].size * s[i].count;
    }
    return h.bytes == *bytes ? TSR_OK : bad("size", h.bytes);
}

tsr_status tsr_step_record_peek(const void *first, const tsr_step_limits *limits, int64_t *bytes)
{
    tsr_step_record r = {0};
    return read_header(first, limits, &r, bytes);
}

tsr_status tsr_step_record_decode(const void *buffer, int64_t bytes, const tsr_step_limits *limits,
                                  tsr_step_record *record)
{
    int64_t wanted = 0;
    if (bytes < (int64_t)sizeof(wire_header)) return bad("size", bytes);
    tsr_step_record head = *record; /* so that a bad header leaves the record whole */
    TSR_TRY(read_header(buffer, limits, &head, &wanted));
    if (wanted > bytes) return bad("size", bytes);
    *record = head;
    section s[SECTIONS];
    list_sections(record, limits, s);
    const char *at = (const char *)buffer + sizeof(wire_header);
    for (int i = 0; i < SECTIONS; i++) {
        size_t n = (size_t)(s[i].size * s[i].count);
        memcpy(s[i].data, at, n);
        at += n;
    }
    return tsr_step_record_check(record, limits);
}

/* ---- Checks ---- */

static bool within(int64_t value, int64_t least, int64_t most)
{
    return value >= least && value <= most;
}

/* The last token of a prompt is computed always, and where tokens see what comes after them nothing is shared. */
static tsr_status check_shared(const tsr_record_start *s)
{
    bool both_ways = s->prefix_length > 0 || s->mask_position > 0;
    int32_t most = both_ways ? 0 : (s->prompt_length - 1) / TSR_PAGE_TOKENS;
    return within(s->n_shared, 0, most) ? TSR_OK : bad("number of shared pages", s->n_shared);
}

static tsr_status check_shared_ids(const tsr_step_record *r, const tsr_step_limits *l)
{
    int64_t pages = 0;
    for (int32_t i = 0; i < r->n_starts; i++)
        if (tsr_sampling_keeps_ids(&r->starts[i].sampling)) pages += r->starts[i].n_shared;
    if (r->n_shared_ids != pages * TSR_PAGE_TOKENS) return bad("number of shared ids", r->n_shared_ids);
    for (int32_t i = 0; i < r->n_shared_ids; i++)
        if (!within(r->shared_ids[i], 0, l->vocabulary - 1)) return bad("shared id", r->shared_ids[i]);
    return TSR_OK;
}

/* Of one start. */
static tsr_status check_biases(const tsr_logit_bias *biases, int32_t n, const tsr_step_limits *l)
{
    for (int32_t i = 0; i < n; i++) {
        if (!within(biases[i].id, i > 0 ? (int64_t)biases[i - 1].id + 1 : 0, l->vocabulary - 1))
            return bad("bias of token", biases[i].id);
        if (!tsr_logit_bias_fits(biases[i].bias)) return bad("bias out of range of token", biases[i].id);
    }
    return TSR_OK;
}

static tsr_status check_starts(const tsr_step_record *r, const tsr_step_limits *l)
{
    int64_t biases = 0;
    for (int32_t i = 0; i < r->n_starts; i++) {
        const tsr_record_start *s = &r->starts[i];
        if (!within(s->prompt_length, 1, l->max_context)) return bad("prompt length", s->prompt_length);
        if (!within(s->prefix_length, 0, s->prompt_length)) return bad("prefix length", s->prefix_length);
        if (!within(s->mask_position, 0, s->prompt_length)) return bad("mask position", s->mask_position);
        if (!within(s->n_top, 0, TSR_MAX_TOP)) return bad("list length", s->n_top);
        if (!within(s->n_prompt_top, 0, TSR_MAX_TOP)) return bad("list length", s->n_prompt_top);
        if (tsr_sampling_check(&s->sampling) != TSR_OK)
            return tsr_fail_in(TSR_ERR_INTERNAL, "bad step record");
        if (!within(s->n_biases, 0, tsr_min(TSR_MAX_LOGIT_BIASES, r->n_biases - biases)))
            return bad("number of biases", s->n_biases);
        TSR_TRY(check_biases(r->biases + biases, s->n_biases, l));
        biases += s->n_biases;
        if (s->reserved != 0) return bad("reserved field", s->reserved);
        TSR_TRY(check_shared(s));
    }
    return biases == r->n_biases ? check_shared_ids(r, l) : bad("number of biases", r->n_biases);
}

static tsr_status check_sequences(const tsr_step_record *r, const tsr_step_limits *l)
{
    int64_t tokens = 0, pages = 0;
    int32_t starts = 0;
    for (int32_t i = 0; i < r->n_sequences; i++) {
        const tsr_record_sequence *s = &r->sequences[i];
        if (!within(s->slot, 0, l->max_sequences - 1)) return bad("slot", s->slot);
        if (s->start != -1 && (s->start != starts++ || starts > r->n_starts)) return bad("start", s->start);
        if (!within(s->n_tokens, 1, l->max_tokens)) return bad("number of tokens", s->n_tokens);
        if (!within(s->position, 0, l->max_context - (int64_t)s->n_tokens))
            return bad("position", s->position);
        int32_t shared = s->start >= 0 ? r->starts[s->start].n_shared : 0;
        if (!within(s->n_pages, shared, l->n_pages)) return bad("number of pages", s->n_pages);
        tokens += s->n_tokens;
        pages += s->n_pages;
    }
    if (starts != r->n_starts) return bad("number of starts", r->n_starts);
    if (tokens != r->n_tokens) return bad("number of tokens", r->n_tokens);
    return pages == r->n_pages ? TSR_OK : bad("number of pages", r->n_pages);
}

/* After check_sequences. */
static tsr_status check_rows(const tsr_step_record *r, const tsr_step_limits *l)
{
    int32_t sequence = -1, end = 0, last = -1; /* `end` of the tokens of `sequence` */
    for (int32_t i = 0; i < r->n_rows; i++) {
        const tsr_record_row *row = &r->rows[i];
        if (!within(row->token, (int64_t)last + 1, r->n_tokens - 1)) return bad("row of token", row->token);
        last = row->token;
        while (end <= row->token) end += r->sequences[++sequence].n_tokens;
        if (row->sequence != sequence) return bad("row of sequence", row->sequence);
        if (!within(row->kind, 0, TSR_ROW_KIND_COUNT - 1)) return bad("kind of row", row->kind);
        if (row->kind != TSR_ROW_SCORE && row->kind != TSR_ROW_OUTPUTS && row->token != end - 1)
            return bad("sampled row of token", row->token);
        int64_t most = row->kind == TSR_ROW_SCORE ? l->vocabulary - 1 : 0;
        if (!within(row->target, 0, most)) return bad("target", row->target);
    }
    return TSR_OK;
}

tsr_status tsr_step_record_check(const tsr_step_record *r, const tsr_step_limits *l)
{
    if (r->ahead && r->kind != TSR_RECORD_STEP) return bad("mark of going ahead of kind", r->kind);
    if ((r->kind == TSR_RECORD_STEP) != (r->n_sequences > 0))
        return bad("number of sequences", r->n_sequences);
    for (int32_t i = 0; i < r->n_releases; i++)
        if (!within(r->releases[i], 0, l->max_sequences - 1)) return bad("slot", r->releases[i]);
    for (int32_t i = 0; i < r->n_pages; i++)
        if (!within(r->pages[i], 0, l->n_pages - 1)) return bad("page", r->pages[i]);
    for (int32_t i = 0; i < r->n_tokens; i++)
        if (!within(r->ids[i], TSR_TOKEN_OF_ROW(l->max_rows - 1), l->vocabulary - 1))
            return bad("id", r->ids[i]);
    TSR_TRY(check_starts(r, l));
    TSR_TRY(check_sequences(r, l));
    return check_rows(r, l);
}
