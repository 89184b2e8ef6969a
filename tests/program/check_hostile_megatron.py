"""check_hostile_megatron.py: checkpoints of Megatron-LM that contradict themselves, their config or what is asked for,
or that are another model's: each ends in one clear line and exit code 3."""
import argparse
import json
import os
import shutil

from megatronfile import Matrix, Model, core, flat, nested, padded_rows, write, write_config
from support import Case, TempFolder, main, run
from torchfile import Tensor, write_torch

ABSURD = (-1, 0, 1 << 31, 1 << 62, 1 << 200, "8", 2.5, [8], {"a": 8}, float("nan"), True)


class Hostile(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = TempFolder(cls)
        cls.model = Model(heads=4, size=2, layers=1, vocabulary=21, positions=8)

    def fresh(self):
        folder = self.folder.path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def told(self, folder, pattern, *args):
        self.refused(run("inspect", folder, "--quiet", *args), 3, pattern)

    def with_args(self, pattern, degree=2, model=None, **changes):
        folder = self.fresh()
        write(folder, model or self.model, degree, 2, changes=dict({"vocab_size": 21}, **changes))
        self.told(folder, pattern)

    def pieces(self, change, pattern, spell=flat, degree=2, rank=1, **more):
        """One rank's file with its pieces changed."""
        folder = self.fresh()
        write(folder, self.model, degree, 2, spell, **more)
        spoilt = self.model.pieces(rank, degree, 2)
        change(spoilt)
        write_torch(folder / f"mp_rank_{rank:02d}/model_optim_rng.pt", {"model": spell(spoilt), "checkpoint_version": 2.0,
                    "args": self.model.args(degree, padded_rows(21, degree))})
        self.told(folder, pattern)


class Args(Hostile):
    def test_absurd_numbers(self):
        for key in ("hidden_size", "num_layers", "num_attention_heads", "ffn_hidden_size", "max_position_embeddings",
                    "vocab_size", "padded_vocab_size", "tensor_model_parallel_size", "make_vocab_size_divisible_by"):
            for value in ABSURD:
                with self.subTest(key=key, value=value):
                    self.with_args(rf"mp_rank_00/model_optim_rng\.pt: args\.{key}: expected an integer", **{key: value})
        for value in (0, -1e-5, 1, "x", float("inf"), float("nan")):
            with self.subTest(epsilon=value):
                self.with_args("args.layernorm_epsilon: expected", layernorm_epsilon=value)

    def test_numbers_that_contradict(self):
        for changes, pattern in (({"num_layers": 2}, "num_layers is 2, found 1"),
                                 ({"padded_vocab_size": 64}, "padded_vocab_size is 64, found 32 rows"),
                                 ({"vocab_size": 33}, "vocab_size is 33, .* 32 rows"),
                                 ({"num_attention_heads": 7}, "7 attention heads cannot"),
                                 ({"num_attention_heads": 2147483646}, "24 rows are not q, k and v"),
                                 ({"tensor_model_parallel_size": 4}, "of 4 ranks .*found 2 files"),
                                 ({"pipeline_model_parallel_size": 2}, "stages of a pipeline"),
                                 ({"group_query_attention": True, "num_query_groups": 2}, "num_query_groups is 2"),
                                 ({"num_experts": 4}, "dense"), ({"num_experts": [4]}, "dense"),
                                 ({"swiglu": True}, "swiglu"), ({"normalization": "RMSNorm"}, "RMSNorm"),
                                 ({"position_embedding_type": "rope"}, '"rope"'), ({"add_bias_linear": False}, "add_bias"),
                                 ({"apply_layernorm_1p": True}, "layernorm_1p"), ({"bias_gelu_fusion": 3}, "True or False")):
            with self.subTest(changes=changes):
                self.with_args(pattern, **changes)

    def test_no_args(self):
        folder = self.fresh()
        write(folder, self.model, 2, 2, args=False)
        self.told(folder, "attention heads is told neither")
        write(folder, self.model, 2, 0, args=False)
        self.refused(run("generate", "--model", folder, "--ids", "1", "--quiet"), 3, "config.json: .*No such file")
        self.refused(run("plan", "--model", folder), 3, "config.json: .*No such file")
        for told in (7, "x", [], argparse.Namespace(), {}):
            write_torch(folder / "mp_rank_00/model_optim_rng.pt",
                        {"model": nested(self.model.pieces(0, 2, 0)), "args": told})
            self.refused(run("generate", "--model", folder, "--ids", "1", "--quiet"), 3, "config.json: .*No such file")

    def test_against_the_config(self):
        folder = self.fresh()
        write(folder, self.model, 2, 2)
        for changes, pattern in (({"n_head": 8}, "8 attention heads, but .* 4"), ({"vocab_size": 33}, "33, but .* 32 rows"),
                                 ({"model_type": "bert"}, 'expected "gpt2".*"bert"'), ({"n_head": -4}, "n_head"),
                                 ({"model_type": 3}, "model_type"), ({"vocab_size": "many"}, "vocab_size")):
            with self.subTest(changes=changes):
                write_config(folder, self.model, **changes)
                self.told(folder, r"config\.json.*" + pattern)
        (folder / "config.json").write_text("{")
        self.told(folder, r"config\.json")
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to("nowhere")
        self.refused(run("score", "--model", folder, "--ids", "1", "--quiet"), 3, r"config\.json: .*No such file")

    def test_versions(self):
        folder = self.fresh()
        for version in (4, -1, 0.5, float("nan"), "2.0", [2]):
            with self.subTest(version=version):
                write(folder, self.model, 1, 2, state_version=False, checkpoint_version=version)
                self.told(folder, "checkpoint_version: expected 0, 1.0, 2.0 or 3.0")
        write(folder, self.model, 2, 2)
        write(folder / "other", self.model, 2, 1)
        shutil.copy(folder / "other/mp_rank_01/model_optim_rng.pt", folder / "mp_rank_01")
        self.told(folder, "mp_rank_01.*: checkpoint_version is 1, in .* 2")


class Pieces(Hostile):
    def test_shapes(self):
        def grow(name):
            def change(pieces):
                pieces[name].data += pieces[name].row(0)
                pieces[name].rows += 1
            return change
        for name in self.model.weights:
            with self.subTest(name=name):
                self.pieces(grow(name), rf'"{name}": its piece in mp_rank_00.*of shape.*mp_rank_01')
        flattened = lambda p: p.update({"layers.0.mlp.dense_h_to_4h.weight": Matrix(128, None, bytes(512), "F32")})
        self.pieces(flattened, "expected a matrix", degree=1, rank=0)
        odd = lambda p: p.update({"layers.0.attention.query_key_value.weight": Matrix(23, 8, bytes(736), "F32")})
        self.pieces(odd, "23 rows are not q, k and v", degree=1, rank=0)
        half = lambda p: p.update({"layers.0.attention.dense.weight": Matrix(8, 4, bytes(64), "F16")})
        self.pieces(half, "different number formats, F32 and F16")

    def test_names(self):
        lost = lambda p: p.pop("layers.0.mlp.dense_4h_to_h.bias")
        self.pieces(lost, r'mp_rank_00.*"layers.0.mlp.dense_4h_to_h.bias" is there, but not in mp_rank_01')
        more = lambda p: p.update({"layers.1.input_layernorm.bias": p["layers.0.input_layernorm.bias"]})
        self.pieces(more, r'mp_rank_01.*"layers.1.input_layernorm.bias" is there, but not in mp_rank_00')
        self.pieces(lambda p: p.pop("word_embeddings.weight"), "word_embeddings.weight. is missing", degree=1, rank=0)
        norm = self.model.weights["final_layernorm.bias"]
        for name in ("block_position_embeddings.weight", "layers.0.inter_attention.dense.weight", "layers.0.attention.rotary",
                     "layers.00.input_layernorm.bias", "layers.9999999.input_layernorm.bias", "layers.-1.input_layernorm.bias",
                     "layers..input_layernorm.bias", "layers.0.input_layernorm", "%s%n%s.weight", "\x1b[2J\n.bias", ".weight",
                     "a" * 400 + ".weight", "layers.0.mlp.linear_fc1.layer_norm_" + "a" * 300, "word_embeddings.bias"):
            with self.subTest(name=name):
                self.pieces(lambda p: p.update({name: norm}), "Megatron-LM has one of this name", degree=1, rank=0)
        for name in ("decoder.final_layernorm.bias", "module.model.encoder.final_layernorm.bias"):
            self.pieces(lambda p: p.update({name: norm}), "stands there twice", degree=1, rank=0)
        self.pieces(lambda p: p.update({"layers.999999.input_layernorm.bias": norm}), "found 1000000", degree=1, rank=0)
        self.pieces(lambda p: p.update({"pooler.dense.bias": norm, "output_layer.weight": p["word_embeddings.weight"]}),
                    "not one that BERT", degree=1, rank=0)

    def test_other_contents(self):
        folder = self.fresh()
        weights = flat(self.model.pieces(0, 1, 2))
        for contents, pattern in (({"model": weights, "module": weights}, "expected one"), ({"model": None}, "is empty"),
                                  ({"module": None, "mp_world_size": 1}, "is empty"), (7, "no dict"), ([weights], "no dict"),
                                  ({}, "word_embeddings"), ({"model": {}}, "word_embeddings"),
                                  ({"model": weights, "mp_world_size": 0}, "mp_world_size"),
                                  ({"model": weights, "mp_world_size": 3}, "of 3 ranks .*found 1 file")):
            with self.subTest(pattern=pattern):
                write_torch(folder / "mp_rank_00/model_optim_rng.pt", contents)
                self.told(folder, pattern)

    def test_classifier_of_too_many(self):
        model = Model("bert", heads=4, size=2, layers=1, vocabulary=21, positions=8)
        model.weights["classification_head.weight"] = Matrix(1 << 17, 1, bytes(4 << 17), "F32")
        self.with_args("131072 labels", 1, model)


class Files(Hostile):
    def test_ranks(self):
        folder = self.fresh()
        write(folder, self.model, 4, 2)
        shutil.move(folder / "mp_rank_02", folder / "away")
        self.told(folder, r"rank 2 of 4: mp_rank_02/model_optim_rng.pt: cannot be opened: No such file")
        os.mkfifo(folder / "mp_rank_02")
        self.told(folder, "mp_rank_02")
        (folder / "mp_rank_02").unlink()
        (folder / "mp_rank_02").symlink_to("/nowhere")
        self.told(folder, "mp_rank_02")
        (folder / "mp_rank_02").unlink()
        (folder / "mp_rank_02" / "model_optim_rng.pt").mkdir(parents=True)
        self.told(folder, "not a regular file")
        shutil.rmtree(folder / "mp_rank_02")
        shutil.move(folder / "away", folder / "mp_rank_02")
        (folder / "mp_rank_07").mkdir()
        self.told(folder, "rank 4 of 8|of 4 ranks")
        (folder / "mp_rank_07").rmdir()
        (folder / "mp_rank_9999").mkdir()
        self.told(folder, "10000 ranks, at most 4096")
        (folder / "mp_rank_9999").rmdir()
        (folder / "mp_rank_00_001").mkdir()
        self.told(folder, "stages of a pipeline")
        (folder / "mp_rank_00_001").rmdir()
        self.good("inspect", folder, "--json", "--quiet")
        self.told(folder, "of 4 ranks .*found 1 file", "--checkpoint", "mp_rank_01/model_optim_rng.pt")
        shutil.rmtree(folder / "mp_rank_03")
        self.told(folder, "of 4 ranks .*found 3 files")

    def test_deepspeed_json(self):
        folder = self.fresh()
        write(folder / "run", self.model, 2, 1, state_version=False)
        (folder / "run/latest_checkpointed_iteration.txt").write_text("release")
        (folder / "run/release").symlink_to(".")
        files = [f"run/mp_rank_{rank:02d}/model_optim_rng.pt" for rank in range(2)]
        told = {"type": "Megatron", "version": 1.0, "checkpoints": files, "parallelization": "tp", "mp_size": 2}
        for changes, pattern in (({"mp_size": 4}, "ds_inference_checkpoint.json: a checkpoint of 4 ranks .*found 2 files"),
                                 ({"tp_size": 4, "mp_size": None}, "a checkpoint of 4 ranks"), ({"version": 7}, "version: expected"),
                                 ({"version": "x"}, "version"), ({"checkpoints": files[:1]}, "of 2 ranks"), ({"checkpoints": files[1:]}, "of rank 0"),
                                 ({"checkpoints": files[::-1]}, "mp_rank_01/.*: stands where the file of rank 0"), ({"checkpoints": files + files}, "of rank 2"),
                                 ({"checkpoints": files * 3000, "mp_size": None}, "6000|tp_size"), ({"checkpoints": ["../x"] * 2}, "not accepted"),
                                 ({"checkpoints": {"tp": files, "non_tp": files}}, "belong under"),
                                 ({"checkpoints": "run"}, "run|release: cannot be opened"), ({"checkpoints": "run/mp_rank_00"}, "of 2 ranks"),
                                 ({"checkpoints": ["run/config.json"] * 2}, "cannot be opened"), ({"mp_size": -1}, "mp_size")):
            with self.subTest(changes=changes if len(str(changes)) < 500 else "many"):
                said = {key: value for key, value in dict(told, **changes).items() if value is not None}
                (folder / "ds_inference_checkpoint.json").write_text(json.dumps(said))
                self.told(folder, pattern)

    def test_torn_and_flipped(self):
        """Whatever is cut off, or whichever bit is wrong: read, or refused with one line."""
        folder = self.fresh()
        write(folder, self.model, 1, 1, core, changes={"vocab_size": 21})
        path = folder / "mp_rank_00/model_optim_rng.pt"
        whole = path.read_bytes()
        size = whole.index(b"archive/byteorder")
        for cut in range(0, len(whole), len(whole) // 12):
            path.write_bytes(whole[:cut])
            self.told(folder, "model_optim_rng.pt")
        for bit in range(40 * 8, 8 * size, 8 * size // 120):
            spoilt = bytearray(whole)
            spoilt[bit // 8] ^= 1 << bit % 8
            path.write_bytes(spoilt)
            result = run("inspect", folder, "--quiet")
            if result.code != 0:
                self.refused(result, 3, ".")


if __name__ == "__main__":
    main()
