/* state.h: a state dict: names and what they stand for, before they become the tensors of a source.
 *
 * Formats that keep a model in pieces (ranks of a training run, parts of a rank) read each piece into a state, put
 * states together by views, and hand the result over. Entries live in the source's arena and last as long as it.
 * Private to checkpoint/. Local.
 */
#ifndef TSR_CHECKPOINT_STATE_H
#define TSR_CHECKPOINT_STATE_H

#include "checkpoint/format.h"
#include "checkpoint/view_node.h"

typedef struct tsr_state_entry {
    const char *name;
    const tsr_view *view; /* all of its leaves are stored ones */
} tsr_state_entry;

typedef struct tsr_state {
    tsr_source *source;
    tsr_state_entry *entries; /* [count]; sorted by name after tsr_state_sort */
    int64_t count, capacity;
} tsr_state;

void tsr_state_free(tsr_state *state); /* the array; accepts a zeroed one */

/* The name is copied. */
tsr_status tsr_state_add(tsr_state *state, const char *name, const tsr_view *view);

/* Sorts; a name given twice is TSR_ERR_FORMAT. `where` names the file or files. */
tsr_status tsr_state_sort(tsr_state *state, const char *where);

/* In a sorted state; NULL if there is none. */
const tsr_view *tsr_state_find(const tsr_state *state, const char *name);

/* Every entry becomes a tensor of the source. */
tsr_status tsr_state_list(const tsr_state *state);

/* The one number format of the view's leaves; its label as the file spells it. Pieces that differ: TSR_ERR_FORMAT
 * naming `name`. */
tsr_status tsr_view_stored_dtype(const tsr_view *view, const char *name, tsr_dtype *dtype,
                                 const char **label);

/* A tensor of this name made of the view: plain if it is one run of bytes. */
tsr_status tsr_source_add_view(tsr_source *source, const char *name, const tsr_view *view);

/* A copy of the tensor in the source's arena, not listed, for views to be made of. */
tsr_status tsr_source_keep(tsr_source *source, const tsr_tensor_info *tensor, const tsr_tensor_info **out);

/* tsr_source_read for a tensor that is made of others. */
tsr_status tsr_source_read_made(const tsr_source *source, const tsr_tensor_info *tensor, int64_t byte_offset,
                                int64_t n, void *dst);

#endif
