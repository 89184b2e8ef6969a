#!/usr/bin/env python3
"""Makes the instances of the families whose modelling code is not part of transformers, with numpy alone.

    make_remote.py [NAME...]            writes tests/oracle/NAME/ for the rows of remote_instances.py (all by default)

What is expected comes from remote_reference.py in float64. Files and rules as in make_instances.py: weights drawn
from a seeded generator and rounded to the type they are stored in; a seed is taken only if no choice is close.
"""
import collections
import json
import pathlib
import re
import struct
import sys

import numpy as np

import remote_instances
import remote_reference as reference

HERE = pathlib.Path(__file__).resolve().parent
MIN_GAP, MAX_ROUNDING, TOP = 2e-3, 1.5e-5, 5
EMBEDDING = r"embed_tokens|wte|word_embeddings|position_embeddings"
HEAD = r"lm_head|output_layer"
QUERIES = r"q_proj|k_proj|W_pack|c_attn|query_key_value"


class TooClose(Exception):
    """This seed leaves a choice to rounding, or shows too little: take another."""


# ---- the files -----------------------------------------------------------------------------------------------------

def as_bytes(value, dtype):
    if dtype == "BF16":
        return (reference.to_bfloat16(value).view(np.uint32) >> 16).astype("<u2").tobytes()
    return value.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def save(path, tensors, dtype):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in tensors.items():
        raw = as_bytes(value, dtype)
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def vocabulary_of(row):
    return row["config"].get("padded_vocab_size") or row["config"]["vocab_size"]


def spread(name, shape, row):
    embed = row["config"]["hidden_size"]
    if re.search(HEAD, name):
        return 2.5 / embed**0.5
    if re.search(EMBEDDING, name):
        return 1.0 if row["head"] == "stored" else 2.5 / embed**0.5
    return (row["qk_gain"] if re.search(QUERIES, name) else row["gain"]) / shape[1]**0.5


def random_weights(row, seed):
    generator = np.random.default_rng(seed)
    for name, shape in remote_instances.shapes(row["config"]).items():
        noise = generator.standard_normal(shape).astype(np.float32)
        if len(shape) > 1:
            noise *= np.float32(spread(name, shape, row))
        else:
            noise = 0.3 * noise + (name.endswith("weight") and not name.endswith("bias"))
            if re.search(r"model\.norm\.", name):
                noise *= np.float32(row["norm_gain"])
        yield name, noise.astype(np.float32)


