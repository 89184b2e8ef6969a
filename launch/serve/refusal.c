/* refusal.c: refusals and their two spellings. */
#include "launch/serve/refusal.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct kind {
    int http;
    const char *type, *code, *lmi;
} kinds[] = {
    {400, "invalid_request_error", "invalid_value", "BadRequestException"},
    {401, "authentication_error", "invalid_api_key", "UnauthorizedException"},
    {404, "invalid_request_error", "not_found", "ResourceNotFoundException"},
    {405, "invalid_request_error", "method_not_allowed", "MethodNotAllowedException"},
    {408, "invalid_request_error", "request_timeout", "RequestTimeoutException"},
    {413, "invalid_request_error", "request_too_large", "PayloadTooLargeException"},
    {415, "invalid_request_error", "unsupported_media_type", "UnsupportedMediaTypeException"},
    {424, "server_error", "prediction_failure", "PredictionException"},
    {429, "rate_limit_error", "queue_full", "WlmCapacityException"},
    {499, "cancelled_error", "cancelled", "CancelledException"},
    {501, "not_supported_error", "not_implemented", "NotImplementedException"},
    {503, "unavailable_error", "unavailable", "ServiceUnavailableException"},
    {504, "timeout_error", "deadline_passed", "TimeoutException"},
    {500, "server_error", "internal_error", "InternalServerException"},
};

static const struct kind *kind_of(int http)
{
    const struct kind *k = kinds;
    while (k->http != http && k->http != 500) k++;
    return k;
}

/* Text that was cut at its end must not end inside a character. */
static void end_whole(char *text)
{
    text[tsr_utf8_complete_prefix(text, (int64_t)strlen(text))] = '\0';
}

tsr_status tsr_refuse(tsr_refusal *r, int http, const char *param, const char *format, ...)
{
    va_list args;
    *r = (tsr_refusal){.http = http};
    va_start(args, format);
    vsnprintf(r->message, sizeof r->message, format, args);
    va_end(args);
    snprintf(r->param, sizeof r->param, "%s", param ? param : "");
    end_whole(r->message);
    end_whole(r->param);
    return TSR_ERR_USAGE;
}

tsr_status tsr_refuse_for(tsr_refusal *r, tsr_status s)
{
    bool theirs = s == TSR_ERR_USAGE || s == TSR_ERR_CAPACITY;
    tsr_refuse(r, tsr_status_http(s), NULL, "%s", theirs ? tsr_error_text() : tsr_status_message(s));
    if (s == TSR_ERR_CAPACITY) r->code = "context_length_exceeded";
    return s;
}

static tsr_status put(tsr_text *out, const char *key, const char *value)
{
    TSR_TRY(tsr_text_puts(out, key));
    return tsr_text_json(out, value, (int64_t)strlen(value));
}

tsr_status tsr_refusal_print_openai(const tsr_refusal *r, tsr_text *out)
{
    const struct kind *k = kind_of(r->http);
    TSR_TRY(put(out, "{\"error\":{\"message\":", r->message));
    TSR_TRY(put(out, ",\"type\":", k->type));
    if (r->param[0])
        TSR_TRY(put(out, ",\"param\":", r->param));
    else
        TSR_TRY(tsr_text_puts(out, ",\"param\":null"));
    TSR_TRY(put(out, ",\"code\":", r->code ? r->code : k->code));
    return tsr_text_puts(out, "}}");
}

tsr_status tsr_refusal_print_lmi(const tsr_refusal *r, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, "{\"code\":%d", r->http));
    bool model = r->code && strcmp(r->code, "model_not_found") == 0;
    TSR_TRY(put(out, ",\"type\":", model ? "ModelNotFoundException" : kind_of(r->http)->lmi));
    TSR_TRY(put(out, ",\"message\":", r->http == 424 ? "prediction failure" : r->message));
    TSR_TRY(put(out, ",\"error\":", r->message));
    return tsr_text_puts(out, "}");
}
