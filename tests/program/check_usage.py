#!/usr/bin/env python3
"""check_usage.py: what the command line accepts, what it refuses and in which words, and what --json prints."""
import json
import math
import re
import unittest

import models
from support import ORACLE, SHAKESPEARE, Case, TempFolder, main, run

LLAMA = ORACLE / "llama_gqa"  # 131 tokens, 96 positions, rotary; no tokenizer
GPT2 = ORACLE / "gpt2_base"  # 109 tokens, 96 positions, learned; no tokenizer

USAGE, FILE = 2, 3

# Command line, exit code, what the one error line says (a regular expression).
REFUSED = [
    # commands and options
    ("", USAGE, r"no command.*tessera --help"),
    ("frobnicate", USAGE, r'unknown command "frobnicate".*tessera --help'),
    ("generat", USAGE, r'unknown command "generat".*did you mean generate\?'),
    ("--nonsense", USAGE, r'unknown command "--nonsense"'),
    ("generate --modle x", USAGE, r"unknown option --modle; did you mean --model\?"),
    ("generate --top_p 0.5", USAGE, r"unknown option --top_p; did you mean --top-p\?"),
    ("generate --an-option-far-from-all", USAGE, r"unknown option --an-option-far-from-all.*tessera generate --help"),
    ("generate --tq 2", USAGE, r"unknown option --tq"),
    ("generate --model {llama} --ids 1 --tp 2", USAGE, r"--tp 2 .*this job has 1 rank; start it with mpirun -n 2"),
    ("tokenize --tp 2", USAGE, r"--tp does not belong"),
    ("plan --prompt x", USAGE, r"--prompt does not belong"),
    ("tokenize --max-new-tokens 3", USAGE, r"--max-new-tokens does not belong"),
    ("score --temperature 1", USAGE, r"--temperature does not belong"),
    ("generate --model", USAGE, r"--model needs a value: --model DIR"),
    ("plan --model {llama} --tp", USAGE, r"--tp needs a value"),
    ("generate --json=1", USAGE, r"--json takes no value"),
    ("generate stray", USAGE, r'unexpected argument "stray"'),
    # numbers
    ("generate --max-new-tokens -1", USAGE, r"--max-new-tokens must lie in 0\.\.10000000, found -1"),
    ("generate --max-new-tokens 10000001", USAGE, r"--max-new-tokens must lie in .* found 10000001"),
    ("generate --max-new-tokens 7x", USAGE, r'--max-new-tokens must be an integer, found "7x"'),
    ("generate --max-new-tokens 1.5", USAGE, r'--max-new-tokens must be an integer, found "1.5"'),
    ("generate --max-new-tokens=", USAGE, r"--max-new-tokens must be an integer"),
    ("generate --seed 99999999999999999999", USAGE, r"--seed must be an integer"),
    ("generate --temperature hot", USAGE, r'--temperature must be a number, found "hot"'),
    ("generate --temperature nan", USAGE, r"--temperature must be a number"),
    ("generate --temperature inf", USAGE, r"--temperature must lie in 0\.\.100"),
    ("generate --temperature -0.1", USAGE, r"--temperature must lie in 0\.\.100, found -0.1"),
    ("generate --top-p 1.01", USAGE, r"--top-p must lie in 1e-06\.\.1, found 1.01"),
    ("generate --top-p 0", USAGE, r"--top-p must lie in 1e-06\.\.1, found 0"),
    ("generate --min-p 2", USAGE, r"--min-p must lie in 0\.\.1"),
    ("generate --repetition-penalty 0", USAGE, r"--repetition-penalty must lie in 0.01\.\.100"),
    ("generate --frequency-penalty 2.5", USAGE, r"--frequency-penalty must lie in -2\.\.2"),
    ("generate --presence-penalty -3", USAGE, r"--presence-penalty must lie in -2\.\.2"),
    ("score --top 1001", USAGE, r"--top must lie in 0\.\.1000"),
    ("plan --model {llama} --tp 0", USAGE, r"--tp must lie in 1\.\.4096"),
    ("plan --model {llama} --tp 4097", USAGE, r"--tp must lie in 1\.\.4096"),
    ("generate --threads 513", USAGE, r"--threads must lie in 0\.\.512"),
    ("generate --step-tokens -1", USAGE, r"--step-tokens must lie in 0\.\.65536"),
    ("generate --deadline 0", USAGE, r"--deadline must lie in 1\.\.86400"),
    # what there is to work on
    ("generate --ids 1", USAGE, r"no model was named \(--model DIR\)"),
    ("score --ids 1", USAGE, r"no model was named"),
    ("plan", USAGE, r"no model was named"),
    ("bench", USAGE, r"no model was named"),
    ("tokenize --text x", USAGE, r"no model was named"),
    ("generate --model {llama}", USAGE, r"nothing to continue: give --prompt, --prompt-file or --ids"),
    ("score --model {llama}", USAGE, r"nothing to work on: give --text or --ids"),
    ("tokenize --model {shakespeare}", USAGE, r"nothing to work on"),
    ("generate --model {llama} --ids 1,,2", USAGE, r'--ids must be numbers and commas .* found "1,,2"'),
    ("generate --model {llama} --ids 1,2,", USAGE, r"--ids must be numbers and commas"),
    ("generate --model {llama} --ids=", USAGE, r"--ids must be numbers and commas"),
    ("generate --model {llama} --ids -5", USAGE, r'--ids must be numbers and commas .* found "-5"'),
    ("generate --model {llama} --ids 99999999999", USAGE, r"--ids must be numbers"),
    ("generate --model {llama} --ids 3 --ids x", USAGE, r'--ids must be numbers .* found "x"'),
    ("score --model {llama} --ids x", USAGE, r'--ids must be numbers .* found "x"'),
    ("tokenize --model {shakespeare} --ids x", USAGE, r'--ids must be numbers .* found "x"'),
    # models
    ("generate --model {tmp}/nowhere --ids 1", FILE, r"/nowhere: there is no such model folder"),
    ("plan --model {tmp}/nowhere", FILE, r"/nowhere"),
    ("tokenize --model {tmp}/nowhere --text x", FILE, r"/nowhere"),
    ("generate --model {tmp}/no_config --ids 1", FILE, r"no_config/config\.json: .*No such file"),
    ("generate --model {tmp}/no_weights --ids 1", FILE, r"no_weights: .*model\.safetensors"),
    ("generate --model {tmp}/alien --ids 1", FILE, r'config\.json.*"mamba9".*gpt2.*gpt_neox.*llama.*mistral'),
    ("plan --model {tmp}/alien", FILE, r'config\.json.*"mamba9".*gpt2.*gpt_neox.*llama.*mistral'),
    ("generate --model {tmp}/untold --ids 1", FILE, r"config\.json.*model_type"),
    ("generate --model {llama} --ids 1 --dtype int3", USAGE, r'auto, float32, bfloat16 or float16, found "int3"'),
    ("plan --model {llama} --dtype int3", USAGE, r'auto, float32, bfloat16 or float16, found "int3"'),
    ("generate --model {llama} --ids 1 --kernels fast", USAGE, r'auto, inject or reference, found "fast"'),
    # requests
    ("generate --model {llama} --ids 131 --max-new-tokens 1", USAGE, r"131.*vocabulary.*0 to 130"),
    ("score --model {llama} --ids 5,7,131", USAGE, r"131.*vocabulary.*0 to 130"),
    ("tokenize --model {shakespeare} --ids 2048", USAGE, r"2048.*vocabulary of 2048"),
    ("generate --model {llama} --ids 1,2 --max-new-tokens 95", USAGE, r"2 prompt .* 95 new .* = 97.* 96"),
    ("generate --model {gpt2} --ids 1,2 --max-new-tokens 95", USAGE, r"2 prompt .* 95 new .* = 97.* 96"),
    ("generate --model {gpt2} --ids 1 --context 97 --max-new-tokens 3", USAGE, r"context of 97 .* 96 positions"),
    ("generate --model {llama} --ids 1,2 --context 8 --max-new-tokens 7", USAGE, r"= 9.* 8 tokens"),
    ("bench --model {llama} --prompt-tokens 90 --new-tokens 7", USAGE, r"90 prompt .* 7 new .* = 97.* 96"),
    # 2 layers * 2 (keys and values) * 3 heads * 6 channels * 4 bytes = 288 a token: 113 pages of 32 tokens in 1 MiB
    ("generate --model {llama} --dtype float32 --ids 1 --cache-mb 1 --context 5000 --max-new-tokens 4000", USAGE,
     r"1 prompt .* 4000 new .* 4000 .*3616 \(113 pages of 32 tokens\)"),
    ("generate --model {wide} --ids 1 --cache-mb 1", USAGE, r"no room for keys and values.*1572864 bytes, 1048576"),
    ("generate --model {llama} --prompt hello", FILE, r"llama_gqa: .*tokenizer\.json"),
    ("score --model {llama} --text hello", FILE, r"llama_gqa: .*tokenizer\.json"),
    ("tokenize --model {llama} --text hello", FILE, r"llama_gqa: .*tokenizer\.json"),
    ("generate --model {llama} --ids 1 --max-new-tokens 2 --stop x", USAGE, r"stop texts need a tokenizer.*llama_gqa"),
    ("generate --model {shakespeare} --prompt=", USAGE, r"the prompt is empty"),
    ("generate --model {shakespeare} --prompt a --prompt= --max-new-tokens 2", USAGE, r"prompt 2.*the prompt is empty"),
    ("generate --model {shakespeare} --prompt a --stop=", USAGE, r"a stop text must have 1\.\."),
    ("generate --model {shakespeare} --prompt-file {tmp}/nowhere", FILE, r"/nowhere: cannot be opened"),
    ("generate --model {shakespeare} --prompt-file {tmp}", FILE, r"cannot be read"),
    ("generate --model {shakespeare} --prompt-file {tmp}/zero", USAGE, r"/zero: .*zero byte"),
    ("generate --model {llama} --ids 1 --max-new-tokens 0", USAGE, r"nothing is asked for"),
]


