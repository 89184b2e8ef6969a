/* label_ranking.c: labels by their scores. */
#include "launch/serve/label_ranking.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const tsr_ranked_label *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->label < y->label ? -1 : x->label > y->label;
}

void tsr_rank_labels(const float *scores, int64_t n, tsr_ranked_label *ranked)
{
    for (int64_t i = 0; i < n; i++) ranked[i] = (tsr_ranked_label){scores[i], (int32_t)i};
    qsort(ranked, (size_t)n, sizeof *ranked, compare);
}
