/* chat_input.h: conversations of the command line as prompts. */
#ifndef TSR_LAUNCH_CHAT_INPUT_H
#define TSR_LAUNCH_CHAT_INPUT_H

#include "launch/command.h"
#include "runtime/chat.h"
#include "runtime/tokenizer/tokenizer.h"

/* What is loaded for the first conversation and used for all. Zeroed at first. */
typedef struct tsr_chat_reader {
    tsr_chat *chat;
    tsr_tokenizer *tokenizer;
} tsr_chat_reader;

/* Makes the prompt of a conversation (JSON, owned by the caller) and, for commands that run a model, its ids: the
 * template has put the special tokens that belong around it. Local. */
tsr_status tsr_chat_input(const tsr_options *o, const char *name, const char *json, tsr_chat_reader *reader,
                          tsr_input *out);
void tsr_chat_reader_free(tsr_chat_reader *reader);

#endif
