/* fuzz_serve_call.c: any bytes as the body of a request, of each interface: refused with a line, or what was read is
 * within its limits. The first byte chooses the interface. */
#include "base/utf8.h"
#include "launch/serve/call.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
    if (!ok) abort();
}

static void check_refusal(const tsr_api_call *call, const tsr_refusal *why)
{
    tsr_text text;
    need(why->http >= 400 && why->http < 504 && why->message[0]);
    need(call->n_prompts == 0 && !call->model && !call->conversation && !call->conversation_text);
    need(tsr_text_init(&text, 1 << 16) == TSR_OK);
    need(tsr_refusal_print_openai(why, &text) == TSR_OK && tsr_refusal_print_lmi(why, &text) == TSR_OK);
    need(tsr_utf8_valid(text.data, text.length));
    tsr_text_free(&text);
}

static void check_prompts(const tsr_api_call *call)
{
    need((call->n_prompts > 0) == (call->api != TSR_API_CHAT) && call->n_prompts <= TSR_CALL_PROMPTS);
    need((call->conversation_text != NULL) == (call->api == TSR_API_CHAT));
    for (int64_t i = 0; i < call->n_prompts; i++) {
        const tsr_prompt *p = &call->prompts[i];
        need((p->text != NULL) != (p->ids != NULL));
        need(!p->text || p->text[p->length] == '\0');
        for (int64_t j = 0; j < p->n_ids; j++) need(p->ids[j] >= 0);
    }
}

static void check_terms(const tsr_api_call *call)
{
    need(fabs(call->frequency_penalty) <= 2 && fabs(call->presence_penalty) <= 2);
    need(call->n_logit_bias >= 0 && call->n_logit_bias <= TSR_MAX_LOGIT_BIASES);
    for (int64_t i = 0; i < call->n_logit_bias; i++) {
        need(call->logit_bias[i].id >= 0 && fabsf(call->logit_bias[i].bias) <= 100);
        for (int64_t j = 0; j < i; j++) need(call->logit_bias[j].id != call->logit_bias[i].id);
    }
}

static void check_call(const tsr_api_call *call)
{
    check_prompts(call);
    check_terms(call);
    need(call->n >= 1 && call->n <= TSR_CALL_ANSWERS && call->n_stop <= TSR_CALL_STOPS);
    for (int64_t i = 0; i < call->n_stop; i++)
        need(*call->stop[i] && strlen(call->stop[i]) <= TSR_CALL_STOP_BYTES);
    need(call->max_tokens >= -1 && call->max_tokens <= TSR_CALL_TOKENS && call->top_k <= TSR_CALL_TOKENS);
    need(call->logprobs >= -1 && call->logprobs <= TSR_CALL_LOGPROBS && call->seed >= -1);
    need(isfinite(call->temperature) && isfinite(call->top_p) && call->top_p != 0 && call->top_p <= 1);
    need(call->conversation == NULL);
    need(call->n_ignored >= 0 && call->n_ignored <= TSR_CALL_IGNORED);
    for (int64_t i = 0; i < call->n_ignored; i++) need(call->ignored[i] != NULL);
    need(call->top_labels >= -1 && call->scores <= TSR_SCORES_AS_LOGITS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tsr_api apis[8] = {TSR_API_COMPLETIONS, TSR_API_CHAT,       TSR_API_INVOCATIONS,
                                    TSR_API_INVOCATIONS, TSR_API_LABELS,     TSR_API_ENTITIES,
                                    TSR_API_LABELS,      TSR_API_INVOCATIONS};
    tsr_api_call call;
    tsr_refusal why = {0};
    if (size == 0) return 0;
    const char *body = (const char *)data + 1;
    int64_t n = (int64_t)size - 1;
    int kind = data[0] % 8;
    tsr_status s = kind == 3   ? tsr_call_from_text(apis[kind], body, n, &call, &why)
                   : kind >= 6 ? tsr_call_from_csv(apis[kind], body, n, &call, &why)
                               : tsr_call_parse(apis[kind], body, n, &call, &why);
    if (s != TSR_OK) {
        check_refusal(&call, &why);
        return 0;
    }
    check_call(&call);
    tsr_call_free(&call);
    return 0;
}