class Usage(Case):
    @classmethod
    def setUpClass(cls):
        folder = TempFolder(cls)
        cls.names = {"llama": LLAMA, "gpt2": GPT2, "shakespeare": SHAKESPEARE, "tmp": folder.path,
                     "wide": folder.path / "wide"}
        (folder.path / "no_config").mkdir()
        (folder.path / "zero").write_bytes(b"a\0b")
        config = json.loads((LLAMA / "config.json").read_text())
        wide = models.llama_config(4096, 32, 32, 64, 3, 64)
        for name, text in [("no_weights", config), ("alien", dict(config, model_type="mamba9")),
                           ("untold", {k: v for k, v in config.items() if k != "model_type"}), ("wide", wide)]:
            (folder.path / name).mkdir()
            (folder.path / name / "config.json").write_text(json.dumps(text))

    def test_refused(self):
        for line, code, pattern in REFUSED:
            with self.subTest(line):
                args = [word.format(**self.names) for word in line.split()]
                if "{wide}" in line:
                    args = ["bench", "--random-weights"] + args[1:3] + args[5:]
                if args and args[0] in ("generate", "score", "bench"):
                    args.insert(1, "--quiet")
                self.refused(run(*args), code, pattern)

    def test_help_lists_every_option(self):
        table = re.findall(r'^    X\(\w+, "([a-z-]+)", \w+', self.source("options.h"), re.M)
        commands = re.findall(r"^    X\([A-Z]+, ([a-z]+), ", self.source("command.h"), re.M)
        self.assertGreater(len(table), 30)
        self.assertGreater(len(commands), 4)
        top, seen = self.good("--help").out.decode(), set()
        for command in commands:
            self.assertRegex(top, rf"(?m)^  {command} ")
            text = self.good(command, "--help").out.decode()
            self.assertEqual(self.good(command, "-h").out.decode(), text)
            rows = re.findall(r"(?m)^  --([a-z-]+)( \S+)? +\S.*$", text)
            seen.update(name for name, _ in rows)
            self.assertIn("cache" if command == "cache" else "model", [name for name, _ in rows])
        self.assertEqual(seen, set(table))
        text = self.good("generate", "--help").out.decode()
        self.assertRegex(text, r"--max-new-tokens N .*\[default 128, 0\.\.10000000\]")
        self.assertRegex(text, r"--temperature X .*\[default 0, 0\.\.100\]")

    def source(self, name):
        return (LLAMA.parents[2] / "launch" / name).read_text()

    def test_version(self):
        self.assertRegex(self.good("--version").out.decode(), r"^tessera \d+\.\d+\.\d+\n$")

    def test_progress_goes_to_stderr(self):
        loud = self.good("generate", "--model", LLAMA, "--ids", "5,6", "--max-new-tokens", 3)
        quiet = self.good("generate", "--model", LLAMA, "--ids", "5,6", "--max-new-tokens", 3, "--quiet")
        self.assertEqual(loud.out, quiet.out)
        self.assertEqual(quiet.err, b"")
        self.assertRegex(loud.err.decode(), r"llama.*rank")
        self.assertRegex(quiet.out.decode(), r"^\d+ \d+ \d+\n$")


