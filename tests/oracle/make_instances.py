#!/usr/bin/env python3
"""Makes the oracle: tiny random models and what transformers computes with them.

    make_instances.py [NAME...]            writes tests/oracle/NAME/ for the rows of instances.py (all by default)
    make_instances.py --verify [NAME...]   loads the folders as they are, with the transformers that is installed,
                                           and compares: a second release as a second opinion

Needs transformers 4.57 and torch 2.2 or newer (README.md says why not an older release). Weights are drawn from a
seeded generator, rounded to the type they are stored in, written, and read back through from_pretrained: what is
expected follows from the files alone. A seed is taken only if no choice is close: a gap of MIN_GAP between the best
two candidates at each greedy step and among the leading TOP + 1 after each prompt.
"""
import argparse
import collections
import contextlib
import copy
import json
import pathlib
import re
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

import instances
import reference

HERE = pathlib.Path(__file__).resolve().parent
MAJOR = int(transformers.__version__.split(".")[0])
MIN_GAP = 2e-3
MAX_ROUNDING = 1.5e-5
TOP = 5
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


# OPT's own initialisation trips over norms without weights, and all weights are set here anyway.
transformers.models.opt.modeling_opt.OPTPreTrainedModel._init_weights = lambda self, module: None


# ---- the model as random weights -----------------------------------------------------------------------------------

def readable_config(config):
    """The config as the installed release reads it: releases before 5 do not know `rope_parameters`."""
    config = copy.deepcopy(config)
    rope = config.pop("rope_parameters", None)
    if rope is not None and MAJOR >= 5:
        config["rope_parameters"] = rope
    elif rope is not None:
        neox = config["model_type"] == "gpt_neox"
        config["rotary_emb_base" if neox else "rope_theta"] = rope.pop("rope_theta")
        if neox:
            config["rotary_pct"] = rope.pop("partial_rotary_factor")
        if rope["rope_type"] == "longrope":
            config["original_max_position_embeddings"] = rope.pop("original_max_position_embeddings")
        if rope["rope_type"] != "default":
            config["rope_scaling"] = rope
    return transformers.AutoConfig.for_model(config.pop("model_type"), **config)


def spread(name, tensor, row):
    """Standard deviation of a weight: keeps hidden values near 1 and logits spread over a few units."""
    config = row["config"]
    embed = next(config[key] for key in ("hidden_size", "n_embd", "n_embed", "d_model") if key in config)
    if re.search(r"lm_head|embed_out", name):
        return 2.5 / embed**0.5
    if re.search(r"wte|wpe|embed", name):
        return 1.0 if row["head"] == "stored" else 2.5 / embed**0.5
    transposed = config["model_type"] in ("gpt2", "openai-gpt") and re.search(r"c_attn|c_proj|c_fc", name)
    fan_in = tensor.shape[0] if transposed else tensor.shape[1]
    gain = row["qk_gain"] if re.search(r"q_proj|k_proj|c_attn|query_key_value|Wqkv|qkv_proj", name) else row["gain"]
    return gain / fan_in**0.5


def storage_dtype(name, row):
    if row["dtypes"] != "mixed":
        return DTYPES[row["dtypes"]]
    return torch.float32 if "norm" in name else torch.float16 if "embed" in name else torch.bfloat16


def random_weights(row, seed):
    """Every parameter by name, as stored. Norm weights are spread about 1 and biases about 0, never constant."""
    model = transformers.AutoModelForCausalLM.from_config(readable_config(row["config"]))
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            value = 0.3 * noise + (1.0 if name.endswith("weight") else 0.0)
            value *= 0.3 if "embeddings_layernorm" in name else 1.0  # else each token settles the next one alone
        else:
            value = spread(name, parameter, row) * noise
        weights[name] = value.to(storage_dtype(name, row))
    return weights


# ---- the files -----------------------------------------------------------------------------------------------------

PREFIX, OF_THE_HEAD = reference.PREFIX, ("lm_head.", "embed_out.")
HEAD = {"gpt2": ("lm_head.weight", "transformer.wte.weight"), "llama": ("lm_head.weight", "model.embed_tokens.weight"),
        "falcon": ("lm_head.weight", "transformer.word_embeddings.weight")}
