"""check_convert.py: what `convert` writes is the same model, in whatever form and on any number of ranks."""
import json
import os
import random
import shutil
import struct
import unittest

import models
from support import ORACLE, Case, TempFolder, ids_option, main, needs_ranks, run

INSTANCES = ("gpt2_prefixed", "gpt_neox_parallel", "llama_gqa")
PROMPTS = [[1, 5, 17, 3, 9], [2, 40, 7]]


def read_safetensors(path):
    """{name: (dtype, shape, bytes)} and the metadata."""
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    notes = header.pop("__metadata__", {})
    begin = 8 + n
    return {name: (t["dtype"], t["shape"], data[begin + t["data_offsets"][0]:begin + t["data_offsets"][1]])
            for name, t in header.items()}, notes


def read_all(folder):
    """The tensors of all .safetensors files of a folder of whole tensors."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name != "full.safetensors":
            tensors.update(read_safetensors(path)[0])
    return tensors


def bfloat16_of(data):
    """float32 bytes rounded to bfloat16, to nearest even."""
    out = b""
    for (bits,) in struct.iter_unpack("<I", data):
        out += struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
    return out


class Convert(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = TempFolder(cls)

    def convert(self, model, name, *args):
        out = self.folder.path / name
        self.good("convert", "--model", model, "--output", out, "--verify", "--quiet", *args)
        self.assertFalse((self.folder.path / (name + ".incomplete")).exists())
        return out

    def says(self, model, ranks):
        return self.generate(model, *ids_option(PROMPTS), "--max-new-tokens", "6", ranks=ranks)

    def test_same_bytes(self):
        """Through every form and back: the tensors are what they were, and the files do not depend on the way."""
        for instance in INSTANCES:
            model = ORACLE / instance
            plain = self.convert(model, instance + "-plain")
            self.assertEqual(read_all(plain), read_all(model))
            for name, args in (("4", ["--tp", "4"]), ("ds", ["--format", "deepspeed"])):
                cut = self.convert(model, f"{instance}-b{name}", *args)
                again = self.convert(cut, f"{instance}-b{name}-2", "--tp", "2")
                whole = self.convert(again, f"{instance}-b{name}-whole")
                self.assertEqual((whole / "model.safetensors").read_bytes(),
                                 (plain / "model.safetensors").read_bytes())

    @needs_ranks
    def test_same_words(self):
        """The tokens and log-probabilities of the original, bit for bit, on 1 to 4 ranks."""
        for instance in INSTANCES:
            forms = [self.convert(ORACLE / instance, f"{instance}-w{tp}", "--tp", tp) for tp in (2, 3)]
            for ranks in (1, 2, 3, 4):
                expected = self.says(ORACLE / instance, ranks)
                for form in forms:
                    with self.subTest(form=form.name, ranks=ranks):
                        self.assertEqual(self.says(form, ranks), expected)

    def test_pieces(self):
        """Each rank's file is its slices: about its share of the bytes, and each piece says which part it is."""
        out = self.convert(ORACLE / "gpt2_prefixed", "pieces", "--tp", 2)
        whole = read_all(ORACLE / "gpt2_prefixed")
        config = json.loads((out / "ds_inference_config.json").read_text())
        self.assertEqual(config["type"], "ds_model")
        self.assertEqual(config["tp_size"], 2)
        self.assertEqual(config["parallelization"], "tp")
        self.assertEqual(config["checkpoints"]["tp"], ["tp_00_00.safetensors", "tp_01_00.safetensors"])
        seen = set()
        for name in config["checkpoints"]["tp"]:
            tensors, notes = read_safetensors(out / name)
            for tensor, (_, shape, data) in tensors.items():
                axis, extent, _ = notes["part:" + tensor].split(" ")
                self.assertEqual(int(extent), whole[tensor][1][int(axis)])
                self.assertLess(len(data), len(whole[tensor][2]))
                seen.add(tensor)
        self.assertTrue(any("c_attn.weight" in name for name in seen))
        self.assertTrue(any("wte" in name for name in seen))

    def test_dtype_and_shards(self):
        folder = self.folder.path / "single"
        folder.mkdir()
        draw = random.Random(3)
        data = {f"layers.{i}.weight": struct.pack("<60f", *(draw.gauss(0, 1) for _ in range(60))) for i in range(12)}
        models.write_safetensors(folder / "model.safetensors",
                                 [(name, "F32", (6, 10), value) for name, value in data.items()])
        (folder / "config.json").write_text('{"model_type": "unknown", "torch_dtype": "float32", "eps": 1e-05}')
        (folder / "tokenizer.json").write_text('{"x": 1}')
        (folder / "run.py").write_text("print()")
        (folder / "pytorch_model.bin.index.json").write_text("{}")
        out = self.convert(folder, "bf16", "--dtype", "bfloat16")
        self.assertEqual(read_all(out), {name: ("BF16", [6, 10], bfloat16_of(v)) for name, v in data.items()})
        self.assertEqual(json.loads((out / "config.json").read_text()),
                         {"model_type": "unknown", "torch_dtype": "bfloat16", "eps": 1e-05})
        self.assertEqual(sorted(os.listdir(out)), ["config.json", "model.safetensors", "tokenizer.json"])
        index = self.convert(ORACLE.parent.parent / "examples" / "models" / "shakespeare", "sharded", "--shard-mb", 4)
        weights = json.loads((index / "model.safetensors.index.json").read_text())["weight_map"]
        self.assertEqual(len(set(weights.values())), 3)
        self.assertEqual(sorted(weights), sorted(read_all(index)))
        for path in index.glob("*.safetensors"):
            self.assertLess(path.stat().st_size, 4100000)
        self.assertEqual(self.says(index, 0), self.says(ORACLE.parent.parent / "examples" / "models" / "shakespeare", 0))

    def test_float16_overflow_is_told(self):
        folder = self.folder.path / "large"
        folder.mkdir()
        models.write_safetensors(folder / "model.safetensors", [("w", "F32", (4,), struct.pack("<4f", 1, 7e4, -1e9, 2))])
        result = self.good("convert", "--model", folder, "--output", self.folder.path / "small", "--dtype", "float16")
        self.assertIn(b"2 numbers are too large for float16", result.err)

    def test_never_over_anything(self):
        model = self.folder.copy(ORACLE / "llama_gqa", "input")
        before = (model / "model.safetensors").read_bytes()
        self.refused(run("convert", "--model", model, "--output", model), 2, "must not be the model itself")
        self.refused(run("convert", "--model", model, "--output", str(model) + "/"), 2, "must not be the model itself")
        taken = self.folder.path / "taken"
        taken.mkdir()
        (taken / "notes").write_text("mine")
        self.refused(run("convert", "--model", model, "--output", taken), 2, "is there already")
        link = self.folder.path / "link"
        link.symlink_to(model)
        self.refused(run("convert", "--model", model, "--output", link), 2, "itself|already")
        left = self.folder.path / "new.incomplete"
        left.mkdir()
        self.refused(run("convert", "--model", model, "--output", self.folder.path / "new"), 2, "left by a run")
        self.refused(run("convert", "--model", model), 2, "--output")
        self.refused(run("convert", "--model", model, "--output", "/tmp/x", "--tp", 2, "--format", "safetensors"), 2,
                     "deepspeed")
        self.refused(run("convert", "--model", model, "--output", "/no/such/place"), 3, "cannot be made")
        self.assertEqual((model / "model.safetensors").read_bytes(), before)
        empty = self.folder.path / "empty"
        empty.mkdir()
        self.good("convert", "--model", model, "--output", empty, "--quiet")

    def test_a_failure_leaves_nothing(self):
        model = self.folder.copy(ORACLE / "llama_gqa", "torn")
        (model / "tokenizer.json").mkdir()  # not a file: left behind, no failure
        self.good("convert", "--model", model, "--output", self.folder.path / "fine", "--quiet")
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text("{")
        self.refused(run("convert", "--model", model, "--output", self.folder.path / "torn-out", "--dtype", "float16",
                         "--quiet"), 3, r"config\.json")
        self.assertFalse([name for name in os.listdir(self.folder.path) if name.startswith("torn-out")])
        (model / "config.json").write_text(json.dumps(config))

    def test_hostile_pieces(self):
        """Pieces that contradict themselves or one another are refused with one line."""
        model = self.convert(ORACLE / "gpt2_prefixed", "hostile", "--tp", 2)
        file = model / "tp_01_00.safetensors"
        whole = file.read_bytes()
        n = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8:8 + n])
        key = next(k for k in header["__metadata__"] if k.endswith("c_attn.weight"))
        axis, extent, ranges = header["__metadata__"][key].split(" ")
        begin = ranges.split("-")[0]
        cases = [None, "", "1", f"{axis} {extent}", f"{axis} {extent} ", "9 105 0-1", f"-1 {extent} {ranges}",
                 f"{axis} {10 ** 30} {ranges}", f"{axis} {extent} {ranges},", f"{axis} {extent} {ranges}x",
                 f"{axis} {extent} 5-3", f"{axis} {extent} 0-{10 ** 12}", f"{axis} {int(extent) + 1} {ranges}",
                 f"{axis} {int(extent) - 40} {ranges}", f"0 {extent} {ranges}", f"{axis} {extent} 0-1,0-1",
                 f"{axis} {extent} {ranges.replace(begin + '-', '0-', 1)}"]
        for case in cases:
            changed = json.loads(json.dumps(header))
            if case is None:
                del changed["__metadata__"][key]
            else:
                changed["__metadata__"][key] = case
            text = json.dumps(changed).encode()
            file.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + n:])
            with self.subTest(case=case):
                self.refused(run("inspect", model, "--quiet"), 3, "c_attn|tensor|safetensors")
        file.write_bytes(whole)
        told = json.loads((model / "ds_inference_config.json").read_text())
        for name in ("../x.safetensors", "/etc/passwd", "absent.safetensors", 5, "a\0.safetensors", "config.json"):
            told["checkpoints"]["tp"][1] = name
            (model / "ds_inference_config.json").write_text(json.dumps(told))
            with self.subTest(name=name):
                self.refused(run("inspect", model, "--quiet"), 3, "")
        told["checkpoints"]["tp"][1:] = []
        (model / "ds_inference_config.json").write_text(json.dumps(told))
        self.refused(run("inspect", model, "--quiet"), 3, "is in no file")


