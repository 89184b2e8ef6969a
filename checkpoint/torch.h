/* torch.h: files that torch.save wrote: a zip archive with one pickle and the bytes of each storage.
 *
 *     ROOT/data.pkl      the pickled object; tensors in it are calls that name a storage, an offset and strides
 *     ROOT/data/KEY      the storages
 *     ROOT/byteorder     "little", if it is there
 *
 * A tensor that lies densely in its storage becomes a run of bytes of the file, any other a strided view of it.
 * Storages may be shared. What is no tensor and no dict of such (arguments, optimizers, random states) reads as
 * nodes that formats may ask questions of. The tar format and the bare pickle of torch before 1.6 are refused.
 *
 * Errors: TSR_ERR_FORMAT with a line naming file and tensor; TSR_ERR_IO; TSR_ERR_MEMORY. Private to checkpoint/; local.
 */
#ifndef TSR_CHECKPOINT_TORCH_H
#define TSR_CHECKPOINT_TORCH_H

#include "checkpoint/pickle.h"
#include "checkpoint/state.h"
#include "checkpoint/zip.h"

typedef struct tsr_torch_file {
    tsr_source *source;
    int file;         /* of the source */
    const char *name; /* of it */
    tsr_arena *arena; /* of the nodes and the archive's directory */
    tsr_zip zip;
    const char *root; /* "archive/", "" */
    const tsr_pickle_node *object;
} tsr_torch_file;

/* Reads the pickle of a file that was added to the source. tsr_torch_close frees the nodes; views made of the file
 * stay, they live in the source's arena. On failure there is nothing to close. */
tsr_status tsr_torch_open(tsr_source *source, int file, tsr_torch_file *out);
void tsr_torch_close(tsr_torch_file *file); /* accepts a zeroed or closed one */

/* Is it a tensor (or a parameter, which is a tensor with a flag)? */
bool tsr_torch_is_tensor(const tsr_pickle_node *node);

/* The tensor as a view of what the file stores; `name` for messages. */
tsr_status tsr_torch_view(const tsr_torch_file *file, const tsr_pickle_node *node, const char *name,
                          const tsr_view **out);

/* The extents of a torch.Size or a tuple. False if it is none, or of too many. */
bool tsr_torch_size(const tsr_pickle_node *node, int *rank, int64_t shape[TSR_MAX_RANK]);

/* The dict of the weights: the file's object, or what stands in it under "module", "model" or "state_dict", as deep
 * as needed. Two of these beside each other are refused. */
tsr_status tsr_torch_state_dict(const tsr_torch_file *file, const tsr_pickle_node **out);

/* A key as text: a string that can be part of a tensor's name, or a number. */
enum { TSR_TORCH_KEY = 513 };
tsr_status tsr_torch_key(const tsr_torch_file *file, const tsr_pickle_node *key, char text[TSR_TORCH_KEY]);

/* Adds every tensor of the dict, and of the dicts in it with their names joined by '.', to the state. What is neither
 * is left out. */
tsr_status tsr_torch_collect(const tsr_torch_file *file, const tsr_pickle_node *dict, tsr_state *state);

/* The same, and a list of a tensor and its scales, as DeepSpeed writes weights, counts as that tensor. */
tsr_status tsr_torch_collect_scaled(const tsr_torch_file *file, const tsr_pickle_node *dict,
                                    tsr_state *state);

/* Lists the tensors of one torch file that was added: under the names that stand in it. */
tsr_status tsr_torch_list(tsr_source *source, int file);

#endif
