/* fuzz_template.c: any bytes as a chat template: text or one line, never a crash, and never more than its bounds. */
#include "runtime/template/template.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char variables[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be "
    "brief.\"},{\"role\":\"user\",\"content\":\"Gr\\u00f6\\u00dfe \\ud83d\\ude00 <b>\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{"
    "\"x\":1.5}}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}],"
    "\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"eos_token\":\"</"
    "s>\",\"n\":3,\"l\":[3,1,2],\"d\":{\"b\":1,\"a\":[2]},\"s\":\"Hello World\"}";

static void check_error(void)
{
    if (tsr_error_text()[0] == '\0' || strchr(tsr_error_text(), '\n')) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *given;
    tsr_template_limits limits = {200000, 8 << 20, 1 << 20, 200, 1722600000};
    tsr_template *t;
    tsr_text out;
    if (!given) given = json_loads(variables, 0, NULL);
    if (tsr_template_create((const char *)data, (int64_t)size, "t", &t) != TSR_OK) {
        check_error();
        return 0;
    }
    if (tsr_text_init(&out, 4 << 20) != TSR_OK) abort();
    if (tsr_template_render(t, given, &limits, &out) != TSR_OK) check_error();
    if (!tsr_utf8_valid(out.data, out.length) || out.length > limits.output) abort();
    tsr_text_free(&out);
    tsr_template_destroy(&t);
    return 0;
}
