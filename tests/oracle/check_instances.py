#!/usr/bin/env python3
"""Checks the committed instances themselves, with numpy alone.

    check_instances.py [NAME...]

For each folder: the expectations, which transformers made, against the independent float64 computation of
reference.py; then every option of config.json that the instance is there to cover is changed, and the result must
move by far more than the tolerance that a run is held to. An instance that cannot fail proves nothing.
"""
import json
import pathlib
import sys

import numpy as np

import reference
import remote_reference

HERE = pathlib.Path(__file__).resolve().parent
AGREE = 2e-5     # float32 parts of transformers against float64 throughout
MATTERS = 1e-3   # ten times the tolerance of check_generate.py

# What each option is changed to; an option that already has this value is left.
OTHERWISE = {
    "rms_norm_eps": 1e-5, "layer_norm_eps": 1e-5, "layer_norm_epsilon": 1e-5, "rope_theta": 1234.0,
    "rotary_emb_base": 1234, "rotary_pct": 0.25, "partial_rotary_factor": 1.0, "sliding_window": None,
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "use_parallel_residual": True,
    "rope_scaling": None, "original_max_position_embeddings": 48, "factor": 1.75, "beta_fast": 16,
    "beta_slow": 1.5, "mscale": 1.0, "mscale_all_dim": 1.0, "truncate": True, "attention_factor": None,
    "do_layer_norm_before": True, "rotary_dim": 2,
    "_remove_final_layer_norm": False, "clip_qkv": None, "softmax_scale": None,
    "window_size": 256, "scale_embedding": True, "use_sliding_window": False, "layer_types": None,
    "base": 1234, "type": "origin", "use_dynamic_ntk": False, "use_logn_attn": False, "seq_length": 30,
    "layernorm_epsilon": 1e-5, "rope_ratio": 3.0, "apply_residual_connection_post_layernorm": False,
    "low_freq_factor": 1.5, "high_freq_factor": 3.0, "short_factor": [1.0] * 8, "long_factor": [1.0] * 8,
}
# What each activation could be mistaken for.
NEIGHBOUR = {"gelu": "gelu_new", "gelu_new": "gelu", "gelu_fast": "gelu", "gelu_pytorch_tanh": "gelu",
             "quick_gelu": "gelu", "silu": "quick_gelu", "swish": "quick_gelu", "relu": "gelu"}
# Options that cannot matter where they stand: a window that is not used, a factor beside the attention factor that it would give, and the base
# of a single frequency, which is 1 whatever the base.
IDLE = {("qwen2_grouped", "sliding_window"), ("qwen_short", "use_dynamic_ntk"), ("qwen_short", "use_logn_attn"),
        ("llama_longrope_params", "factor"), ("gpt_neox_parallel", "rotary_emb_base")}


def changes(config, path=()):
    """Every (where, changed config) that one option makes."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from ((where, {**config, key: inner}) for where, inner in changes(value, path + (key,)))
        acts = ("hidden_act", "activation_function", "activation", "afn")
        other = "silu" if key == "afn" else NEIGHBOUR[value] if key in acts else OTHERWISE.get(key, value)
        if other != value:
            other = other[:len(value)] if isinstance(other, list) else other
            yield ".".join(path + (key,)), {**config, key: other}


def distance(model, expected, full):
    """Largest difference from the expectations, over all prompts and the whole matrix of one."""
    worst = 0.0
    for i, entry in enumerate(expected["prompts"]):
        ids, rows = entry["ids"], model.logprobs(entry["ids"])
        told = [rows[t, ids[t + 1]] - entry["logprobs"][t + 1] for t in range(len(ids) - 1)]
        told += [rows[-1, token] - value for token, value in entry["last_top"]]
        worst = max(worst, max(abs(difference) for difference in told))
        if i == expected["full"]["prompt"]:
            worst = max(worst, abs(rows - full).max())
    return worst


def greedy_holds(model, expected):
    """Whether each greedy token is the best one after those before it."""
    for entry in expected["prompts"]:
        if entry["greedy"]:
            ids = entry["ids"] + entry["greedy"]
            prompt = {"prompt": len(entry["ids"])} if isinstance(model, remote_reference.Model) else {}
            rows = model.logprobs(ids, **prompt)[len(entry["ids"]) - 1:-1]
            if rows.argmax(axis=-1).tolist() != entry["greedy"]:
                return False
    return True


def check(folder):
    """The complaints about one instance."""
    expected = json.loads((folder / "expected.json").read_text())
    full = reference.read_safetensors(folder / expected["full"]["file"])["logprobs"]
    kind = remote_reference if remote_reference.knows(folder) else reference
    model = kind.Model(folder)
    error = distance(model, expected, full)
    complaints = [] if error < AGREE else [f"differs from float64 by {error:.1e}"]
    if not greedy_holds(model, expected):
        complaints.append("a greedy token is not the best one")
    tried = 0
    for where, config in changes(model.config):
        if (folder.name, where.split(".")[-1]) in IDLE or (model.family, where) == ("chatglm", "seq_length"):
            continue
        tried += 1
        effect = distance(kind.Model(folder, config), expected, full)
        if not effect > MATTERS:
            complaints.append(f"{where} hardly matters ({effect:.1e})")
    print(f"{folder.name:24} float64 {error:.1e}  {tried} options changed  {'; '.join(complaints) or 'ok'}")
    return complaints


def main():
    names = sys.argv[1:] or sorted(path.parent.name for path in HERE.glob("*/expected.json"))
    with np.errstate(over="ignore", divide="ignore"):
        failed = sum(bool(check(HERE / name)) for name in names)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
