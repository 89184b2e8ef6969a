#!/usr/bin/env python3
"""check_plan.py: `tessera plan`: every weight is placed once or everywhere, real shapes are balanced, in no time.

The shapes are those that the named models publish in their config.json.
"""
import json
import re
import unittest

from models import llama_config
import support
from support import ORACLE, Case, TempFolder, main

GPT2_XL = {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25, "n_positions": 1024,
           "vocab_size": 50257, "torch_dtype": "float32"}
NEOX_20B = {"model_type": "gpt_neox", "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64,
            "intermediate_size": 24576, "vocab_size": 50432, "max_position_embeddings": 2048, "rotary_pct": 0.25,
            "use_parallel_residual": True, "hidden_act": "gelu_fast", "tie_word_embeddings": False,
            "torch_dtype": "float16"}
LLAMA2_70B = llama_config(8192, 64, 8, 28672, 80, 32000, positions=4096, tied=False)
LLAMA3_8B = llama_config(4096, 32, 8, 14336, 32, 128256, positions=8192, tied=False)
SMOLLM2_135M = llama_config(576, 9, 3, 1536, 30, 49152, positions=8192)

FALCON_7B = {"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71, "num_hidden_layers": 32,
             "vocab_size": 65024, "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False,
             "new_decoder_architecture": False, "torch_dtype": "bfloat16"}
FALCON_40B = {**FALCON_7B, "hidden_size": 8192, "num_attention_heads": 128, "num_hidden_layers": 60,
              "num_kv_heads": 8, "new_decoder_architecture": True}
BLOOM_176B = {"model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112,
              "vocab_size": 250880, "torch_dtype": "bfloat16"}
MPT_30B = {"model_type": "mpt", "d_model": 7168, "n_heads": 64, "n_layers": 48, "max_seq_len": 8192,
           "vocab_size": 50432, "attn_config": {"alibi": True, "clip_qkv": None}, "torch_dtype": "bfloat16"}
STARCODER = {"model_type": "gpt_bigcode", "n_embd": 6144, "n_head": 48, "n_layer": 40, "n_inner": 24576,
             "n_positions": 8192, "vocab_size": 49152, "multi_query": True, "torch_dtype": "float32"}
GPTJ_6B = {"model_type": "gptj", "n_embd": 4096, "n_head": 16, "n_layer": 28, "rotary_dim": 64, "vocab_size": 50400,
           "torch_dtype": "float32"}

CHATGLM2_6B = {"model_type": "chatglm", "hidden_size": 4096, "num_layers": 28, "num_attention_heads": 32,
               "kv_channels": 128, "ffn_hidden_size": 13696, "padded_vocab_size": 65024, "seq_length": 32768,
               "multi_query_attention": True, "multi_query_group_num": 2, "add_qkv_bias": True,
               "add_bias_linear": False, "rmsnorm": True, "post_layer_norm": True,
               "apply_residual_connection_post_layernorm": False, "tie_word_embeddings": False,
               "torch_dtype": "float16"}

STABLELM_PARALLEL = {"model_type": "stablelm", "hidden_size": 5120, "intermediate_size": 13824,
                     "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8,
                     "use_parallel_residual": True, "vocab_size": 100352, "torch_dtype": "bfloat16"}

# Config, parameters, ranks to plan for.
REAL = {
    "llama2-70b": (LLAMA2_70B, 68_976_648_192, (1, 8)),
    "llama3-8b": (LLAMA3_8B, 8_030_261_248, (1, 2, 4, 8)),
    "smollm2-135m": (SMOLLM2_135M, 134_515_008, (1, 2, 3)),
    "gpt2-xl": (GPT2_XL, 1_557_611_200, (1, 2, 4, 8)),
    "falcon-7b": (FALCON_7B, 6_921_720_704, (1, 8)),
    "falcon-40b": (FALCON_40B, 41_303_293_952, (1, 8)),
    "bloom-176b": (BLOOM_176B, 176_247_271_424, (1, 8)),
    "mpt-30b": (MPT_30B, 29_957_200_896, (1, 8)),
    "starcoder": (STARCODER, 15_517_456_384, (1, 8)),
    "chatglm2-6b": (CHATGLM2_6B, 6_243_584_000, (1, 8)),
    "gpt-neox-20b": (NEOX_20B, 20_554_567_680, (1, 8)),
}
ITEM = {"float32": 4, "float16": 2, "bfloat16": 2}


