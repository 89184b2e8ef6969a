"""A second oracle: the same model families in plain numpy, float64 throughout, straight from the formulas.

It shares nothing with transformers but the files, so where both agree the expectations are sound, and unlike it, it
holds nothing in float32: the reference for how far a bfloat16 run may stray. Slow and short on purpose: one sequence,
no cache, dense masks.

    logprobs = reference.Model(folder).logprobs(ids)      # [T, V]; row t is the distribution after ids[0..t]
"""
import json
import math
import pathlib

import numpy as np

NUMPY_TYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "BOOL": "?"}


def read_safetensors(path):
    """All tensors of a file by name; floating ones as float64."""
    raw = pathlib.Path(path).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, about in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        first, last = about["data_offsets"]
        data = raw[start + first:start + last]
        if about["dtype"] == "BF16":  # the upper half of a float32
            values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(data, NUMPY_TYPES[about["dtype"]])
        tensors[name] = values.reshape(about["shape"]).astype(np.float64)
    return tensors


# ---- rotary position embedding -------------------------------------------------------------------------------------

PARTIAL = {"gpt_neox": 0.25, "glm": 0.5, "glm4": 0.5, "phi": 0.5, "stablelm": 0.25}  # of a head that turns, where no key says it


def rope_settings(config):
    """One flat dict from either spelling: rope_theta + rope_scaling (+ rotary_*), or rope_parameters."""
    rope = {"rope_theta": config.get("rope_theta") or config.get("rotary_emb_base") or 10000.0,
            "partial": config.get("rotary_pct" if config["model_type"] == "gpt_neox" else "partial_rotary_factor",
                                  PARTIAL.get(config["model_type"], 1.0))}
    rope.update(config.get("rope_scaling") or {})
    rope.update(config.get("rope_parameters") or {})
    rope["partial"] = rope.get("partial_rotary_factor", rope["partial"])
    rope["type"] = rope.get("type") or rope.get("rope_type") or "default"
    rope["max"] = config["max_position_embeddings"]
    if "original_max_position_embeddings" in config:
        rope["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    return rope


def yarn(rope, inv_freq, dim):
    """Keeps fast channels, divides slow ones by the factor, ramps between; Peng et al. 2023."""
    factor, length = rope["factor"], rope.get("original_max_position_embeddings", rope["max"])

    def channel(turns):  # the channel that turns this often within the original length
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(rope["rope_theta"]))

    low, high = channel(rope.get("beta_fast", 32)), channel(rope.get("beta_slow", 1))
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)

    def magnitude(scale):
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    attention = rope.get("attention_factor")
    if attention is None:
        pair = rope.get("mscale"), rope.get("mscale_all_dim")
        attention = magnitude(pair[0]) / magnitude(pair[1]) if all(pair) else magnitude(1)
    return inv_freq / factor * ramp + inv_freq * (1 - ramp), attention


def longrope(rope, inv_freq, length):
    """A divisor per channel, another set of them once the sequence outgrows the original length."""
    original = rope.get("original_max_position_embeddings", rope["max"])
    factor = rope.get("factor") or rope["max"] / original
    attention = rope.get("attention_factor")
    if attention is None:
        attention = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return inv_freq / np.array(rope["long_factor" if length > original else "short_factor"]), attention


def llama3(rope, inv_freq):
    """Long wavelengths are divided by the factor, short ones kept, those between blended."""
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * inv_freq / (2 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - blend) * inv_freq / factor + blend * inv_freq, 1.0


def rope_tables(config, head_dim, length):
    """cos and sin, [T, r / 2] each, for a whole sequence of `length` tokens seen at once."""
    rope = rope_settings(config)
    dim, base, factor = int(head_dim * rope["partial"]), rope["rope_theta"], rope.get("factor")
    if rope["type"] == "dynamic" and length > rope["max"]:
        base *= (factor * length / rope["max"] - (factor - 1)) ** (dim / (dim - 2))
    inv_freq, attention = base ** (-np.arange(0, dim, 2) / dim), 1.0
    if rope["type"] == "linear":
        inv_freq = inv_freq / factor
    elif rope["type"] == "yarn":
        inv_freq, attention = yarn(rope, inv_freq, dim)
    elif rope["type"] == "longrope":
        inv_freq, attention = longrope(rope, inv_freq, length)
    elif rope["type"] == "llama3":
        inv_freq, attention = llama3(rope, inv_freq)
    angles = np.arange(length)[:, None] * inv_freq
    return np.cos(angles) * attention, np.sin(angles) * attention


