/* call_params.c: the table of parameters, and what reads a value of each kind. */
#include "launch/serve/call_table.h"

#include "base/json.h"
#include "base/memory.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static tsr_status wrong_type(const tsr_call_row *row, const json_t *value, const char *expected,
                             tsr_refusal *why)
{
    return tsr_refuse(why, 400, row->name, "%s must be %s, found %s", row->name, expected,
                      tsr_json_type_name(value));
}

static void *field(const tsr_call_row *row, tsr_api_call *call)
{
    return (char *)call + row->field;
}

static tsr_status read_int(const tsr_call_row *row, const json_t *value, tsr_api_call *call, tsr_refusal *why)
{
    if (!json_is_integer(value)) return wrong_type(row, value, "an integer", why);
    int64_t found = json_integer_value(value);
    if (found < (int64_t)row->low || found > (int64_t)row->high)
        return tsr_refuse(why, 400, row->name, "%s must lie in %lld..%lld, found %lld", row->name,
                          (long long)row->low, (long long)row->high, (long long)found);
    *(int64_t *)field(row, call) = found;
    return TSR_OK;
}

static tsr_status read_real(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                            tsr_refusal *why)
{
    if (!json_is_number(value)) return wrong_type(row, value, "a number", why);
    double found = json_number_value(value);
    if (!(found >= row->low && found <= row->high))
        return tsr_refuse(why, 400, row->name, "%s must lie in %g..%g, found %g", row->name, row->low,
                          row->high, found);
    *(double *)field(row, call) = found;
    return TSR_OK;
}

static tsr_status read_bool(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                            tsr_refusal *why)
{
    if (!json_is_boolean(value)) return wrong_type(row, value, "true or false", why);
    *(bool *)field(row, call) = json_is_true(value);
    return TSR_OK;
}

/* -1 is what some clients write for "all". */
static tsr_status read_top_k(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                             tsr_refusal *why)
{
    TSR_TRY(read_int(row, value, call, why));
    if (call->top_k < 0) call->top_k = 0;
    return TSR_OK;
}

static tsr_status read_any(const tsr_call_row *row, const json_t *value, tsr_api_call *call, tsr_refusal *why)
{
    (void)row, (void)value, (void)call, (void)why;
    return TSR_OK;
}

static tsr_status read_neutral(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                               tsr_refusal *why)
{
    (void)call;
    if (json_is_number(value) && json_number_value(value) == row->low) return TSR_OK;
    if (json_is_false(value)) return TSR_OK;
    if (json_is_string(value) && json_string_length(value) == 0) return TSR_OK;
    if (json_is_array(value) && json_array_size(value) == 0) return TSR_OK;
    if (json_is_object(value) && json_object_size(value) == 0) return TSR_OK;
    return tsr_refuse(why, 400, row->name, "%s is not supported", row->name);
}

static tsr_status read_model(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                             tsr_refusal *why)
{
    if (!json_is_string(value)) return wrong_type(row, value, "a string", why);
    return tsr_call_copy(json_string_value(value), json_string_length(value), &call->model, why);
}

static tsr_status read_stream(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                              tsr_refusal *why)
{
    call->stream_stated = true;
    return read_bool(row, value, call, why);
}

static tsr_status read_full_text(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                 tsr_refusal *why)
{
    call->full_text_stated = true;
    return read_bool(row, value, call, why);
}

static tsr_status read_chat_logprobs(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                     tsr_refusal *why)
{
    if (!json_is_boolean(value)) return wrong_type(row, value, "true or false", why);
    if (json_is_true(value) && call->logprobs < 0) call->logprobs = 0;
    return TSR_OK;
}

static tsr_status read_stream_options(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                      tsr_refusal *why)
{
    const char *key;
    json_t *member;
    if (!json_is_object(value)) return wrong_type(row, value, "an object", why);
    json_object_foreach((json_t *)value, key, member)
    {
        bool usage = strcmp(key, "include_usage") == 0;
        if (!json_is_boolean(member) || (!usage && json_is_true(member)))
            return tsr_refuse(why, 400, "stream_options",
                              "stream_options takes include_usage, true or false, found %.40s", key);
        if (usage) call->include_usage = json_is_true(member);
    }
    return TSR_OK;
}

/* Choosing among more answers than are given back is not supported: as many as n, whichever stands first. */
static tsr_status read_best_of(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                               tsr_refusal *why)
{
    int64_t before = call->n;
    TSR_TRY(read_int(row, value, call, why));
    int64_t found = call->n;
    call->n = before;
    if (found == 1) return TSR_OK;
    return tsr_refuse(why, 400, row->name, "best_of is not supported; 1 alone is accepted, found %lld",
                      (long long)found);
}

static tsr_status add_stop(const tsr_call_row *row, const json_t *value, tsr_api_call *call, tsr_refusal *why)
{
    if (!json_is_string(value)) return wrong_type(row, value, "a string or a list of strings", why);
    size_t n = json_string_length(value);
    if (n == 0 || n > TSR_CALL_STOP_BYTES || strlen(json_string_value(value)) != n)
        return tsr_refuse(why, 400, row->name, "a text of %s must have 1..%d bytes, none of them NUL",
                          row->name, TSR_CALL_STOP_BYTES);
    if (call->n_stop == TSR_CALL_STOPS)
        return tsr_refuse(why, 400, row->name, "%s has more than %d texts", row->name, TSR_CALL_STOPS);
    return tsr_call_copy(json_string_value(value), n, &call->stop[call->n_stop++], why);
}

static tsr_status read_stop(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                            tsr_refusal *why)
{
    if (!json_is_array(value)) return add_stop(row, value, call, why);
    for (size_t i = 0; i < json_array_size(value); i++)
        TSR_TRY(add_stop(row, json_array_get(value, i), call, why));
    return TSR_OK;
}