# Where old releases of each family saved a causal mask: the name of the attention module.
MASKED = {"gpt2": "transformer.h.{}.attn", "gptj": "transformer.h.{}.attn", "codegen": "transformer.h.{}.attn",
          "gpt_neo": "transformer.h.{}.attn.attention", "gpt_bigcode": "transformer.h.{}.attn",
          "openai-gpt": "transformer.h.{}.attn"}


def junk_buffers(row):
    """What old releases saved beside the weights: causal masks, mask values, rope frequencies."""
    config = row["config"]
    if config["model_type"] in MASKED:
        mask = torch.tril(torch.ones(1, 1, 12, 12))
        for layer in range(config.get("n_layer") or config["num_layers"]):
            name = MASKED[config["model_type"]].format(layer)
            yield f"{name}.bias", mask.clone()
            yield f"{name}.masked_bias", torch.tensor(-1e4)
    else:
        for layer in range(config["num_hidden_layers"]):
            name = f"gpt_neox.layers.{layer}.attention"
            yield f"{name}.bias", torch.tril(torch.ones(1, 1, 12, 12, dtype=torch.bool))
            yield f"{name}.masked_bias", torch.tensor(-1e9)
            yield f"{name}.rotary_emb.inv_freq", torch.tensor([0.123])


def stored_tensors(row, weights):
    """The tensors as the file names them: prefix, tied head and junk as the row asks."""
    tensors = dict(weights)
    if row["head"] == "copied":
        head, embedding = HEAD[row["config"]["model_type"]]
        tensors[head] = tensors[embedding].clone()
    if row["junk"]:
        tensors.update(junk_buffers(row))
    if not row["prefix"]:
        tensors = {name.removeprefix(PREFIX[row["config"]["model_type"]]): t for name, t in tensors.items()}
    return tensors


def write_weights(folder, tensors, shards):
    if shards == 1:
        return save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    names, weight_map = sorted(tensors), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}  # neighbours land in different files
        save_file(part, folder / file, {"format": "pt"})
        weight_map.update({name: file for name in part})
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_config(folder, config):
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


# ---- what the reference computes -----------------------------------------------------------------------------------

def load(folder, dtype):
    """The model as from_pretrained reads the folder, eager attention, computing in `dtype`.

    Eager: other implementations of gpt2 ignore the score-scaling options. The reference keeps parts in float32
    whatever the dtype: rope tables, and for all but gpt2 the softmax, and the RMS norm. gpt2's upcasting of scores,
    the same mathematics, works in float32 only.
    """
    config = readable_config(json.loads((folder / "config.json").read_text()))
    if dtype == torch.float64 and config.model_type == "gpt2":
        config.reorder_and_upcast_attn = False
    name = "dtype" if MAJOR >= 5 or transformers.__version__ >= "4.56" else "torch_dtype"
    # Eager Falcon of this release adds the ALiBi biases twice.
    how = "sdpa" if config.model_type == "falcon" and config.alibi else "eager"
    options = {"config": config, "attn_implementation": how, name: torch.float32}
    tensors = {key: t for file in sorted(folder.glob("model*.safetensors")) for key, t in load_file(file).items()}
    prefix = PREFIX[config.model_type]
    bare = [key for key in tensors if not key.startswith(prefix) and not key.startswith(OF_THE_HEAD)]
    if bare and len(bare) < len(tensors):  # from_pretrained takes names without prefix only if there is no head
        tensors = {prefix + key if key in bare else key: t for key, t in tensors.items()}
        with tempfile.TemporaryDirectory() as other:
            save_file(tensors, pathlib.Path(other) / "model.safetensors", {"format": "pt"})
            model = transformers.AutoModelForCausalLM.from_pretrained(other, use_safetensors=True, **options)
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **options)
    return model.to(dtype).eval()


@contextlib.contextmanager
def default_dtype(model):
    """MPT and XGLM make their masks in torch's default type with the lowest number of the model's own."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(model.dtype if model.config.model_type in ("mpt", "xglm") else before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def log_probs(model, ids):
    """[T, V]: row t holds the log-probability of every token after ids[0..t]. One forward pass, no cache.

    On a copy: rope types that follow the sequence length leave their last state behind in the model.
    """
    with torch.no_grad(), default_dtype(model):
        options = {} if model.config.model_type == "openai-gpt" else {"use_cache": False}  # which has none
        logits = copy.deepcopy(model)(torch.tensor([ids]), **options).logits[0]
    return torch.log_softmax(logits.double(), dim=-1)


def greedy(model, ids, count, eos):
    """The reference's own generate(), with its cache: new ids, their log-probabilities, the smallest lead."""
    model = copy.deepcopy(model)
    if not eos:
        model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    prompt = torch.tensor([ids])
    with default_dtype(model):
        out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False,
                             use_cache=True, return_dict_in_generate=True, output_logits=True)
    new = out.sequences[0, len(ids):].tolist()
    rows = torch.log_softmax(torch.cat(out.logits).double(), dim=-1)
    best = rows.topk(2).values
    return new, [rows[i, token].item() for i, token in enumerate(new)], (best[:, 0] - best[:, 1]).min().item()


