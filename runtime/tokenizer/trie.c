/* trie.c: nodes are numbers; the edges of all nodes share one hash table. */
#include "runtime/tokenizer/trie.h"
#include "runtime/tokenizer/pair_table.h"
#include "base/memory.h"

struct tsr_trie {
    tsr_pair_table edges; /* (node, byte) -> node */
    int32_t *value;       /* [nodes], -1: no string ends here */
    int32_t nodes;
    bool begins[256];
};

tsr_status tsr_trie_create(int64_t bytes, tsr_trie **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_trie), "a trie", &p));
    tsr_trie *t = p;
    tsr_status status = tsr_pair_table_init(&t->edges, bytes);
    if (status == TSR_OK) status = tsr_alloc((bytes + 1) * (int64_t)sizeof *t->value, "a trie", &p);
    if (status != TSR_OK) {
        tsr_trie_destroy(&t);
        return status;
    }
    t->value = p;
    t->value[0] = -1;
    t->nodes = 1;
    *out = t;
    return TSR_OK;
}

void tsr_trie_destroy(tsr_trie **t)
{
    if (!*t) return;
    tsr_pair_table_free(&(*t)->edges);
    tsr_free((*t)->value);
    tsr_free(*t);
    *t = NULL;
}

void tsr_trie_add(tsr_trie *t, const char *text, int64_t n, int32_t value)
{
    int32_t node = 0;
    if (n == 0) return;
    t->begins[(unsigned char)text[0]] = true;
    for (int64_t i = 0; i < n; i++) {
        const tsr_pair_merge *edge = tsr_pair_table_get(&t->edges, node, (unsigned char)text[i]);
        if (!edge) {
            tsr_pair_table_put(&t->edges, node, (unsigned char)text[i], 0, t->nodes);
            t->value[t->nodes] = -1;
            node = t->nodes++;
        } else {
            node = edge->id;
        }
    }
    if (t->value[node] < 0) t->value[node] = value;
}

int64_t tsr_trie_longest(const tsr_trie *t, const char *text, int64_t n, int32_t *value)
{
    int64_t longest = 0;
    int32_t node = 0;
    for (int64_t i = 0; i < n; i++) {
        const tsr_pair_merge *edge = tsr_pair_table_get(&t->edges, node, (unsigned char)text[i]);
        if (!edge) break;
        node = edge->id;
        if (t->value[node] >= 0) {
            *value = t->value[node];
            longest = i + 1;
        }
    }
    return longest;
}

bool tsr_trie_step(const tsr_trie *t, int32_t *node, char byte, int32_t *value)
{
    const tsr_pair_merge *edge = tsr_pair_table_get(&t->edges, *node, (unsigned char)byte);
    if (!edge) return false;
    *node = edge->id;
    *value = t->value[*node];
    return true;
}

bool tsr_trie_begins(const tsr_trie *t, char byte)
{
    return t->begins[(unsigned char)byte];
}
