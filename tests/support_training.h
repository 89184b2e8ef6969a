/* support_training.h: for tests: DeepSpeed training checkpoints unpacked from one row of bytes.
 *
 * The row is of files: which one (a number into training_names), the bytes of its contents (2 bytes, the least first),
 * the number of its storages, the bytes of each, and the contents: a pickle, around which a torch file is made, or the
 * text of `latest` or config.json. These two go to `folder`, all others to `tag`, a folder below it.
 * fuzz/make_training_seeds.py writes such rows.
 */
#ifndef TSR_TESTS_SUPPORT_TRAINING_H
#define TSR_TESTS_SUPPORT_TRAINING_H

#include "support_safetensors.h"
#include "support_zip.h"

#include <stdbool.h>

enum { TRAINING_STORAGES = 16, TRAINING_TEXTS = 2, TRAINING_NAMES = 14 };

static const char *const training_names[TRAINING_NAMES] = {
    "latest",
    "config.json",
    "mp_rank_00_model_states.pt",
    "mp_rank_01_model_states.pt",
    "zero_pp_rank_0_mp_rank_00_model_states.pt",
    "zero_pp_rank_1_mp_rank_00_model_states.pt",
    "zero_pp_rank_0_mp_rank_00_optim_states.pt",
    "zero_pp_rank_1_mp_rank_00_optim_states.pt",
    "layer_00-model_00-model_states.pt",
    "layer_00-model_01-model_states.pt",
    "layer_02-model_00-model_states.pt",
    "layer_02-model_01-model_states.pt",
    "layer_04-model_00-model_states.pt",
    "layer_04-model_01-model_states.pt",
};

static inline void training_remove(const char *folder, const char *tag)
{
    char path[ST_PATH];
    for (int i = 0; i < TRAINING_NAMES; i++) {
        st_path(path, i < TRAINING_TEXTS ? folder : tag, training_names[i]);
        unlink(path);
    }
}

/* Takes one file off the row; false at its end. The numbers in the storages are those of `numbers`, from the front. */
static inline bool training_take(const uint8_t **data, size_t *left, const uint8_t *numbers,
                                 const char *folder, const char *tag, bool *latest)
{
    size_t bytes[TRAINING_STORAGES];
    const uint8_t *head = *data;
    if (*left < 4) return false;
    int name = head[0] % TRAINING_NAMES, storages = head[3] % TRAINING_STORAGES;
    size_t n = head[1] + 256u * head[2], header = 4 + (size_t)storages;
    if (*left < header) return false;
    for (int i = 0; i < storages; i++) bytes[i] = head[4 + i];
    if (n > *left - header) n = *left - header;
    zip_out z;
    zip_torch(&z, head + header, n, storages, bytes, numbers);
    if (name < TRAINING_TEXTS)
        st_write_bytes(folder, training_names[name], head + header, (int64_t)n);
    else
        st_write_bytes(tag, training_names[name], z.bytes, (int64_t)z.size);
    zip_free(&z);
    *latest |= name == 0;
    *data += header + n;
    *left -= header + n;
    return true;
}

/* All of them; was `latest` among them? numbers: [TRAINING_STORAGES * 255] */
static inline bool training_unpack(const uint8_t *data, size_t size, const uint8_t *numbers,
                                   const char *folder, const char *tag)
{
    bool latest = false;
    training_remove(folder, tag);
    for (int i = 0; i < TRAINING_NAMES && training_take(&data, &size, numbers, folder, tag, &latest); i++)
        continue;
    return latest;
}

#endif
