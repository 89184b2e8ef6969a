/* megatron.h: GPT-2 and BERT as Megatron-LM trains them, listed as Hugging Face would store them.
 *
 * A training run at tensor-parallel degree M leaves M torch files, one a rank. Each holds, under "model" or "module", a
 * state dict, nested (model.language_model.encoder...) or flat, of that rank's pieces:
 *
 *     word_embeddings.weight              rows of the vocabulary, which is padded to make it divisible
 *     query_key_value.{weight,bias}       rows, in an order that "checkpoint_version" tells, E = H heads of D:
 *                                             0          [3, H/M, D] in each piece, q before k before v
 *                                             1          [H/M, D, 3]
 *                                             2, 3       [H/M, 3, D]
 *     dense_h_to_4h.{weight,bias}         rows
 *     dense.weight, dense_4h_to_h.weight  columns
 *     lm_head.bias (BERT)                 entries of the vocabulary
 *     all others                          whole, the same on every rank
 *
 * Here the pieces become concatenations, and those become tensors under the names of GPT2LMHeadModel (its linears
 * transposed) or MegatronBertForPreTraining, without the padding of the vocabulary: views all of them, so that reading
 * at any number of ranks reads what is needed of whichever pieces hold it. Older spellings (attention.,
 * transformer.) and those of Megatron-core (self_attention.linear_qkv, ...) are known. A tensor of any other name is
 * refused: it would belong to a model that is computed in another way.
 *
 * Heads and vocabulary come from config.json, else from the "args" of the run; where both tell the heads they must
 * agree. Without config.json the args also become one (tsr_source.config).
 *
 * Private to checkpoint/. Local. Errors: TSR_ERR_FORMAT with a line naming file and tensor; TSR_ERR_IO;
 * TSR_ERR_MEMORY.
 */
#ifndef TSR_CHECKPOINT_MEGATRON_H
#define TSR_CHECKPOINT_MEGATRON_H

#include "checkpoint/torch.h"

enum { TSR_MEGATRON_MAX_RANKS = 4096 };

/* --- From files --- */

typedef struct tsr_megatron_request {
    const int *files;      /* [n] of the source, that of rank 0 first */
    int n;                 /* 1 .. TSR_MEGATRON_MAX_RANKS */
    int mp_size;           /* the tensor-parallel degree, as stated elsewhere; 0: not stated */
    double version;        /* of the order of q, k and v, as stated elsewhere; negative: not stated */
    const char *stated_by; /* where those two were stated, for messages: "ds.json"; NULL: nowhere */
} tsr_megatron_request;

/* Reads the files and lists the tensors. What is stated about them (there, by the user, in the files) must agree. */
tsr_status tsr_megatron_list(tsr_source *source, const tsr_megatron_request *request);

/* The same for a format that has put the ranks' weights together itself: ranks [n], whose names become plain and whose
 * order changes. The files then tell what stands beside the weights. */
tsr_status tsr_megatron_list_states(tsr_source *source, tsr_state *ranks,
                                    const tsr_megatron_request *request);

/* Are these weights, or those of this file, called as Megatron's are? Looks at names only. */
bool tsr_megatron_is_state(const tsr_state *state);
bool tsr_megatron_is(const tsr_torch_file *file);

/* --- The insides --- */

/* What a file says beside the weights; 0 (or NULL, or false) where it says nothing. */
typedef struct tsr_megatron_facts {
    bool versioned;
    double version; /* 0, 1, 2 or 3 */
    int64_t mp_size;
    bool args; /* those of the training run are there, and with them what follows */
    int64_t hidden, layers, heads, ffn, positions, vocabulary, padded_vocabulary;
    int64_t divisible_by; /* the vocabulary was padded to a multiple of this, times the degree */
    double epsilon;
    const char *activation; /* as transformers names it */
    bool gpt2_tokenizer;
} tsr_megatron_facts;

/* Also refuses args that ask for other mathematics than GPT-2's or BERT's. */
tsr_status tsr_megatron_read_facts(const tsr_torch_file *file, tsr_megatron_facts *out);

/* Makes the names plain ("layers.0.mlp.dense_h_to_4h.weight"), drops what is no weight, and sorts. */
tsr_status tsr_megatron_plain_names(tsr_state *state, const char *where);

/* Lists what the states of all ranks are together, and sets the source's config. `file` names each rank's. */
tsr_status tsr_megatron_join(tsr_source *source, const tsr_state *ranks, int n, const char *const *file,
                             const tsr_megatron_facts *facts);

#endif
