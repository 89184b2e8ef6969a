/* logit_terms.c: counting tokens in a sorted list, and merging counts with biases. */
#include "runtime/logit_terms.h"

#include "base/memory.h"

#include <string.h>

/* The first place whose id is not below. Of counts as of biases, the id comes first. */
static int64_t place(const void *items, size_t size, int64_t n, int32_t id)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        int32_t there;
        memcpy(&there, (const char *)items + (size_t)middle * size, sizeof there);
        if (there < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

tsr_status tsr_token_counts_add(tsr_token_counts *c, int32_t id)
{
    int64_t at = place(c->items, sizeof *c->items, c->n, id);
    if (at < c->n && c->items[at].id == id) {
        c->items[at].count++;
        return TSR_OK;
    }
    void *p = c->items;
    tsr_status s = tsr_grow(&p, &c->capacity, c->n + 1, sizeof *c->items, "the tokens of a sequence");
    c->items = p;
    if (s != TSR_OK) return s;
    memmove(c->items + at + 1, c->items + at, (size_t)(c->n - at) * sizeof *c->items);
    c->items[at] = (tsr_token_count){id, 1};
    c->n++;
    return TSR_OK;
}

tsr_status tsr_logit_terms_append(tsr_term_list *list, const tsr_sampling *s, const tsr_token_count *counts,
                                  int32_t n_counts, const tsr_logit_bias *biases, int32_t n_biases)
{
    void *p = list->items;
    int64_t most = list->n + n_counts + n_biases;
    TSR_TRY(tsr_grow(&p, &list->capacity, most, sizeof *list->items, "what is added to logits"));
    list->items = p;
    for (int32_t i = 0, j = 0; i < n_counts || j < n_biases;) {
        bool counted = i < n_counts && (j == n_biases || counts[i].id <= biases[j].id);
        bool biased = j < n_biases && (i == n_counts || biases[j].id <= counts[i].id);
        int32_t id = counted ? counts[i].id : biases[j].id;
        double term = biased ? biases[j].bias : 0;
        if (counted) term -= (double)s->frequency_penalty * counts[i].count + s->presence_penalty;
        list->items[list->n++] = (tsr_logit_bias){id, (float)term};
        i += counted;
        j += biased;
    }
    return TSR_OK;
}

float tsr_logit_term_of(const tsr_logit_bias *terms, int32_t n, int32_t id)
{
    int64_t at = place(terms, sizeof *terms, n, id);
    return at < n && terms[at].id == id ? terms[at].bias : 0;
}
