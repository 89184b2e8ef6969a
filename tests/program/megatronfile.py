"""megatronfile.py: the weights of a small GPT-2 or BERT, drawn at random, as Hugging Face stores them and as Megatron-LM
leaves them after training at any tensor-parallel degree, in every version of its layout. Standard library only.

    model = Model("gpt2", heads=8, size=3)
    models.write_safetensors(folder / "model.safetensors", model.hugging_face())
    write(folder, model, degree=4, version=2, nested=True)

The weights are kept as the mathematics has them: query, key and value rows by (which, head, row), linears [out, in].
"""
import argparse
import array
import collections
import json
import random
import struct

from torchfile import Tensor, transpose, write_torch

SIZES = {"F32": 4, "F16": 2, "BF16": 2}


class Matrix:
    """rows x cols elements, row by row; a vector has cols None."""

    def __init__(self, rows, cols, data, dtype):
        self.rows, self.cols, self.data, self.dtype = rows, cols, data, dtype

    @property
    def shape(self):
        return [self.rows] if self.cols is None else [self.rows, self.cols]

    def row(self, i):
        step = (self.cols or 1) * SIZES[self.dtype]
        return self.data[i * step:(i + 1) * step]

    def pick(self, rows):
        """These rows, in this order."""
        return Matrix(len(rows), self.cols, b"".join(map(self.row, rows)), self.dtype)

    def turned(self):
        return Matrix(self.cols, self.rows, transpose(self.data, SIZES[self.dtype], self.rows, self.cols), self.dtype)

    def tensor(self):
        return Tensor(self.dtype, self.shape, self.data)


