"""trainfile.py: writes what a DeepSpeed training run would have saved of given weights, without torch or DeepSpeed.

    write_zero(folder, weights, stage=2, ranks=3)      weights: {name: (dtype, shape, bytes)} in float32

All weights end up in float32 in the optimizer's partitions alone; the module's file has them in bfloat16 (stages 1 and
2), which other values would come of, or not at all (stage 3).
"""
import collections
import pathlib
import struct

from torchfile import STORAGES, Storage, Tensor, _named, write_torch

_SIZE = _named("torch", "Size", type("Size", (), {}))
_STAGE = _named("deepspeed.runtime.zero.config", "ZeroStageEnum", type("ZeroStageEnum", (), {}))
_SCALER = _named("deepspeed.runtime.fp16.loss_scaler", "LossScaler", type("LossScaler", (), {}))


class Call:
    """Pickles as a call of `what` with these arguments."""

    def __init__(self, what, *args):
        self.call = what, args

    def __reduce__(self):
        return self.call


def size_of(shape):
    return Call(_SIZE, tuple(shape))


def elements(shape):
    count = 1
    for extent in shape:
        count *= extent
    return count


def round_up(n, unit):
    return -(-n // unit) * unit


def bfloat16(data):
    """float32 bytes, cut off."""
    return b"".join(data[i + 2:i + 4] for i in range(0, len(data), 4))


def scaler():
    it = _SCALER()
    it.cur_scale, it.scale_window = 65536.0, 1000
    return it


def groups_of(weights, count):
    """Dicts of about equal numbers of weights, in a mixed order; one of the last group's is alone in it."""
    names = sorted(weights, key=lambda name: (hash_of(name), name))
    smallest = min(names, key=lambda name: elements(weights[name][1]))
    names.remove(smallest)
    parts = [names[i::max(count - 1, 1)] for i in range(max(count - 1, 1))]
    parts = parts + [[smallest]] if count > 1 else [names + [smallest]]
    return [collections.OrderedDict((name, weights[name]) for name in part) for part in parts]


def hash_of(text):
    return sum((i + 1) * byte for i, byte in enumerate(text.encode())) % 97


def whole_partitions(groups, ranks):
    """Stages 1 and 2: [rank][group], the last rank's without its padding, as far as one slice can leave it out."""
    parts = [[] for _ in range(ranks)]
    for group in groups:
        data = b"".join(data for _, _, data in group.values())
        total = round_up(len(data) // 4, 2 * ranks)
        padded = data + b"\xff" * (4 * total - len(data))
        length, padding = total // ranks, total - len(data) // 4
        for rank in range(ranks):
            storage = Storage("F32", padded[4 * rank * length:4 * (rank + 1) * length])
            kept = len(range(length)[:length - padding]) if rank == ranks - 1 else length
            parts[rank].append(Tensor("F32", [kept], storage))
    return parts


def cut(data, ranks):
    """Stage 3: a parameter's parts."""
    length = -(-len(data) // 4 // ranks) * 4
    padded = data + b"\xff" * (ranks * length - len(data))
    return [padded[rank * length:(rank + 1) * length] for rank in range(ranks)]


def parted_partitions(groups, ranks):
    parts = [[] for _ in range(ranks)]
    for group in groups:
        pieces = [cut(data, ranks) for _, _, data in group.values()]
        for rank in range(ranks):
            data = b"".join(piece[rank] for piece in pieces)
            parts[rank].append(Tensor("F32", [len(data) // 4], data))
    return parts


def optimizer_state(stage, ranks, groups, parts):
    adam = {"state": {i: {"step": 7, "exp_avg": Tensor("F32", part.shape, bytes(4 * part.shape[0]))}
                      for i, part in enumerate(parts)}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    state = {"loss_scaler": scaler(), "overflow": False, "zero_stage": Call(_STAGE, stage)}
    if stage == 3:
        return {**state, "partition_count": ranks, "optimizer_state_dict": adam, "fp32_flat_groups": parts}
    return {**state, "partition_count": [ranks] * len(groups), "group_paddings": [0] * len(groups),
            "base_optimizer_state": adam, "single_partition_of_fp32_groups": parts, "ds_version": "0.12.6"}


def write_zero(folder, weights, stage, ranks, groups=3, frozen=(), buffers=(), shared=None, tag="global_step7",
               prefix="", mp=0, change=lambda kind, rank, thing: thing):
    """frozen, buffers: names of weights; shared: {second name: name}, of which `weights` has the name alone.
    change(kind, rank, object) sees each "optim" or "model" object before it is written, to spoil it."""
    folder, shared = pathlib.Path(folder), shared or {}
    trained = {name: thing for name, thing in weights.items() if name not in frozen and name not in buffers}
    parted = groups_of(trained, groups)
    parts = parted_partitions(parted, ranks) if stage == 3 else whole_partitions(parted, ranks)
    for rank in range(ranks):
        thing = {"optimizer_state_dict": optimizer_state(stage, ranks, parted, parts[rank]), "ds_config": {"stage": stage},
                 "ds_version": "0.12.6"}
        write_torch(folder / tag / f"{prefix}zero_pp_rank_{rank}_mp_rank_{mp:02}_optim_states.pt", change("optim", rank, thing))
    for rank in range(ranks if stage == 3 else 1):
        kept = {name: Tensor(dtype, shape, data) for name, (dtype, shape, data) in weights.items() if name in buffers}
        module = {}
        for name in [*trained, *frozen, *shared]:
            dtype, shape, data = weights[shared.get(name, name)]
            exact = stage == 1 and name in frozen
            module[name] = (Tensor("BF16", [0], b"") if stage == 3 else
                            Tensor(dtype, shape, data) if exact else Tensor("BF16", shape, bfloat16(data)))
        fragments = collections.OrderedDict()
        for name in frozen:
            _, shape, data = weights[name]
            fragments[name] = (Tensor("F32", [len(cut(data, ranks)[rank]) // 4], cut(data, ranks)[rank])
                               if stage == 3 else Tensor("F32", shape, data))
        thing = {"module": collections.OrderedDict(**module, **kept), "buffer_names": list(buffers), "optimizer": None,
                 "param_shapes": [collections.OrderedDict((n, size_of(s)) for n, (_, s, _) in group.items())
                                  for group in parted],
                 "frozen_param_shapes": collections.OrderedDict((n, size_of(weights[n][1])) for n in frozen)
                 if stage > 1 else None,
                 "shared_params": shared, "frozen_param_fragments": fragments if stage > 1 else None,
                 "lr_scheduler": None, "global_steps": 7, "dp_world_size": ranks, "mp_world_size": 1,
                 "ds_config": {"train_batch_size": 4}, "ds_version": "0.12.6"}
        name = f"zero_pp_rank_{rank}_" if stage == 3 else ""
        write_torch(folder / tag / f"{name}mp_rank_{mp:02}_model_states.pt", change("model", rank, thing))
    (folder / "latest").write_text(tag)


def write_module(folder, weights, tag="global_step7"):
    """As saved without ZeRO."""
    folder = pathlib.Path(folder)
    module = collections.OrderedDict((name, Tensor(*thing)) for name, thing in weights.items())
    thing = {"module": module, "buffer_names": [], "optimizer": {"cur_scale": 1.0, "loss_scaler": scaler()},
             "param_shapes": None, "lr_scheduler": {"last_batch_iteration": 6}, "dp_world_size": 1, "mp_world_size": 1,
             "ds_version": "0.12.6", "iteration": 7}
    write_torch(folder / tag / "mp_rank_00_model_states.pt", thing)
    (folder / "latest").write_text(tag + "\n")


# --- Pipelines: GPT-NeoX and BLOOM --------------------------------------------------------------------------------------

NEOX_OUTSIDE = {"gpt_neox.embed_in.weight": (0, "word_embeddings.weight"),
                "gpt_neox.final_layer_norm.weight": (3, "norm.weight"), "gpt_neox.final_layer_norm.bias": (3, "norm.bias"),
                "embed_out.weight": (4, "final_linear.weight")}
BLOOM_OUTSIDE = {"word_embeddings.weight": (1, "word_embeddings.weight"),
                 "word_embeddings_layernorm.weight": (1, "word_embeddings.norm.weight"),
                 "word_embeddings_layernorm.bias": (1, "word_embeddings.norm.bias"),
                 "ln_f.weight": (5, "weight"), "ln_f.bias": (5, "bias")}


def layers_of(weights):
    """{(layer, name): weight} as the code that trains these models counts and names them: some layers have none."""
    bloom = "word_embeddings.weight" in weights or "transformer.word_embeddings.weight" in weights
    outside, first = (BLOOM_OUTSIDE, 3) if bloom else (NEOX_OUTSIDE, 2)
    layers, named = {}, {}
    for name, thing in weights.items():
        plain = name.removeprefix("transformer." if bloom else "gpt_neox.")
        parts = plain.split(".")
        if parts[0] in ("h", "layers"):
            layers[int(parts[1]) + first, ".".join(parts[2:])] = thing
        else:
            named[plain if bloom else name if name.startswith(("gpt_neox.", "embed_out")) else f"gpt_neox.{name}"] = thing
    count = len({layer for layer, _ in layers})
    for name, thing in named.items():
        layer, inner = outside[name]
        layers[layer + (count if layer > 1 else 0), inner] = thing
    return layers


def split(thing, ranks, axis, size):
    """The pieces of a tensor, as even as it goes."""
    dtype, shape, data = thing
    ends = [shape[axis] * (rank + 1) // ranks for rank in range(ranks)]
    pieces, begin = [], 0
    for end in ends:
        if axis == 0:
            row = len(data) // shape[0]
            piece = data[begin * row:end * row]
        else:
            piece = b"".join(data[(r * shape[1] + begin) * size:(r * shape[1] + end) * size] for r in range(shape[0]))
        pieces.append((dtype, [*shape[:axis], end - begin, *shape[axis + 1:]], piece))
        begin = end
    return pieces


def split_layer(name, thing, ranks, size, heads, summands, padding):
    """A tensor of a layer as each rank has it. summands: biases of linears that are cut by columns are added up."""
    dtype, shape, data = thing
    if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
        return split(thing, ranks, 1, size)
    if "query_key_value" in name:
        flat = split((dtype, [heads, 0], data), ranks, 0, size)
        return [(dtype, [n * shape[0] // heads, *shape[1:]], piece) for _, (n, _), piece in flat]
    if "dense_h_to_4h" in name:
        return split(thing, ranks, 0, size)
    if name in ("word_embeddings.weight", "final_linear.weight"):
        more = round_up(shape[0], padding) - shape[0]
        return split((dtype, [shape[0] + more, shape[1]], data + b"\x7f" * (more * shape[1] * size)), ranks, 0, size)
    if summands and name.endswith(("attention.dense.bias", "dense_4h_to_h.bias")):
        return [(dtype, shape, scaled(dtype, data, part)) for part in summands_of(ranks)]
    return [thing] * ranks


def summands_of(ranks):
    """Factors whose products with any float add up to it exactly."""
    return [1.0] if ranks == 1 else [0.5, 0.5] if ranks == 2 else [0.5, *[0.5 / (ranks - 1)] * (ranks - 1)]


def scaled(dtype, data, factor):
    assert dtype == "F32"
    return struct.pack(f"<{len(data) // 4}f", *[factor * x for x in struct.unpack(f"<{len(data) // 4}f", data)])


def pipeline_ranks(weights, ranks, heads, summands=False, padding=64):
    """[rank]: {(layer, name): Tensor}"""
    states = [{} for _ in range(ranks)]
    for (layer, name), thing in layers_of(weights).items():
        size = STORAGES[thing[0]][1]
        for state, piece in zip(states, split_layer(name, thing, ranks, size, heads, summands, padding)):
            state[layer, name] = Tensor(*piece)
    return states


def write_layers(folder, weights, ranks, heads, summands=False, padding=64, tag="global_step7",
                 change=lambda path, thing: thing):
    """A pipeline's checkpoint: a file a layer and a rank, and modules that hold nothing."""
    folder = pathlib.Path(folder)
    for rank, state in enumerate(pipeline_ranks(weights, ranks, heads, summands, padding)):
        for layer in {layer for layer, _ in state}:
            name = f"layer_{layer:02}-model_{rank:02}-model_states.pt"
            thing = collections.OrderedDict((inner, t) for (at, inner), t in state.items() if at == layer)
            write_torch(folder / tag / name, change(name, thing))
        write_torch(folder / tag / f"mp_rank_{rank:02}_model_states.pt", {"module": None, "mp_world_size": ranks})
    (folder / "latest").write_text(tag)


def write_sequential(folder, weights, ranks, heads, summands=False, padding=64, tag="global_step7"):
    """The same without stages: all layers in the module of each rank."""
    folder = pathlib.Path(folder)
    for rank, state in enumerate(pipeline_ranks(weights, ranks, heads, summands, padding)):
        module = collections.OrderedDict((f"sequential.{layer}.{name}", t) for (layer, name), t in state.items())
        write_torch(folder / tag / f"mp_rank_{rank:02}_model_states.pt", {"module": module, "mp_world_size": ranks})
    (folder / "latest").write_text(tag)


def write_sequential_zero(folder, weights, ranks, heads, stage, dp):
    """As the last, of a run with ZeRO: each model-parallel rank's weights are in parts on `dp` others."""
    for rank, state in enumerate(pipeline_ranks(weights, ranks, heads, True)):
        own = {f"sequential.{layer}.{name}": (t.storage.dtype, list(t.shape), t.storage.data)
               for (layer, name), t in state.items()}
        buffers = [name for name in own if name.endswith((".attention.bias", ".masked_bias", ".inv_freq"))]
        write_zero(folder, own, stage, dp, buffers=buffers, mp=rank)


def write_gpt2_layers(folder, model, ranks, tag="global_step7"):
    """A GPT-2 of megatronfile.py's, as Megatron-DeepSpeed stores its layers."""
    folder = pathlib.Path(folder)
    for rank in range(ranks):
        files = collections.defaultdict(collections.OrderedDict)
        for name, piece in model.pieces(rank, ranks, 2).items():
            if name.startswith("layers."):
                _, layer, inner = name.split(".", 2)
                files[3 + int(layer)][inner.replace("attention.", "self_attention.", inner.startswith("attention."))] = piece
            elif name.startswith("final_layernorm."):
                files[4 + model.layers][name.rpartition(".")[2]] = piece
            else:
                files[1][name] = piece
        for layer, state in files.items():
            write_torch(folder / tag / f"layer_{layer:02}-model_{rank:02}-model_states.pt",
                        collections.OrderedDict((name, piece.tensor()) for name, piece in state.items()))
        write_torch(folder / tag / f"mp_rank_{rank:02}_model_states.pt", {"module": None, "mp_world_size": ranks})
    (folder / "latest").write_text(tag)
