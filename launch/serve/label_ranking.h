/* label_ranking.h: the labels of one row of scores, best first. */
#ifndef TSR_LAUNCH_SERVE_LABEL_RANKING_H
#define TSR_LAUNCH_SERVE_LABEL_RANKING_H

#include <stdint.h>

typedef struct tsr_ranked_label {
    float score; /* a number */
    int32_t label;
} tsr_ranked_label;

/* ranked [n] from scores [n]: best first, equal ones by number. Local. */
void tsr_rank_labels(const float *scores, int64_t n, tsr_ranked_label *ranked);

#endif
