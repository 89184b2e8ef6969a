/* call_csv.c: a text/csv body of /invocations: the texts of its column "inputs".
 *
 * The form is RFC 4180's: rows end by \n or \r\n, fields are separated by commas, and a field in quotes may hold all of
 * these and "" for a quote. The first row has the names of the columns; there is no other way to say which one is meant.
 */
#include "launch/serve/call_table.h"

#include <string.h>

enum { MOST_COLUMNS = 256 };

typedef enum field_end { FIELD_COMMA, FIELD_ROW, FIELD_LAST, FIELD_BROKEN } field_end;

static field_end end_of_field(const char **at, const char *end)
{
    if (*at < end && **at == ',') return ++*at, FIELD_COMMA;
    if (*at < end && **at == '\r') ++*at;
    if (*at == end) return FIELD_LAST;
    if (**at != '\n') return FIELD_BROKEN;
    return ++*at == end ? FIELD_LAST : FIELD_ROW;
}

/* The next field into `out`; what comes behind it. FIELD_BROKEN also where memory is short. */
static field_end read_field(const char **at, const char *end, tsr_text *out)
{
    tsr_text_clear(out);
    bool quoted = *at < end && **at == '"';
    const char *from = *at + quoted;
    *at = from;
    if (!quoted) {
        while (*at < end && !strchr(",\r\n", **at)) ++*at;
        return tsr_text_append(out, from, *at - from) == TSR_OK ? end_of_field(at, end) : FIELD_BROKEN;
    }
    while (*at < end) {
        const char *quote = memchr(*at, '"', (size_t)(end - *at));
        if (!quote || tsr_text_append(out, *at, quote - *at) != TSR_OK) return FIELD_BROKEN;
        *at = quote + 1;
        if (*at == end || **at != '"') return end_of_field(at, end);
        if (tsr_text_append(out, "\"", 1) != TSR_OK) return FIELD_BROKEN;
        ++*at;
    }
    return FIELD_BROKEN;
}

static tsr_status broken(int64_t row, tsr_refusal *why)
{
    return tsr_refuse(why, 400, NULL, "row %lld of the CSV body is malformed", (long long)row);
}

/* The column "inputs" of the first row. */
static tsr_status read_header(const char **at, const char *end, tsr_text *field, int *columns, int *inputs,
                              bool *more, tsr_refusal *why)
{
    field_end behind = FIELD_COMMA;
    *inputs = -1;
    for (*columns = 0; behind == FIELD_COMMA; ++*columns) {
        behind = *columns < MOST_COLUMNS ? read_field(at, end, field) : FIELD_BROKEN;
        if (behind == FIELD_BROKEN) return broken(1, why);
        if (strcmp(field->data, "inputs") == 0) *inputs = *columns;
    }
    *more = behind == FIELD_ROW;
    if (*inputs >= 0 && *more) return TSR_OK;
    return tsr_refuse(why, 400, "inputs",
                      "a CSV body must have a first row of names, one of them inputs, and rows of texts");
}

static tsr_status add_prompt(const tsr_text *field, tsr_api_call *call, tsr_refusal *why)
{
    if (call->n_prompts == TSR_CALL_PROMPTS)
        return tsr_refuse(why, 400, "inputs", "inputs has more than %d prompts", TSR_CALL_PROMPTS);
    tsr_prompt *prompt = &call->prompts[call->n_prompts++];
    prompt->length = field->length;
    return tsr_call_copy(field->data, (size_t)field->length, &prompt->text, why);
}

tsr_status tsr_call_read_csv(const char *body, int64_t n, tsr_api_call *call, tsr_refusal *why)
{
    const char *at = body, *end = body + n;
    int columns, inputs;
    bool more = false;
    tsr_text field;
    if (tsr_text_init(&field, TSR_TEXT_NO_CAP) != TSR_OK) return tsr_refuse_for(why, TSR_ERR_MEMORY);
    tsr_status s = read_header(&at, end, &field, &columns, &inputs, &more, why);
    for (int64_t row = 2; s == TSR_OK && more; row++) {
        field_end behind = FIELD_COMMA;
        int column = 0;
        for (; behind == FIELD_COMMA && s == TSR_OK; column++) {
            behind = read_field(&at, end, &field);
            if (behind == FIELD_BROKEN || (behind == FIELD_COMMA) != (column + 1 < columns))
                s = broken(row, why);
            else if (column == inputs)
                s = add_prompt(&field, call, why);
        }
        more = behind == FIELD_ROW;
    }
    tsr_text_free(&field);
    return s;
}
