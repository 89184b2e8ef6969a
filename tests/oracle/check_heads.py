#!/usr/bin/env python3
"""Runs `tessera classify` on the heads of heads/ and compares with what transformers computes.

    check_heads.py BUILD/tessera [--ranks N] [--instance NAME]...

All texts of a model in one run; on one rank each by itself too, which must give the same, and in steps of five tokens.
Logits are held to 1e-4 in float32, scores to what follows from them. Standard library only.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import heads

TOLERANCE = 1e-4


class Mismatch(Exception):
    """What a model gave, and what it should have."""


def run(args, folder, texts, *options):
    launcher = ["mpirun", "--oversubscribe", "-n", str(args.ranks)] if args.ranks > 1 else []
    ids = [word for ids in texts for word in ("--ids", ",".join(map(str, ids)))]
    line = launcher + [args.tessera, "classify", "--model", str(folder), "--dtype", "float32", "--json", *ids, *options]
    done = subprocess.run(line, capture_output=True, text=True, timeout=args.timeout)
    if done.returncode != 0:
        raise Mismatch(f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return [json.loads(text) for text in done.stdout.splitlines()]


def scores_of(config, logits):
    """What transformers' pipelines make of a row of logits."""
    problem = config.get("problem_type")
    by_token = config["architectures"][0].endswith("TokenClassification")
    if problem == "regression" and not by_token:
        return logits
    if not by_token and (problem == "multi_label_classification" or len(logits) == 1):
        return [1 / (1 + math.exp(-x)) for x in logits]
    powers = [math.exp(x - max(logits)) for x in logits]
    return [power / sum(powers) for power in powers]


def check_row(told, given, expected, config, labels):
    """The worst error of a row of logits."""
    if len(given["logits"]) != len(expected):
        raise Mismatch(f"{told}: {len(given['logits'])} logits, expected {len(expected)}")
    worst = max(abs(a - b) for a, b in zip(given["logits"], expected))
    if not worst <= TOLERANCE:
        raise Mismatch(f"{told}: {given['logits']}, expected {expected}")
    for a, b in zip(given["scores"], scores_of(config, given["logits"])):
        if not abs(a - b) < 1e-5:
            raise Mismatch(f"{told}: score {a}, expected {b}")
    best = given["scores"].index(max(given["scores"]))
    if given["label"] != labels[best] or given["score"] != given["scores"][best]:
        raise Mismatch(f"{told}: {given['label']} {given['score']} is not the best")
    return worst


def check_text(given, entry, config):
    told, count = f"text of {len(entry['ids'])} ids", len(entry["logits"][0])
    labels = list(config["id2label"].values()) if "id2label" in config else ["LABEL_0", "LABEL_1"]
    if given["labels"] != labels or len(labels) != count:
        raise Mismatch(f"{told}: labels {given['labels']}")
    rows = given.get("tokens", [given])
    if len(rows) != len(entry["logits"]):
        raise Mismatch(f"{told}: {len(rows)} rows, expected {len(entry['logits'])}")
    if given["ids"] != entry["ids"][:len(given["ids"])] or ("tokens" in given) != (len(given["ids"]) == len(rows) and
            config["architectures"][0].endswith("TokenClassification")):
        raise Mismatch(f"{told}: ids {given['ids']}")
    return max(check_row(told, row, expected, config, labels) for row, expected in zip(rows, entry["logits"]))


def check(args, name, folder):
    told = heads.read(name)
    heads.assemble(told, folder, torch=heads.names().index(name) % 2 == 1)
    config, texts = heads.config_of(told), [entry["ids"] for entry in told["texts"]]
    given = run(args, folder, texts)
    if args.ranks == 1:
        alone = [run(args, folder, [ids])[0] for ids in texts]
        if alone != given:
            raise Mismatch("a text by itself gives something else than among others")
        given += run(args, folder, texts, "--step-tokens", "5", "--max-sequences", "2")
    entries = told["texts"] * (2 if args.ranks == 1 else 1)
    if len(given) != len(entries):
        raise Mismatch(f"{len(given)} lines for {len(entries)} texts")
    return max(check_text(one, entry, config) for one, entry in zip(given, entries))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tessera", help="the program to check")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--instance", action="append", metavar="NAME", help="a name in heads/ (default: all)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds a run may take (default: 120)")
    args, passed = parser.parse_args(), 0
    names = args.instance or heads.names()
    for name in names:
        with tempfile.TemporaryDirectory(prefix="tessera-heads-") as folder:
            try:
                print(f"{name:20} ok  worst {check(args, name, pathlib.Path(folder)):.1e}", flush=True)
                passed += 1
            except (Mismatch, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as why:
                print(f"{name:20} FAILED  {why!r}", flush=True)
    print(f"{passed} passed, {len(names) - passed} failed")
    return 0 if names and passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
