"""check_megatron.py: checkpoints of Megatron-LM, of every layout and degree, say what the same weights say in Hugging
Face's form: the same log-probabilities bit for bit, the same bytes after `convert`."""
import itertools
import json
import unittest

import models
import support
from megatronfile import FUSED, Model, core, flat, nested, write, write_config
from support import Case, TempFolder, ids_option, main, needs_ranks, run
from torchfile import read_safetensors
from trainfile import write_zero

PROMPTS = [[1, 5, 17, 3, 9], [100, 40, 7]]
SPELLINGS = {"nested": nested, "transformer": lambda p: nested(p, "transformer", "attention"), "flat": flat,
             "core": core, "fused": lambda p: core(p, FUSED)}


class Megatron(Case):
    """Folders filled once, with a plain GPT-2 and what it says."""

    @classmethod
    def setUpClass(cls):
        cls.folder = TempFolder(cls)
        cls.plain, cls.said = {}, {}
        for dtype in ("F32", "BF16"):
            model = Model(dtype=dtype)
            write_config(cls.folder.path / dtype, model)
            models.write_safetensors(cls.folder.path / dtype / "model.safetensors", model.hugging_face())
            cls.plain[dtype] = model
        cls.model = cls.plain["F32"]

    def says(self, folder, ranks, *args):
        return self.good("score", "--model", folder, "--json", "--quiet", "--top", 3, *ids_option(PROMPTS), *args,
                         ranks=ranks if ranks > 1 else 0).lines()

    def same(self, folder, ranks=1, *args, dtype="F32"):
        if (dtype, ranks) not in self.said:
            self.said[dtype, ranks] = self.says(self.folder.path / dtype, ranks)
        self.assertEqual(self.says(folder, ranks, *args), self.said[dtype, ranks])

    def fresh(self, name):
        return self.folder.path / f"{self.id().rsplit('.', 1)[1]}-{name}"


class Layouts(Megatron):
    def each(self, ranks, cases):
        for case in cases:
            version, degree, spelling, config, dtype = case
            with self.subTest(case=case, ranks=ranks):
                folder = self.fresh("-".join(map(str, case)))
                model = self.plain[dtype]
                if not folder.exists():
                    changes = {"vocab_size": model.vocabulary}
                    write(folder, model, degree, version, SPELLINGS[spelling], args=not config or version != 1,
                          changes=changes, state_version=version > 0)
                    if config:
                        write_config(folder, model)
                self.same(folder, ranks, dtype=dtype)

    def test_every_layout(self):
        degrees = (1, 2, 4) if not support.SANITIZED else (4,)
        cases = itertools.product((0, 1, 2, 3), degrees, ("nested", "flat"), (True, False), ("F32",))
        self.each(1, cases)
        self.each(1, [(3, 4, "core", False, "BF16"), (0, 2, "transformer", True, "BF16"), (1, 8, "flat", False, "BF16"),
                      (2, 2, "fused", True, "F32")])

    def each_at(self, ranks):
        turns = itertools.cycle([("nested", True), ("flat", False), ("transformer", False), ("core", True)])
        degrees = (1, 2, 4) if not support.SANITIZED else (2,)
        self.each(ranks, [(version, degree, *next(turns), "BF16" if degree == 2 else "F32")
                          for version in (0, 1, 2) for degree in degrees] + [(3, 4, "core", False, "F32")])

    @needs_ranks
    def test_at_2_ranks(self):
        self.each_at(2)

    @needs_ranks
    def test_at_3_ranks(self):
        self.each_at(3)

    @needs_ranks
    def test_at_4_ranks(self):
        self.each(4, [(1, 2, "flat", False, "BF16"), (2, 4, "nested", True, "F32")])


