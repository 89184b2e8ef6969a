#!/usr/bin/env python3
"""DeepSpeed training checkpoints of the tiny instances: the same log-probabilities, bit for bit, as from plain
safetensors, on any number of ranks; what convert and inspect make of them; what ranks read of them.

    check_training.py BUILD/tessera [unittest options]
"""
import json
import pathlib
import shutil
import tempfile
import unittest

import megatronfile
import models
import support
from support import ORACLE, Case, TempFolder, needs_ranks
from torchfile import STORAGES, read_instance
from trainfile import scaled, write_gpt2_layers, write_layers, write_module, write_sequential, write_sequential_zero, write_zero

GPT2 = "gpt2_prefixed"
FROZEN = ["transformer.wpe.weight", "transformer.h.0.ln_1.bias"]
SHARED = {"transformer.wte.weight": "lm_head.weight"}


class Instances(Case):
    """What the cases below share."""

    @classmethod
    def setUpClass(cls):
        cls.temp = TempFolder(cls)
        cls.plain = {}

    def start(self, name):
        """A model folder that lacks its weights; and those."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.temp.path))
        shutil.copy(ORACLE / name / "config.json", folder)
        return folder, read_instance(ORACLE / name)

    def zero(self, stage, ranks, where="", **how):
        """Tied weights of which only the head's name is stored, buffers, two frozen parameters."""
        folder, weights = self.start(GPT2)
        weights["lm_head.weight"] = weights.pop("transformer.wte.weight")
        buffers = [name for name in weights if name.endswith((".attn.bias", ".attn.masked_bias"))]
        self.assertEqual(len(buffers), 4)
        write_zero(folder / where, weights, stage, ranks, frozen=FROZEN, buffers=buffers, shared=SHARED, **how)
        return folder, {**weights, "transformer.wte.weight": weights["lm_head.weight"]}

    def said(self, model, name, ranks, *options):
        entries = json.loads((ORACLE / name / "expected.json").read_text())["prompts"][:3]
        ids = support.ids_option([entry["ids"] for entry in entries])
        return self.good("score", "--model", model, "--json", "--quiet", "--top", "3", *ids, *options, ranks=ranks).out

    def same(self, model, name, *options, ranks=(0, 2, 3)):
        for n in ranks if support.MPIRUN else (0,):
            if (name, n) not in self.plain:
                self.plain[name, n] = self.said(ORACLE / name, name, n)
            with self.subTest(ranks=n):
                self.assertEqual(self.said(model, name, n, *options), self.plain[name, n])


class Training(Instances):
    def test_module(self):
        name = "llama_wide_heads"
        folder, weights = self.start(name)
        write_module(folder, weights)
        self.same(folder, name)
        self.same(folder, name, "--checkpoint", "global_step7", ranks=(0,))
        self.same(folder, name, "--checkpoint", folder / "global_step7" / "mp_rank_00_model_states.pt", ranks=(0,))

    def test_zero(self):
        for stage in (1, 2, 3):
            for trained_on in (1, 2, 3):
                prefix = "bf16_" if stage == 2 else ""
                with self.subTest(stage=stage, trained_on=trained_on):
                    folder, _ = self.zero(stage, trained_on, prefix=prefix)
                    self.same(folder, GPT2, ranks=(0, 2, 3) if trained_on == 3 else (0,))

    def test_another_folder(self):
        folder, _ = self.zero(3, 2, where="run/checkpoints", tag="step 9")
        self.same(folder, GPT2, "--checkpoint", "run/checkpoints", ranks=(0,))

    def test_one_group_many_ranks(self):
        """More ranks than the smallest parameters have elements."""
        for stage in (2, 3):
            folder, _ = self.zero(stage, 40, groups=1)
            self.same(folder, GPT2, ranks=(0,))

    def test_convert(self):
        for stage in (1, 2, 3):
            folder, weights = self.zero(stage, 3)
            self.good("convert", "--model", folder, "--output", folder / "out", "--verify", "--quiet")
            self.assertEqual(read_instance(folder / "out"), weights)
            self.good("convert", "--model", folder, "--output", folder / "cut", "--tp", 2, "--verify", "--quiet")
            self.same(folder / "cut", GPT2, ranks=(0,))

    def test_inspect(self):
        for stage, count in ((1, 33), (3, 33)):
            folder, weights = self.zero(stage, 3)
            self.assertEqual(len(weights), count)
            told = self.good("inspect", folder).out.decode()
            self.assertIn("DeepSpeed training checkpoint", told)
            self.assertIn(f"F32: {count} tensors, {sum(len(t[2]) for t in weights.values())} bytes", told)
            self.assertIn("0 missing, 0 wrong", told)

    def test_float32_is_what_counts(self):
        """Weights that were spoilt in the partitions of one rank alone are noticed."""
        def spoil(kind, rank, thing):
            state = thing["optimizer_state_dict"] if kind == "optim" and rank == 1 else {}
            for part in state.get("single_partition_of_fp32_groups", []) + state.get("fp32_flat_groups", []):
                part.storage.data = bytes(len(part.storage.data))
            return thing
        for stage in (1, 2, 3):
            folder, _ = self.zero(stage, 2, change=spoil)
            self.assertNotEqual(self.said(folder, GPT2, 0), self.said(ORACLE / GPT2, GPT2, 0))


