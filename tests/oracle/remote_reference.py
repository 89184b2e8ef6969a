"""The families whose modelling code is not part of transformers, in plain numpy, straight from the formulas.

InternLM, Baichuan 1 and 2, Qwen of the first generation, ChatGLM 1 to 3, GLM of 2022. There is no other program to ask, so this is the oracle;
check_twins.py holds it against a family of transformers with the same mathematics under other names wherever there
is one. One sequence, no cache, dense masks, as in reference.py.

    model = Model(folder)                               # float64
    model.logprobs(ids)                                 # [T, V]; row t is the distribution after ids[0..t]
    model.logprobs(ids, prompt=5)                       # the same where the first 5 were the prompt
    Model(folder, arithmetic=FLOAT32 | BFLOAT16)        # how far rounding carries it
"""
import json
import math
import pathlib

import numpy as np

from reference import ACTIVATIONS, log_softmax, read_safetensors

FAMILIES = ("internlm", "baichuan", "qwen", "chatglm", "glm")


def to_bfloat16(x):
    """Rounded to the nearest bfloat16, ties to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


# What every value is made of: a number type, and what is done to the result of each operation.
FLOAT64 = (np.float64, lambda x: x)
FLOAT32 = (np.float32, lambda x: np.asarray(x, np.float32))
BFLOAT16 = (np.float32, to_bfloat16)


def config_of(folder):
    return json.loads((pathlib.Path(folder) / "config.json").read_text())


def knows(folder):
    """Whether the instance in a folder is one of these families."""
    config = config_of(folder)
    native = config["model_type"] == "glm" and "max_sequence_length" not in config  # a later family of that name
    return config["model_type"] in FAMILIES and not native


# ---- positions -----------------------------------------------------------------------------------------------------

def angles(positions, dims, base, kept=np.float64):
    """[T, dims / 2]; `kept`: the type in which a model keeps its frequencies"""
    frequencies = (base ** (-np.arange(0, dims, 2) / dims)).astype(kept).astype(np.float64)
    return np.asarray(positions)[:, None] * frequencies


def rotate_half(x, turn):
    """x [T, H, D]: channel i turns with channel i + r/2, r = twice the angles; the rest pass."""
    cos, sin = np.cos(turn)[:, None, :], np.sin(turn)[:, None, :]
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def rotate_pairs(x, turn):
    """x [T, H, D]: channels 2i and 2i + 1 turn together, as many as there are angles; the rest pass."""
    cos, sin = np.cos(turn)[:, None, :], np.sin(turn)[:, None, :]
    dims = 2 * cos.shape[-1]
    first, second = x[..., 0:dims:2], x[..., 1:dims:2]
    turned = np.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return np.concatenate([turned.reshape(*x.shape[:-1], dims), x[..., dims:]], axis=-1)


def alibi_slopes(heads):
    """2^(-8 i / n) for the n = 2^floor(log2 H) first heads, every second of the 2n series for the others."""
    n = 2 ** int(math.log2(heads))
    return np.array([2.0 ** (-8 * (i + 1) / n) if i < n else 2.0 ** (-4 * (2 * (i - n) + 1) / n)
                     for i in range(heads)])


def ntk(base, dims, growth):
    return base * growth ** (dims / (dims - 2)) if dims > 2 else base  # of a single frequency the base is idle


class Model:
    """config.json and the weights of a folder; `config` may be given to ask what another setting would give."""

    PREFIX = {"internlm": "model.", "baichuan": "model.", "qwen": "transformer.", "chatglm": "transformer.", "glm": "glm."}

    def __init__(self, folder, config=None, arithmetic=FLOAT64):
        folder = pathlib.Path(folder)
        self.config = config or config_of(folder)
        self.family = self.config["model_type"]
        if "inner_hidden_size" in self.config:
            self.family = "chatglm_6b"
        self.number, self.round = arithmetic
        self.tensors = {}
        for file in sorted(folder.glob("model*.safetensors")):
            for name, tensor in read_safetensors(file).items():
                self.tensors[name.removeprefix(self.PREFIX[self.config["model_type"]])] = self.round(tensor.astype(self.number))

    def get(self, key, default):
        value = self.config.get(key)
        return default if value is None else value

    # -- parts --

    def linear(self, name, x):
        y = x @ self.tensors[name + ".weight"].T
        return self.round(y + self.tensors[name + ".bias"] if name + ".bias" in self.tensors else y)

    def layer_norm(self, name, x, eps):
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.number(eps))
        return self.round(x * self.tensors[name + ".weight"] + self.tensors[name + ".bias"])

    def rms_norm(self, name, x, eps):
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.number(eps))
        return self.round(x * self.tensors[name + ".weight"])

    def attend(self, q, k, v, scale=None, slopes=None, prefix=0):
        """q [T, H, D], k and v [T, K, D] -> [T, H * D]; slopes [H]: what a step of distance takes from a score;
        prefix: so many keys are seen by all"""
        length, heads, dim = q.shape
        q, k = self.round(q.astype(self.number)), self.round(k.astype(self.number))
        k, v = (np.repeat(x, heads // x.shape[1], axis=1) for x in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) * self.number(scale or dim**-0.5)
        behind = np.arange(length)[:, None] - np.arange(length)[None, :]
        if slopes is not None:
            scores = scores - slopes[:, None, None].astype(self.number) * behind
        weights = np.exp(log_softmax(np.where((behind < 0) & (np.arange(length) >= prefix), -np.inf, scores)))
        return self.round(np.einsum("hqk,khd->qhd", weights, v).reshape(length, -1))

    def gated(self, at, names, act, x):
        gate, up, down = names
        return self.linear(at + down, self.round(act(self.linear(at + gate, x)) * self.linear(at + up, x)))

    # -- families --

    def logprobs(self, ids, prompt=None):
        hidden = getattr(self, self.family)(ids, prompt or len(ids))
        return log_softmax(self.head(hidden).astype(np.float64))

    def head(self, x):
        names = {"qwen": ("wte", "lm_head"), "chatglm": ("embedding.word_embeddings", "output_layer"),
                 "chatglm_6b": ("word_embeddings", "lm_head"), "glm": ("word_embeddings", "")}.get(
            self.family, ("embed_tokens", "lm_head"))
        tied = self.family == "glm" or self.get("tie_word_embeddings", False)
        rows = self.tensors[names[0 if tied else 1] + ".weight"]
        two = self.config.get("vocab_size") == 125696 or "z_loss_weight" in self.config
        if self.family == "baichuan" and two:
            rows = self.round(rows / np.sqrt((rows * rows).sum(axis=-1, keepdims=True)))
        return x @ rows.T

    def internlm(self, ids, prompt):
        config, rotary = self.config, self.config.get("rotary", {})
        dim = config["hidden_size"] // config["num_attention_heads"]
        base, length, known = rotary.get("base", 10000), len(ids), self.get("max_position_embeddings", 2048)
        if rotary.get("type") == "dynamic" and length > known:
            factor = rotary.get("scaling_factor", 1.0)
            base = ntk(base, dim, factor * length / known - (factor - 1))

        def heads(at, n):
            return (self.linear(f"{at}self_attn.{p}_proj", n) for p in "qkv")
        return self.llama(ids, angles(range(length), dim, base), heads)

    def baichuan(self, ids, prompt):
        count = self.config["num_attention_heads"]
        alibi = self.config["hidden_size"] == 5120 or "max_position_embeddings" not in self.config

        def heads(at, n):
            return np.split(self.linear(at + "self_attn.W_pack", n), 3, axis=-1)
        turn = angles(range(len(ids)), 0 if alibi else self.config["hidden_size"] // count, 10000)
        return self.llama(ids, turn, heads, alibi_slopes(count) if alibi else None)

    def llama(self, ids, turn, heads, slopes=None):
        config, act, eps = self.config, ACTIVATIONS[self.get("hidden_act", "silu")], self.get("rms_norm_eps", 1e-6)
        x = self.tensors["embed_tokens.weight"][ids]
        for i in range(config["num_hidden_layers"]):
            at = f"layers.{i}."
            q, k, v = (y.reshape(len(ids), config["num_attention_heads"], -1)
                       for y in heads(at, self.rms_norm(at + "input_layernorm", x, eps)))
            seen = self.attend(rotate_half(q, turn), rotate_half(k, turn), v, slopes=slopes)
            x = self.round(x + self.linear(at + "self_attn.o_proj", seen))
            n = self.rms_norm(at + "post_attention_layernorm", x, eps)
            x = self.round(x + self.gated(at, ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"), act, n))
        return self.rms_norm("norm", x, eps)

    def qwen(self, ids, prompt):
        config, act, eps = self.config, ACTIVATIONS["silu"], self.get("layer_norm_epsilon", 1e-6)
        known, length, width = config["seq_length"], len(ids), config["kv_channels"]
        dim, base = int(width * self.get("rotary_pct", 1.0)), self.get("rotary_emb_base", 10000)
        if self.get("use_dynamic_ntk", True):  # the base stays as the prompt has set it
            growth = 2 ** math.ceil(math.log2(prompt / known) + 1) - 1
            base = ntk(base, dim, max(growth, 1))
        turn = angles(range(length), dim, base)
        grow = np.ones(length)
        if self.get("use_logn_attn", True):
            grow = np.array([max(1.0, math.log(t + 1) / math.log(known)) for t in range(length)])
        x = self.tensors["wte.weight"][ids]
        for i in range(config["num_hidden_layers"]):
            at = f"h.{i}."
            fused = self.linear(at + "attn.c_attn", self.rms_norm(at + "ln_1", x, eps))
            q, k, v = (y.reshape(length, -1, width) for y in np.split(fused, 3, axis=-1))
            seen = self.attend(rotate_half(q, turn) * grow[:, None, None], rotate_half(k, turn), v)
            x = self.round(x + self.linear(at + "attn.c_proj", seen))
            n = self.rms_norm(at + "ln_2", x, eps)
            x = self.round(x + self.gated(at, ("mlp.w2", "mlp.w1", "mlp.c_proj"), act, n))
        return self.rms_norm("ln_f", x, eps)

    def chatglm(self, ids, prompt):
        """ChatGLM 2 and 3, GLM-4-9B."""
        config, eps, width = self.config, self.get("layernorm_epsilon", 1e-5), self.config["kv_channels"]
        heads, length = config["num_attention_heads"], len(ids)
        norm = self.rms_norm if self.get("rmsnorm", True) else self.layer_norm
        turn = angles(range(length), width // 2, 10000 * self.get("rope_ratio", 1.0))
        x = self.tensors["embedding.word_embeddings.weight"][ids]
        for i in range(config["num_layers"]):
            at = f"encoder.layers.{i}."
            n = norm(at + "input_layernorm", x, eps)
            fused = self.linear(at + "self_attention.query_key_value", n)
            if self.get("multi_query_attention", False):
                kv = config["multi_query_group_num"] * width
                q, k, v = (y.reshape(length, -1, width)
                           for y in np.split(fused, [heads * width, heads * width + kv], axis=-1))
            else:
                q, k, v = np.split(fused.reshape(length, heads, 3 * width), 3, axis=-1)
            seen = self.attend(rotate_pairs(q, turn), rotate_pairs(k, turn), v)
            after = self.get("apply_residual_connection_post_layernorm", False)
            x = self.round((n if after else x) + self.linear(at + "self_attention.dense", seen))
            n = norm(at + "post_attention_layernorm", x, eps)
            gate, up = np.split(self.linear(at + "mlp.dense_h_to_4h", n), 2, axis=-1)
            x = self.round((n if after else x) + self.linear(
                at + "mlp.dense_4h_to_h", self.round(ACTIVATIONS["silu"](gate) * up)))
        return norm("encoder.final_layernorm", x, eps) if self.get("post_layer_norm", True) else x

    def rows_of(self, ids, prompt, start, masks, first):
        """(prefix length, two rows of positions): the mask is the first of any, or any of the first kind found."""
        if start not in ids[:prompt]:
            return 0, np.arange(len(ids)), np.zeros(len(ids), int)
        length, after = ids.index(start), np.arange(len(ids)) - ids.index(start)
        found = [ids.index(mask) for mask in masks if mask in ids[:length]]
        place = min(found) if first else found[0]
        return length, np.where(after < 0, np.arange(len(ids)), place), np.maximum(after + 1, 0)

    def chatglm_6b(self, ids, prompt):
        config, eps, heads = self.config, self.get("layernorm_epsilon", 1e-5), self.config["num_attention_heads"]
        width, length = config["hidden_size"] // heads, len(ids)
        alpha = self.number((2 * 28) ** 0.5)  # whatever the number of layers
        start = config["bos_token_id"]
        masks = config.get("gmask_token_id", start - 3), config.get("mask_token_id", start - 4)
        prefix, *rows = self.rows_of(ids, prompt, start, masks, False)
        turns = [angles(row, width // 2, 10000, np.float16) for row in rows]

        def rotate(x):
            halves = zip(np.split(x, 2, axis=-1), turns)
            return np.concatenate([rotate_half(half, turn) for half, turn in halves], axis=-1)
        x = self.tensors["word_embeddings.weight"][ids]
        for i in range(config["num_layers"]):
            at = f"layers.{i}."
            n = self.layer_norm(at + "input_layernorm", x, eps)
            fused = self.linear(at + "attention.query_key_value", n).reshape(length, heads, 3 * width)
            q, k, v = np.split(fused, 3, axis=-1)
            seen = self.attend(rotate(q), rotate(k), v, prefix=prefix)
            n = self.layer_norm(at + "post_attention_layernorm",
                                self.round(n * alpha + self.linear(at + "attention.dense", seen)), eps)
            x = self.round(n * alpha + self.plain(at, ACTIVATIONS["gelu_new"], n))
        return self.layer_norm("final_layernorm", x, eps)

    def plain(self, at, act, x):
        return self.linear(at + "mlp.dense_4h_to_h", self.round(act(self.linear(at + "mlp.dense_h_to_4h", x))))

    def glm(self, ids, prompt):
        config, heads, length = self.config, self.config["num_attention_heads"], len(ids)
        masks = [config[f"{kind}_token_id"] for kind in ("mask", "smask", "gmask")]
        prefix, first, second = self.rows_of(ids, prompt, config["sop_token_id"], masks, True)
        x = self.tensors["word_embeddings.weight"][ids] + self.tensors["transformer.position_embeddings.weight"][first]
        if self.get("block_position_encoding", True):
            x = x + self.tensors["transformer.block_position_embeddings.weight"][second]
        x = self.round(x)
        for i in range(config["num_layers"]):
            at = f"transformer.layers.{i}."
            fused = self.linear(at + "attention.query_key_value", self.layer_norm(at + "input_layernorm", x, 1e-5))
            q, k, v = (y.reshape(length, heads, -1) for y in np.split(fused, 3, axis=-1))
            x = self.round(x + self.linear(at + "attention.dense", self.attend(q, k, v, prefix=prefix)))
            n = self.layer_norm(at + "post_attention_layernorm", x, 1e-5)
            x = self.round(x + self.plain(at, ACTIVATIONS["gelu"], n))
        return self.layer_norm("transformer.final_layernorm", x, 1e-5)