class Places(Megatron):
    def test_iterations(self):
        folder = self.fresh("run")
        write(folder / "iter_0000500", Model(seed=3), 2, 2)
        write(folder / "iter_0001000", self.model, 4, 2, path="mp_rank_{:02d}/model_rng.pt")
        write(folder / "release", self.model, 1, 1)
        write_config(folder, self.model)
        latest = folder / "latest_checkpointed_iteration.txt"
        for text in ("1000\n", "release", " "):
            latest.write_text(text)
            if text != " ":
                self.same(folder)
            else:
                self.refused(run("inspect", folder), 3, "latest_checkpointed_iteration.txt: expected a number")
        latest.write_text("500")
        self.same(folder, 1, "--checkpoint", "iter_0001000")
        self.same(folder, 1, "--checkpoint", "release/mp_rank_00/model_optim_rng.pt")
        self.assertNotEqual(self.says(folder, 1), self.said["F32", 1])
        for text in ("-5", "../x", "1000x", "9" * 13, "77", "iter_0001000", "\0", "a" * 500):
            latest.write_text(text)
            self.refused(run("inspect", folder), 3, "latest_checkpointed_iteration.txt|iter_0000077")

    def test_deepspeed_files(self):
        for degree in (1, 2):
            folder = self.fresh(degree)
            write(folder, self.model, degree, 2, flat, "module", path="mp_rank_{:02d}_model_states.pt",
                  mp_world_size=degree, dp_world_size=3)
            write_config(folder, self.model)
            self.same(folder)
        self.same(self.fresh(1), 1, "--checkpoint", "mp_rank_00_model_states.pt")

    def test_deepspeed_json(self):
        """Megatron's files in a list, in {"tp": []} and in a folder; the version from the JSON where the files lack it."""
        for version, stated, checkpoints in ((0, None, "list"), (2, 2.0, "tp"), (1, 1, "folder"), (1, None, "folder")):
            with self.subTest(version=version, checkpoints=checkpoints):
                folder = self.fresh(f"{version}-{stated}")
                write(folder / "run/iter_0000003", self.model, 2, version, state_version=stated is None)
                (folder / "run/latest_checkpointed_iteration.txt").write_text("3")
                files = [f"run/iter_0000003/mp_rank_{rank:02d}/model_optim_rng.pt" for rank in range(2)]
                told = {"type": "Megatron", "mp_size": 2, "version": stated,
                        "checkpoints": {"list": files, "tp": {"tp": files}, "folder": "run"}[checkpoints]}
                (folder / "ds_inference_checkpoint.json").write_text(
                    json.dumps({key: value for key, value in told.items() if value is not None}))
                write_config(folder, self.model)
                self.same(folder)
                self.same(folder, 1, "--training-mp-size", 2)

    def test_zero(self):
        """Weights of ZeRO's partitions, on two model-parallel ranks of two data-parallel ones each."""
        for stage in (1, 2, 3):
            with self.subTest(stage=stage):
                folder = self.fresh(f"zero-{stage}")
                for rank in range(2):
                    weights = {name: (value.dtype, value.shape, value.data)
                               for name, value in self.model.pieces(rank, 2, 2).items()}
                    told = {"mp_world_size": 2, "checkpoint_version": 2.0, "args": self.model.args(2, 112, vocab_size=101)}
                    part = self.folder.path / f"zero-{stage}-{rank}"
                    write_zero(part, {"module.language_model." + name: value for name, value in weights.items()}, stage, 2,
                               change=lambda kind, _, thing: dict(thing, **told) if kind == "model" else thing)
                    for path in (part / "global_step7").iterdir():
                        (folder / "global_step7").mkdir(parents=True, exist_ok=True)
                        path.rename(folder / "global_step7" / path.name.replace("mp_rank_00", f"mp_rank_{rank:02d}"))
                (folder / "latest").write_text("global_step7")
                self.same(folder)
                self.same(folder, 1, "--training-mp-size", 2)
                self.refused(run("inspect", folder, "--training-mp-size", 4, "--quiet"), 3, "of 4 ranks .*found 2 files")

    def test_one_file(self):
        folder = self.fresh("one")
        write(folder, self.model, 1, 2, path="model_optim_rng.pt")
        write_config(folder, self.model)
        self.same(folder)

    def test_untied(self):
        model = Model(tied=False, seed=5)
        plain, folder = self.fresh("plain"), self.fresh("pieces")
        write_config(plain, model)
        models.write_safetensors(plain / "model.safetensors", model.hugging_face())
        write(folder, model, 4, 3, nested, changes={"vocab_size": model.vocabulary})
        self.assertEqual(self.says(folder, 1), self.says(plain, 1))

    def test_vocabulary_of_the_tokenizer(self):
        """Nothing states the vocabulary: the tokenizer's file does, if padding it gives what was trained."""
        folder = self.fresh("vocabulary")
        write(folder, self.model, 2, 2)
        told = self.good("inspect", folder, "--json", "--quiet").lines()[0]
        self.assertEqual(self.words(told), [112, 24])
        (folder / "vocab.json").write_text(json.dumps({str(i): i for i in range(101)}))
        self.same(folder)
        (folder / "vocab.json").write_text(json.dumps({str(i): i for i in range(90)}))
        self.assertEqual(self.words(self.good("inspect", folder, "--json", "--quiet").lines()[0]), [112, 24])

    def test_without_a_config(self):
        """What the args say is config enough for every command."""
        folder = self.fresh("bare")
        write(folder, self.model, 2, 3, changes={"orig_vocab_size": 101, "tokenizer_type": "GPT2BPETokenizer"})
        self.same(folder)
        told = self.good("inspect", folder, "--json", "--quiet").lines()[0]
        self.assertEqual((told["model"], told["missing"], told["wrong"], told["unexpected"]), ("gpt2", [], [], []))
        plan = self.good("plan", "--model", folder, "--tp", 2, "--json").lines()[0]
        expected = self.good("plan", "--model", self.folder.path / "F32", "--tp", 2, "--json", "--dtype", "float32")
        self.assertEqual(plan, expected.lines()[0])
        bench = self.good("bench", "--model", folder, "--random-weights", "--json", "--quiet", "--prompt-tokens", 4,
                          "--new-tokens", 2, "--repeat", 1).lines()[0]
        self.assertEqual(bench["per_rank"][0]["bytes_read"], 0)

    def words(self, told):
        return next(t["shape"] for t in told["tensors"] if t["name"] == "transformer.wte.weight")

    def test_training_mp_size(self):
        folder = self.fresh("four")
        write(folder, self.model, 4, 2)
        write_config(folder, self.model)
        self.same(folder, 1, "--training-mp-size", 4)
        self.good("plan", "--model", folder, "--training-mp-size", 4, "--json")
        for command in (["inspect", folder], ["score", "--model", folder, "--ids", "1"],
                        ["convert", "--model", folder, "--output", self.fresh("out")]):
            self.refused(run(*command, "--training-mp-size", 2, "--quiet"), 3, "training-mp-size: a checkpoint of 2 ranks")
        self.refused(run("inspect", self.folder.path / "F32", "--training-mp-size", 2), 3, "2 was stated, found .* of 1")
        self.good("inspect", self.folder.path / "F32", "--training-mp-size", 1)


