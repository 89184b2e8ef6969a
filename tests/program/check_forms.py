#!/usr/bin/env python3
"""The tiny instances of tests/oracle in every form of storage: the same tokens and log-probabilities, bit for bit, as
from plain safetensors, on any number of ranks.

    check_forms.py BUILD/tessera [--ranks 3]

Each case writes an instance's weights again in one form (torchfile.py: no torch needed) and runs `score` and
`generate` on both. Standard library only.
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest


from torchfile import STORAGES, Storage, Tensor, read_instance, transpose, write_torch

ORACLE = pathlib.Path(__file__).resolve().parent.parent / "oracle"
ARGS = None


COMMANDS = (["score", "--top", "3"], ["generate", "--max-new-tokens", "6"])


def run(folder, *options, commands=COMMANDS):
    """What `score` and `generate` say of the first prompts of an instance."""
    entries = json.loads((folder / "expected.json").read_text())["prompts"][:4]
    ids = [text for entry in entries for text in ("--ids", ",".join(map(str, entry["ids"])))]
    said = []
    for command in commands:
        launcher = ["mpirun", "--oversubscribe", "-n", str(ARGS.ranks)] if ARGS.ranks > 1 else []
        line = launcher + [ARGS.tessera, command[0], "--model", str(folder), "--json", *ids, *command[1:], *options]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}")
        if len(done.stdout.splitlines()) != len(entries):
            raise AssertionError(f"{command[0]}: {len(done.stdout.splitlines())} lines for {len(entries)} prompts")
        said.append(done.stdout)
    return said


class Forms(unittest.TestCase):
    plain = {}

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tessera-forms-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, name):
        """A folder with all of the instance but its weights; and those."""
        self.name = name
        for path in (ORACLE / name).glob("*.json"):
            if "index" not in path.name:
                shutil.copy(path, self.folder)
        return read_instance(ORACLE / name)

    def same(self, *options):
        if self.name not in self.plain:
            self.plain[self.name] = run(ORACLE / self.name)
        self.assertEqual(run(self.folder, *options), self.plain[self.name])


def tensors(weights, **options):
    return {name: Tensor(dtype, shape, data, **options) for name, (dtype, shape, data) in weights.items()}


class Torch(Forms):
    def test_single(self):
        for name, protocol in (("gpt2_base", 2), ("llama_gqa", 4), ("mistral_yarn", 5)):
            with self.subTest(name=name):
                write_torch(self.folder / "pytorch_model.bin", tensors(self.start(name)), protocol=protocol)
                self.same()

    def test_sharded(self):
        weights = self.start("gpt_neox_sequential")
        names = sorted(weights)
        shards = {f"pytorch_model-0000{i + 1}-of-00003.bin": names[i::3] for i in range(3)}
        for shard, own in shards.items():
            write_torch(self.folder / shard, tensors({name: weights[name] for name in own}))
        index = {"weight_map": {name: shard for shard, own in shards.items() for name in own}}
        (self.folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        self.same()

    def test_nested_and_named(self):
        weights = tensors(self.start("llama_eos"), parameter=True)
        extra = {"optimizer": [{"lr": 1e-3, "betas": (0.9, 0.999)}], "args": argparse.Namespace(tp=2, big=1 << 100),
                 "step": 7, "none": None, "rng": Tensor("U8", [16], bytes(16))}
        for i, nested in enumerate(({"module": weights}, {"state_dict": {"model": weights}, "epoch": 3},
                                    {"model": weights, **extra})):
            write_torch(self.folder / "deep" / "model_state.pt", nested, protocol=2 + i)
            self.same("--checkpoint", "deep/model_state.pt")

    def test_one_storage_offsets_and_strides(self):
        """Every tensor in one storage of its format, matrices lying transposed in it."""
        weights, made, storages = self.start("mistral_window"), {}, {}
        for name, (dtype, shape, data) in weights.items():
            size = STORAGES[dtype][1]
            storage = storages.setdefault(dtype, Storage(dtype, bytes(size * 5)))
            offset, strides = len(storage.data) // size, None
            if len(shape) == 2:
                data, strides = transpose(data, size, *shape), (1, shape[0])
            storage.data += data
            made[name] = Tensor(dtype, shape, storage, offset, strides)
        write_torch(self.folder / "pytorch_model.bin", made)
        self.same()

    def test_columns_of_a_wider_matrix(self):
        weights, made = self.start("gpt2_untied"), {}
        for name, (dtype, shape, data) in weights.items():
            size = STORAGES[dtype][1]
            if len(shape) != 2:
                made[name] = Tensor(dtype, shape, data)
                continue
            row = shape[1] * size
            wide = b"".join(b"\x7f" * 2 * size + data[r * row:(r + 1) * row] + b"\x7f" * size for r in range(shape[0]))
            made[name] = Tensor(dtype, shape, wide, 2, (shape[1] + 3, 1))
        write_torch(self.folder / "pytorch_model.bin", made)
        self.same()


ROOT = ORACLE.parent.parent
# The tensor that a tied head shares its storage with, and its own name, as torch.save writes both.
TIED = {"transformer.wte.weight": "lm_head.weight", "model.embed_tokens.weight": "lm_head.weight",
        "transformer.word_embeddings.weight": "lm_head.weight", "gpt_neox.embed_in.weight": "embed_out.weight",
        "transformer.tokens_embed.weight": "lm_head.weight", "model.decoder.embed_tokens.weight": "lm_head.weight"}
OUTSIDE = ("lm_head.", "embed_out.")  # of the base model, whose prefix these names never have


def prefixes():
    """{model_type: prefix} as the program's table of families has them."""
    rows = re.findall(r'^    X\("([^"]+)", "([a-z_]+\.)",', (ROOT / "layers" / "model.c").read_text(), re.M)
    return dict(rows)