def rotate_pairs(x, tables):
    """As rotate, but channel 2i turns with channel 2i + 1."""
    r = 2 * tables[0].shape[-1]
    halves = np.concatenate([x[..., 0:r:2], x[..., 1:r:2], x[..., r:]], axis=-1)
    turned, out = rotate(halves, tables), x.copy()
    out[..., 0:r:2], out[..., 1:r:2] = turned[..., :r // 2], turned[..., r // 2:r]
    return out


def rotate(x, tables):
    """x [T, H, D]: channel i turns with channel i + r/2, those from r on pass; r is twice the number of frequencies."""
    cos, sin = (table[:, None, :] for table in tables)
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


# ---- the parts of a layer ------------------------------------------------------------------------------------------

def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_new": gelu_tanh, "gelu_fast": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh,
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + np.exp(-x)), "swish": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def attention(q, k, v, scale, window=None, bias=0.0):
    """q [T, H, D], k and v [T, K, D]; a query sees itself and the window - 1 tokens before it, or all; bias [H, 1, T]
    is added to the scores. -> [T, H * D]"""
    length, heads, _ = q.shape
    k, v = (np.repeat(x, heads // x.shape[1], axis=1) for x in (k, v))
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    hidden = (distance < 0) | (distance >= (window or length))
    scores = np.einsum("qhd,khd->hqk", q, k) * scale + bias
    weights = np.exp(log_softmax(np.where(hidden, -np.inf, scores)))
    return np.einsum("hqk,khd->qhd", weights, v).reshape(length, -1)


PREFIX = {"llama": "model.", "mistral": "model.", "gpt2": "transformer.", "gpt_neox": "gpt_neox.",
          "bloom": "transformer.", "opt": "model.", "gptj": "transformer.", "codegen": "transformer.",
          "falcon": "transformer.", "mpt": "transformer.", "gpt_neo": "transformer.", "gpt_bigcode": "transformer.",
          "qwen2": "model.", "glm": "model.", "glm4": "model.", "phi": "model.", "stablelm": "model.", "xglm": "model.", "openai-gpt": "transformer."}
UNTIED = {"llama", "mistral", "gpt_neox", "gptj", "codegen", "qwen2", "glm", "glm4", "phi", "stablelm"}  # unless the config says tied


class Model:
    """config.json and the weights of a folder; `config` may be given to ask what another setting would give."""

    def __init__(self, folder, config=None):
        folder = pathlib.Path(folder)
        self.config = config or json.loads((folder / "config.json").read_text())
        self.family = self.config["model_type"]
        self.tensors = {}
        for file in sorted(folder.glob("model*.safetensors")):
            for name, tensor in read_safetensors(file).items():
                self.tensors[name.removeprefix(PREFIX[self.family])] = tensor

    def get(self, *keys, default=None):
        """The first of several spellings that the config has."""
        return next((self.config[key] for key in keys if self.config.get(key) is not None), default)

    def linear(self, name, x):
        weight, bias = self.tensors[name + ".weight"], self.tensors.get(name + ".bias", 0.0)
        return x @ (weight if self.family in ("gpt2", "openai-gpt") else weight.T) + bias

    def layer_norm(self, name, x):
        eps = self.get("layer_norm_epsilon", "layer_norm_eps", default=1e-5)
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
        return x * self.tensors.get(name + ".weight", 1.0) + self.tensors.get(name + ".bias", 0.0)

    def rms_norm(self, name, x):
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.config["rms_norm_eps"])
        return x * self.tensors[name + ".weight"]

    def hidden(self, ids):
        """[T, E]: what the head reads."""
        own = {"gpt2": self.gpt2, "gpt_neox": self.gpt_neox, "llama": self.llama, "mistral": self.llama}
        return own[self.family](ids) if self.family in own else families.HIDDEN[self.family](self, ids)

    def logprobs(self, ids):
        hidden = self.hidden(ids)
        tied = self.get("tie_word_embeddings", default=self.family not in UNTIED)
        names = ("wte", "embed_in", "embed_tokens", "word_embeddings", "decoder.embed_tokens", "tokens_embed")
        embedding = next(name for name in names if name + ".weight" in self.tensors)
        head = embedding if tied else "embed_out" if self.family == "gpt_neox" else "lm_head"
        return log_softmax(hidden @ self.tensors[head + ".weight"].T + self.tensors.get("lm_head.bias", 0.0))

    def llama(self, ids):
        config, act = self.config, ACTIVATIONS[self.config["hidden_act"]]
        heads = config["num_attention_heads"]
        kv = self.get("num_key_value_heads", default=heads)
        dim = self.get("head_dim", default=config["hidden_size"] // heads)
        tables = rope_tables(config, dim, len(ids))
        x = self.tensors["embed_tokens.weight"][ids]
        for i in range(config["num_hidden_layers"]):
            at = f"layers.{i}."
            n = self.rms_norm(at + "input_layernorm", x)
            q, k, v = (self.linear(f"{at}self_attn.{p}_proj", n).reshape(len(ids), h, dim)
                       for p, h in (("q", heads), ("k", kv), ("v", kv)))
            seen = attention(rotate(q, tables), rotate(k, tables), v, dim**-0.5, config.get("sliding_window"))
            x = x + self.linear(at + "self_attn.o_proj", seen)
            n = self.rms_norm(at + "post_attention_layernorm", x)
            gate, up = (self.linear(f"{at}mlp.{p}_proj", n) for p in ("gate", "up"))
            x = x + self.linear(at + "mlp.down_proj", act(gate) * up)
        return self.rms_norm("norm", x)

    def gpt2(self, ids):
        config, act = self.config, ACTIVATIONS[self.config["activation_function"]]
        heads = self.get("n_head", "num_attention_heads")
        x = self.tensors["wte.weight"][ids] + self.tensors["wpe.weight"][:len(ids)]
        for i in range(self.get("n_layer", "num_hidden_layers")):
            at = f"h.{i}."
            fused = self.linear(at + "attn.c_attn", self.layer_norm(at + "ln_1", x))
            q, k, v = fused.reshape(len(ids), 3, heads, -1).transpose(1, 0, 2, 3)
            scale = q.shape[-1]**-0.5 if config.get("scale_attn_weights", True) else 1.0
            scale /= i + 1 if config.get("scale_attn_by_inverse_layer_idx") else 1
            x = x + self.linear(at + "attn.c_proj", attention(q, k, v, scale))
            x = x + self.linear(at + "mlp.c_proj", act(self.linear(at + "mlp.c_fc", self.layer_norm(at + "ln_2", x))))
        return self.layer_norm("ln_f", x)

    def gpt_neox(self, ids):
        config, act = self.config, ACTIVATIONS[self.config["hidden_act"]]
        heads, parallel = config["num_attention_heads"], config.get("use_parallel_residual", True)
        tables = rope_tables(config, config["hidden_size"] // heads, len(ids))
        x = self.tensors["embed_in.weight"][ids]
        for i in range(config["num_hidden_layers"]):
            at = f"layers.{i}."
            fused = self.linear(at + "attention.query_key_value", self.layer_norm(at + "input_layernorm", x))
            q, k, v = fused.reshape(len(ids), heads, 3, -1).transpose(2, 0, 1, 3)
            seen = attention(rotate(q, tables), rotate(k, tables), v, q.shape[-1]**-0.5)
            after = x + self.linear(at + "attention.dense", seen)
            n = self.layer_norm(at + "post_attention_layernorm", x if parallel else after)
            x = after + self.linear(at + "mlp.dense_4h_to_h", act(self.linear(at + "mlp.dense_h_to_4h", n)))
        return self.layer_norm("final_layer_norm", x)


import reference_families as families  # noqa: E402  it needs the parts above
