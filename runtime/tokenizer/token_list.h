/* token_list.h: a growable list of token ids. */
#ifndef TSR_TOKENIZER_TOKEN_LIST_H
#define TSR_TOKENIZER_TOKEN_LIST_H

#include "base/memory.h"
#include "base/status.h"

#include <stdint.h>
#include <string.h>

/* Zero-initialize; free with tsr_token_list_free. */
typedef struct tsr_token_list {
    int32_t *ids; /* [count] */
    int64_t count, capacity;
} tsr_token_list;

static inline tsr_status tsr_token_list_append(tsr_token_list *list, const int32_t *ids, int64_t n)
{
    TSR_TRY(tsr_grow((void **)&list->ids, &list->capacity, list->count + n, sizeof *list->ids,
                     "a list of tokens"));
    if (n > 0) memcpy(list->ids + list->count, ids, (size_t)n * sizeof *ids);
    list->count += n;
    return TSR_OK;
}

static inline tsr_status tsr_token_list_add(tsr_token_list *list, int32_t id)
{
    return tsr_token_list_append(list, &id, 1);
}

static inline void tsr_token_list_free(tsr_token_list *list)
{
    tsr_free(list->ids);
    *list = (tsr_token_list){0};
}

#endif
