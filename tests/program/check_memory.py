#!/usr/bin/env python3
"""check_memory.py: a rank reads its own slices and keeps little more than them.

A Llama of random weights in bfloat16 (75 MB) is written, and `bench` on four ranks tells what each read and its peak
resident memory; what they should be follows from `plan`.
"""
import unittest

import models
import support
from support import Case, TempFolder, main, needs_ranks

CONFIG = models.llama_config(hidden=768, heads=12, kv_heads=4, ffn=2048, layers=4, vocabulary=16001)
PROMPT, NEW, BATCH = 64, 8, 2
FIXED = 60_000_000  # the program, MPI, activations, buffers


class Memory(Case):
    @classmethod
    def setUpClass(cls):
        cls.model = TempFolder(cls).path / "llama"
        cls.bytes = models.make_llama(cls.model, CONFIG)

    def bench(self, ranks, *options):
        (told,) = self.good("bench", "--model", self.model, "--prompt-tokens", PROMPT, "--new-tokens", NEW, "--batch",
                            BATCH, "--repeat", 1, "--json", "--quiet", *options, ranks=ranks, timeout=120).lines()
        self.assertEqual(told["ranks"], ranks or 1)
        return told["per_rank"]

    def plan(self, ranks):
        (told,) = self.good("plan", "--model", self.model, "--tp", ranks, "--json").lines()
        return told

    def check(self, ranks, plan, item=2):
        """item: bytes of an element as it is kept."""
        cached = BATCH * (PROMPT + NEW)
        stored = [2 * sum(weight["elements"][r] for weight in plan["weights"]) for r in range(plan["ranks"])]
        for r, rank in enumerate(ranks):
            share = plan["weight_bytes"][r] if item == 2 else 2 * plan["weight_bytes"][r]
            limit = share + cached * plan["cache_bytes_per_token"][r] * item // 2 + FIXED
            print(f"rank {r} of {plan['ranks']}: read {rank['bytes_read'] / 1e6:.2f} MB, its slices are "
                  f"{stored[r] / 1e6:.2f}; peak {rank['peak_resident_bytes'] / 1e6:.1f} MB of {limit / 1e6:.1f}")
            self.assertLessEqual(abs(rank["bytes_read"] / stored[r] - 1), 0.10)
            self.assertLessEqual(abs(rank["weight_bytes"] / share - 1), 0.10)
            if not support.SANITIZED:
                self.assertLessEqual(rank["peak_resident_bytes"], 1.10 * limit)

    def test_one_rank(self):
        ranks = self.bench(0)
        self.check(ranks, self.plan(1))
        self.assertEqual(ranks[0]["bytes_read"], self.bytes)

    def test_float32_is_converted_on_the_way(self):
        self.check(self.bench(0, "--dtype", "float32"), self.plan(1), item=4)

    @needs_ranks
    def test_four_ranks(self):
        ranks = self.bench(4)
        self.check(ranks, self.plan(4))
        self.assertLess(sum(rank["bytes_read"] for rank in ranks), 1.02 * self.bytes)

    @needs_ranks
    def test_three_ranks(self):
        self.check(self.bench(3), self.plan(3))


if __name__ == "__main__":
    main()
