/* step_builder.h: from a step record and the slot table to what kernels and sampler work on.
 *
 * Rope angles of a token are those of the length that tsr_rope_length gives it, see layers/rope.h. Local, not thread-safe. All buffers are made at creation, for the largest step the limits
 * allow, but for the lists of tokens that may not be chosen and of what is added to logits: TSR_ERR_MEMORY.
 */
#ifndef TSR_RUNTIME_STEP_BUILDER_H
#define TSR_RUNTIME_STEP_BUILDER_H

#include "layers/kernel.h"
#include "layers/rope.h"
#include "runtime/slot_table.h"
#include "runtime/token_rules.h"

typedef struct tsr_step_builder tsr_step_builder;

/* ropes: [n_ropes] of the model; must outlive the builder. */
tsr_status tsr_step_builder_create(const tsr_step_limits *limits, const tsr_rope *ropes, int64_t n_ropes,
                                   tsr_step_builder **out);
void tsr_step_builder_destroy(tsr_step_builder **builder);

/* The rules that chosen tokens keep to; NULL: none. Must outlive the builder. */
void tsr_step_builder_set_rules(tsr_step_builder *builder, const tsr_generation_config *rules);

/* Of a record of kind STEP that has been applied to the table. *step and *rows [step->n_rows] belong to the
 * builder; they and the table's pages they point to are valid until the next record is applied. */
tsr_status tsr_step_builder_build(tsr_step_builder *builder, const tsr_step_record *record,
                                  const tsr_slot_table *slots, const tsr_step **step,
                                  const tsr_sample_row **rows);

#endif