class Json(Case):
    def test_generate(self):
        for ids, count in [("5,17,3", 4), ("0", 1)]:
            (told,) = self.generate(LLAMA, "--ids", ids, "--max-new-tokens", count)
            self.assertEqual(list(told), ["prompt_ids", "ids", "text", "finish_reason", "logprobs"])
            self.assertEqual(told["prompt_ids"], [int(i) for i in ids.split(",")])
            self.assertEqual((len(told["ids"]), len(told["logprobs"])), (count, count))
            self.assertIsNone(told["text"])
            self.assertEqual(told["finish_reason"], "length")
            self.assertTrue(all(0 <= i < 131 for i in told["ids"]) and all(p < 0 for p in told["logprobs"]))

    def test_score(self):
        told = self.good("score", "--model", LLAMA, "--ids", "5,17,3", "--ids", "9", "--top", 7, "--json").lines()
        self.assertEqual([list(one) for one in told], [["ids", "logprobs", "top", "perplexity"]] * 2)
        self.assertEqual([one["ids"] for one in told], [[5, 17, 3], [9]])
        self.assertEqual([one["logprobs"][0] for one in told], [None, None])
        self.assertEqual([len(one["top"]) for one in told], [7, 7])
        for one in told:
            values = [value for _, value in one["top"]]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertEqual(len({token for token, _ in one["top"]}), 7)
        self.assertAlmostEqual(told[0]["perplexity"], math.exp(-sum(told[0]["logprobs"][1:]) / 2), places=4)
        self.assertIsNone(told[1]["perplexity"])

    def test_score_of_the_whole_vocabulary_is_a_distribution(self):
        (told,) = self.good("score", "--model", LLAMA, "--ids", "5,17", "--top", 1000, "--json").lines()
        self.assertEqual(sorted(token for token, _ in told["top"]), list(range(131)))
        self.assertAlmostEqual(sum(math.exp(value) for _, value in told["top"]), 1, places=4)

    def test_bench(self):
        (told,) = self.good("bench", "--model", LLAMA, "--prompt-tokens", 16, "--new-tokens", 8, "--batch", 3,
                            "--repeat", 1, "--json").lines()
        self.assertEqual((told["model_type"], told["ranks"], told["batch"]), ("llama", 1, 3))
        for key in ("prefill_tokens_per_s", "decode_tokens_per_s", "time_to_first_token_s", "read_bandwidth_gb_s"):
            self.assertGreater(told[key], 0, key)
        (rank,) = told["per_rank"]
        self.assertGreater(rank["bytes_read"], 0)
        self.assertGreater(rank["peak_resident_bytes"], rank["weight_bytes"])

    def test_verbose_tells_where_the_start_goes(self):
        result = run("generate", "--model", LLAMA, "--ids", "1,2", "--max-new-tokens", 2, "--verbose")
        told = result.err.decode()
        for pattern in (r"start: +[\d.]+ ms  opening the device", r"start: +[\d.]+ ms  loading weights",
                        r"first token after [\d.]+ ms", r"MB of weights a rank, [\d.]+ s \([\d.]+ GB/s\)"):
            self.assertRegex(told, pattern)
        quiet = run("generate", "--model", LLAMA, "--ids", "1,2", "--max-new-tokens", 2)
        self.assertNotIn("start:", quiet.err.decode())

    def test_bench_plain(self):
        text = self.good("bench", "--model", LLAMA, "--prompt-tokens", 16, "--new-tokens", 8, "--repeat", 1,
                         "--profile").out.decode()
        for pattern in (r"prefill +[\d.]+ tokens/s", r"decode +[\d.]+ tokens/s", r"read bandwidth", r"rank 0 .*peak",
                        r"decode step +us a step", r"out-projection +[\d.]+", r"host, us a step: plan [\d.]+"):
            self.assertRegex(text, pattern)

    def test_bench_of_random_weights_needs_a_config_alone(self):
        folder = TempFolder(type(self)).path
        (folder / "config.json").write_text(json.dumps(models.llama_config(64, 4, 2, 96, 2, 101)))
        (told,) = self.good("bench", "--model", folder, "--random-weights", "--prompt-tokens", 8, "--new-tokens", 4,
                            "--repeat", 1, "--json").lines()
        self.assertEqual(told["per_rank"][0]["bytes_read"], 0)
        self.refused(run("bench", "--model", folder, "--prompt-tokens", 8, "--quiet"), 3, r"model\.safetensors")

    def test_tokenize(self):
        (told,) = self.good("tokenize", "--model", SHAKESPEARE, "--text", "Hear me.", "--json").lines()
        self.assertEqual(list(told), ["ids", "text"])
        self.assertEqual(told["text"], "Hear me.")


if __name__ == "__main__":
    main()
