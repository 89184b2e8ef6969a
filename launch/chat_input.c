/* chat_input.c: the prompt of a conversation, by the model's chat template, and its ids. */
#include "launch/chat_input.h"

#include "base/memory.h"

#include <string.h>

static tsr_status load(const tsr_options *o, tsr_chat_reader *reader)
{
    const char *model = o->text[TSR_OPT_MODEL];
    if (!model || !model[0]) return tsr_fail(TSR_ERR_USAGE, "no model was named (--model DIR)");
    if (!reader->chat) TSR_TRY(tsr_chat_load(model, o->text[TSR_OPT_CHAT_TEMPLATE], &reader->chat));
    bool needed = o->command & TSR_CMD_RUNS && !reader->tokenizer;
    return needed ? tsr_tokenizer_load(model, &reader->tokenizer) : TSR_OK;
}

static tsr_status encode(const tsr_tokenizer *t, const tsr_text *prompt, tsr_input *out)
{
    void *p;
    tsr_token_list list = {0};
    tsr_status s = tsr_tokenizer_encode(t, prompt->data, prompt->length, false, &list);
    if (s == TSR_OK) s = tsr_alloc(list.count * (int64_t)sizeof(int32_t), "ids", &p);
    if (s == TSR_OK) {
        out->ids = p;
        out->n_ids = list.count;
        if (list.count > 0) memcpy(p, list.ids, (size_t)list.count * sizeof(int32_t));
    }
    tsr_token_list_free(&list);
    return s;
}

tsr_status tsr_chat_input(const tsr_options *o, const char *name, const char *json, tsr_chat_reader *reader,
                          tsr_input *out)
{
    tsr_text prompt;
    TSR_TRY(load(o, reader));
    TSR_TRY(tsr_text_init(&prompt, TSR_TEXT_NO_CAP));
    out->is_chat = true;
    tsr_status s = tsr_chat_prompt(reader->chat, json, (int64_t)strlen(json), name,
                                   !o->flag[TSR_OPT_NO_GENERATION_PROMPT], &prompt);
    if (s == TSR_OK && reader->tokenizer) s = encode(reader->tokenizer, &prompt, out);
    if (s == TSR_OK && !reader->tokenizer)
        out->text = prompt.data;
    else
        tsr_text_free(&prompt);
    return s;
}

void tsr_chat_reader_free(tsr_chat_reader *reader)
{
    tsr_chat_destroy(&reader->chat);
    tsr_tokenizer_destroy(&reader->tokenizer);
}
