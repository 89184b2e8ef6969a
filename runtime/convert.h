/* convert.h: one checkpoint into another: any format there is a source for into safetensors.
 *
 * The output is a model folder: weights, config.json with the number format in it, and the other files of the
 * model that are data (tokenizer, generation_config.json, ...; no code). Weights go
 *
 *     for one rank   to model.safetensors or, where they are larger than shard_bytes, to
 *                    model-00001-of-0000N.safetensors with an index; `deepspeed` adds
 *                    ds_inference_checkpoint.json, which lists them
 *     for N ranks    to tp_RR_00.safetensors, the slices that rank RR needs as sharding derives them, and
 *                    non_tp.safetensors, all that is not cut, named by ds_inference_config.json
 *                    (checkpoint/rank_files.c reads them, at any number of ranks)
 *
 * It streams: memory is a few buffers a thread and the lists of names. The folder appears when it is complete,
 * and never in the place of anything. Local, blocking. Errors: TSR_ERR_USAGE, TSR_ERR_IO, TSR_ERR_FORMAT,
 * TSR_ERR_CANCELLED.
 */
#ifndef TSR_RUNTIME_CONVERT_H
#define TSR_RUNTIME_CONVERT_H

#include "base/pool.h"
#include "checkpoint/export.h"

typedef struct tsr_convert_options {
    const char *model, *checkpoint; /* these as in tsr_source_request */
    int training_mp_size;
    const char *output;
    int ranks;
    tsr_dtype dtype; /* of floating point tensors; TSR_DTYPE_COUNT: each keeps its own */
    bool deepspeed;  /* a DeepSpeed JSON; always with more than one rank */
    bool verify;     /* read the result back and compare it with the source */
    int64_t shard_bytes;
    tsr_pool *pool;
    /* Told the bytes done of all bytes; `what` is "converting" or "verifying". False stops. May be NULL. */
    bool (*progress)(void *context, const char *what, int64_t done, int64_t all);
    void *progress_context;
} tsr_convert_options;

typedef struct tsr_convert_report {
    int64_t tensors, bytes, files, cut; /* cut: tensors that lie in pieces */
    int64_t infinite;                   /* numbers too large for float16 */
    char format[64];                    /* of the source */
} tsr_convert_report;

tsr_status tsr_convert_model(const tsr_convert_options *options, tsr_convert_report *report);

#endif
