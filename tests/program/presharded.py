"""presharded.py: checkpoints as DeepSpeed writes them for save_mp_checkpoint_path: each rank's weights after injection.

    ranks, whole = inject(config, weights, 4)
    write_presharded(folder, ranks, whole)

`weights` are {name: (dtype, shape, bytes)} under Hugging Face's names. A matrix here is a list of rows, each a list of
elements, each the bytes of a number. Heads and channels are dealt as DeepSpeed does, also where they do not come out
even: total // n each, the first total % n ranks one more.
"""
import json
import re

from models import BYTES_OF, write_safetensors
from torchfile import Tensor, write_torch

PARTS = 8  # files a rank

# model_type: names within a layer of q, k and v (or all in one), attention's output, up and gate (or one), the MLP's
# output, the norm in front of attention, that in front of the MLP; embedding and head.
FAMILIES = {
    "gpt2": (["attn.c_attn"], "attn.c_proj", ["mlp.c_fc"], "mlp.c_proj", "ln_1", "ln_2", "wte", "lm_head"),
    "gpt_neo": ([f"attn.attention.{x}_proj" for x in "qkv"], "attn.attention.out_proj", ["mlp.c_fc"], "mlp.c_proj", "ln_1",
                "ln_2", "wte", "lm_head"),
    "gptj": ([f"attn.{x}_proj" for x in "qkv"], "attn.out_proj", ["mlp.fc_in"], "mlp.fc_out", "ln_1", None, "wte", "lm_head"),
    "gpt_neox": (["attention.query_key_value"], "attention.dense", ["mlp.dense_h_to_4h"], "mlp.dense_4h_to_h",
                 "input_layernorm", "post_attention_layernorm", "embed_in", "embed_out"),
    "bloom": (["self_attention.query_key_value"], "self_attention.dense", ["mlp.dense_h_to_4h"], "mlp.dense_4h_to_h",
              "input_layernorm", "post_attention_layernorm", "word_embeddings", "lm_head"),
    "opt": ([f"self_attn.{x}_proj" for x in "qkv"], "self_attn.out_proj", ["fc1"], "fc2", "self_attn_layer_norm",
            "final_layer_norm", "embed_tokens", "lm_head"),
    "llama": ([f"self_attn.{x}_proj" for x in "qkv"], "self_attn.o_proj", ["mlp.up_proj", "mlp.gate_proj"], "mlp.down_proj",
              "input_layernorm", "post_attention_layernorm", "embed_tokens", "lm_head"),
}
FAMILIES["internlm"] = FAMILIES["llama"]


def matrix(weight):
    """The rows of a weight; of a vector one row for each element."""
    dtype, shape, data = weight
    size, columns = BYTES_OF[dtype], shape[1] if len(shape) == 2 else 1
    return [[data[at:at + size] for at in range(row, row + columns * size, size)]
            for row in range(0, len(data), columns * size)]


def turned(rows):
    return [list(column) for column in zip(*rows)]


def weight_of(dtype, rows, vector=False):
    shape = [len(rows)] if vector else [len(rows), len(rows[0])]
    return dtype, shape, b"".join(element for row in rows for element in row)


