#!/usr/bin/env python3
"""check_presharded.py: what DeepSpeed wrote for M ranks is read at any number of ranks, bit for bit as plain safetensors.

The instances of tests/oracle are injected and cut for M ranks by presharded.py; `score` and `generate` must say of them
what they say of the instance itself.
"""
import json
import re
import shutil
import unittest

import models
import presharded
import support
from support import Case, ORACLE, TempFolder, main, needs_ranks
from torchfile import Tensor, read_instance, write_torch
from trainfile import write_module

# At least one of every family, with and without prefixes, tied and untied, with biases and without.
INSTANCES = ["gpt2_base", "gpt2_untied", "gpt_neo_pattern", "gptj_partial", "gptj_tied", "gpt_neox_parallel",
             "gpt_neox_sequential", "bloom_normed_residual", "bloom_seven_heads", "opt_bare", "opt_post", "opt_pre",
             "llama_gqa", "llama_wide_heads", "internlm_origin", "internlm_tied"]
THREE = ("gpt2_untied", "llama_gqa", "internlm_tied")  # heads: nothing to be had from four ranks


class Presharded(Case):
    @classmethod
    def setUpClass(cls):
        cls.temp = TempFolder(cls).path
        cls.plain, cls.count = {}, 0

    def say(self, folder, instance, ranks, *options):
        entries = json.loads((ORACLE / instance / "expected.json").read_text())["prompts"][:2]
        ids = support.ids_option(entry["ids"] for entry in entries)
        return [self.good(*command, "--model", folder, "--json", "--quiet", *ids, *options, ranks=ranks).out
                for command in (["score", "--top", 3], ["generate", "--max-new-tokens", 5])]

    def start(self, instance):
        """A folder with all of the instance but its weights, its config, its weights."""
        type(self).count += 1
        folder = self.temp / f"{instance}-{self.count}"
        folder.mkdir()
        for path in (ORACLE / instance).glob("*.json"):
            if "index" not in path.name:
                shutil.copy(path, folder)
        return folder, json.loads((folder / "config.json").read_text()), read_instance(ORACLE / instance)

    def same(self, folder, instance, ranks=0, *options):
        if (instance, ranks) not in self.plain:
            self.plain[instance, ranks] = self.say(ORACLE / instance, instance, ranks)
        self.assertEqual(self.say(folder, instance, ranks, *options), self.plain[instance, ranks])

    def make(self, instance, m, cut_head=False, **how):
        folder, config, weights = self.start(instance)
        presharded.write_presharded(folder, *presharded.inject(config, weights, m, cut_head), **how)
        return folder

    def test_families(self):
        for i, instance in enumerate(INSTANCES):
            for m in (1, 2, 3 if instance in THREE else 4) if not support.SANITIZED else (2,):
                with self.subTest(instance=instance, m=m):
                    self.same(self.make(instance, m, pairs=i % 2 == 1), instance)

    @needs_ranks
    def test_ranks(self):
        cases = (("gpt_neox_parallel", 4, 3), ("llama_gqa", 3, 2), ("bloom_seven_heads", 2, 4), ("gpt2_untied", 3, 2))
        for instance, m, ranks in cases[:2 if support.SANITIZED else None]:
            with self.subTest(instance=instance, m=m, ranks=ranks):
                self.same(self.make(instance, m), instance, ranks)

    def test_heads_cut_by_inputs(self):
        for instance, m in (("gpt_neox_parallel", 2), ("gptj_partial", 4), ("opt_bare", 2), ("llama_gqa", 3)):
            with self.subTest(instance=instance, m=m):
                self.same(self.make(instance, m, cut_head=True), instance)

    def test_head_of_rank_0_alone(self):
        """BLOOM's common weights are saved by rank 0; of a head that was cut, the rest is lost, and not needed."""
        folder, config, weights = self.start("bloom_seven_heads")
        ranks, whole = presharded.inject(config, weights, 2)
        dtype, shape, data = whole["word_embeddings.weight"]
        whole["lm_head.weight"] = (dtype, [shape[0], shape[1] // 2], data[:len(data) // 2])
        presharded.write_presharded(folder, ranks, whole)
        self.same(folder, "bloom_seven_heads")
        names = [t["name"] for t in self.good("inspect", folder, "--json").lines()[0]["tensors"]]
        self.assertIn("word_embeddings.weight", names)
        self.assertNotIn("lm_head.weight", names)

    def test_what_means_nothing(self):
        """Biases that kernels allocate for a model without, and what a norm was made from: neither read nor listed."""
        folder, config, weights = self.start("llama_wide_heads")
        ranks, whole = presharded.inject(config, weights, 2)
        for own in ranks:
            for name, (dtype, shape, data) in list(own.items()):
                for end, size in (("mlp.attn_nw", shape[0]), ("norm_w", shape[0]), ("mlp.inter_w", shape[-1])):
                    if name.endswith(end):
                        own[name[:-1] + "b"] = (dtype, [size], b"\xff" * (presharded.BYTES_OF[dtype] * size))
            own["model.norm.norm.weight"] = ("F32", [3], b"\xff" * 12)
        presharded.write_presharded(folder, ranks, whole, pairs=True)
        self.same(folder, "llama_wide_heads")
        self.assertEqual(self.good("inspect", folder, "--json").lines()[0]["unexpected"], [])

    def test_forms_of_the_json(self):
        folder, config, weights = self.start("llama_gqa")
        ranks, whole = presharded.inject(config, weights, 3)
        whole = {"model.norm.weight": ranks[0]["model.norm.weight"]}
        for own in ranks:
            del own["model.norm.weight"]
        said = presharded.write_presharded(folder, ranks, whole, parts=2)
        files = said["checkpoints"]
        apart = [f"part/{name}" for name in files["tp"]]
        (folder / "part").mkdir()
        (folder / "elsewhere").mkdir()
        for name in [*files["tp"], *files["non_tp"]]:
            shutil.copy(folder / name, folder / "part")
            (folder / name).rename(folder / "elsewhere" / name)
        both = {"tp": apart, "non_tp": ["part/non-tp.pt"]}
        for change in ({"checkpoints": both}, {"checkpoints": {"tp": apart, "non-tp": both["non_tp"]}},
                       {"checkpoints": both, "type": "BLOOM"}, {"checkpoints": both, "tp_size": None, "mp_size": 3},
                       {"checkpoints": both, "tp_size": 6, "mp_size": 3}, {"checkpoints": both, "parallelization": None},
                       {"base_dir": "part"}, {"base_dir": "./elsewhere"}, {"checkpoints": both, "base_dir": "gone/away"}):
            with self.subTest(change=change):
                told = {key: value for key, value in {**said, **change}.items() if value is not None}
                (folder / "ds.json").write_text(json.dumps(told))
                self.same(folder, "llama_gqa", 0, "--checkpoint", "ds.json")
        for trained in (1, 3):  # was cut after training
            self.same(folder, "llama_gqa", 0, "--checkpoint", "ds.json", "--training-mp-size", trained)

    def test_lists_of_pieces(self):
        """A plain list of one file a rank; pieces in safetensors files; many parts."""
        folder, config, weights = self.start("gpt_neox_sequential")
        ranks, whole = presharded.inject(config, weights, 2)
        presharded.write_presharded(folder, ranks, whole, parts=1, tp_size=None,
                                    checkpoints=["tp_00_00.pt", "tp_01_00.pt"])
        self.same(folder, "gpt_neox_sequential")
        for instance, parts in (("gptj_tied", 3), ("bloom_normed_residual", 8)):
            self.same(self.make(instance, 2, parts=parts, suffix="safetensors"), instance)

    def test_folders(self):
        """A JSON that names a folder: with whole files, with an index, with a JSON of its own, of a training run; the config above it."""
        folder, config, weights = self.start("gpt2_untied")
        told = {"type": "ds_model", "version": 0.0, "checkpoints": "path/to"}
        (folder / "ds_inference_checkpoint.json").write_text(json.dumps(told))
        below, names = folder / "path" / "to", sorted(weights)
        for part in range(3):
            made = {name: Tensor(*weights[name]) for name in names[part::3]}
            write_torch(below / f"weights_{part}.{('bin', 'pt')[part % 2]}", made)
        self.same(folder, "gpt2_untied")
        shutil.rmtree(below)
        presharded.write_presharded(below, *presharded.inject(config, weights, 3))
        self.same(folder, "gpt2_untied")
        self.assertEqual(self.good("inspect", folder, "--json").lines()[0]["missing"], [])
        shutil.rmtree(below)
        write_module(below, weights)
        self.same(folder, "gpt2_untied")
        self.assertEqual(self.good("inspect", folder, "--json").lines()[0]["format"], "DeepSpeed training checkpoint")
        shutil.rmtree(below)
        below.mkdir()
        for path in (ORACLE / "gpt2_untied").glob("model*"):
            shutil.copy(path, below)
        self.same(folder, "gpt2_untied")

    def test_convert(self):
        """To plain safetensors: the instance's own tensors again, byte for byte."""
        for instance, m in (("gpt2_base", 2), ("gpt_neox_parallel", 4), ("llama_wide_heads", 3), ("bloom_seven_heads", 2)):
            with self.subTest(instance=instance, m=m):
                folder, out = self.make(instance, m), self.temp / f"{instance}-whole"
                self.good("convert", "--model", folder, "--output", out, "--verify", "--quiet")
                made, wanted = read_instance(out), read_instance(ORACLE / instance)
                self.assertEqual(made, {name: weight for name, weight in wanted.items() if name in made})
                lost = [name for name in wanted if name not in made]  # what models compute for themselves
                self.assertTrue(all(re.search(r"(attn|attention)\.(masked_)?bias$|inv_freq$", name) for name in lost), lost)
                (told,) = self.good("inspect", folder, "--json").lines()
                self.assertEqual((told["missing"], told["wrong"], told["unexpected"]), ([], [], []))
                cut, again = self.temp / f"{instance}-cut", self.temp / f"{instance}-again"
                self.good("convert", "--model", folder, "--output", cut, "--tp", 2, "--verify", "--quiet")
                self.good("convert", "--model", cut, "--output", again, "--quiet")
                self.assertEqual(read_instance(again), made)


class Hostile(Case):
    """Each of these ends in one line and exit code 3."""

    @classmethod
    def setUpClass(cls):
        cls.temp = TempFolder(cls).path
        cls.config = json.loads((ORACLE / "llama_gqa" / "config.json").read_text())
        cls.weights = read_instance(ORACLE / "llama_gqa")
        cls.made = presharded.inject(cls.config, cls.weights, 3)
        cls.count = 0

    def folder(self, name="", config=True):
        type(self).count += 1
        folder = self.temp / f"{self.count}"
        folder.mkdir()
        if config:
            (folder / "config.json").write_text(json.dumps(self.config))
        return folder

    def no(self, folder, pattern):
        self.refused(support.run("inspect", folder, "--quiet"), 3, pattern)

    def test_descriptions(self):
        folder = self.folder()
        said = presharded.write_presharded(folder, *self.made, parts=1)
        tp, whole = said["checkpoints"]["tp"], said["checkpoints"]["non_tp"]
        deep = []
        for _ in range(200):
            deep = [deep]
        for change, pattern in (
                ({"checkpoints": {}}, 'without a list "tp"'), ({"checkpoints": {"tp": None}}, "found null"),
                ({"checkpoints": {"tp": "x"}}, '"tp": expected a list'), ({"checkpoints": {"tp": []}}, "found none"),
                ({"checkpoints": {"tp": {}}}, '"tp": expected a list'), ({"checkpoints": {"tp": [7]}}, "found an integer"),
                ({"checkpoints": {"tp": [tp]}}, "found an array"), ({"checkpoints": None}, "found null"),
                ({"checkpoints": 7}, "found an integer"), ({"checkpoints": True}, "found"), ({"checkpoints": deep}, "."),
                ({"checkpoints": {"tp": tp, "non_tp": 1}}, '"non_tp": expected a list'),
                ({"checkpoints": {"tp": tp, "non-tp": "x"}}, "expected a list"),
                ({"checkpoints": {"tp": tp, "non_tp": whole, "non-tp": whole}}, "both"),
                ({"checkpoints": {"tp": tp[:2]}}, "2 files .* 3 ranks"), ({"tp_size": 2}, "3 files .* 2 ranks"),
                ({"checkpoints": {"tp": tp[::-1]}}, "tp_02_00.pt stands where a file of rank 0"),
                ({"checkpoints": {"tp": [tp[0]] * 3}}, "stands where a file of rank 1"),
                ({"checkpoints": {"tp": [*tp, *tp]}}, "stands there twice"),
                ({"checkpoints": {"tp": ["../" + tp[0], *tp[1:]]}}, "not accepted"),
                ({"checkpoints": {"tp": [str(folder / tp[0]), *tp[1:]]}}, "not accepted"),
                ({"checkpoints": {"tp": tp, "non_tp": ["/etc/passwd"]}}, "not accepted"),
                ({"checkpoints": {"tp": ["a\u0000b", *tp[1:]]}}, "."), ({"checkpoints": {"tp": ["x" * 3000]}}, "too long"),
                ({"checkpoints": {"tp": ["gone.pt", *tp[1:]]}}, "gone.pt: cannot be opened"),
                ({"checkpoints": {"tp": ["config.json", *tp[1:]]}}, "not a torch file"),
                ({"tp_size": 0}, "tp_size"), ({"tp_size": -3}, "tp_size"), ({"tp_size": 10 ** 9}, "tp_size"),
                ({"tp_size": 10 ** 30}, "."), ({"tp_size": "3"}, "tp_size"), ({"tp_size": 1.5}, "tp_size"),
                ({"mp_size": 4}, "3 files .* 4 ranks"), ({"mp_size": []}, "mp_size"), ({"version": "1.0"}, "version"),
                ({"version": -1}, "version"), ({"type": None}, "type"), ({"type": ["bloom"]}, "type"), ({"type": "other"}, "type"),
                ({"parallelization": "pp"}, "parallelization"), ({"parallelization": "zz"}, "parallelization"),
                ({"parallelization": 1}, "parallelization"), ({"base_dir": ".."}, "not accepted"),
                ({"base_dir": "a/../../b"}, "not accepted"), ({"base_dir": 7}, "base_dir"),
                ({"type": "Megatron", "checkpoints": tp}, "."), ({"checkpoints": "gone"}, "cannot be opened as a folder"),
                ({"checkpoints": "../" + folder.name}, "not accepted"), ({"checkpoints": "/etc"}, "not accepted"),
                ({"checkpoints": ""}, "not accepted"), ({"checkpoints": "config.json"}, "cannot be opened as a folder")):
            with self.subTest(change=change if change != {"checkpoints": deep} else "deep"):
                (folder / "ds_inference_config.json").write_text(json.dumps({**said, **change}))
                self.no(folder, pattern)
        text = json.dumps(said)
        for broken, pattern in ((text[:-1], "."), (text.replace("{", '{"tp_size": 3, ', 1), "duplicate"), ("[]", "."), ("", ".")):
            (folder / "ds_inference_config.json").write_text(broken)
            self.no(folder, pattern)

    def test_folders(self):
        folder = self.folder()
        told = {"type": "ds_model", "version": 0, "checkpoints": "below"}
        (folder / "ds_inference_checkpoint.json").write_text(json.dumps(told))
        (folder / "below").symlink_to(".")
        self.no(folder, "named by a file in a folder")
        (folder / "below").unlink()
        (folder / "below").mkdir()
        self.no(folder, "no checkpoint found")
        (folder / "below" / "a.pt").mkdir()
        self.no(folder, "not a regular file")

    def change(self, rank, change, pattern, config=None, parts=1, **how):
        """The three ranks' weights, those of one (None: of all) changed."""
        folder = self.folder(config=config != "none")
        ranks = [dict(own) for own in self.made[0]]
        for own in ranks if rank is None else [ranks[rank]]:
            change(own)
        presharded.write_presharded(folder, ranks, {}, parts=parts, base_dir=None, **how)
        if config not in (None, "none"):
            (folder / "config.json").write_text(json.dumps(config))
        self.no(folder, pattern)

    def test_pieces(self):
        at = "model.layers.1."
        qkv, norm = at + "attention.attn_qkvw", at + "norm_w"
        rows = self.made[0][0][qkv][1][0]

        def put(name, dtype, shape):
            count = 1
            for extent in shape:
                count *= extent
            return lambda own: own.update({name: (dtype, shape, bytes(count * presharded.BYTES_OF.get(dtype, 1)))})

        for rank, change, pattern in (
                (1, lambda own: own.pop(qkv), "in the files of rank 0, but not in those of rank 1"),
                (0, lambda own: own.pop(qkv), "in the files of rank 1, but not in those of rank 0"),
                (None, put(qkv, "I8", [rows, 45]), "int8"), (1, put(qkv, "F32", [rows, 45]), "different number formats"),
                (2, put(qkv, "BF16", [rows]), "expected a matrix"), (2, put(qkv, "BF16", [rows, 3, 3]), "expected a matrix"),
                (1, put(norm, "BF16", [3, 3]), "expected a vector"), (1, put(norm, "BF16", [3]), "their shapes differ"),
                (1, put(qkv, "BF16", [rows, 46]), "46 outputs of rank 1"), (1, put(qkv, "BF16", [rows + 1, 45]), "concatenate"),
                (0, put(at + "mlp.inter_w", "BF16", [rows, 5]), "5 outputs of rank 0"),
                (2, put("model.norm.weight", "BF16", [rows + 1]), "of different shapes on the ranks"),
                (2, put("lm_head.weight", "BF16", [11, rows]), "of different shapes on the ranks"),
                (None, put(at + "self_attn.q_proj.weight", "BF16", [4, 4]), "stands there twice"),
                (None, lambda own: own.clear(), "no layers that DeepSpeed injected"),
                (None, lambda own: [own.pop(name) for name in list(own) if ".layers." in name], "no layers that")):
            with self.subTest(pattern=pattern):
                self.change(rank, change, pattern)

    def test_configs(self):
        for config, pattern in (("none", "config.json"), ({}, "model_type"), ({"model_type": "bert"}, "bert"),
                                ({"model_type": 7}, "model_type"), ({**self.config, "num_attention_heads": 0}, "heads"),
                                ({**self.config, "num_key_value_heads": 10 ** 12}, "heads"),
                                ({**self.config, "num_key_value_heads": "1"}, "heads"), ([], "config.json")):
            with self.subTest(config=config):
                self.change(0, lambda own: None, pattern, config)
        config = json.loads((ORACLE / "gpt_neox_parallel" / "config.json").read_text())
        for heads in (5, 9, 56 * 3):
            folder = self.folder()
            presharded.write_presharded(folder, *presharded.inject(config, read_instance(ORACLE / "gpt_neox_parallel"), 2))
            (folder / "config.json").write_text(json.dumps({**config, "num_attention_heads": heads}))
            self.no(folder, "heads")


E, FFN, HEADS, LAYERS, VOCABULARY = 384, 1032, 8, 2, 1501
CONFIGS = {
    "llama": {**models.llama_config(E, HEADS, HEADS, FFN, LAYERS, VOCABULARY, tied=False)},
    "gpt2": {"model_type": "gpt2", "n_embd": E, "n_head": HEADS, "n_layer": LAYERS, "n_inner": FFN, "vocab_size": VOCABULARY,
             "n_positions": 256, "torch_dtype": "bfloat16"},
    "gpt_neox": {"model_type": "gpt_neox", "hidden_size": E, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
                 "intermediate_size": FFN, "vocab_size": VOCABULARY, "max_position_embeddings": 256,
                 "torch_dtype": "bfloat16"},
}
COMMON = {
    "llama": {"model.embed_tokens.weight": (VOCABULARY, E), "model.norm.weight": (E,), "lm_head.weight": (VOCABULARY, E)},
    "gpt2": {"transformer.wte.weight": (VOCABULARY, E), "transformer.wpe.weight": (256, E), "transformer.ln_f.weight": (E,),
             "transformer.ln_f.bias": (E,)},
    "gpt_neox": {"gpt_neox.embed_in.weight": (VOCABULARY, E), "gpt_neox.final_layer_norm.weight": (E,),
                 "gpt_neox.final_layer_norm.bias": (E,), "embed_out.weight": (VOCABULARY, E)},
}
LAYER = {"llama": "model.layers.{}.", "gpt2": "transformer.h.{}.", "gpt_neox": "gpt_neox.layers.{}."}


def noise(shapes):
    """Weights of random numbers, of these shapes."""
    return {name: ("BF16", shape, b"".join(models.bfloat16_noise(shape[0] * (shape[1] if len(shape) > 1 else 1), i)))
            for i, (name, shape) in enumerate(shapes.items())}


def pieces(kind, m, cut_head):
    """What each of m ranks has of a model of that kind."""
    gated, shapes = kind == "llama", dict(COMMON[kind])
    if cut_head:
        shapes[presharded.FAMILIES[kind][7] + ".weight"] = (VOCABULARY, E // m)
    inter = (2 if gated else 1) * FFN // m
    for layer in range(LAYERS):
        own = {"attention.attn_qkvw": (E, 3 * E // m), "attention.attn_ow": (E // m, E), "mlp.inter_w": (E, inter),
               "mlp.output_w": (FFN // m, E), "mlp.attn_nw": (E,), "norm_w": (E,)}
        if not gated:
            own.update({"attention.attn_qkvb": (3 * E // m,), "attention.attn_ob": (E,), "mlp.inter_b": (inter,),
                        "mlp.output_b": (E,), "mlp.attn_nb": (E,), "norm_b": (E,)})
        shapes.update({LAYER[kind].format(layer) + name: shape for name, shape in own.items()})
    return [noise(shapes)] * m


class Bytes(Case):
    """A rank reads its slices and hardly anything else, whatever ranks the files are of."""

    @classmethod
    def setUpClass(cls):
        cls.temp = TempFolder(cls).path

    def check(self, folder, ranks):
        (plan,) = self.good("plan", "--model", folder, "--tp", ranks, "--json").lines()
        (told,) = self.good("bench", "--model", folder, "--prompt-tokens", 4, "--new-tokens", 1, "--batch", 1, "--repeat",
                            1, "--threads", 1, "--json", "--quiet", ranks=ranks).lines()
        for rank, own in enumerate(told["per_rank"]):
            slices = 2 * sum(weight["elements"][rank] for weight in plan["weights"])
            print(f"{folder.name}: rank {rank} of {ranks} read {own['bytes_read']}, its slices are {slices}")
            self.assertLessEqual(own["bytes_read"], 1.01 * slices)
            self.assertGreaterEqual(own["bytes_read"], slices)

    @needs_ranks
    def test_pieces(self):
        cases = (("llama", 2, 3, "pt"), ("gpt2", 4, 2, "pt"), ("gpt_neox", 2, 3, "pt"), ("llama", 4, 2, "safetensors"))
        for kind, m, n, suffix in cases[:1 if support.SANITIZED else None]:
            with self.subTest(kind=kind, m=m, ranks=n, suffix=suffix):
                folder = self.temp / f"{kind}-{m}-{suffix}"
                presharded.write_presharded(folder, pieces(kind, m, kind == "llama"), {}, suffix=suffix)
                (folder / "config.json").write_text(json.dumps(CONFIGS[kind]))
                self.check(folder, n)

    @needs_ranks
    def test_rank_files(self):
        """What `convert --tp` writes."""
        models.make_llama(self.temp / "whole", CONFIGS["llama"] | {"tie_word_embeddings": True})
        self.good("convert", "--model", self.temp / "whole", "--output", self.temp / "ranks", "--tp", 2, "--quiet")
        self.check(self.temp / "ranks", 3)

    @needs_ranks
    def test_lists(self):
        """Files of whole tensors, some of them of torch."""
        folder = self.temp / "list"
        models.make_llama(folder, CONFIGS["llama"] | {"tie_word_embeddings": True})
        weights = read_instance(folder)
        names = sorted(weights)
        write_torch(folder / "one.bin", {name: Tensor(*weights[name]) for name in names[::2]})
        models.write_safetensors(folder / "two.safetensors", [(name, *weights[name]) for name in names[1::2]])
        (folder / "model.safetensors").unlink()
        told = {"type": "ds_model", "version": 1.0, "checkpoints": ["one.bin", "two.safetensors"]}
        (folder / "ds_inference_checkpoint.json").write_text(json.dumps(told))
        self.check(folder, 3)


if __name__ == "__main__":
    main()