class TooClose(Exception):
    """This seed leaves a choice to rounding, or shows too little: take another."""


def prompts(row, seed):
    """Random prompts of the row's lengths; the longer ones hold the first and last id, and a repeat."""
    generator = torch.Generator().manual_seed(seed + 1)
    vocab = row["config"]["vocab_size"]
    for length in row["lengths"]:
        ids = torch.randint(0, vocab, (length,), generator=generator).tolist()
        if length >= 5:
            ids[1], ids[2], ids[-1] = 0, vocab - 1, ids[0]
        yield ids


def expect_prompt(model, row, ids):
    rows = log_probs(model, ids)
    lead = rows[-1].topk(TOP + 1)
    if (lead.values[:-1] - lead.values[1:]).min() < MIN_GAP:
        raise TooClose("the best after a prompt")
    told = [None] + [round(rows[t, ids[t + 1]].item(), 8) for t in range(len(ids) - 1)]
    best = [[i, round(v, 8)] for i, v in zip(lead.indices[:TOP].tolist(), lead.values[:TOP].tolist())]
    entry = {"ids": ids, "logprobs": told, "last_top": best, "greedy": None}
    count = row["new_tokens"](len(ids))
    if count:
        new, values, gap = greedy(model, ids, count, row["eos"])
        if gap < MIN_GAP:
            raise TooClose("a greedy step")
        uncached = log_probs(model, ids + new)
        worst = max(abs(uncached[len(ids) - 1 + i, t].item() - values[i]) for i, t in enumerate(new))
        assert worst < 1e-5, f"{row['name']}: with and without cache differ by {worst}"
        entry.update(greedy=new, greedy_logprobs=[round(v, 8) for v in values], max_new_tokens=count,
                     finish_reason="length" if len(new) == count else "eos")
    return entry, rows


def rounding_error(folder, entries, matrices):
    """How far rounding alone carries a result: the reference in float32, and float64 without its float32 parts,
    against what is expected, every token of every prompt. The tolerance of 1e-4 must leave room for it."""
    single, plain, worst = load(folder, torch.float32), reference.Model(folder), 0.0
    for entry, rows in zip(entries, matrices):
        ids = entry["ids"]
        for other in log_probs(single, ids), torch.from_numpy(plain.logprobs(ids)):
            worst = max(worst, (other - rows).abs().max().item())
        if entry["greedy"]:
            eos = entry["finish_reason"] == "eos"
            if greedy(single, ids, entry["max_new_tokens"], eos)[0] != entry["greedy"]:
                raise TooClose("float32 chooses otherwise")
    if worst > MAX_ROUNDING:
        raise TooClose("rounding shows")
    return worst


def bfloat16_error(folder, entries):
    """How far the reference strays when it computes in bfloat16: what a run in that type may be held to."""
    model, errors = load(folder, torch.bfloat16), []
    for entry in entries:
        rows, ids = log_probs(model, entry["ids"]), entry["ids"]
        errors += [abs(rows[t, ids[t + 1]].item() - entry["logprobs"][t + 1]) for t in range(len(ids) - 1)]
    return {"mean": round(sum(errors) / len(errors), 4), "max": round(max(errors), 4)}


