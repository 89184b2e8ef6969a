/* fuzz_pickle.c: any bytes as a pickle: refused with a line, or read into nodes of which questions can be asked. */
#include "checkpoint/torch.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const tsr_pickle_node *node, int depth)
{
    int64_t shape[TSR_MAX_RANK];
    int rank;
    (void)tsr_torch_is_tensor(node);
    (void)tsr_torch_size(node, &rank, shape);
    (void)tsr_pickle_get(node, "module");
    if (!node || depth == 6) return;
    int seen = 0;
    for (const tsr_pickle_item *i = node->first; i && seen < 16; i = i->next, seen++)
        ask(i->value, depth + 1);
    if (node->kind == TSR_PICKLE_CALL) ask(node->args, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_arena *arena = NULL;
    const tsr_pickle_node *root;
    if (tsr_arena_create("a pickle", &arena) != TSR_OK) abort();
    tsr_error_clear();
    tsr_status status = tsr_pickle_parse((const char *)data, (int64_t)size, "fuzz.pkl", arena, &root);
    if (status == TSR_OK)
        ask(root, 0);
    else if (status != TSR_ERR_FORMAT || !*tsr_error_text())
        abort();
    tsr_arena_destroy(&arena);
    return 0;
}
