#!/usr/bin/env python3
"""Writes small training checkpoints as inputs of fuzz_deepspeed_training (its head says how they look).

    tests/fuzz/make_training_seeds.py tests/hostile/checkpoint/training
"""
import io
import pathlib
import struct
import sys
import tempfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "program"))
from torchfile import Tensor, write_torch  # noqa: E402
from trainfile import write_layers, write_module, write_sequential, write_zero  # noqa: E402

NAMES = ["latest", "config.json", "mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt",
         *[f"zero_pp_rank_{rank}_mp_rank_00_{kind}_states.pt" for kind in ("model", "optim") for rank in (0, 1)],
         *[f"layer_{layer:02}-model_{rank:02}-model_states.pt" for layer in (0, 2, 4) for rank in (0, 1)]]


def record(name, data):
    sizes = []
    if name.endswith(".pt"):
        archive = zipfile.ZipFile(io.BytesIO(data))
        storages = [n for n in archive.namelist() if "/data/" in n]
        sizes = [len(archive.read(f"archive/data/{i}")) for i in range(len(storages))]
        data = archive.read("archive/data.pkl")
    return struct.pack("<BHB", NAMES.index(name), len(data), len(sizes)) + bytes(sizes) + data


def tensor(*shape):
    count = 1
    for extent in shape:
        count *= extent
    return "F32", list(shape), struct.pack(f"<{count}f", *range(count))


def neox():
    inner = {"input_layernorm.weight": (4,), "attention.query_key_value.weight": (12, 4), "attention.dense.weight": (4, 4),
             "attention.dense.bias": (4,), "mlp.dense_4h_to_h.weight": (4, 4)}
    return {"gpt_neox.embed_in.weight": tensor(6, 4), "gpt_neox.final_layer_norm.weight": tensor(4),
            **{f"gpt_neox.layers.0.{name}": tensor(*shape) for name, shape in inner.items()}}


def write_gpt2(folder):
    layers = {0: {"word_embeddings.weight": (3, 4), "position_embeddings.weight": (5, 4)},
              2: {"input_layernorm.weight": (4,), "self_attention.query_key_value.weight": (6, 4),
                  "self_attention.dense.weight": (4, 2), "mlp.dense_h_to_4h.bias": (3,)},
              4: {"weight": (4,), "bias": (4,)}}
    for rank in (0, 1):
        for layer, shapes in layers.items():
            write_torch(folder / f"layer_{layer:02}-model_{rank:02}-model_states.pt",
                        {name: Tensor(*tensor(*shape)) for name, shape in shapes.items()})
    (folder / "latest").touch()
    (folder / "config.json").write_text('{"model_type": "gpt2", "n_head": 2, "vocab_size": 5}')


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    weights = {"a": tensor(3, 4), "b": tensor(5), "mask": tensor(2), "cold": tensor(2, 2)}
    cases = {f"zero{stage}": lambda at, stage=stage: write_zero(at, weights, stage, 2, groups=2, frozen=["cold"],
                                                               buffers=["mask"], shared={"c": "a"})
             for stage in (1, 2, 3)}
    cases["module"] = lambda at: write_module(at, weights)
    cases["layers"] = lambda at: write_layers(at, neox(), 2, 2, True, padding=2)
    cases["sequential"] = lambda at: write_sequential(at, neox(), 2, 2, True, padding=2)
    cases["gpt2"] = write_gpt2
    for name, write in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            write(folder / "x")
            files = sorted(path for path in (folder / "x").rglob("*") if path.is_file() and path.name in NAMES)
            seed = b"".join(record(path.name, b"tag" if path.name == "latest" else path.read_bytes()) for path in files)
            (out / f"{name}.bin").write_bytes(seed)
    print(f"{len(cases)} inputs in {out}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
