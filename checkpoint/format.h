/* format.h: how a checkpoint format plugs in. Private to checkpoint/ and its tests.
 *
 * A format is one row of the table in source.c and one file. Its `open` lists every tensor: it adds the files
 * it needs and the tensors found in them; source.c then sorts the names, refuses duplicates and answers all
 * queries. A format whose tensors are not plain byte runs of a file sets `read`.
 */
#ifndef TSR_CHECKPOINT_FORMAT_H
#define TSR_CHECKPOINT_FORMAT_H

#include "base/json.h"
#include "base/memory.h"
#include "checkpoint/source.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct tsr_source_format {
    const char *name;      /* "safetensors" */
    const char *looks_for; /* the marker, as shown to the user: "model.safetensors" */
    const char *suffix;    /* of a file that --checkpoint names: the first row it fits; NULL: none fits */
    bool (*probe)(const tsr_source *source); /* is the marker there? Looks at names only */
    tsr_status (*open)(tsr_source *source);  /* lists the tensors */
} tsr_source_format;

extern const tsr_source_format tsr_format_safetensors;        /* safetensors.c */
extern const tsr_source_format tsr_format_safetensors_index;  /* shard_index.c */
extern const tsr_source_format tsr_format_torch_index;        /* shard_index.c */
extern const tsr_source_format tsr_format_torch;              /* torch_bin.c */
extern const tsr_source_format tsr_format_deepspeed_json;     /* deepspeed_json.c */
extern const tsr_source_format tsr_format_deepspeed_training; /* deepspeed_training.c */
extern const tsr_source_format tsr_format_megatron;           /* megatron_folder.c */
extern const tsr_source_format tsr_format_megatron_states;    /* megatron_folder.c */

typedef struct tsr_source_file {
    char *name;
    int fd;
    int64_t bytes;
} tsr_source_file;

struct tsr_source {
    const tsr_source_format *format;
    int dir;         /* the open folder of the files, -1 if there is none */
    char *dir_name;  /* as the user gave it */
    char *model_dir; /* where the model's config lies; NULL: in no folder */
    bool below;      /* it is one that a file of the user's folder named */
    char *named;     /* the file of it that the user named; NULL: the format's marker */
    int wanted_mp;   /* tensor-parallel degree in training, as the user states it; 0: not stated */
    int trained_mp;  /* the same as found; 1 unless the format sets it */
    const char *
        config; /* JSON: what the checkpoint itself says of its model, in the terms of a config.json; or NULL */
    const char *config_name; /* where that stood, for messages */
    const struct tsr_megatron_request
        *stated; /* what a file that named this folder says of a Megatron-LM checkpoint in
                                                  it (megatron.h), while it is opened; NULL: nothing did */
    tsr_arena *arena;
    tsr_source_file *files;
    int64_t file_count, file_capacity;
    tsr_tensor_info *tensors;
    int64_t tensor_count, tensor_capacity;
    const tsr_tensor_info **by_name; /* [tensor_count], sorted: finding is a binary search, which no set of
                                        hostile names can slow down as they could a hash table */
    tsr_status (*read)(const tsr_source *, const tsr_tensor_info *, int64_t offset, int64_t n, void *dst);
    atomic_llong bytes_read;
};

/* An empty source on no folder (dir NULL) or on an open-able one. */
tsr_status tsr_source_create(const char *dir, tsr_source **out);

/* Does a format recognise what is asked for? Looks at names only. */
bool tsr_source_recognised(const tsr_source_request *request);
/* By what is named, or by what lies in the folder; NULL if nothing fits. */
void tsr_source_choose_format(tsr_source *source);

/* Closes all files that were added. */
void tsr_source_forget_files(tsr_source *source);

/* Is there an entry of this name in the folder, whatever it is? */
bool tsr_source_has_file(const tsr_source *source, const char *name);

/* Is there a folder below this one, by a path of plain names? Another path is TSR_ERR_FORMAT. */
tsr_status tsr_source_has_folder(const tsr_source *source, const char *path, bool *out);

/* Goes over to a folder below this one, by a path of plain names, and lists the checkpoint there: that of the format
 * that recognises it, else all files in it that end in .safetensors, .bin or .pt, in the order of their names. Forgets
 * the files opened so far. Once only: what lies there cannot name another folder. */
tsr_status tsr_source_open_below(tsr_source *source, const char *path);

/* The config.json of the model, for formats whose layout depends on it; free it with tsr_json_free. */
tsr_status tsr_source_read_config(const tsr_source *source, tsr_json *out);

/* Opens a regular file of the folder by its plain name (rules in source.h). *file is its index. */
tsr_status tsr_source_add_file(tsr_source *source, const char *name, int *file);
/* The same for a path below the folder: plain names with '/' between them. */
tsr_status tsr_source_add_path(tsr_source *source, const char *path, int *file);
/* Takes over an open descriptor, also on failure. */
tsr_status tsr_source_add_fd(tsr_source *source, int fd, const char *name, int *file);

/* Appends a tensor; name and label are copied, their lengths were bounded by the caller's file cap. */
tsr_status tsr_source_add_tensor(tsr_source *source, const tsr_tensor_info *tensor);

/* Sorts the names; a name listed twice is TSR_ERR_FORMAT. Called after the last tensor; a format whose
 * own checks look names up may have called it before. */
tsr_status tsr_source_finish(tsr_source *source);

/* Reads a whole file that was added, of at most `cap` bytes, as JSON; free it with tsr_json_free. */
tsr_status tsr_source_read_json(const tsr_source *source, int file, int64_t cap, tsr_json *out);

/* Reads a whole file of at most `cap` bytes that is not one of the source's: a name in its folder, our own. */
tsr_status tsr_source_read_small(const tsr_source *source, const char *name, int64_t cap, void *dst,
                                 int64_t *bytes);

/* The names in a folder below the source's, sorted; NULL: in that itself. `name` may come from a file: it must be plain,
 * and no link. More than `cap` of them: TSR_ERR_FORMAT. They belong to the arena. */
tsr_status tsr_source_list_folder(const tsr_source *source, const char *name, int64_t cap, tsr_arena *arena,
                                  const char *const **names, int64_t *count);

/* Reads exactly n bytes at an offset of a file. Not counted. */
tsr_status tsr_source_pread(const tsr_source *source, int file, int64_t offset, int64_t n, void *dst);

/* Lists the tensors of one safetensors file that was added. */
tsr_status tsr_safetensors_list(tsr_source *source, int file);
/* Hands them to the sink instead, with the value of "part:NAME" in the file's __metadata__ (NULL: none); names
 * and values live during the call. */
typedef tsr_status tsr_safetensors_sink(void *context, const tsr_tensor_info *tensor, const char *part);
tsr_status tsr_safetensors_scan(tsr_source *source, int file, tsr_safetensors_sink *sink, void *context);

#endif
