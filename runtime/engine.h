/* engine.h: what the engine shows to the program around it, beyond the public interface (tessera.h).
 *
 * engine.c makes and ends an engine, engine_step.c runs it, engine_request.c keeps the requests of rank 0.
 */
#ifndef TSR_RUNTIME_ENGINE_H
#define TSR_RUNTIME_ENGINE_H

#include "base/status.h"

#include "parallel/world.h"
#include "runtime/executor.h"
#include "tessera.h"

struct tsr_tokenizer;

/* As tsr_engine_create, on a world the caller has made and will destroy after the engine. */
tsr_status tsr_engine_create_in(tsr_world *world, const tsr_engine_options *options, tsr_engine **out);

/* Borrowed. The tokenizer is there on rank 0 only, and NULL if the model has none. */
tsr_world *tsr_engine_world(const tsr_engine *engine);
struct tsr_gpu *tsr_engine_gpu(const tsr_engine *engine); /* NULL: on the CPU */
tsr_pool *tsr_engine_pool(const tsr_engine *engine);
const tsr_executor *tsr_engine_executor(const tsr_engine *engine);
const struct tsr_tokenizer *tsr_engine_tokenizer(const tsr_engine *engine);

/* Rank 0. Requests waiting and running, pages, and what was done since the engine was made. */
typedef struct tsr_engine_counts {
    int32_t waiting, running;
    int32_t pages_total, pages_used; /* of keys and values */
    int32_t pages_touched;           /* used at any time: those that have memory */
    int64_t steps, prompt_tokens, generated_tokens;
    int64_t prefix_queries,
        prefix_hits; /* tokens of prompts: looked for in the prefix cache; found, and so not read */
} tsr_engine_counts;
tsr_engine_counts tsr_engine_get_counts(const tsr_engine *engine);

/* Seconds of this rank's host, added up over its steps. plan: deciding what comes next, telling the others, laying it
 * out. start: enqueueing on a GPU, or running on the CPUs. sample: choosing tokens where the executor does not. wait: for
 * a GPU. commit: what the results mean for the requests, text. */
typedef struct tsr_host_times {
    int64_t steps;
    double plan, start, sample, wait, commit;
} tsr_host_times;
tsr_host_times tsr_engine_get_host_times(const tsr_engine *engine);
/* Begins these, and the executor's profile, anew. */
void tsr_engine_reset_times(tsr_engine *engine);

/* Rank 0: sends the other ranks out of tsr_engine_follow; afterwards all may use the world's collectives
 * again. No steps may follow. Done by tsr_engine_destroy if it has not been before. */
tsr_status tsr_engine_dismiss(tsr_engine *engine);

#endif
