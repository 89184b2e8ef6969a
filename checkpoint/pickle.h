/* pickle.h: Python pickles of protocol 2 to 5, read into inert nodes.
 *
 * A pickle is a program for a stack machine; running it in Python can call anything. Here its opcodes build nodes
 * and nothing else: a class is a pair of names, a call is the callee's node beside its arguments' node, whatever the
 * callee is. So files full of classes we never heard of read as well as others, and none of them is run, for there
 * is nothing to run. What the nodes mean is for the caller to say (torch.h).
 *
 * Bounds: bytes, nodes, memo and stack are capped; memory is proportional to the pickle. The nodes form a graph that
 * may share and, in hostile files, contain itself: walkers must bound depth and visits (tsr_pickle_walk).
 *
 * Strings and bytes point into the pickle, which must outlive the nodes; they are not terminated and may hold
 * anything. Errors: TSR_ERR_FORMAT with a line naming `where` and the byte; TSR_ERR_MEMORY. Local.
 */
#ifndef TSR_CHECKPOINT_PICKLE_H
#define TSR_CHECKPOINT_PICKLE_H

#include "base/memory.h"

#include <stdbool.h>

enum {
    TSR_PICKLE_BYTES_CAP = 256 << 20,
    TSR_PICKLE_NODE_CAP = 1 << 22,
    TSR_PICKLE_DEPTH_CAP = 64 /* for walkers */
};

typedef enum tsr_pickle_kind {
    TSR_PICKLE_MARK, /* never in a finished pickle */
    TSR_PICKLE_NONE,
    TSR_PICKLE_BOOL,
    TSR_PICKLE_INT,
    TSR_PICKLE_BIG_INT, /* more than 64 bits: not kept */
    TSR_PICKLE_FLOAT,
    TSR_PICKLE_STRING,
    TSR_PICKLE_BYTES,
    TSR_PICKLE_TUPLE,
    TSR_PICKLE_LIST,
    TSR_PICKLE_DICT,
    TSR_PICKLE_SET,
    TSR_PICKLE_CLASS,     /* text: module, name: a function as well */
    TSR_PICKLE_CALL,      /* callee, args, and what was put into the result */
    TSR_PICKLE_PERSISTENT /* args: the id of something outside of the pickle */
} tsr_pickle_kind;

typedef struct tsr_pickle_node tsr_pickle_node;

typedef struct tsr_pickle_item {
    const tsr_pickle_node *key; /* NULL in lists */
    const tsr_pickle_node *value;
    struct tsr_pickle_item *next;
} tsr_pickle_item;

struct tsr_pickle_node {
    tsr_pickle_kind kind;
    union {
        int64_t integer; /* INT, BOOL */
        double real;
        struct {
            const char *text; /* STRING, BYTES; of a CLASS the module */
            int64_t length;
            const char *name; /* CLASS */
            int64_t name_length;
        };
        struct {
            const tsr_pickle_node *callee, *args, *state; /* CALL: state may be NULL; PERSISTENT: args */
        };
    };
    tsr_pickle_item *first, *last; /* TUPLE, LIST, DICT, SET; of a CALL what was appended or set */
    int64_t count;                 /* of items */
};

tsr_status tsr_pickle_parse(const char *bytes, int64_t n, const char *where, tsr_arena *arena,
                            const tsr_pickle_node **root);

/* --- Asking; all accept NULL and answer no --- */

bool tsr_pickle_is_text(const tsr_pickle_node *node, const char *text);
bool tsr_pickle_is_class(const tsr_pickle_node *node, const char *module, const char *name);
bool tsr_pickle_is_call(const tsr_pickle_node *node, const char *module, const char *name);
/* A dict, or the call of an OrderedDict or another class that was filled by keys. */
bool tsr_pickle_is_dict(const tsr_pickle_node *node);
bool tsr_pickle_int(const tsr_pickle_node *node, int64_t *out); /* BOOL too */
bool tsr_pickle_number(const tsr_pickle_node *node, double *out);
/* Item i of a tuple or list; NULL if there is none. */
const tsr_pickle_node *tsr_pickle_at(const tsr_pickle_node *node, int64_t i);
/* The value at a text key of a dict, or of the attributes of an object (argparse.Namespace); the last of several;
 * NULL if there is none. */
const tsr_pickle_node *tsr_pickle_get(const tsr_pickle_node *node, const char *key);

#endif