class Model:
    def __init__(self, kind="gpt2", heads=8, size=3, layers=2, vocabulary=101, positions=48, dtype="F32", seed=7,
                 tied=True):
        self.kind, self.heads, self.size, self.layers = kind, heads, size, layers
        self.vocabulary, self.positions, self.dtype, self.tied = vocabulary, positions, dtype, tied
        self.hidden, self.ffn, self.draw = heads * size, 4 * heads * size, random.Random(seed)
        e = self.hidden
        self.weights = {"word_embeddings.weight": self.random(vocabulary, e),
                        "position_embeddings.weight": self.random(positions, e)}
        for layer in range(layers):
            at = f"layers.{layer}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                self.add_norm(at + norm)
            for name, rows, cols in (("attention.query_key_value", 3 * e, e), ("attention.dense", e, e),
                                     ("mlp.dense_h_to_4h", self.ffn, e), ("mlp.dense_4h_to_h", e, self.ffn)):
                self.add_linear(at + name, rows, cols)
        self.add_norm("final_layernorm")
        if not tied:
            self.weights["output_layer.weight"] = self.random(vocabulary, e)
        if kind == "bert":
            self.weights["tokentype_embeddings.weight"] = self.random(2, e)
            for name, rows in (("pooler.dense", e), ("lm_head.dense", e), ("binary_head", 2)):
                self.add_linear(name, rows, e)
            self.add_norm("lm_head.layernorm")
            self.weights["lm_head.bias"] = self.random(vocabulary, None)

    def random(self, rows, cols, middle=0.0):
        values = [self.draw.gauss(middle, 0.3) for _ in range(rows * (cols or 1))]
        if self.dtype == "F32":
            data = array.array("f", values).tobytes()
        elif self.dtype == "F16":
            data = struct.pack(f"<{len(values)}e", *values)
        else:
            data = b"".join(struct.pack("<f", value)[2:] for value in values)
        return Matrix(rows, cols, data, self.dtype)

    def add_norm(self, name):
        self.weights[name + ".weight"] = self.random(self.hidden, None, 1.0)
        self.weights[name + ".bias"] = self.random(self.hidden, None)

    def add_linear(self, name, rows, cols):
        self.weights[name + ".weight"] = self.random(rows, cols)
        self.weights[name + ".bias"] = self.random(rows, None)

    # --- Hugging Face ---

    LAYER = {"gpt2": {"input_layernorm": "ln_1", "attention.query_key_value": "attn.c_attn",
                      "attention.dense": "attn.c_proj", "post_attention_layernorm": "ln_2", "mlp.dense_h_to_4h": "mlp.c_fc",
                      "mlp.dense_4h_to_h": "mlp.c_proj"},
             "bert": {"input_layernorm": "attention.ln", "attention.dense": "attention.output.dense",
                      "post_attention_layernorm": "ln", "mlp.dense_h_to_4h": "intermediate.dense",
                      "mlp.dense_4h_to_h": "output.dense"}}
    TOP = {"gpt2": {"word_embeddings": "transformer.wte", "position_embeddings": "transformer.wpe",
                    "final_layernorm": "transformer.ln_f", "output_layer": "lm_head"},
           "bert": {"word_embeddings": "bert.embeddings.word_embeddings",
                    "position_embeddings": "bert.embeddings.position_embeddings",
                    "tokentype_embeddings": "bert.embeddings.token_type_embeddings", "final_layernorm": "bert.encoder.ln",
                    "pooler.dense": "bert.pooler.dense", "lm_head.dense": "cls.predictions.transform.dense",
                    "lm_head.layernorm": "cls.predictions.transform.LayerNorm", "lm_head": "cls.predictions",
                    "binary_head": "cls.seq_relationship"}}

    def hugging_face(self):
        """[(name, dtype, shape, bytes)], as models.write_safetensors takes them."""
        out = []
        for name, value in self.weights.items():
            stem, leaf = name.rsplit(".", 1)
            if not stem.startswith("layers."):
                out.append((f"{self.TOP[self.kind][stem]}.{leaf}", value))
                continue
            _, layer, rest = stem.split(".", 2)
            at = f"transformer.h.{layer}." if self.kind == "gpt2" else f"bert.encoder.layer.{layer}."
            if self.kind == "bert" and rest == "attention.query_key_value":
                for i, part in enumerate(("query", "key", "value")):
                    rows = range(i * self.hidden, (i + 1) * self.hidden)
                    out.append((f"{at}attention.self.{part}.{leaf}", value.pick(rows)))
                continue
            if self.kind == "gpt2" and value.cols is not None:
                value = value.turned()
            out.append((f"{at}{self.LAYER[self.kind][rest]}.{leaf}", value))
        return [(name, v.dtype, v.shape, v.data) for name, v in out]

    def config(self):
        if self.kind == "gpt2":
            return {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": self.vocabulary,
                    "n_positions": self.positions, "n_embd": self.hidden, "n_layer": self.layers, "n_head": self.heads,
                    "n_inner": self.ffn, "activation_function": "gelu_fast", "layer_norm_epsilon": 0.0003,
                    "tie_word_embeddings": self.tied}
        return {"architectures": ["MegatronBertForPreTraining"], "model_type": "megatron-bert",
                "vocab_size": self.vocabulary, "max_position_embeddings": self.positions, "hidden_size": self.hidden,
                "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "intermediate_size": self.ffn,
                "hidden_act": "gelu_fast", "layer_norm_eps": 0.0003, "tie_word_embeddings": True}

    # --- Megatron-LM ---

    def args(self, degree, padded, **changes):
        return argparse.Namespace(**dict(
            {"hidden_size": self.hidden, "num_layers": self.layers, "num_attention_heads": self.heads,
             "ffn_hidden_size": self.ffn, "max_position_embeddings": self.positions, "seq_length": self.positions,
             "padded_vocab_size": padded, "make_vocab_size_divisible_by": DIVISIBLE, "layernorm_epsilon": 0.0003,
             "tensor_model_parallel_size": degree, "pipeline_model_parallel_size": 1, "bias_gelu_fusion": True,
             "openai_gelu": False, "swiglu": False, "rank": 0, "lr": 1e-4, "data_path": ["a", 0.5],
             "params_dtype": Tensor, "tokenizer_type": "BertWordPieceLowerCase", "apply_query_key_layer_scaling": True,
             "vocab_size": None, "num_experts": None}, **changes))

    def qkv_rows(self, version, heads):
        """The rows of these heads in the order of the version, as numbers of rows of [q|k|v]."""
        e, d = self.hidden, self.size
        row = lambda which, head, i: which * e + head * d + i
        if version == 0:
            return [row(w, h, i) for w in range(3) for h in heads for i in range(d)]
        if version == 1:
            return [row(w, h, i) for h in heads for i in range(d) for w in range(3)]
        return [row(w, h, i) for h in heads for w in range(3) for i in range(d)]

    def padded(self, value, degree):
        """With rows of padding, which must not be seen again."""
        step = len(value.row(0))
        rows = padded_rows(value.rows, degree)
        return Matrix(rows, value.cols, value.data + b"\x7e" * (step * (rows - value.rows)), value.dtype)

    def piece(self, name, rank, degree, version):
        """What rank `rank` holds of a weight."""
        value = self.weights[name]
        share = lambda n: range(rank * n // degree, (rank + 1) * n // degree)
        if "query_key_value" in name:
            return value.pick(self.qkv_rows(version, share(self.heads)))
        if name in ("word_embeddings.weight", "lm_head.bias", "output_layer.weight"):
            value = self.padded(value, degree)
            return value.pick(share(value.rows))
        if "dense_h_to_4h" in name:
            return value.pick(share(value.rows))
        if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
            turned = value.turned()
            return turned.pick(share(turned.rows)).turned()
        return value

    def pieces(self, rank, degree, version):
        return {name: self.piece(name, rank, degree, version) for name in self.weights}


DIVISIBLE = 8


def padded_rows(rows, degree):
    unit = DIVISIBLE * degree
    return (rows + unit - 1) // unit * unit


# --- Spellings of the names ---

def nested(pieces, encoder="encoder", attention="self_attention"):
    """{"language_model": {...}} as Megatron-LM writes it."""
    model = {"embedding": {}, encoder: collections.OrderedDict()}
    out = {"language_model": model}
    for name, value in pieces.items():
        head, leaf = name.rsplit(".", 1)
        if head in ("word_embeddings", "position_embeddings", "tokentype_embeddings"):
            model["embedding"].setdefault(head, collections.OrderedDict())[leaf] = value.tensor()
        elif head == "output_layer":
            model[head] = {leaf: value.tensor()}
        elif head.startswith(("layers.", "final_layernorm")):
            model[encoder][name.replace(".attention.", f".{attention}.")] = value.tensor()
        elif head == "pooler.dense":
            model.setdefault("pooler", {})["dense." + leaf] = value.tensor()
        elif head.startswith("lm_head"):
            out.setdefault("lm_head", {})[name[len("lm_head."):]] = value.tensor()
        else:
            out.setdefault(head, {})[leaf] = value.tensor()
    if "lm_head" not in out:  # some writers add the words once more
        out["word_embeddings_for_head"] = {"weight": model["embedding"]["word_embeddings"]["weight"]}
    return out


def flat(pieces, head="module."):
    """As the first versions did, or torch does by itself."""
    inside = lambda name: "transformer." if name.startswith(("layers.", "final_")) else ""
    return collections.OrderedDict((head + inside(name) + name, v.tensor()) for name, v in pieces.items())


FUSED = [("attention.query_key_value.", "self_attention.layernorm_qkv."), ("attention.dense.", "self_attention.proj."),
         ("mlp.dense_h_to_4h.", "layernorm_mlp.fc1_"), ("mlp.dense_4h_to_h.", "layernorm_mlp.fc2_"),
         ("input_layernorm.", "self_attention.layernorm_qkv.layer_norm_"),
         ("post_attention_layernorm.", "layernorm_mlp.layer_norm_")]
CORE = [("attention.query_key_value.", "self_attention.linear_qkv."), ("attention.dense.", "self_attention.linear_proj."),
        ("mlp.dense_h_to_4h.", "mlp.linear_fc1."), ("mlp.dense_4h_to_h.", "mlp.linear_fc2."),
        ("input_layernorm.", "self_attention.linear_qkv.layer_norm_"),
        ("post_attention_layernorm.", "mlp.linear_fc1.layer_norm_")]


def core(pieces, renamed=None):
    """As Megatron-core does, its norms fused with the linears behind them."""
    out = collections.OrderedDict()
    for name, value in pieces.items():
        inside = "decoder." if name.startswith(("layers.", "final_")) else "embedding." if "embeddings" in name else ""
        for old, new in renamed or CORE:
            name = name.replace(old, new)
        out[inside + name] = value.tensor()
    out["decoder.layers.0.self_attention.linear_qkv._extra_state"] = Tensor("U8", [4], bytes(4))
    return out


# --- Files ---

def contents(weights, key="model", version=None, args=None, **more):
    out = {"iteration": 1000, key: weights, "torch_rng_state": Tensor("U8", [16], bytes(16)),
           "optimizer": {"state": {0: {"exp_avg": Tensor("F32", [3], bytes(12))}}}, "rng_state": [{"random": (3, None)}]}
    if version is not None:
        out["checkpoint_version"] = version
    if args is not None:
        out["args"] = args
    return dict(out, **more)


def write(folder, model, degree, version, spell=nested, key="model", state_version=True, args=True,
          path="mp_rank_{:02d}/model_optim_rng.pt", changes=None, absent=(), **more):
    """All ranks' files under a folder."""
    for rank in range(degree):
        told = None
        if args:
            told = model.args(degree, padded_rows(model.vocabulary, degree), **(changes or {}))
            for one in absent:
                delattr(told, one)
        stated = float(version) if state_version else None
        weights = spell(model.pieces(rank, degree, version))
        write_torch(folder / path.format(rank), contents(weights, key, stated, told, **more))


def write_config(folder, model, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(model.config(), **changes)))
