#!/usr/bin/env python3
"""check_presharded.py: what DeepSpeed wrote for M ranks is read at any number of ranks, bit for bit as plain safetensors.

The instances of tests/oracle are injected and cut for M ranks by presharded.py; `score` and `generate` must say of them
what they say of the instance itself.
"""
import json
import shutil
import unittest

import presharded
import support
from support import Case, ORACLE, TempFolder, main, needs_ranks
from torchfile import read_instance

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


if __name__ == "__main__":
    main()
