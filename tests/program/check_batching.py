#!/usr/bin/env python3
"""check_batching.py: what a request gets does not depend on what runs beside it, nor on how it is computed.

Everything is in float32, where the order of additions moves log-probabilities by some 1e-6; the prompts are fixed.
"""
import random
import re
import unittest

from support import ORACLE, Case, ids_option, main, needs_ranks

LLAMA = ORACLE / "llama_gqa"
INSTANCES = ("llama_gqa", "gpt2_base", "gpt_neox_parallel", "mistral_window")
NEW = 20
GREEDY = ()
COUNTED = ("--frequency-penalty", 0.4, "--presence-penalty", -0.1, "--temperature", 0.7, "--seed", 3)
SAMPLED = ("--temperature", 0.9, "--top-k", 40, "--top-p", 0.95, "--min-p", 0.001, "--seed", 7)


def draw_prompts(seed, count, longest, vocabulary=83):
    """Of unlike lengths, a single token among them."""
    generator = random.Random(seed)
    lengths = [1, longest] + [generator.randint(2, longest - 1) for _ in range(count - 2)]
    return [[generator.randrange(vocabulary) for _ in range(n)] for n in lengths]


PROMPTS = draw_prompts(1, 9, 60)


class Batching(Case):
    def told(self, model, prompts, *options, **how):
        """(ids, finish reason) of each prompt, generated in one run."""
        lines = self.generate(model, "--dtype", "float32", *ids_option(prompts), *options, **how)
        self.assertEqual([line["prompt_ids"] for line in lines], prompts)
        return [(line["ids"], line["finish_reason"]) for line in lines]

    def alone(self, model, prompts, *options):
        return [self.told(model, [prompt], *options)[0] for prompt in prompts]

    def test_many_together_equal_each_alone(self):
        for name in INSTANCES:
            for way in (GREEDY, SAMPLED):
                options = ("--max-new-tokens", NEW, *way)
                alone = self.alone(ORACLE / name, PROMPTS, *options)
                self.assertGreater(len({tuple(ids) for ids, _ in alone}), 4)
                limits = [("--max-sequences", n) for n in (1, 2, 8)] + [("--step-tokens", n) for n in (3, 16, 512)]
                limits += [("--max-sequences", 2, "--step-tokens", 3), ("--max-sequences", 8, "--step-tokens", 16)]
                for limit in limits:
                    with self.subTest(model=name, way=way, limit=limit):
                        self.assertEqual(self.told(ORACLE / name, PROMPTS, *options, *limit), alone)

    def test_waiting_for_room_in_the_cache(self):
        # 16 times 13 pages of 32 tokens are wanted; 1 MiB holds 113 pages of 288 bytes a token.
        prompts = draw_prompts(2, 16, 30)
        options = ("--context", 500, "--max-new-tokens", 400, "--ignore-eos")
        tight = self.told(LLAMA, prompts, *options, "--cache-mb", 1)
        self.assertEqual([len(ids) for ids, _ in tight], [400] * 16)
        self.assertEqual(tight, self.told(LLAMA, prompts, *options, "--cache-mb", 64))

    def test_kernels_agree(self):
        for name in INSTANCES:
            options = ("--max-new-tokens", NEW, "--ignore-eos")
            reference = self.told(ORACLE / name, PROMPTS, *options, "--kernels", "reference")
            for kernels in ("auto", "inject"):
                with self.subTest(model=name, kernels=kernels):
                    self.assertEqual(self.told(ORACLE / name, PROMPTS, *options, "--kernels", kernels), reference)

    def test_planning_ahead_changes_nothing(self):
        ways = (GREEDY, SAMPLED, ("--repetition-penalty", 1.3), ("--no-repeat-ngram", 2, *SAMPLED), COUNTED)
        for name in (*INSTANCES[:2], "llama_eos"):
            prompts = PROMPTS if name != "llama_eos" else draw_prompts(4, 9, 30, 50)
            for way in ways:
                options = ("--max-new-tokens", NEW, *way, "--max-sequences", 3, "--step-tokens", 16, "--plan-ahead")
                with self.subTest(model=name, way=way):
                    off = self.told(ORACLE / name, prompts, *options, "off")
                    self.assertEqual(self.told(ORACLE / name, prompts, *options, "on"), off)
                    if name == "llama_eos" and way == GREEDY:
                        self.assertEqual({why for _, why in off}, {"eos", "length"})

    @needs_ranks
    def test_planning_ahead_on_two_ranks(self):
        for way in (GREEDY, SAMPLED, (*COUNTED, "--repetition-penalty", 1.3)):
            options = ("--max-new-tokens", NEW, *way, "--max-sequences", 3, "--step-tokens", 16, "--plan-ahead")
            with self.subTest(way=way):
                off = self.told(LLAMA, PROMPTS, *options, "off")
                self.assertEqual(self.told(LLAMA, PROMPTS, *options, "on", ranks=2), off)

    def test_sharing_changes_nothing(self):
        text, other = draw_prompts(5, 3, 70)[1], draw_prompts(6, 3, 40)[1]
        prompts = [text, text, text[:45] + other[:30], text + other[:5], text[:45] + other[:28], other, text]
        by_text, by_length = [0, 0, 32, 64, 64, 0, 64], [0, 0, 0, 32, 0, 0, 64]
        ways = [("llama_gqa", way, by_text) for way in (GREEDY, SAMPLED, ("--repetition-penalty", 1.3),
                                                        ("--no-repeat-ngram", 2, *SAMPLED))]
        ways += [(name, GREEDY, by_text) for name in ("mistral_window", "bloom_seven_heads", "llama_longrope")]
        ways += [(name, GREEDY, by_length) for name in ("llama_dynamic", "qwen_long")]  # angles by the text's length
        ways += [("chatglm_6b", GREEDY, [0] * 7)]  # read in both directions
        for name, way, expected in ways:
            given = [[*ids, 87, 90] for ids in prompts] if name == "chatglm_6b" else prompts
            options = (*ids_option(given), "--dtype", "float32", "--max-new-tokens", 12, "--ignore-eos", "--context", 96,
                       "--step-tokens", 90, *way, "--prefix-cache")
            with self.subTest(model=name, way=way):
                alone = self.generate(ORACLE / name, *options, "false")
                shared = self.good("generate", "--model", ORACLE / name, "--json", "--verbose", *options, "true")
                self.assertEqual([line["ids"] for line in shared.lines()], [line["ids"] for line in alone])
                found = re.findall(rb"; (\d+) of \d+ tokens were in the prefix cache", shared.err)
                self.assertEqual([int(cached) for cached in found], expected)

    def test_threads_agree(self):
        one, three = (self.told(LLAMA, PROMPTS, "--max-new-tokens", NEW, "--threads", n) for n in (1, 3))
        self.assertEqual(one, three)

    @needs_ranks
    def test_ranks_agree(self):
        for name in INSTANCES:
            for way in (GREEDY, SAMPLED):
                options = ("--max-new-tokens", NEW, *way)
                one = self.told(ORACLE / name, PROMPTS, *options)
                for ranks in (2, 3) if name in INSTANCES[:2] else (3,):
                    with self.subTest(model=name, way=way, ranks=ranks):
                        self.assertEqual(self.told(ORACLE / name, PROMPTS, *options, ranks=ranks), one)


