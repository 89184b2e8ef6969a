#!/usr/bin/env python3
"""Checkpoints of random weights, for measuring without any to download.

    random_models.py SHAPE FOLDER

SHAPE is one of the rows below; its model goes to FOLDER, as one safetensors file in bfloat16, written as fast as the disk
takes it. Python's standard library only.
"""
import json
import pathlib
import random
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "program"))
from torchfile import Tensor, write_torch  # noqa: E402

POOL_BYTES = 1 << 24


def llama(e, heads, kv, f, layers, vocabulary, tied=False, positions=8192):
    return {"model_type": "llama", "hidden_size": e, "num_attention_heads": heads, "num_key_value_heads": kv,
            "intermediate_size": f, "num_hidden_layers": layers, "vocab_size": vocabulary, "rms_norm_eps": 1e-5,
            "max_position_embeddings": positions, "tie_word_embeddings": tied, "torch_dtype": "bfloat16"}


SHAPES = {"llama-2gb": llama(2048, 32, 8, 8192, 15, 32003),
          "llama-1b": llama(2048, 32, 8, 8192, 16, 128256, tied=True),
          "llama-2-7b": llama(4096, 32, 32, 11008, 32, 32000),
          "llama-3-8b": llama(4096, 32, 8, 14336, 32, 128256)}
GPT2 = {"model_type": "gpt2", "n_embd": 2048, "n_head": 32, "n_layer": 19, "vocab_size": 32003, "n_positions": 2048,
        "n_ctx": 2048, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "torch_dtype": "bfloat16"}


def llama_shapes(c):
    e, f = c["hidden_size"], c["intermediate_size"]
    kv = e // c["num_attention_heads"] * c["num_key_value_heads"]
    yield "model.embed_tokens.weight", [c["vocab_size"], e]
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        for name, shape in (("self_attn.q_proj", [e, e]), ("self_attn.k_proj", [kv, e]), ("self_attn.v_proj", [kv, e]),
                            ("self_attn.o_proj", [e, e]), ("mlp.gate_proj", [f, e]), ("mlp.up_proj", [f, e]),
                            ("mlp.down_proj", [e, f]), ("input_layernorm", [e]), ("post_attention_layernorm", [e])):
            yield at + name + ".weight", shape
    yield "model.norm.weight", [e]
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", [c["vocab_size"], e]


def gpt2_shapes(c):
    e = c["n_embd"]
    yield "wte.weight", [c["vocab_size"], e]
    yield "wpe.weight", [c["n_positions"], e]
    for i in range(c["n_layer"]):
        for name, shape in (("attn.c_attn", [e, 3 * e]), ("attn.c_proj", [e, e]), ("mlp.c_fc", [e, 4 * e]),
                            ("mlp.c_proj", [4 * e, e]), ("ln_1", [e]), ("ln_2", [e])):
            yield f"h.{i}.{name}.weight", shape
            yield f"h.{i}.{name}.bias", shape[-1:]
    yield "ln_f.weight", [e]
    yield "ln_f.bias", [e]


class Numbers:
    """Random bfloat16 numbers of either sign between 0.008 and 0.03: a pool, read from random places."""

    def __init__(self):
        self.random = random.Random(1)
        lanes = POOL_BYTES // 2
        mask, exponent = (int.from_bytes(struct.pack("<H", bits) * lanes, "little") for bits in (0x80FF, 0x3C00))
        self.pool = (int.from_bytes(self.random.randbytes(POOL_BYTES), "little") & mask | exponent).to_bytes(
            POOL_BYTES, "little")

    def take(self, count):
        left, pieces = 2 * count, []
        while left > 0:
            at = 2 * self.random.randrange(POOL_BYTES // 4)
            pieces.append(self.pool[at:at + left])
            left -= len(pieces[-1])
        return b"".join(pieces)


def elements(shape):
    count = 1
    for extent in shape:
        count *= extent
    return count


def make_llama(folder, numbers, config):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, shape in llama_shapes(config):
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * elements(shape)]}
        at += 2 * elements(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for told in header.values():
            out.write(numbers.take(elements(told["shape"])))


def make_gpt2(folder, numbers):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(GPT2))
    weights = {name: Tensor("BF16", shape, numbers.take(elements(shape))) for name, shape in gpt2_shapes(GPT2)}
    write_torch(folder / "pytorch_model.bin", weights)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(f"usage: random_models.py {'|'.join(SHAPES)} FOLDER")
    make_llama(pathlib.Path(sys.argv[2]), Numbers(), SHAPES[sys.argv[1]])


if __name__ == "__main__":
    main()