def choose_eos(folder, row, entries):
    """Ends of sequence: ids that never come up, or for an eos row two that do, the second known only to
    generation_config.json, which the reference prefers to config.json."""
    seen = {token for entry in entries for token in entry["ids"] + (entry["greedy"] or [])}
    unseen = [token for token in range(row["config"]["vocab_size"]) if token not in seen]
    if not row["eos"]:
        if not unseen:
            raise TooClose("no id left for the end of sequence")
        return write_config(folder, {**row["config"], "eos_token_id": unseen[-1]})
    first, second = entries[0]["greedy"][5], entries[1]["greedy"][3]
    write_config(folder, {**row["config"], "eos_token_id": first})
    generation = {"bos_token_id": 1, "eos_token_id": [first, second]}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def demand_variety(row, entries):
    """Greedy tokens that all fall into one loop at once would show little."""
    told = [entry for entry in entries if entry["greedy"]]
    if row["eos"]:
        reasons = [entry["finish_reason"] for entry in told]
        ends = {entry["greedy"][-1] for entry in told if entry["finish_reason"] == "eos"}
        inside = any(end in entry["ids"] for entry in entries for end in ends)  # must not end anything there
        if reasons.count("eos") < 3 or reasons.count("length") < 2 or len(ends) < 2 or not inside:
            raise TooClose("the ends of sequences")
    elif sum(len(set(e["greedy"])) for e in told) < row["variety"] * sum(len(e["greedy"]) for e in told):
        raise TooClose("greedy text repeats itself")


def make_with_seed(row, seed):
    folder = HERE / row["name"]
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    write_config(folder, row["config"])
    write_weights(folder, stored_tensors(row, random_weights(row, seed)), row["shards"])
    texts = list(prompts(row, seed))
    model = load(folder, torch.float64)
    results = [expect_prompt(model, {**row, "eos": False}, ids) for ids in texts]
    choose_eos(folder, row, [entry for entry, _ in results])
    if row["eos"]:
        model = load(folder, torch.float64)
        results = [expect_prompt(model, row, ids) for ids in texts]
    entries = [entry for entry, _ in results]
    demand_variety(row, entries)
    worst = rounding_error(folder, entries, [rows for _, rows in results])
    full = len(entries) - (2 if row["config"]["vocab_size"] > 200 else 1)
    save_file({"logprobs": results[full][1].float().contiguous()}, folder / "full.safetensors")
    about = {"instance": row["name"], "seed": seed, "rounding_error": float(f"{worst:.1e}"),
             "bfloat16_error": bfloat16_error(folder, entries), "full": {"prompt": full, "file": "full.safetensors"},
             "made_with": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}}
    write_expected(folder, about, entries)
    for file in folder.iterdir():
        file.chmod(0o644)


def write_expected(folder, about, entries):
    """One field and one prompt a line, so that a change can be read."""
    fields = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items())
    lines = ",\n  ".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    text = "{\n" + fields + ' "prompts": [\n  ' + lines + "\n ]\n}\n"
    json.loads(text)
    (folder / "expected.json").write_text(text)


def make(row):
    reasons = collections.Counter()
    for seed in range(1, 200):
        try:
            make_with_seed(row, seed)
        except TooClose as why:
            reasons[str(why)] += 1
            continue
        size = sum(file.stat().st_size for file in (HERE / row["name"]).iterdir())
        return print(f"{row['name']:24} seed {seed:3}  {size / 1024:6.0f} KiB", flush=True)
    raise SystemExit(f"{row['name']}: no seed keeps its choices apart: {dict(reasons)}")


# ---- a second opinion ----------------------------------------------------------------------------------------------

def verify(name):
    """Largest difference between the committed expectations and this release of transformers, in float64."""
    folder = HERE / name
    expected = json.loads((folder / "expected.json").read_text())
    model, worst, same = load(folder, torch.float64), 0.0, True
    for entry in expected["prompts"]:
        ids, rows = entry["ids"], log_probs(model, entry["ids"])
        told = [rows[t, ids[t + 1]].item() for t in range(len(ids) - 1)] + rows[-1].topk(TOP).values.tolist()
        given = entry["logprobs"][1:] + [value for _, value in entry["last_top"]]
        worst = max([worst] + [abs(a - b) for a, b in zip(told, given)])
        if entry["greedy"]:
            eos = entry["finish_reason"] == "eos"
            same = same and greedy(model, ids, entry["max_new_tokens"], eos)[0] == entry["greedy"]
    good = worst < 2e-6 and same
    print(f"{name:24} {'agrees' if good else 'DIFFERS'}  worst {worst:.1e}  greedy {'same' if same else 'differs'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verify", action="store_true", help="compare the folders with the installed release")
    parser.add_argument("names", nargs="*", help="rows of instances.py; all by default")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    rows = instances.all_instances()
    names = args.names or list(rows)
    if args.verify:
        good = [verify(name) for name in names]
        print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
        return 0 if all(good) else 1
    for name in names:
        make(rows[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