class Pipelines(Instances):
    """Layers of GPT-NeoX and BLOOM, cut among ranks as in their training; the vocabulary padded."""

    def pipeline(self, write, name, trained_on, summands=False):
        folder, weights = self.start(name)
        config = json.loads((folder / "config.json").read_text())
        write(folder, weights, trained_on, config.get("num_attention_heads") or config["n_head"], summands)
        return folder

    def test_layers(self):
        for trained_on in (1, 2, 3):
            for name, summands in (("gpt_neox_parallel", True), ("gpt_neox_sequential", False), ("bloom_seven_heads", False)):
                with self.subTest(name=name, trained_on=trained_on):
                    folder = self.pipeline(write_layers, name, trained_on, summands)
                    self.same(folder, name, ranks=(0, 2, 3) if trained_on == 2 and summands else (0,))

    def test_sequential(self):
        for trained_on in (1, 2):
            folder = self.pipeline(write_sequential, "gpt_neox_parallel", trained_on, True)
            self.same(folder, "gpt_neox_parallel", ranks=(0,))

    def test_sequential_under_zero(self):
        for stage in (1, 3):
            folder, weights = self.start("gpt_neox_parallel")
            write_sequential_zero(folder, weights, 2, 7, stage, 3)
            self.same(folder, "gpt_neox_parallel", ranks=(0, 3) if stage == 1 else (0,))

    def test_gpt2(self):
        """As the same weights in Hugging Face's form; without a config there are no heads."""
        model = megatronfile.Model("gpt2", heads=6, size=4)
        plain = pathlib.Path(tempfile.mkdtemp(dir=self.temp.path))
        models.write_safetensors(plain / "model.safetensors", model.hugging_face())
        (plain / "config.json").write_text(json.dumps(model.config()))
        ids = ("--ids", "1,5,17,3,99", "--ids", "100,2")
        for trained_on in (1, 2, 3):
            folder = pathlib.Path(tempfile.mkdtemp(dir=self.temp.path))
            write_gpt2_layers(folder, model, trained_on)
            self.refused(support.run("inspect", folder), 3, "number of attention heads|final_layernorm|has none of this name")
            shutil.copy(plain / "config.json", folder)
            for n in (0, 2) if support.MPIRUN and trained_on == 3 else (0,):
                said = [self.good("score", "--model", at, "--json", "--quiet", *ids, ranks=n).out for at in (plain, folder)]
                self.assertEqual(*said)
            self.good("convert", "--model", folder, "--output", folder / "out", "--verify", "--quiet")
            self.assertEqual(read_instance(folder / "out"), read_instance(plain))

    def test_convert(self):
        """The weights come out as they went in: without padding, summands added up."""
        name, masks = "gpt_neox_parallel", (".attention.bias", ".masked_bias", ".inv_freq")
        folder = self.pipeline(write_layers, name, 2, True)
        self.good("convert", "--model", folder, "--output", folder / "out", "--verify", "--quiet")
        weights = {n: t for n, t in read_instance(ORACLE / name).items() if not n.endswith(masks)}
        self.assertEqual(read_instance(folder / "out"), weights)
        self.good("convert", "--model", folder, "--output", folder / "cut", "--tp", 3, "--verify", "--quiet")
        self.same(folder / "cut", name, ranks=(0,))
        told = self.good("inspect", folder).out.decode()
        self.assertIn(f"F32: {len(weights)} tensors, {sum(len(t[2]) for t in weights.values())} bytes", told)
        self.assertIn("0 missing, 0 wrong, 0 not used", told)

    def test_norms_that_drifted(self):
        """The mean of the ranks' norms."""
        def drift(path, thing):
            for name, tensor in thing.items():
                if "norm" in name:
                    tensor.storage.data = scaled("F32", tensor.storage.data, 0.5 if "model_00" in path else 1.5)
            return thing
        folder, weights = self.start("gpt_neox_parallel")
        write_layers(folder, weights, 2, 7, True, change=drift)
        self.same(folder, "gpt_neox_parallel", ranks=(0,))


class BytesRead(Case):
    """A rank reads of the shards what its slices are."""

    @classmethod
    def setUpClass(cls):
        cls.model = TempFolder(cls).path / "llama"
        config = models.llama_config(hidden=256, heads=8, kv_heads=4, ffn=704, layers=2, vocabulary=2000)
        models.make_llama(cls.model, config)
        weights = {name: ("F32", shape, b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2)))
                   for name, (_, shape, data) in read_instance(cls.model).items()}
        (cls.model / "model.safetensors").unlink()
        for stage in (2, 3):
            write_zero(cls.model / f"zero{stage}", weights, stage, 3)

    @needs_ranks
    def test_two_ranks(self):
        (plan,) = self.good("plan", "--model", self.model, "--tp", 2, "--json").lines()
        for stage in (2, 3):
            (told,) = self.good("bench", "--model", self.model, "--checkpoint", f"zero{stage}", "--prompt-tokens", 4,
                                "--new-tokens", 1, "--repeat", 1, "--json", "--quiet", ranks=2).lines()
            for r, rank in enumerate(told["per_rank"]):
                stored = 4 * sum(weight["elements"][r] for weight in plan["weights"])
                self.assertGreaterEqual(rank["bytes_read"], stored)
                self.assertLessEqual(rank["bytes_read"], 1.01 * stored)


if __name__ == "__main__":
    support.main()