class Plan(Case):
    def plan(self, model, ranks, *options):
        result = self.good("plan", "--model", model, "--tp", ranks, "--json", *options)
        self.assertLess(result.seconds, 1 * support.SLOWNESS)
        (told,) = result.lines()
        self.assertEqual(told["ranks"], ranks)
        return told

    def test_what_is_fused(self):
        folder = TempFolder(type(self)).path
        (folder / "config.json").write_text(json.dumps(LLAMA3_8B))
        every = {"linears": 64, "residual_norms": 63, "reduced_norms": 63, "rotations": 32, "gated_projections": 0}
        nothing = dict.fromkeys(every, 0)
        self.assertEqual(self.plan(folder, 2)["fused"], every)
        self.assertEqual(self.plan(folder, 2, "--kernels", "inject")["fused"], every)
        self.assertEqual(self.plan(folder, 2, "--device", "cuda")["fused"], {**every, "gated_projections": 32})
        self.assertEqual(self.plan(folder, 2, "--device", "cuda", "--kernels", "reference")["fused"], nothing)
        text = self.good("plan", "--model", folder, "--device", "cuda").out.decode()
        self.assertIn("32 gate-and-up projections with their activations", text)
        self.refused(support.run("plan", "--model", folder, "--kernels", "best"), 2, "--kernels")
        self.refused(support.run("plan", "--model", folder, "--device", "tpu"), 2, "--device")

    def check(self, told):
        """Each weight is in one piece, in pieces that make a whole, or whole on each rank; the bytes add up."""
        totals = [0] * told["ranks"]
        for weight in told["weights"]:
            size, parts = weight["rows"] * weight["cols"], weight["elements"]
            self.assertEqual(len(parts), told["ranks"])
            self.assertEqual(weight["layout"] == "whole", told["ranks"] == 1)
            if weight["layout"] in ("replicated", "whole"):
                self.assertEqual(parts, [size] * told["ranks"], weight)
            elif weight["layout"] == "first rank":
                self.assertEqual(parts, [size] + [0] * (told["ranks"] - 1), weight)
            else:
                self.assertGreaterEqual(sum(parts), size, weight)  # key and value heads may be on several ranks
                unit = weight["cols"] if weight["layout"] == "split by rows" else weight["rows"]
                self.assertTrue(all(part % unit == 0 for part in parts), weight)
                if not re.search(r"\.[kv]_proj\.|\([kv]\)$", weight["name"]):
                    self.assertEqual(sum(parts), size, weight)
            item = 4 if weight["cols"] == 1 else ITEM[told["dtype"]]
            totals = [total + part * item for total, part in zip(totals, parts)]
        self.assertEqual(told["weight_bytes"], totals)

    def test_instances(self):
        for config in sorted(ORACLE.glob("*/config.json")):
            for ranks in (1, 2, 3, 4, 7, 16):
                with self.subTest(model=config.parent.name, ranks=ranks):
                    told = self.plan(config.parent, ranks)
                    self.check(told)
                    layouts = {weight["layout"] for weight in told["weights"]}
                    self.assertEqual("split by columns" in layouts, ranks > 1)
                    self.assertEqual(told["all_reduces_per_step"] > 0, ranks > 1)

    def test_real_shapes(self):
        folder = TempFolder(type(self)).path
        for name, (config, parameters, counts) in REAL.items():
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(json.dumps(config))
            for ranks in counts:
                with self.subTest(model=name, ranks=ranks):
                    told = self.plan(folder / name, ranks)
                    self.check(told)
                    self.assertEqual(sum(w["rows"] * w["cols"] for w in told["weights"]), parameters)
                    mean = sum(told["weight_bytes"]) / ranks
                    self.assertLess(max(told["weight_bytes"]), 1.15 * mean)
                    self.assertGreater(min(told["weight_bytes"]), 0.85 * mean)

    def test_collectives(self):
        folder = TempFolder(type(self)).path
        for name, config, per_layer in [("llama", LLAMA3_8B, 2), ("gpt2", GPT2_XL, 2), ("neox", NEOX_20B, 1),
                                        ("gptj", GPTJ_6B, 1), ("falcon7", FALCON_7B, 1), ("falcon40", FALCON_40B, 1),
                                        ("bloom", BLOOM_176B, 2), ("stablelm", STABLELM_PARALLEL, 1)]:
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(json.dumps(config))
            text = self.good("plan", "--model", folder / name, "--tp", 4).out.decode()
            layers = config.get("num_hidden_layers", config.get("n_layer"))
            hidden = config.get("hidden_size", config.get("n_embd", config.get("n_embed")))
            steps, rate, outside, bytes_a_token = re.search(
                r"all-reduces: (\d+) a step \(([\d.]+) a layer, (\d+) outside the layers\), (\d+) bytes a token",
                text).groups()
            self.assertEqual(int(steps), per_layer * layers + int(outside))
            self.assertEqual(float(rate), per_layer)
            self.assertEqual(int(outside), 1)  # the embedding
            self.assertEqual(int(bytes_a_token), int(steps) * hidden * 4)

    def test_table(self):
        text = self.good("plan", "--model", ORACLE / "llama_gqa", "--tp", 4).out.decode()
        (told,) = self.good("plan", "--model", ORACLE / "llama_gqa", "--tp", 4, "--json").lines()
        for pattern in (r"^llama in bfloat16 on 4 ranks", r"q_proj.weight +2 x \[54, 54\] +split by rows +\d+ \d+ \d+ \d+",
                        r"o_proj.weight +2 x \[54, 54\] +split by columns", r"norm.weight +\[54\] +replicated +216"):
            self.assertRegex(text, r"(?m)" + pattern)
        self.assertIn("bytes a rank: " + " ".join(map(str, told["weight_bytes"])), text)
        self.assertIn("a token and rank: " + " ".join(map(str, told["cache_bytes_per_token"])), text)
        # 9 heads as 3 key groups: 48 bytes are 2 layers * (key + value) * 6 channels * 2 bytes of one group.
        self.assertEqual(sorted(told["cache_bytes_per_token"]), [48, 48, 48, 96])

    def test_dtype(self):
        full, half = (self.plan(ORACLE / "llama_gqa", 2, "--dtype", name) for name in ("float32", "float16"))
        self.check(full)
        self.check(half)
        self.assertEqual(full["cache_bytes_per_token"], [2 * n for n in half["cache_bytes_per_token"]])


if __name__ == "__main__":
    main()
