#!/usr/bin/env python3
"""Makes tests/rope_expected.h: rotary tables as transformers computes them, for test_rope.c.

    make_rope_expected.py > rope_expected.h     with transformers 4.57 and torch
    make_rope_expected.py --compare FILE        prints by how much this release departs from a table made by another

Each case is a config.json; what is written are the cosines and sines of a few positions of a sequence of a given
length, all of it seen at once, and the inverse frequencies that a short sequence gets.
"""
import copy
import json
import re
import sys

import torch
import transformers
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

LLAMA31 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 8192}
SHORT, LONG = [1.0, 1.05, 1.1, 1.2], [1.3, 2.1, 4.7, 9.6]


def llama(head_dim, max_positions, **more):
    return {"model_type": "llama", "hidden_size": 2 * head_dim, "num_attention_heads": 2, "head_dim": head_dim,
            "max_position_embeddings": max_positions, **more}


def neox(head_dim, max_positions, **more):
    return {"model_type": "gpt_neox", "hidden_size": 2 * head_dim, "num_attention_heads": 2,
            "max_position_embeddings": max_positions, **more}


def yarn(**more):
    return {"rope_type": "yarn", "factor": 4.0, **more}


# name: (config, rotated dimensions, spellings of theta, [(position, length of the sequence)])
LLAMA, NEOX = "rope_theta", "rotary_emb_base|rope_theta"
CASES = {
    "default": (llama(8, 64), 8, LLAMA, [(0, 1), (1, 2), (63, 64), (2047, 2048)]),
    "theta": (llama(8, 64, rope_theta=500000), 8, LLAMA, [(63, 64)]),
    "parameters": (llama(8, 64, rope_parameters={"rope_type": "default", "rope_theta": 300.0}), 8, LLAMA, [(17, 18)]),
    "neox": (neox(24, 64, rotary_pct=0.25, rotary_emb_base=500), 6, NEOX, [(17, 18)]),
    "odd dimensions": (neox(12, 64, rotary_pct=0.25), 3, NEOX, [(5, 6), (63, 64)]),
    "linear": (llama(8, 64, rope_scaling={"type": "linear", "factor": 2.5}), 8, LLAMA, [(1, 2), (150, 160)]),
    "dynamic": (llama(8, 64, rope_scaling={"rope_type": "dynamic", "factor": 3.0}), 8, LLAMA,
                [(63, 64), (64, 65), (10, 65), (199, 200)]),
    "dynamic, odd dimensions": (
        neox(12, 32, rotary_pct=0.25, rope_scaling={"type": "dynamic", "factor": 2.0}), 3, NEOX, [(31, 32), (40, 41)]),
    "yarn": (llama(16, 64, rope_scaling=yarn()), 16, LLAMA, [(1, 2), (63, 64), (255, 256)]),
    "yarn, Qwen 2.5": (llama(128, 32768, rope_theta=1000000.0, rope_scaling=yarn(
        original_max_position_embeddings=32768)), 128, LLAMA, [(131071, 131072)]),
    "yarn, betas": (llama(16, 256, rope_theta=100.0, rope_scaling=yarn(
        original_max_position_embeddings=64, beta_fast=4.0, beta_slow=0.5)), 16, LLAMA, [(100, 101)]),
    "yarn, magnitudes, not truncated": (llama(12, 512, rope_theta=50.0, rope_scaling=yarn(
        factor=8.0, original_max_position_embeddings=64, beta_fast=3.0, mscale=1.4, mscale_all_dim=0.6,
        truncate=False)), 12, LLAMA, [(100, 101)]),
    "yarn, attention factor": (llama(8, 64, rope_scaling=yarn(attention_factor=0.8, beta_fast=0, mscale=2)), 8, LLAMA,
                               [(30, 31)]),
    "yarn, factor below 1": (llama(8, 64, rope_scaling=yarn(factor=0.5)), 8, LLAMA, [(30, 31)]),
    "longrope beside": (llama(8, 128, original_max_position_embeddings=32, rope_scaling={
        "type": "longrope", "short_factor": SHORT, "long_factor": LONG}), 8, LLAMA,
        [(31, 32), (31, 33), (32, 33), (100, 120)]),
    "longrope, parameters": (llama(8, 128, rope_parameters={
        "rope_type": "longrope", "rope_theta": 2000.0, "factor": 4.0, "original_max_position_embeddings": 32,
        "short_factor": SHORT, "long_factor": LONG}), 8, LLAMA, [(20, 21), (100, 120)]),
    "longrope, attention factor": (llama(8, 128, original_max_position_embeddings=32, rope_scaling={
        "type": "longrope", "short_factor": SHORT, "long_factor": LONG, "attention_factor": 1.3}), 8, LLAMA, [(9, 10)]),
    "longrope, no original": (llama(8, 128, rope_scaling={
        "type": "longrope", "short_factor": SHORT, "long_factor": LONG, "factor": 2.0}), 8, LLAMA,
        [(127, 128), (130, 131)]),
    "llama3": (llama(128, 131072, rope_theta=500000.0, rope_scaling=LLAMA31), 128, LLAMA, [(131071, 131072)]),
    "llama3, small": (llama(12, 256, rope_scaling={**LLAMA31, "original_max_position_embeddings": 32}), 12, LLAMA,
                      [(1, 2), (200, 201)]),
}