/* The token that a name in an object stands for: its id in decimal, as it is written usually; -1: none. */
static int64_t id_of_name(const char *name)
{
    int64_t id = 0;
    if (name[0] == '\0' || (name[0] == '0' && name[1] != '\0')) return -1;
    for (const char *c = name; *c; c++) {
        if (*c < '0' || *c > '9') return -1;
        id = id * 10 + (*c - '0');
        if (id > INT32_MAX) return -1;
    }
    return id;
}

static tsr_status add_bias(const tsr_call_row *row, const char *name, const json_t *value, tsr_api_call *call,
                           tsr_refusal *why)
{
    int64_t id = id_of_name(name);
    double bias = json_number_value(value);
    if (id < 0)
        return tsr_refuse(why, 400, row->name, "%s takes token ids as names, found \"%.40s\"", row->name,
                          name);
    if (!json_is_number(value))
        return tsr_refuse(why, 400, row->name, "%s of token %s must be a number, found %s", row->name, name,
                          tsr_json_type_name(value));
    if (!(bias >= row->low && bias <= row->high))
        return tsr_refuse(why, 400, row->name, "%s of token %s must lie in %g..%g, found %g", row->name, name,
                          row->low, row->high, bias);
    call->logit_bias[call->n_logit_bias++] = (tsr_logit_bias){(int32_t)id, (float)bias};
    return TSR_OK;
}

/* {"5": 1.5, ..}. Names differ, and each id has one name: so the ids differ. */
static tsr_status read_logit_bias(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                  tsr_refusal *why)
{
    const char *key;
    json_t *member;
    void *p;
    if (!json_is_object(value)) return wrong_type(row, value, "an object", why);
    size_t n = json_object_size(value);
    if (n > TSR_MAX_LOGIT_BIASES)
        return tsr_refuse(why, 400, row->name, "%s names more than %d tokens: %zu", row->name,
                          TSR_MAX_LOGIT_BIASES, n);
    tsr_status s = tsr_calloc((int64_t)n, sizeof *call->logit_bias, "biases", &p);
    if (s != TSR_OK) return tsr_refuse_for(why, s);
    tsr_free(call->logit_bias);
    call->logit_bias = p;
    call->n_logit_bias = 0;
    json_object_foreach((json_t *)value, key, member) TSR_TRY(add_bias(row, key, member, call, why));
    return TSR_OK;
}

static tsr_status read_formatter(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                 tsr_refusal *why)
{
    if (!json_is_string(value)) return wrong_type(row, value, "a string", why);
    if (tsr_formatter_from_name(json_string_value(value), &call->formatter)) return TSR_OK;
    return tsr_refuse(why, 400, row->name, "%s must be json, jsonlines, sse or none, found \"%.40s\"",
                      row->name, json_string_value(value));
}

static tsr_status read_parameters(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                  tsr_refusal *why)
{
    if (!json_is_object(value)) return wrong_type(row, value, "an object", why);
    return tsr_call_read_object(value, "inputs parameters stream", call, why);
}

/* Answers are text. */
static tsr_status read_response_format(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                       tsr_refusal *why)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    (void)call;
    if (type && strcmp(type, "text") == 0) return TSR_OK;
    return tsr_refuse(why, 400, row->name, "%s must be {\"type\": \"text\"}: others are not supported",
                      row->name);
}

#define read_INT                read_int
#define read_REAL               read_real
#define read_BOOL               read_bool
#define read_TOP_K              read_top_k
#define read_ANY                read_any
#define read_NEUTRAL            read_neutral
#define read_MODEL              read_model
#define read_STREAM             read_stream
#define read_FULL_TEXT          read_full_text
#define read_CHAT_LOGPROBS      read_chat_logprobs
#define read_STREAM_OPTIONS     read_stream_options
#define read_BEST_OF            read_best_of
#define read_STOP               read_stop
#define read_LOGIT_BIAS         read_logit_bias
#define read_FORMATTER          read_formatter
#define read_PARAMETERS         read_parameters
#define read_MESSAGES           tsr_call_read_messages
#define read_TEMPLATE_VARIABLES tsr_call_read_template_variables
#define read_RESPONSE_FORMAT    read_response_format
#define read_PROMPT             tsr_call_read_prompt
#define read_TEXTS              tsr_call_read_texts
#define read_TOP_LABELS         tsr_call_read_top_labels
#define read_SCORES             tsr_call_read_scores
#define read_AGGREGATION        tsr_call_read_aggregation
#define read_IGNORED            tsr_call_read_ignored
#define read_JSON_ALONE         tsr_call_read_json_alone

static const tsr_call_row rows[] = {
#define CALL_ROW(APIS, NAME, KIND, FIELD, LOW, HIGH)                                                         \
    {APIS, NAME, read_##KIND, offsetof(tsr_api_call, FIELD), LOW, HIGH},
    TSR_CALL_TABLE(CALL_ROW)
#undef CALL_ROW
};

static const tsr_call_row *find_row(int api, const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((rows[i].apis & api) && strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

/* Whether a list of words separated by blanks has the name. */
static bool lists(const char *words, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = words; n > 0 && (at = strstr(at, name)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' ')) return true;
    return false;
}

tsr_status tsr_call_read_object(const json_t *object, const char *skip, tsr_api_call *call, tsr_refusal *why)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const tsr_call_row *row = lists(skip, key) ? NULL : find_row(call->api, key);
        if (!row) return tsr_refuse(why, 400, key, "unknown parameter \"%.60s\"", key);
        /* All labels are what null asks for. */
        if (!json_is_null(value) || row->read == read_TOP_LABELS) TSR_TRY(row->read(row, value, call, why));
    }
    return TSR_OK;
}