def family_of(folder):
    """(a name for what has names of its own, the prefix of its tensors)"""
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "glm" and "max_sequence_length" in config:
        return "glm of 2022", "glm."
    first = "inner_hidden_size" in config and "chatglm of the first release"
    return first or config["model_type"], prefixes()[config["model_type"]]


class Families(Forms):
    """Each family from one torch file, whose names have the base model's prefix where the instance's lack it and lack it
    where those have it; a tied head that the instance leaves out is there, in the embedding's own storage."""

    def choose(self):
        """{family: instances}, on several ranks some families only"""
        found = {}
        for path in sorted(ORACLE.glob("*/expected.json")):
            if not path.parent.name.startswith("rules_"):
                found.setdefault(family_of(path.parent), []).append(path.parent.name)
        chosen = sorted(found)[ARGS.ranks - 2::6] if ARGS.ranks > 1 else sorted(found)
        return {family: found[family] for family in chosen}

    def rename(self, weights, prefix):
        """The tensors under the other names, and whether those have the prefix."""
        had = any(name.startswith(prefix) for name in weights)
        made = {}
        for name, tensor in weights.items():
            outside = name.startswith(OUTSIDE)
            made[name.removeprefix(prefix) if had else name if outside else prefix + name] = tensor
        return made, not had

    def share(self, made, prefix, has_prefix):
        for table, head in TIED.items():
            bare = table.removeprefix(prefix)
            known = made.get(table if has_prefix else bare)
            if known and table.startswith(prefix) and head not in made and self.tied:
                made[head] = Tensor(known.storage.dtype, known.shape, known.storage)

    def test_families(self):
        families = self.choose()
        if ARGS.ranks == 1:
            self.assertEqual({name.split(" of ")[0] for name, _ in families} | {"RefinedWeb", "RefinedWebModel"},
                             set(prefixes()))
        for (family, prefix), names in families.items():
            for name in names if ARGS.ranks == 1 else names[:1]:
                with self.subTest(family=family, name=name):
                    for old in self.folder.iterdir():
                        old.unlink()
                    weights = self.start(name)
                    self.tied = json.loads((self.folder / "config.json").read_text()).get("tie_word_embeddings", True)
                    made, has_prefix = self.rename(tensors(weights), prefix)
                    self.share(made, prefix, has_prefix)
                    write_torch(self.folder / "pytorch_model.bin", made)
                    self.assertEqual(run(self.folder, commands=COMMANDS[:1]), run(ORACLE / name, commands=COMMANDS[:1]))


class DeepSpeedJson(Forms):
    def test_list(self):
        weights = self.start("llama_wide_heads")
        names = sorted(weights)
        for base, kind in (("", "ds_model"), ("parts", "BLOOM"), ("/home/somebody/else", "ds_model")):
            files, below = ["one.bin", "sub/two.pt"], base if not base.startswith("/") else ""
            for i, name in enumerate(files):
                write_torch(self.folder / below / name, tensors({n: weights[n] for n in names[i::2]}))
            told = {"type": kind, "version": 1.0, "checkpoints": files, "base_dir": base}
            (self.folder / "ds.json").write_text(json.dumps(told))
            self.same("--checkpoint", "ds.json")

    def test_safetensors_entries(self):
        self.start("gpt_neox_linear")
        files = sorted(path.name for path in (ORACLE / self.name).glob("*.safetensors") if path.name != "full.safetensors")
        for name in files:
            shutil.copy(ORACLE / self.name / name, self.folder / name.replace("model", "part"))
        told = {"type": "ds_model", "checkpoints": [name.replace("model", "part") for name in files], "version": 0}
        (self.folder / "ds_inference_checkpoint.json").write_text(json.dumps(told))
        self.same()


def main():
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tessera")
    parser.add_argument("--ranks", type=int, default=1)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