def write_weights(folder, row, seed):
    tensors = dict(random_weights(row, seed))
    head = next((name for name in tensors if re.search(HEAD, name)), None)
    table = next(name for name in tensors if re.search(r"embed_tokens|wte|word_embeddings", name))
    if row["head"] == "copied":
        tensors[head] = tensors[table]
    elif row["head"] == "omitted" and head:
        del tensors[head]
    prefix = reference.Model.PREFIX[row["config"]["model_type"]]
    if not row["prefix"]:
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    names, weight_map = sorted(tensors), {}
    if row["shards"] == 1:
        return save(folder / "model.safetensors", tensors, row["dtypes"])
    for shard in range(row["shards"]):
        file = f"model-{shard + 1:05d}-of-{row['shards']:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::row["shards"]]}
        save(folder / file, part, row["dtypes"])
        weight_map.update({name: file for name in part})
    index = {"metadata": {}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


# ---- what the reference computes -----------------------------------------------------------------------------------

def prompts(row, seed):
    generator, vocab = np.random.default_rng(seed + 1000), vocabulary_of(row)
    for length in row["lengths"]:
        ids = generator.integers(0, vocab, length).tolist()
        if length >= 5:
            ids[1], ids[2], ids[-1] = 0, vocab - 1, ids[0]
        yield row["prepare"](ids, row["config"]) if "prepare" in row else ids


def greedy(model, ids, count):
    """New ids, their log-probabilities and the smallest lead; every step from the whole sequence."""
    known, values, gap = list(ids), [], np.inf
    for _ in range(count):
        row = model.logprobs(known, prompt=len(ids))[-1]
        second, best = np.sort(row)[-2:]
        gap = min(gap, best - second)
        known.append(int(row.argmax()))
        values.append(float(best))
    return known[len(ids):], values, gap


def expect_prompt(model, row, ids):
    rows = model.logprobs(ids)
    order = np.argsort(-rows[-1], kind="stable")
    if -np.diff(rows[-1][order[:TOP + 1]]).max() < MIN_GAP:
        raise TooClose("the best after a prompt")
    told = [None] + [round(float(rows[t, ids[t + 1]]), 8) for t in range(len(ids) - 1)]
    best = [[int(i), round(float(rows[-1][i]), 8)] for i in order[:TOP]]
    entry = {"ids": ids, "logprobs": told, "last_top": best, "greedy": None}
    count = row["new_tokens"](len(ids))
    if count:
        new, values, gap = greedy(model, ids, count)
        if gap < MIN_GAP:
            raise TooClose("a greedy step")
        entry.update(greedy=new, greedy_logprobs=[round(v, 8) for v in values], max_new_tokens=count,
                     finish_reason="length")
    return entry, rows


def demand_variety(entries):
    told = [entry for entry in entries if entry["greedy"]]
    if sum(len(set(e["greedy"])) for e in told) < 0.4 * sum(len(e["greedy"]) for e in told):
        raise TooClose("greedy text repeats itself")


def errors(folder, entries, matrices):
    """(worst error of float32, mean and worst of bfloat16)"""
    single, half = (reference.Model(folder, arithmetic=a) for a in (reference.FLOAT32, reference.BFLOAT16))
    worst, coarse = 0.0, []
    for entry, rows in zip(entries, matrices):
        ids = entry["ids"]
        worst = max(worst, float(abs(single.logprobs(ids) - rows).max()))
        other = half.logprobs(ids)
        coarse += [abs(other[t, ids[t + 1]] - rows[t, ids[t + 1]]) for t in range(len(ids) - 1)]
    if worst > MAX_ROUNDING:
        raise TooClose("rounding shows")
    return worst, {"mean": round(float(np.mean(coarse)), 4), "max": round(float(max(coarse)), 4)}


def write_config(folder, config):
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def make_with_seed(row, seed):
    folder = HERE / row["name"]
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    write_config(folder, row["config"])
    write_weights(folder, row, seed)
    model = reference.Model(folder)
    results = [expect_prompt(model, row, ids) for ids in prompts(row, seed)]
    entries, matrices = [entry for entry, _ in results], [rows for _, rows in results]
    demand_variety(entries)
    worst, coarse = errors(folder, entries, matrices)
    seen = {token for entry in entries for token in entry["ids"] + (entry["greedy"] or [])}
    unseen = [token for token in range(vocabulary_of(row)) if token not in seen]
    if not unseen:
        raise TooClose("no id left for the end of sequence")
    write_config(folder, {**row["config"], "eos_token_id": unseen[-1]})
    full = len(entries) - 1
    save(folder / "full.safetensors", {"logprobs": matrices[full].astype(np.float32)}, "F32")
    about = {"instance": row["name"], "seed": seed, "rounding_error": float(f"{worst:.1e}"),
             "bfloat16_error": coarse, "full": {"prompt": full, "file": "full.safetensors"},
             "made_with": {"reference": "remote_reference.py"}}
    fields = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items())
    lines = ",\n  ".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    (folder / "expected.json").write_text("{\n" + fields + ' "prompts": [\n  ' + lines + "\n ]\n}\n")


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


def main():
    rows = remote_instances.all_instances()
    with np.errstate(over="ignore", divide="ignore"):
        for name in sys.argv[1:] or rows:
            make(rows[name])


if __name__ == "__main__":
    main()
