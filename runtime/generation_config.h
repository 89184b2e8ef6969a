/* generation_config.h: what a model folder says about generating: which tokens end a text.
 *
 * `eos_token_id` (a number or a list) of generation_config.json; where that file or key is absent, of
 * config.json. Local. TSR_ERR_FORMAT names file and key.
 */
#ifndef TSR_RUNTIME_GENERATION_CONFIG_H
#define TSR_RUNTIME_GENERATION_CONFIG_H

#include "base/json.h"

enum { TSR_MAX_EOS_IDS = 64 };

typedef struct tsr_generation_config {
    int32_t eos_ids[TSR_MAX_EOS_IDS];
    int32_t n_eos;
} tsr_generation_config;

tsr_status tsr_generation_config_read(const char *model_dir, const tsr_json *config, int64_t vocabulary,
                                      tsr_generation_config *out);

#endif
