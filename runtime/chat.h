/* chat.h: conversations as prompts: a model's chat template and the special tokens it may write.
 *
 *     tsr_chat *chat;
 *     TSR_TRY(tsr_chat_load(model_dir, NULL, &chat));
 *     TSR_TRY(tsr_chat_prompt(chat, bytes, n, "request", true, &prompt));   // {"messages": [{"role": .., "content": ..}]}
 *     tsr_chat_destroy(&chat);
 *
 * The template is, of what is there first: the file that is named; chat_template.jinja; "chat_template" of
 * tokenizer_config.json, a text or a list of {"name", "template"}, of which "default" is taken, or "tool_use" where there
 * are tools. runtime/template/template.h says what a template may be and do.
 *
 * A conversation is JSON: a list of messages, or an object with "messages" and, if wanted, "tools", "documents" and
 * further variables of the template ("enable_thinking"). A message is an object with a "role". As in transformers, the
 * template also finds add_generation_prompt, and bos_token, eos_token, .. as tokenizer_config.json or
 * special_tokens_map.json name them; a conversation cannot set these.
 *
 * A prompt holds its special tokens as text: encode it without adding any (tsr_tokenizer_encode, false). Text of a user
 * that spells a special token becomes one, as in transformers.
 *
 * Threads: a chat never changes after loading; any number of threads may use it. Only load reads files. Local.
 */
#ifndef TSR_RUNTIME_CHAT_H
#define TSR_RUNTIME_CHAT_H

#include "base/status.h"
#include "base/text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_chat tsr_chat;

/* template_file may be NULL. TSR_ERR_FORMAT: there is no template, or one that is malformed; TSR_ERR_IO. *out is NULL then. */
tsr_status tsr_chat_load(const char *model_dir, const char *template_file, tsr_chat **out);
void tsr_chat_destroy(tsr_chat **chat);

/* Appends the prompt. `name` stands for the conversation in messages. add_generation_prompt: end where the answer
 * begins. TSR_ERR_USAGE: no such conversation, or one that the template refuses; TSR_ERR_CAPACITY: it takes too much. */
tsr_status tsr_chat_prompt(const tsr_chat *chat, const char *json, int64_t n, const char *name,
                           bool add_generation_prompt, tsr_text *out);
/* The same of a conversation that has been parsed; it is not changed. */
tsr_status tsr_chat_prompt_of(const tsr_chat *chat, const json_t *conversation, const char *name,
                              bool add_generation_prompt, tsr_text *out);

#endif
