#!/usr/bin/env python3
"""Broken and malicious DeepSpeed training checkpoints: each ends in one clear line and exit code 3.

    check_hostile_training.py BUILD/tessera [unittest options]
"""
import os
import pathlib
import shutil
import tempfile

import support
from support import ORACLE, Case, TempFolder
from torchfile import Tensor, read_instance
from trainfile import Call, size_of, write_layers, write_module, write_zero

MODEL = "llama_wide_heads"
TAG = "global_step7"


class Hostile(Case):
    @classmethod
    def setUpClass(cls):
        cls.temp = TempFolder(cls)
        cls.weights = read_instance(ORACLE / MODEL)
        cls.names = sorted(cls.weights)

    def start(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.temp.path))
        shutil.copy(ORACLE / MODEL / "config.json", folder)
        return folder

    def bad(self, folder, pattern, *options):
        self.refused(support.run("score", "--model", folder, "--ids", "1,2", "--quiet", *options), 3, pattern)

    def zero(self, stage, ranks, pattern, change=lambda kind, rank, thing: thing, then=lambda folder: None, **how):
        folder = self.start()
        write_zero(folder, self.weights, stage, ranks, change=change, **how)
        then(folder / TAG)
        self.bad(folder, pattern)

    def test_sound(self):
        """What the others spoil is read."""
        for stage in (1, 2, 3):
            folder = self.start()
            write_zero(folder, self.weights, stage, 3, frozen=self.names[:2])
            self.good("score", "--model", folder, "--ids", "1,2", "--quiet")

    def test_latest(self):
        folder = self.start()
        write_module(folder, self.weights)
        os.symlink(TAG, folder / "link")
        (folder / "file").write_text("x")
        for text, pattern in (
                ("", "expected one line"), ("\n", "expected one line"), ("../" + folder.name + "/" + TAG, "not accepted"),
                ("..", "not accepted"), (".", "not accepted"), ("/etc", "not accepted"), (TAG + "/.", "not accepted"),
                ("a\x1bb", "not accepted"), ("a\nb", "not accepted"), ("a\0b", "expected one line"),
                ("missing", "latest: missing: cannot be opened as a folder"), ("link", "latest: link: cannot be opened"),
                ("file", "latest: file: cannot be opened"), ("%s%n" * 9, "cannot be opened"),
                ("n" * 255, "cannot be opened"), ("n" * 256, "expected one line"), ("n" * 300, "300 bytes, at most")):
            with self.subTest(text=text[:20]):
                (folder / "latest").write_text(text)
                self.bad(folder, pattern)
        with open(folder / "latest", "w") as file:
            file.truncate(1 << 30)
        self.bad(folder, "1073741824 bytes, at most")
        (folder / "latest").unlink()
        (folder / "latest").mkdir()
        self.bad(folder, "latest: not a regular file")
        (folder / "latest").rmdir()
        os.mkfifo(folder / "latest")
        self.bad(folder, "latest: not a regular file")

    def test_files(self):
        folder = self.start()
        (folder / TAG).mkdir()
        (folder / "latest").write_text(TAG)
        self.bad(folder, "no files of a DeepSpeed training checkpoint")
        for name, pattern in (("layer_1_expert_0_mp_rank_00_model_states.pt", "mixture of experts"),
                              ("expp_rank_0_mp_rank_00_optim_states.pt", "mixture of experts"),
                              ("zero_pp_rank_0_mp_rank_00_model_states.pt", "optim_states.pt: found none"),
                              ("mp_rank_01_model_states.pt", "rank 0 is missing"),
                              ("mp_rank_99999999999999999999_model_states.pt", "no files"),
                              ("mp_rank_00_model_states.pt", "not a torch file")):
            with self.subTest(name=name):
                (folder / TAG / name).write_bytes(b"")
                self.bad(folder, pattern)
                (folder / TAG / name).unlink()

    def test_missing_and_left_over(self):
        optim = "zero_pp_rank_{}_mp_rank_00_optim_states.pt".format
        for stage in (1, 2, 3):
            self.zero(stage, 3, "rank 1 and model-parallel rank 0 is missing", then=lambda at: (at / optim(1)).unlink())
            self.zero(stage, 3, "\"partition_count\" is 3, found 2", then=lambda at: (at / optim(2)).unlink())
            self.zero(stage, 3, "\"partition_count\" is 3, found 4",
                      then=lambda at: shutil.copy(at / optim(2), at / optim(3)))
            self.zero(stage, 2, "for the same rank",
                      then=lambda at: shutil.copy(at / optim(1), at / ("bf16_" + optim(1))))
            self.zero(stage, 2, "not a torch file|zip archive", then=lambda at: os.truncate(at / optim(1), 5000))
            self.zero(stage, 2, "model-parallel rank 1 is missing|2 model-parallel ranks",
                      then=lambda at: shutil.copy(at / optim(1), at / "zero_pp_rank_0_mp_rank_01_optim_states.pt"))
        self.zero(2, 2, "mp_rank_00_model_states.pt is missing", then=lambda at: (at / "mp_rank_00_model_states.pt").unlink())
        self.zero(3, 2, "zero_pp_rank_0_mp_rank_00_model_states.pt is missing",
                  then=lambda at: [path.unlink() for path in at.glob("*_model_states.pt")])
        self.zero(3, 3, "rank 1 and model-parallel rank 0 is missing", frozen=self.names[:1],
                  then=lambda at: (at / "zero_pp_rank_1_mp_rank_00_model_states.pt").unlink())
        self.zero(3, 3, "in 2 files, expected 3", frozen=self.names[:1],
                  then=lambda at: (at / "zero_pp_rank_2_mp_rank_00_model_states.pt").unlink())

    def test_partitions(self):
        def on(rank, edit):
            def change(kind, at, thing):
                if kind == "optim" and at == rank:
                    state = thing["optimizer_state_dict"]
                    key = "fp32_flat_groups" if "fp32_flat_groups" in state else "single_partition_of_fp32_groups"
                    edit(state, key)
                return thing
            return change

        def shorter(state, key):
            state[key][0].shape = (state[key][0].shape[0] - 9,)

        def longer(state, key):
            state[key][0] = Tensor("F32", [99999], bytes(4 * 99999))

        for stage, last in ((1, "have .* elements, its partitions|larger than"), (3, "has .* elements, that of rank 0")):
            for edit, pattern in (
                    (lambda s, k: s.pop(k), "expected a list of float32 partitions"),
                    (lambda s, k: s.update({k: []}), "expected a list of float32 partitions"),
                    (lambda s, k: s.update({k: 7}), "expected a list of float32 partitions"),
                    (lambda s, k: s.update({k: [7] * len(s[k])}), "unknown way"),
                    (lambda s, k: s.update({"fp32_flat_groups": [], "single_partition_of_fp32_groups": []}),
                     "expected a list of float32 partitions"),
                    (lambda s, k: s.update({k: s[k][:1]}), "1 partitions of stage"),
                    (lambda s, k: s.update(zero_stage=3 if stage == 1 else 2), "partitions of another stage"),
                    (lambda s, k: s.update(partition_count=2), "is 2, found 3"),
                    (lambda s, k: s.update(partition_count=[3, 1, 3]), "is 1, found 3"),
                    (lambda s, k: s.update(partition_count=[]), "how many partitions"),
                    (lambda s, k: s.update(partition_count=1 << 70), "how many partitions"),
                    (lambda s, k: s.pop("partition_count"), "how many partitions"),
                    (lambda s, k: s[k].__setitem__(0, Tensor("F32", [4, 4], bytes(64))), "of 2 dimensions"),
                    (lambda s, k: s[k].__setitem__(0, Tensor("F16", s[k][0].shape, bytes(2 * s[k][0].shape[0]))),
                     "different number formats"),
                    (shorter, "has .* elements, that of rank 0"), (longer, "has .* elements, that of rank 0")):
                with self.subTest(stage=stage, pattern=pattern):
                    self.zero(stage, 3, pattern, on(1, edit))
            self.zero(stage, 3, last, on(2, shorter))

    def test_parameters(self):
        def model(edit):
            def change(kind, at, thing):
                if kind == "model":
                    edit(thing)
                return thing
            return change

        def shape(*extents):
            def edit(thing):
                shapes = thing["param_shapes"][0]
                shapes[next(iter(shapes))] = size_of(extents)
            return edit

        def pairs(thing):
            first = thing["param_shapes"][0]
            first[next(iter(thing["param_shapes"][1]))] = size_of([1])

        def frozen(thing):
            name = next(iter(thing["frozen_param_shapes"]))
            thing["param_shapes"][0][name] = size_of([0])

        for stage in (2, 3):
            for edit, pattern in (
                    (lambda t: t.pop("param_shapes"), "param_shapes"), (lambda t: t.update(param_shapes=7), "param_shapes"),
                    (lambda t: t.update(param_shapes=[7, 7, 7]), "expected dicts"),
                    (lambda t: t["param_shapes"].pop(), "expected a list of|elements a rank, the partitions"),
                    (lambda t: t["param_shapes"][1].popitem(), "elements, its partitions|elements a rank"),
                    (shape(1 << 40), "larger than what is left"), (shape(1 << 62, 1 << 62), "too large to exist"),
                    (shape(-1), "negative"), (shape(*[1] * 9), "its shape is none"), (shape("a"), "its shape is none"),
                    (lambda t: t["param_shapes"][0].update(x=7), "its shape is none"),
                    (lambda t: t["param_shapes"][0].update({"": size_of([1])}), "tensor name"),
                    (lambda t: t["param_shapes"][0].update({"a\0b": size_of([1])}), "tensor name"),
                    (lambda t: t["param_shapes"][0].update({"n" * 600: size_of([1])}), "tensor name"),
                    (lambda t: t["param_shapes"][0].update({(1, 2): size_of([1])}), "no text"),
                    (lambda t: t["param_shapes"][0].update(x=size_of([1 << 20])), "larger than what is left"),
                    (pairs, "stands there twice|elements, its partitions|elements a rank|larger than what"),
                    (frozen, "stands there twice"),
                    (lambda t: t.update(shared_params={self.names[3]: self.names[4]}), "stands there twice"),
                    (lambda t: t.update(shared_params={"x": 1.5}), "no text"),
                    (lambda t: t.update(frozen_param_fragments=None), "frozen, and not in"),
                    (lambda t: t.update(frozen_param_fragments={n: Tensor("F32", [7], bytes(28))
                                                                for n in self.names[:2]}), "frozen, and of another shape")):
                with self.subTest(stage=stage, pattern=pattern):
                    self.zero(stage, 2, pattern, model(edit), frozen=self.names[:2])
        self.zero(2, 2, "of another shape in the module",
                  model(lambda t: t["module"].update({self.names[5]: Tensor("F32", [3], bytes(12))})))
        self.zero(3, 2, "stands there twice",
                  model(lambda t: t.update(module={self.names[5]: Tensor("F32", [3], bytes(12))},
                                           buffer_names=[self.names[5]])))

    def test_the_same_name_twice_in_a_dict(self):
        class Doubled(dict):
            def __reduce__(self):
                items = list(self.items())
                return dict, (), None, None, iter(items + items[-1:])

        def change(kind, rank, thing):
            if kind == "model":
                last = thing["param_shapes"][0]
                last["x"] = size_of([0])
                thing["param_shapes"][0] = Doubled(last)
            return thing
        for stage in (2, 3):
            self.zero(stage, 2, "\"x\" stands there twice", change)

    def test_layers(self):
        weights = read_instance(ORACLE / "gpt_neox_parallel")
        config = (ORACLE / "gpt_neox_parallel" / "config.json").read_text()
        layer = "layer_{:02}-model_{:02}-model_states.pt".format

        def edited(name, edit):
            def change(path, thing):
                if path == name:
                    edit(thing)
                return thing
            return {"change": change}

        def renamed(old, new):
            return lambda thing: thing.update({new: thing.pop(old)})

        def reshaped(name, dtype, *shape):
            return lambda thing: thing.update({name: Tensor(dtype, shape, bytes(4 * 10000))})

        dense = "attention.dense."
        for then, how, pattern in (
                (lambda at: (at / layer(2, 1)).unlink(), {}, "rank 1 of layer 2 is missing"),
                (lambda at: (at / layer(6, 1)).unlink(), {}, "rank 1 of layer 6 is missing"),
                (lambda at: (at / layer(0, 0)).unlink(), {}, "rank 0 of layer 0 is missing"),
                (lambda at: [(at / layer(2, r)).unlink() for r in (0, 1)], {}, "is missing"),
                (lambda at: [(at / layer(2, r)).rename(at / layer(9, r)) for r in (0, 1)], {}, "layer .* of the pipeline is missing"),
                (lambda at: [(at / layer(n, r)).unlink() for r in (0, 1) for n in (2, 3)], {}, "no layer of a transformer"),
                (lambda at: [(at / layer(2, r)).rename(at / layer(70000, r)) for r in (0, 1)], {}, "in no layer"),
                (lambda at: shutil.copy(at / layer(2, 1), at / layer(2, 1048575)), {}, "is missing"),
                (lambda at: shutil.copy(at / layer(2, 1), at / "layer_2-model_1-model_states.pt"), {}, "for the same rank"),
                (lambda at: os.truncate(at / layer(3, 1), 3000), {}, "zip archive|not a torch file"),
                (None, edited(layer(2, 1), lambda t: t.pop(dense + "bias")), "tensors, .* has"),
                (None, edited(layer(2, 1), renamed(dense + "bias", "x")), "on other ranks, but not here"),
                (None, edited(layer(2, 0), renamed(dense + "bias", dense + "scale")), "GPT-NeoX has none"),
                (None, edited(layer(0, 0), renamed("word_embeddings.weight", "word_embeddings.norm.weight")), "GPT-NeoX has none"),
                (None, edited(layer(2, 1), reshaped(dense + "weight", "F32", 10000)), "too few dimensions|concatenate"),
                (None, edited(layer(2, 1), reshaped(dense + "weight", "F32", 100, 100)), "concatenate"),
                (None, edited(layer(2, 1), reshaped(dense + "bias", "F32", 10000)), "different shapes"),
                (None, edited(layer(2, 1), reshaped(dense + "bias", "F64", 5000)), "cannot be added up"),
                (None, edited(layer(2, 0), reshaped(dense + "bias", "I32", 10000)), "cannot be added up"),
                (None, edited(layer(2, 1), reshaped(dense + "bias", "F16", 56)), "number formats")):
            with self.subTest(pattern=pattern):
                folder = self.start()
                (folder / "config.json").write_text(config)
                write_layers(folder, weights, 2, 7, **how)
                if then:
                    then(folder / TAG)
                self.bad(folder, pattern)
        folder = self.start()
        write_layers(folder, weights, 2, 7)
        self.bad(folder, "model_type is \"llama\"")
        (folder / "config.json").write_text(config.replace('"vocab_size": 89', '"vocab_size": -1'))
        self.bad(folder, "vocab_size")
        folder = self.start()
        write_module(folder, weights)
        shutil.copy(folder / TAG / "mp_rank_00_model_states.pt", folder / TAG / "mp_rank_01_model_states.pt")
        self.bad(folder, "2 model-parallel ranks, in no order")

    def test_nothing_runs(self):
        trap = self.temp.path / "trap"

        def change(kind, rank, thing):
            thing["client"] = Call(os.system, f"touch {trap}")
            thing["param_shapes" if kind == "model" else "partition_count"] = Call(os.system, f"touch {trap}")
            return thing
        self.zero(2, 1, "param_shapes|partition_count", change)
        self.assertFalse(trap.exists())


if __name__ == "__main__":
    support.main()
