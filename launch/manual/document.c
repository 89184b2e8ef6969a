/* document.c: docs/configuration.md. */
#include "launch/manual/manual.h"

#include "launch/option_names.h"
#include "launch/option_row.h"

#include <stdio.h>
#include <string.h>

static const char head[] =
    "# Configuration\n\n"
    "Made from the option table by `tessera_manual document`; a test holds it current.\n\n"
    "A value is taken from the first of these that states one:\n\n"
    "1. the command line: `--name value` or `--name=value`;\n"
    "2. the environment: `OPTION_NAME`, then the other variables below. An empty variable is none;\n"
    "3. a `serving.properties`: the file that `--config` (or `OPTION_CONFIG`) names, or else the one in the "
    "folder that\n"
    "   `--model` or its variables name;\n"
    "4. the default.\n\n"
    "Every stated value is checked, also one that another overrides. A name that is no option is an error, "
    "which names\n"
    "the nearest option; so are two names of one option in one place. Rank 0 alone reads the environment and "
    "the file\n"
    "and tells the other ranks. `tessera config` prints what is in force and where it came from; with "
    "`--json` as one\n"
    "object: `{\"tp\":{\"value\":4,\"origin\":\"file\",\"place\":\"DIR/serving.properties:3\"},..}`.\n\n"
    "On a command line names have `-` and in files and variables `_`: `--top-p`, `option.top_p`, "
    "`OPTION_TOP_P`. The\n"
    "further names work there too: `--tensor-parallel-degree 2`. Flags take a value in files and variables: "
    "true, yes, on,\n"
    "t, y, 1, or false, no, off, f, n, 0, in letters of any case. Words may be in letters of any case.\n\n"
    "The file has lines `key=value`, as Java's properties: `:` or blanks may stand for `=`; `#` and `!` "
    "begin comments; a\n"
    "backslash at the end joins the next line; \\t, \\n, \\r, \\f and \\uXXXX are escapes, and a backslash "
    "before another\n"
    "character is left out. It is UTF-8, and no key stands twice. A key without a value states nothing. "
    "Server keys may\n"
    "stand without `option.`. A relative `model_id` is relative to the file's folder if that has it; a file "
    "that names no\n"
    "model and is given by `--config` stands for the model in its own folder. A folder without a config.json "
    "stands for the\n"
    "model that its serving.properties names, whoever named the folder: `HF_MODEL_ID=/opt/ml/model` with "
    "`option.model_id` in\n"
    "/opt/ml/model/serving.properties. `SERVING_LOAD_MODELS=NAME::MPI=FOLDER` names a model and what it is "
    "served as.\n\n"
    "    engine=MPI\n"
    "    option.model_id=/models/llama-2-7b\n"
    "    option.tensor_parallel_degree=2\n"
    "    option.dtype=bf16\n"
    "    option.max_rolling_batch_size=32\n\n"
    "The number of ranks is the launcher's: a model runs on all ranks of the job, and a "
    "`tensor_parallel_degree` that\n"
    "differs is refused with the command line that would start it. Nothing is downloaded: `ORG/NAME` is "
    "looked up in the\n"
    "Hugging Face cache of this machine ($HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub), and "
    "`revision` chooses\n"
    "among the revisions there. Nothing that comes with a model is executed, whatever `trust_remote_code` "
    "says.\n\n"
    "What LMI does otherwise: its file overrides its environment; names it does not know are ignored; "
    "rolling "
    "batches are\n"
    "off where nobody asks for them (here a `batch_size` above 1 switches them off); `max_tokens` is 1024 "
    "where nobody says\n"
    "(here the model's own length), `max_rolling_batch_size` 32 (64), `predict_timeout` 120 (60), "
    "`max_request_size` 64 MiB\n"
    "(2), and CUDA graphs are off (on). `dtype` is the checkpoint's in both, whatever LMI's documents "
    "say.\n\n"
    "[serving.md](serving.md) says what `tessera serve` makes of its options.\n\n"
    "## Options\n\n"
    "| option | further names | values | commands | what it does |\n"
    "| --- | --- | --- | --- | --- |\n";

static const char keys_head[] =
    "\n## Keys that are no options\n\n"
    "These keys of LMI are known, with and without `option.`, so that its files can be used as they are.\n\n"
    "| key | accepted | |\n"
    "| --- | --- | --- |\n";

static tsr_status put_option(tsr_option_id id, tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, "| `"));
    TSR_TRY(tsr_manual_usage(id, out));
    TSR_TRY(tsr_text_puts(out, "` | "));
    TSR_TRY(tsr_manual_names(id, "`", "`", out));
    TSR_TRY(tsr_text_puts(out, " | "));
    TSR_TRY(tsr_manual_values(id, out));
    TSR_TRY(tsr_text_puts(out, " | "));
    TSR_TRY(tsr_manual_takers(id, out));
    return tsr_text_format(out, " | %s |\n", tsr_option_row_of(id)->help);
}

static tsr_status put_known_key(const tsr_known_key *key, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, "| `%s` | ", key->key));
    if (!key->accepted) TSR_TRY(tsr_text_puts(out, "no"));
    bool truth = strcmp(key->words, TSR_KEY_TRUTH) == 0, number = strcmp(key->words, TSR_KEY_NUMBER) == 0;
    if (truth) TSR_TRY(tsr_text_puts(out, "true or false"));
    if (number) TSR_TRY(tsr_text_puts(out, TSR_KEY_NUMBER));
    for (const char *at = truth || number ? "" : key->words; *at;) {
        int n = (int)strcspn(at, "|");
        TSR_TRY(tsr_text_format(out, "%s`%.*s`", at == key->words ? "" : ", ", n, at));
        at += n + (at[n] == '|');
    }
    return tsr_text_format(out, " | %s |\n", key->why);
}

tsr_status tsr_manual_document(tsr_text *out)
{
    int n;
    const tsr_known_key *keys = tsr_known_keys(&n);
    TSR_TRY(tsr_text_puts(out, head));
    for (int i = 0; i < TSR_OPTION_COUNT; i++) TSR_TRY(put_option((tsr_option_id)i, out));
    TSR_TRY(tsr_text_puts(out, keys_head));
    for (int i = 0; i < n; i++) TSR_TRY(put_known_key(&keys[i], out));
    return TSR_OK;
}
