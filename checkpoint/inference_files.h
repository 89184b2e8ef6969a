/* inference_files.h: the kinds of files that DeepSpeed's inference JSON lists, once deepspeed_json.c has read it and added
 * them to the source. Private to checkpoint/. Local.
 */
#ifndef TSR_CHECKPOINT_INFERENCE_FILES_H
#define TSR_CHECKPOINT_INFERENCE_FILES_H

#include "checkpoint/format.h"

enum { TSR_INFERENCE_RANKS_CAP = 4096 };

typedef struct tsr_inference_files {
    const char *where;      /* the JSON's name, for messages */
    const int *whole, *cut; /* files of the source: with whole tensors; with the ranks' pieces of them */
    int64_t whole_count, cut_count;
    int64_t ranks;  /* cut_count is a multiple of it; part p of rank r is cut[p * ranks + r] */
    double version; /* of a Megatron checkpoint: how it orders q, k and v; negative: not stated */
} tsr_inference_files;

/* rank_files.c: pieces that say which part of their tensor they are, as `tessera convert --tp` writes them. */
tsr_status tsr_rank_files_list(tsr_source *source, const tsr_inference_files *files);
/* Is the file one of these? */
tsr_status tsr_rank_files_told(tsr_source *source, int file, bool *out);

/* presharded.c: the layers that DeepSpeed injected on each rank, as its save_mp_checkpoint_path writes them. */
tsr_status tsr_presharded_list(tsr_source *source, const tsr_inference_files *files);

/* Does the file's name say that it is a safetensors file? Otherwise it is a torch file. */
bool tsr_is_safetensors(const tsr_source *source, int file);

#endif