class Sampling(Case):
    def ids(self, *options):
        lines = self.generate(LLAMA, "--dtype", "float32", *ids_option(PROMPTS), "--max-new-tokens", NEW,
                              "--ignore-eos", *options)
        return [line["ids"] for line in lines]

    def test_greedy_under_other_names(self):
        greedy = self.ids()
        self.assertEqual(self.ids("--temperature", 0, "--top-k", 5, "--seed", 3), greedy)
        self.assertEqual(self.ids("--temperature", 1, "--top-k", 1), greedy)
        self.assertEqual(self.ids("--temperature", 1, "--min-p", 1, "--seed", 5), greedy)
        self.assertEqual(self.ids("--temperature", 1, "--top-p", 1e-6), greedy)

    def test_a_seed_gives_the_same_again_and_another_does_not(self):
        first = self.ids("--temperature", 1, "--seed", 11)
        self.assertEqual(self.ids("--temperature", 1, "--seed", 11), first)
        self.assertNotEqual(self.ids("--temperature", 1, "--seed", 12), first)

    def test_equal_prompts_with_one_seed_draw_alike(self):
        lines = self.generate(LLAMA, *ids_option([[5, 6, 7]] * 3), "--max-new-tokens", NEW, "--temperature", 1,
                              "--dtype", "float32")
        self.assertEqual(lines[0]["ids"], lines[1]["ids"])
        self.assertEqual(lines[0]["ids"], lines[2]["ids"])

    def test_top_k_is_kept(self):
        (scored,) = self.good("score", "--model", LLAMA, "--ids", "5,6,7", "--top", 3, "--json").lines()
        best = {token for token, _ in scored["top"]}
        drawn = set()
        for seed in range(20):
            (line,) = self.generate(LLAMA, "--ids", "5,6,7", "--max-new-tokens", 1, "--temperature", 3, "--top-k", 3,
                                    "--seed", seed)
            drawn.update(line["ids"])
        self.assertEqual(drawn, best)

    def test_repetition_penalty(self):
        plain = self.ids()
        self.assertTrue(any(len(set(ids)) < NEW for ids in plain))
        for prompt, ids in zip(PROMPTS, self.ids("--repetition-penalty", 100)):
            self.assertEqual(len(set(ids)), NEW)
            self.assertFalse(set(ids) & set(prompt))

    def test_counting_penalties(self):
        plain, fresh, stale = (self.ids(*way) for way in ((), ("--presence-penalty", 2), ("--frequency-penalty", -2)))
        self.assertEqual([ids[0] for ids in fresh], [ids[0] for ids in plain])  # prompts do not count
        self.assertEqual([ids[0] for ids in stale], [ids[0] for ids in plain])
        counts = [sum(len(set(ids)) for ids in lists) for lists in (stale, plain, fresh)]
        self.assertEqual(counts, sorted(set(counts)))
        self.assertEqual(self.ids("--frequency-penalty", 0, "--presence-penalty", 0), plain)

    def test_logprobs_are_those_of_score(self):
        for prompt, way in [(PROMPTS[2], GREEDY), (PROMPTS[3], SAMPLED), (PROMPTS[4], ("--repetition-penalty", 1.5)),
                            (PROMPTS[5], COUNTED)]:
            (line,) = self.generate(LLAMA, "--dtype", "float32", *ids_option([prompt]), "--max-new-tokens", NEW,
                                    "--ignore-eos", *way)
            whole = ",".join(map(str, prompt + line["ids"]))
            (scored,) = self.good("score", "--model", LLAMA, "--dtype", "float32", "--ids", whole, "--json").lines()
            for given, expected in zip(line["logprobs"], scored["logprobs"][len(prompt):], strict=True):
                self.assertAlmostEqual(given, expected, delta=1e-4)


class Ends(Case):
    MODEL = ORACLE / "llama_eos"

    def test_end_of_sequence(self):
        (line,) = self.generate(self.MODEL, "--ids", "3,4,5", "--max-new-tokens", 200, "--context", 300)
        self.assertEqual(line["finish_reason"], "eos")
        self.assertLess(len(line["ids"]), 200)
        (longer,) = self.generate(self.MODEL, "--ids", "3,4,5", "--max-new-tokens", 200, "--context", 300,
                                  "--ignore-eos")
        self.assertEqual(longer["finish_reason"], "length")
        self.assertEqual(len(longer["ids"]), 200)
        self.assertEqual(longer["ids"][:len(line["ids"])], line["ids"])


if __name__ == "__main__":
    main()
