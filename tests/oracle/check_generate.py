#!/usr/bin/env python3
"""Runs tessera on the oracle's instances and compares with what transformers computes.

    check_generate.py BUILD/tessera [--launcher "mpirun -n 3 --oversubscribe"] [--instance NAME]...

For each instance: `tessera score` on its prompts, one after the other, log-probabilities and the best next tokens;
then `tessera generate` on all of them together, whose greedy tokens must be those that each prompt gets alone, with
their log-probabilities and the reason they end. With --dtype bfloat16 or float16 near candidates may change places:
then only `score` is run, and its errors are held to those that transformers itself makes in bfloat16. Prints the
worst error of each instance and ends with a line `N passed, N failed`; the exit status is 1 on any mismatch.
Standard library only.
"""
import argparse
import concurrent.futures
import json
import math
import pathlib
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOP = 5
MEAN_SLACK, MAX_SLACK = 1.5, 3.0  # times the reference's own bfloat16 errors


class Mismatch(Exception):
    """What an instance gave, and what it should have."""


class Runner:
    """Runs the program and keeps the errors seen."""

    def __init__(self, args, folder):
        self.args, self.folder, self.errors = args, folder, []
        self.exact = args.dtype == "float32"

    def lines(self, command, *options):
        """The JSON objects that a command prints, one a line."""
        line = shlex.split(self.args.launcher) + [
            self.args.tessera, command, "--model", str(self.folder), "--dtype", self.args.dtype, "--json", *options]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=self.args.timeout)
        except subprocess.TimeoutExpired:
            raise Mismatch(f"{command}: nothing after {self.args.timeout} s") from None
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise Mismatch(f"{command}: exit code {done.returncode}: {last[0]}")
        try:
            return [json.loads(text) for text in done.stdout.splitlines() if text.strip()]
        except json.JSONDecodeError:
            raise Mismatch(f"{command}: not one JSON object a line: {done.stdout[:80]!r}") from None

    def near(self, what, given, expected):
        """Lists of log-probabilities (or null) of the same shape; in float32 each within the tolerance."""
        if len(given) != len(expected):
            raise Mismatch(f"{what}: {len(given)} values, expected {len(expected)}")
        for i, (a, b) in enumerate(zip(given, expected)):
            if (a is None) != (b is None):
                raise Mismatch(f"{what}[{i}]: {a}, expected {b}")
            if a is None:
                continue
            self.errors.append(abs(a - b))
            if not abs(a - b) <= (self.args.tolerance if self.exact else math.inf):  # so that NaN fails as well
                raise Mismatch(f"{what}[{i}]: {a}, expected {b}")

    def judge_bfloat16(self, own):
        """The errors of a whole instance beside `own`, those of the reference in bfloat16."""
        mean, worst = sum(self.errors) / len(self.errors), max(self.errors)
        if mean > MEAN_SLACK * own["mean"] or worst > MAX_SLACK * own["max"]:
            raise Mismatch(f"mean error {mean:.4f}, the reference's {own['mean']}; worst {worst:.4f}, its {own['max']}")

    def same(self, what, given, expected):
        if given != expected:
            raise Mismatch(f"{what}: {given}, expected {expected}")


def comma(ids):
    return ",".join(str(token) for token in ids)


def ids_options(entries):
    return [text for entry in entries for text in ("--ids", comma(entry["ids"]))]


def check_score(run, entries):
    """The prompts in one run, in which each is scored by itself."""
    objects = run.lines("score", *ids_options(entries), "--top", str(TOP))
    run.same("score: objects", len(objects), len(entries))
    for told, entry in zip(objects, entries):
        what = f"score of {len(entry['ids'])} ids"
        run.same(what + ": ids", told.get("ids"), entry["ids"])
        run.near(what + ": logprobs", told.get("logprobs", []), entry["logprobs"])
        if run.exact:
            run.same(what + ": top ids", [i for i, _ in told.get("top", [])], [i for i, _ in entry["last_top"]])
            run.near(what + ": top", [v for _, v in told["top"]], [v for _, v in entry["last_top"]])
        if run.exact and len(entry["ids"]) > 1:
            mean = sum(entry["logprobs"][1:]) / (len(entry["ids"]) - 1)
            run.near(what + ": log of perplexity", [math.log(told["perplexity"])], [-mean])


def check_generate(run, entries, count):
    """All prompts that get `count` new tokens, in one run."""
    told = run.lines("generate", *ids_options(entries), "--max-new-tokens", str(count))
    run.same("generate: objects", len(told), len(entries))
    for given, entry in zip(told, entries):
        what = f"generate after {len(entry['ids'])} ids"
        run.same(what + ": prompt_ids", given.get("prompt_ids"), entry["ids"])
        run.same(what + ": ids", given.get("ids"), entry["greedy"])
        run.same(what + ": text", given.get("text", ""), None)
        run.same(what + ": finish_reason", given.get("finish_reason"), entry["finish_reason"])
        run.near(what + ": logprobs", given.get("logprobs", []), entry["greedy_logprobs"])


def check(args, folder):
    """(whether the instance is as expected, one line that says so)."""
    run, error = Runner(args, folder), None
    try:
        expected = json.loads((folder / "expected.json").read_text())
        entries = expected["prompts"]
        scored = entries if args.score == "all" else entries[-1:] if args.score == "longest" or not run.exact else []
        if scored:
            check_score(run, scored)
        if not run.exact:
            run.judge_bfloat16(expected["bfloat16_error"])
        told = [entry for entry in entries if entry["greedy"] and run.exact]
        for count in sorted({entry["max_new_tokens"] for entry in told}):
            check_generate(run, [entry for entry in told if entry["max_new_tokens"] == count], count)
    except (Mismatch, OSError, ValueError, KeyError, TypeError, AttributeError) as why:
        error = why if isinstance(why, Mismatch) else repr(why)
    worst = max(run.errors, default=0.0)
    line = f"{folder.name:24} {'FAILED' if error else 'ok'}  worst {worst:.1e}" + (f"  {error}" if error else "")
    return error is None, line


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tessera", help="the program to check")
    parser.add_argument("--launcher", default="", help='what starts it, such as "mpirun -n 3 --oversubscribe"')
    parser.add_argument("--instance", action="append", metavar="NAME",
                        help="a folder beside this script, or any with an expected.json (default: all beside it)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32",
                        help="the type to compute in (default: float32)")
    parser.add_argument("--tolerance", type=float, default=1e-4,
                        help="of a log-probability in float32 (default: 1e-4)")
    parser.add_argument("--score", choices=("all", "longest", "none"), default="all",
                        help="which prompts `score` is run on (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="instances checked at a time (default: 1)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds a run may take (default: 120)")
    return parser.parse_args()


def main():
    args = parse_args()
    names = args.instance or sorted(path.parent.name for path in HERE.glob("*/expected.json"))
    folders = [HERE / name if (HERE / name).is_dir() else pathlib.Path(name) for name in names]
    passed = 0
    with concurrent.futures.ThreadPoolExecutor(max(args.jobs, 1)) as pool:
        for good, line in pool.map(lambda folder: check(args, folder), folders):
            print(line, flush=True)
            passed += good
    print(f"{passed} passed, {len(folders) - passed} failed")
    return 0 if folders and passed == len(folders) else 1


if __name__ == "__main__":
    sys.exit(main())