class Inspect(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = TempFolder(cls)

    def inspect(self, *args):
        return self.good("inspect", *args, "--json").lines()[0]

    def test_complete(self):
        told = self.inspect(ORACLE / "gpt2_base")
        self.assertEqual((told["model"], told["missing"], told["wrong"]), ("gpt2", [], []))
        expected = read_all(ORACLE / "gpt2_base")
        self.assertEqual({t["name"]: (t["dtype"], t["shape"], t["bytes"]) for t in told["tensors"]},
                         {name: (dtype, shape, len(data)) for name, (dtype, shape, data) in expected.items()})
        self.assertEqual(told["bytes"], sum(len(t[2]) for t in expected.values()))
        self.assertTrue(all(name.endswith(("attn.bias", "attn.masked_bias")) for name in told["unexpected"]))

    def test_what_is_wrong(self):
        model = self.folder.copy(ORACLE / "llama_gqa", "wrong")
        tensors = read_all(model)
        gone, odd = "model.layers.0.mlp.up_proj.weight", "model.norm.weight"
        rest = [(k, d, s, v) for k, (d, s, v) in tensors.items() if k != gone]
        rest = [(k, d, [s[0] // 2] if k == odd else s, v[:len(v) // 2] if k == odd else v) for k, d, s, v in rest]
        models.write_safetensors(model / "model.safetensors", rest + [("extra.weight", "F32", (1,), b"abcd")])
        told = self.inspect(model)
        self.assertEqual((told["missing"], told["unexpected"]), ([gone], ["extra.weight"]))
        self.assertEqual(len(told["wrong"]), 1)
        self.assertIn(odd, told["wrong"][0])
        text = self.good("inspect", model).out.decode()
        self.assertIn("NOT COMPLETE: 1 missing, 1 wrong, 1 not used", text)
        self.assertIn("unexpected  extra.weight", text)

    def test_a_file(self):
        told = self.inspect(ORACLE / "llama_gqa" / "full.safetensors")
        self.assertEqual([t["name"] for t in told["tensors"]], ["logprobs"])
        self.assertGreater(len(told["missing"]), 5)
        lone = self.folder.path / "lone.safetensors"
        shutil.copy(ORACLE / "llama_gqa" / "full.safetensors", lone)
        told = self.inspect(lone)
        self.assertIsNone(told["model"])
        self.assertIn("config.json", told["not_compared"])
        self.refused(run("inspect", self.folder.path / "absent"), 3, "absent")
        self.refused(run("inspect"), 2, "nothing to inspect")


if __name__ == "__main__":
    main()