MAJOR = int(transformers.__version__.split(".")[0])


def readable(config):
    """Releases before 5 know no `rope_parameters` and look for the original length beside the rule."""
    config = copy.deepcopy(config)
    rope = config.pop("rope_parameters", None)
    if rope is not None and MAJOR >= 5:
        config["rope_parameters"] = rope
    elif rope is not None:
        config["rope_theta"] = rope.pop("rope_theta")
        if rope["rope_type"] == "longrope":
            config["original_max_position_embeddings"] = rope.pop("original_max_position_embeddings")
        config["rope_scaling"] = rope
    return transformers.AutoConfig.for_model(config.pop("model_type"), **config)


def tables(config, position, length):
    """cos and sin [dims / 2] at `position`, by a module that has seen nothing else."""
    kind = GPTNeoXRotaryEmbedding if config["model_type"] == "gpt_neox" else LlamaRotaryEmbedding
    module = kind(readable(config))
    cos, sin = module(torch.zeros(1), torch.arange(length)[None])
    half = cos.shape[-1] // 2
    return cos[0, position, :half], sin[0, position, :half]


def inverse_frequencies(config):
    kind = GPTNeoXRotaryEmbedding if config["model_type"] == "gpt_neox" else LlamaRotaryEmbedding
    return kind(readable(config)).inv_freq


def numbers(tensor):
    return ", ".join(f"{value:.9g}" for value in tensor.tolist())


def all_numbers():
    for config, _, _, places in CASES.values():
        yield from inverse_frequencies(config).tolist()
        for place in places:
            for part in tables(config, *place):
                yield from part.tolist()


def compare(path):
    text = open(path).read()
    body = text[text.index("rope_numbers[] = {"):]
    lines = [line for line in body.splitlines()[1:] if re.match(r" +[-\d]", line)]
    there = [float(word) for line in lines for word in line.strip(" ,").split(",")]
    here = list(all_numbers())
    assert len(here) == len(there), (len(here), len(there))
    print(f"{transformers.__version__}: {len(here)} numbers, largest difference",
          max(abs(a - b) for a, b in zip(here, there)))


def main():
    if len(sys.argv) > 2 and sys.argv[1] == "--compare":
        return compare(sys.argv[2])
    print("/* rope_expected.h: rotary tables of a reference, by make_rope_expected.py with transformers "
          f"{transformers.__version__}.\n *\n"
          " * A case's numbers: inverse frequencies [half], then for each place cosines [half] and sines [half], where\n"
          " * half = ceil(dims / 2). */\n")
    print("typedef struct rope_place {\n    int position, length;\n} rope_place;\n")
    print("typedef struct rope_case {\n    const char *name, *config, *theta_keys;\n    int dims, max_positions;\n"
          "    int n_places;\n    rope_place places[4];\n} rope_case;\n")
    print("/* clang-format off */\nstatic const rope_case rope_cases[] = {")
    for name, (config, dims, keys, places) in CASES.items():
        text = json.dumps(json.dumps(config))
        print(f'    {{"{name}", {text},\n     "{keys}", {dims}, {config["max_position_embeddings"]}, {len(places)}, '
              + "{" + ", ".join(f"{{{p}, {n}}}" for p, n in places) + "}},")
    print("};\n\nstatic const float rope_numbers[] = {")
    for name, (config, _, _, places) in CASES.items():
        print(f"    /* {name} */")
        rows = [inverse_frequencies(config)] + [part for place in places for part in tables(config, *place)]
        for row in rows:
            for i in range(0, len(row), 8):
                print(f"    {numbers(row[i:i + 8])},")
    print("};\n/* clang-format on */")


main()
