"""models.py: checkpoints made for a test: safetensors files, tokenizers, and a model that recites.

The reciter is a GPT-2 of one layer whose weights are all zero but for three: the table of positions is the identity,
the scale of the last norm is 1, and row v of the head is large at position p if v is to come after p. Whatever the
prompt is, the token after position p is the p-th of a text chosen beforehand, which makes what a model "says" exact.
"""
import json
import random
import struct

BYTES_OF = {"F32": 4, "BF16": 2, "F16": 2, "BOOL": 1}


def write_safetensors(path, tensors):
    """tensors: [(name, dtype, shape, bytes or an iterable of bytes)], written in this order."""
    header, at = {}, 0
    for name, dtype, shape, _ in tensors:
        size = BYTES_OF[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, _, data in tensors:
            for block in [data] if isinstance(data, (bytes, bytearray)) else data:
                file.write(block)


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def zeros(*shape):
    size = 4
    for extent in shape:
        size *= extent
    return bytes(size)


# --- Tokenizers -----------------------------------------------------------------------------------------------------

def byte_alphabet():
    """The character that stands for each byte in byte-level vocabularies: printable ones for themselves."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    table = {b: chr(b) for b in own}
    table.update({b: chr(256 + i) for i, b in enumerate(others)})
    return [table[b] for b in range(256)]


END = "<|end|>"


def added_end(number):
    return [{"id": number, "content": END, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}]


def byte_level_tokenizer():
    """Ids 0..255 are the bytes, 256 ends a text; nothing merges."""
    vocabulary = {character: byte for byte, character in enumerate(byte_alphabet())}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_end(256), "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": dict(vocabulary, **{END: 256}), "merges": []}}


def byte_fallback_tokenizer():
    """As Llama's: ids 0..255 are <0x00>..<0xFF>, 256 ends a text, single characters for printable ASCII and U+2581."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    vocabulary[END] = 256
    for character in ["\u2581", *map(chr, range(0x21, 0x7F))]:
        vocabulary[character] = len(vocabulary)
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_end(256),
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}, "pre_tokenizer": None,
            "post_processor": None,
            "decoder": {"type": "Sequence",
                        "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                                     {"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": vocabulary, "merges": []}}


def byte_fallback_ids(text):
    """As that tokenizer would encode it."""
    vocabulary = byte_fallback_tokenizer()["model"]["vocab"]
    pieces = [character.replace(" ", "\u2581") for character in text]
    return [token for piece in pieces
            for token in ([vocabulary[piece]] if piece in vocabulary else list(piece.encode()))]


# --- Models ---------------------------------------------------------------------------------------------------------

PROMPT_TOKENS = 1  # of the prompt "?", in either tokenizer


def make_reciter(folder, said, tokenizer):
    """A model that goes on with the ids `said` after a prompt of PROMPT_TOKENS tokens, then says END for ever."""
    vocabulary = len(tokenizer["model"]["vocab"])
    positions = len(said) + 160
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": positions, "n_head": 1,
              "n_layer": 1, "n_positions": positions, "n_inner": 4, "vocab_size": vocabulary,
              "tie_word_embeddings": False, "eos_token_id": 256, "bos_token_id": 256, "torch_dtype": "float32"}
    identity, head = bytearray(zeros(positions, positions)), bytearray(zeros(vocabulary, positions))
    one, large = struct.pack("<f", 1.0), struct.pack("<f", 4.0)
    for p in range(positions):
        at = p - PROMPT_TOKENS + 1
        token = said[at] if 0 <= at < len(said) else 256
        identity[4 * (p * positions + p):4 * (p * positions + p) + 4] = one
        head[4 * (token * positions + p):4 * (token * positions + p) + 4] = large
    ones, e = floats([1.0] * positions), positions
    layer = [("ln_1.weight", (e,), ones), ("ln_1.bias", (e,), zeros(e)),
             ("attn.c_attn.weight", (e, 3 * e), zeros(e, 3 * e)), ("attn.c_attn.bias", (3 * e,), zeros(3 * e)),
             ("attn.c_proj.weight", (e, e), zeros(e, e)), ("attn.c_proj.bias", (e,), zeros(e)),
             ("ln_2.weight", (e,), ones), ("ln_2.bias", (e,), zeros(e)),
             ("mlp.c_fc.weight", (e, 4), zeros(e, 4)), ("mlp.c_fc.bias", (4,), zeros(4)),
             ("mlp.c_proj.weight", (4, e), zeros(4, e)), ("mlp.c_proj.bias", (e,), zeros(e))]
    tensors = [("transformer.wte.weight", "F32", (vocabulary, e), zeros(vocabulary, e)),
               ("transformer.wpe.weight", "F32", (e, e), bytes(identity)),
               ("transformer.ln_f.weight", "F32", (e,), ones), ("transformer.ln_f.bias", "F32", (e,), zeros(e)),
               ("lm_head.weight", "F32", (vocabulary, e), bytes(head))]
    tensors += [(f"transformer.h.0.{name}", "F32", shape, data) for name, shape, data in layer]
    folder.mkdir(parents=True)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def bfloat16_noise(count, seed):
    """`count` values of about +-0.02 as bfloat16, in blocks; the same block over and over is random enough."""
    generator = random.Random(seed)
    values = [generator.uniform(-0.04, 0.04) for _ in range(1 << 16)]
    block = b"".join(struct.pack("<f", value)[2:] for value in values)
    for _ in range(count >> 16):
        yield block
    yield block[:2 * (count & 0xFFFF)]


def llama_config(hidden, heads, kv_heads, ffn, layers, vocabulary, positions=2048, tied=True):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "intermediate_size": ffn,
            "num_hidden_layers": layers, "vocab_size": vocabulary, "max_position_embeddings": positions,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": tied, "torch_dtype": "bfloat16"}


def make_llama(folder, config):
    """A Llama of random weights in bfloat16; returns the bytes of its tensors."""
    e, ffn, d = config["hidden_size"], config["intermediate_size"], config["hidden_size"] // config["num_attention_heads"]
    kv = config["num_key_value_heads"] * d
    shapes = [("model.embed_tokens.weight", (config["vocab_size"], e)), ("model.norm.weight", (e,))]
    for layer in range(config["num_hidden_layers"]):
        own = [("input_layernorm", (e,)), ("post_attention_layernorm", (e,)), ("self_attn.q_proj", (e, e)),
               ("self_attn.k_proj", (kv, e)), ("self_attn.v_proj", (kv, e)), ("self_attn.o_proj", (e, e)),
               ("mlp.gate_proj", (ffn, e)), ("mlp.up_proj", (ffn, e)), ("mlp.down_proj", (e, ffn))]
        shapes += [(f"model.layers.{layer}.{name}.weight", shape) for name, shape in own]
    tensors, total = [], 0
    for i, (name, shape) in enumerate(shapes):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        total += 2 * count
        tensors.append((name, "BF16", shape, bfloat16_noise(count, i)))
    folder.mkdir(parents=True)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))
    return total