def deal(total, ranks):
    """[(begin, end)] of each rank."""
    sizes = [total // ranks + (rank < total % ranks) for rank in range(ranks)]
    return [(sum(sizes[:rank]), sum(sizes[:rank + 1])) for rank in range(ranks)]


class Layer:
    def __init__(self, config, weights, at, ranks):
        self.kind, self.weights, self.at, self.ranks = config["model_type"], weights, at, ranks
        self.heads = next(config[key] for key in ("num_attention_heads", "n_head", "num_heads") if key in config)
        self.kv_heads = config.get("num_key_value_heads") or self.heads
        self.groups = deal(self.kv_heads, ranks)

    def rows(self, name):
        """(dtype, [out][in]) of a matrix, (dtype, [out][1]) of a vector; None if there is none."""
        weight = self.weights.get(f"{self.at}.{name}")
        if weight is None:
            return None
        rows = matrix(weight)
        return weight[0], turned(rows) if self.kind == "gpt2" and len(weight[1]) == 2 else rows

    def qkv(self, end):
        """The rows of each rank."""
        found = [self.rows(f"{name}.{end}") for name in FAMILIES[self.kind][0]]
        if found[0] is None:
            return None
        dtype, rows = found[0][0], sum((r for _, r in found), [])
        size = len(rows) // (self.heads + 2 * self.kv_heads)  # of a head
        if self.kind == "bloom":
            return dtype, [rows[3 * size * low:3 * size * high] for low, high in self.groups]
        if self.kind == "gpt_neox":
            by_head = [rows[at:at + size] for at in range(0, len(rows), size)]  # q, k, v of each in turn
            rows = sum(by_head[0::3] + by_head[1::3] + by_head[2::3], [])
        share = self.heads // self.kv_heads * size
        q, k, v = rows[:self.heads * size], rows[self.heads * size:-self.kv_heads * size], rows[-self.kv_heads * size:]
        return dtype, [q[low * share:high * share] + k[low * size:high * size] + v[low * size:high * size]
                       for low, high in self.groups]

    def inter(self, end):
        found = [self.rows(f"{name}.{end}") for name in FAMILIES[self.kind][2]]
        if found[0] is None:
            return None
        cuts = deal(len(found[0][1]), self.ranks)
        return found[0][0], [sum((rows[low:high] for _, rows in found), []) for low, high in cuts]

    def by_inputs(self, name, units, cuts):
        """The columns of each rank, of a matrix whose inputs are of so many units."""
        dtype, rows = self.rows(f"{name}.weight")
        size = len(rows[0]) // units
        return dtype, [[row[size * low:size * high] for row in rows] for low, high in cuts]

    def injected(self):
        """[{name: weight}] of the ranks."""
        names, out = FAMILIES[self.kind], [{} for _ in range(self.ranks)]

        def put(name, found, vector):
            for rank in range(self.ranks if found else 0):
                dtype, rows = found[0], found[1][rank]
                out[rank][f"{self.at}.{name}"] = weight_of(dtype, rows if vector else turned(rows), vector)

        def put_whole(name, base, end):
            found = self.rows(f"{base}.{end}") if base else None
            put(name, found and (found[0], [found[1]] * self.ranks), True)

        channels = len(self.rows(f"{names[2][0]}.weight")[1])
        put("attention.attn_qkvw", self.qkv("weight"), False)
        put("attention.attn_qkvb", self.qkv("bias"), True)
        put("attention.attn_ow", self.by_inputs(names[1], self.kv_heads, self.groups), False)
        put_whole("attention.attn_ob", names[1], "bias")
        put("mlp.inter_w", self.inter("weight"), False)
        put("mlp.inter_b", self.inter("bias"), True)
        put("mlp.output_w", self.by_inputs(names[3], channels, deal(channels, self.ranks)), False)
        put_whole("mlp.output_b", names[3], "bias")
        for end in ("weight", "bias"):
            put_whole(f"mlp.attn_n{end[0]}", names[5], end)
            put_whole(f"norm_{end[0]}", names[4], end)
        return out


def inject(config, weights, ranks, cut_head=False):
    """What each rank has, and what is saved in the file of whole tensors. cut_head: the head is dealt by its inputs."""
    layers = sorted({match[1] for name in weights if (match := re.match(r"(.*\b(?:h|layers)\.\d+)\.", name))})
    common = {name: weight for name, weight in weights.items()
              if not any(name.startswith(f"{layer}.") for layer in layers)}
    out, whole = [dict(common) for _ in range(ranks)], {}
    head = f"{FAMILIES[config['model_type']][7]}.weight"
    if cut_head and head in common:
        rows = matrix(common[head])
        for rank, (low, high) in enumerate(deal(len(rows[0]), ranks)):
            out[rank][head] = weight_of(common[head][0], [row[low:high] for row in rows])
    if config["model_type"] == "bloom":  # alone has its common weights in a file of their own
        whole, out = dict(out[0]), [{} for _ in range(ranks)]
    for layer in layers:
        for rank, own in enumerate(Layer(config, weights, layer, ranks).injected()):
            out[rank].update(own)
    return out, whole


def tensors(weights, pairs):
    made = {name: Tensor(*weight, parameter=not pairs) for name, weight in weights.items()}
    if pairs:  # with scales that mean nothing
        made = {name: [tensor, Tensor("F32", [1], b"\xff" * 4)] for name, tensor in made.items()}
    return made


def write_presharded(folder, ranks, whole, parts=PARTS, pairs=False, suffix="pt", **told):
    """The files, and the JSON in the form that DeepSpeed gives it; `told` changes entries of it (None: takes away)."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name, weights, pairs):
        if suffix == "safetensors":
            write_safetensors(folder / name, [(n, *weight) for n, weight in weights.items()])
        else:
            write_torch(folder / name, tensors(weights, pairs))

    for rank, weights in enumerate(ranks):
        names = list(weights)
        size = len(names) // parts + 1
        for part in range(parts):
            chosen = names[part * size:(part + 1) * size]
            write(f"tp_{rank:02}_{part:02}.{suffix}", {name: weights[name] for name in chosen}, pairs)
    write(f"non-tp.{suffix}", whole, False)
    files = {"non_tp": [f"non-tp.{suffix}"],
             "tp": [f"tp_{rank:02}_{part:02}.{suffix}" for part in range(parts) for rank in range(len(ranks))]}
    said = {"type": "ds_model", "base_dir": "/home/somebody/elsewhere", "checkpoints": files, "version": 1.0,
            "parallelization": "tp", "tp_size": len(ranks), "dtype": "float16", **told}
    said = {key: value for key, value in said.items() if value is not None}
    (folder / "ds_inference_config.json").write_text(json.dumps(said))
    return said