class Converted(Megatron):
    def converted(self, folder, name, *args):
        out = self.fresh(name)
        self.good("convert", "--model", folder, "--output", out, "--verify", "--quiet", *args)
        return out

    def test_bert(self):
        """Every tensor of BERT is, byte for byte, what Hugging Face would have stored."""
        cases = [(0, 2, "transformer", True), (1, 4, "flat", False), (2, 4, "nested", False), (3, 1, "nested", True)]
        for version, degree, spelling, config in cases if not support.SANITIZED else cases[:2]:
            with self.subTest(version=version, degree=degree):
                model = Model("bert", dtype="BF16" if version == 2 else "F32")
                folder = self.fresh(f"bert-{version}")
                write(folder, model, degree, version, SPELLINGS[spelling], changes={"vocab_size": model.vocabulary})
                if config:
                    write_config(folder, model)
                out = self.converted(folder, f"bert-out-{version}")
                found = read_safetensors(out / "model.safetensors")
                self.assertEqual(found, {n: (d, s, v) for n, d, s, v in model.hugging_face()})
                told = json.loads((out / "config.json").read_text())
                told.pop("torch_dtype", None)
                self.assertEqual(told, model.config())

    def config_of(self, name, model, absent=(), **changes):
        """The config.json that `convert` makes of a checkpoint without one."""
        folder = self.fresh(name)
        args = dict({"vocab_size": model.vocabulary}, **changes)
        write(folder, model, 1, 2, changes=args, absent=absent)
        return json.loads((self.converted(folder, name + "-out") / "config.json").read_text())

    def test_config_of_the_args(self):
        small = Model(heads=2, size=1, layers=1, vocabulary=9, positions=4)
        for absent, changes, expected in (
                ((), {}, {"activation_function": "gelu_fast", "n_inner": 8, "layer_norm_epsilon": 0.0003}),
                ((), {"bias_gelu_fusion": False}, {"activation_function": "gelu"}),
                ((), {"bias_gelu_fusion": False, "openai_gelu": True}, {"activation_function": "gelu_new"}),
                (("bias_gelu_fusion",), {}, {"activation_function": "gelu_new"}),
                (("ffn_hidden_size", "layernorm_epsilon"), {}, {"n_inner": 8, "layer_norm_epsilon": 1e-05}),
                (("max_position_embeddings",), {}, {"n_positions": 4})):
            with self.subTest(absent=absent, changes=changes):
                told = self.config_of(f"{absent}{changes}".replace("/", ""), small, absent, **changes)
                self.assertEqual({key: told[key] for key in expected}, expected)
                self.assertNotIn("eos_token_id", told)
        words = Model(heads=1, size=1, layers=1, vocabulary=50257, positions=4)
        told = self.config_of("words", words, tokenizer_type="GPT2BPETokenizer")
        self.assertEqual((told["eos_token_id"], told["vocab_size"]), (50256, 50257))

    def test_heads_of_bert(self):
        def without(*heads):
            model = Model("bert", heads=2, size=1, layers=1, vocabulary=9, positions=4)
            model.weights = {n: v for n, v in model.weights.items() if not n.startswith(heads or "?")}
            return model
        self.assertEqual(self.config_of("mlm", without("binary_head"))["architectures"], ["MegatronBertForMaskedLM"])
        bare = without("binary_head", "lm_head")
        self.assertEqual(self.config_of("bare", bare)["architectures"], ["MegatronBertModel"])
        for head, rows, name in (("classification_head", 3, "SequenceClassification"),
                                 ("multichoice_head", 1, "MultipleChoice")):
            model = without("binary_head", "lm_head")
            model.add_linear(head, rows, model.hidden)
            told = self.config_of(head, model)
            self.assertEqual(told["architectures"], ["MegatronBertFor" + name])
            self.assertEqual(len(told.get("id2label", [0])), rows)
            out = read_safetensors(self.fresh(head + "-out") / "model.safetensors")
            self.assertEqual(out["classifier.weight"][2], model.weights[head + ".weight"].data)

    def test_gpt2(self):
        """To Hugging Face's form, to pieces for two ranks, and on: the same bytes, and a folder that runs."""
        folder = self.fresh("in")
        write(folder, self.model, 4, 1, changes={"vocab_size": self.model.vocabulary})
        (folder / "latest_checkpointed_iteration.txt").write_text("5")
        (folder / "mp_rank_00").rename(folder / "zero")
        self.refused(run("inspect", folder), 3, "iter_0000005")
        (folder / "latest_checkpointed_iteration.txt").unlink()
        (folder / "zero").rename(folder / "mp_rank_00")
        whole = self.converted(folder, "whole")
        expected = {n: (d, s, v) for n, d, s, v in self.model.hugging_face()}
        self.assertEqual(read_safetensors(whole / "model.safetensors"), expected)
        cut = self.converted(folder, "cut", "--tp", 2)
        self.assertEqual(read_safetensors(self.converted(cut, "again") / "model.safetensors"), expected)
        for form in (whole, cut):
            self.same(form)
        half = self.converted(folder, "half", "--dtype", "bfloat16")
        self.assertEqual(json.loads((half / "config.json").read_text())["torch_dtype"], "bfloat16")

    @needs_ranks
    def test_bytes_read(self):
        """Each rank reads its slices and little else."""
        if support.SANITIZED:
            self.skipTest("nothing here that a sanitizer could see")
        model = Model(heads=8, size=40, layers=1, vocabulary=300, positions=16)
        plain, folder = self.fresh("plain"), self.fresh("pieces")
        write_config(plain, model)
        models.write_safetensors(plain / "model.safetensors", model.hugging_face())
        write_config(folder, model)
        plainly = self.bytes_read(plain)
        for version in (0, 1, 2):
            write(folder, model, 4, version)
            for alone, cut in zip(plainly, self.bytes_read(folder)):
                self.assertLessEqual(cut, 1.01 * alone, version)
                self.assertGreaterEqual(cut, 0.99 * alone)

    def bytes_read(self, folder):
        line = self.good("bench", "--model", folder, "--json", "--quiet", "--prompt-tokens", 4, "--new-tokens", 2,
                         "--repeat", 1, ranks=3).lines()[0]
        return [rank["bytes_read"] for rank in line["per_rank"]]


if __name__ == "__main__":
    main()
