"""heads.py: checkpoints of models that classify, put together from an instance's layers and a small head.

heads/NAME.json holds what the instance `base` lacks: changes to its config.json, the head's tensors, texts with the
logits that transformers computes for them. assemble() makes the folder that a checkpoint would be: without the
language model's head, in one safetensors file, or in one of torch's for every second name. Standard library only.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "program"))

from models import floats, write_safetensors  # noqa: E402
from torchfile import Tensor, read_instance, write_torch  # noqa: E402

OF_THE_LANGUAGE_MODEL = ("lm_head.", "embed_out.")


def names():
    return sorted(path.stem for path in (HERE / "heads").glob("*.json"))


def read(name):
    return json.loads((HERE / "heads" / f"{name}.json").read_text())


def config_of(told):
    """The base's config.json with the head's changes; null takes a key away."""
    config = json.loads((HERE / told["base"] / "config.json").read_text())
    config.update(told["config"])
    return {key: value for key, value in config.items() if value is not None or key == "pad_token_id"}


def assemble(told, folder, torch=False):
    weights = {name: tensor for name, tensor in read_instance(HERE / told["base"]).items()
               if not name.startswith(OF_THE_LANGUAGE_MODEL)}
    for name, rows in told["tensors"].items():
        matrix = isinstance(rows[0], list)
        values = [value for row in rows for value in row] if matrix else rows
        weights[name] = ("F32", [len(rows), len(rows[0])] if matrix else [len(rows)], floats(values))
    (folder / "config.json").write_text(json.dumps(config_of(told)))
    if torch:
        write_torch(folder / "pytorch_model.bin", {n: Tensor(*tensor) for n, tensor in weights.items()})
    else:
        write_safetensors(folder / "model.safetensors", [(n, *tensor) for n, tensor in sorted(weights.items())])
