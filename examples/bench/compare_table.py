#!/usr/bin/env python3
"""Turns the raw results of compare_llama_cpp.sh into one Markdown table on stdout.

usage: compare_table.py RESULTS PROMPT_TOKENS THREADS RANKS

RESULTS holds one JSON file a run, named PROGRAM.MEASURE.ROUND.json: what `llama-bench -o json` wrote (a list of one
test) for the program llama_cpp, and what `tessera bench --json` wrote (one object) for one_rank and two_ranks.
"""
import json
import pathlib
import statistics
import sys

MEASURES = ("decode", "prefill")


class BadResult(Exception):
    """A run that did not report what the table needs."""


def load(path):
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise BadResult(f"{path.name}: not JSON: {error}") from error


def number(path, record, key):
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise BadResult(f"{path.name}: expected a positive number as {key!r}, found {value!r}")
    return value


def runs(results, program, measure):
    """The reports of one program and measure, each with its path, in no order that matters."""
    found = [(path, load(path)) for path in results.glob(f"{program}.{measure}.*.json")]
    if not found:
        raise BadResult(f"no result of {program} for {measure}")
    return [(path, report[0] if isinstance(report, list) and report else report) for path, report in found]


def rates(results, program, measure):
    """Tokens per second, one figure a round."""
    key = "avg_ts" if program == "llama_cpp" else f"{measure}_tokens_per_s"
    return [number(path, report, key) for path, report in runs(results, program, measure)]


def spread(values, digits=1):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table_row(results, label, measure):
    peer, one, two = (rates(results, program, measure) for program in ("llama_cpp", "one_rank", "two_ranks"))
    peer_median, one_median, two_median = (statistics.median(values) for values in (peer, one, two))
    cells = (label, spread(peer), spread(one), f"{one_median / peer_median:.2f}x",
             spread(two), f"{two_median / peer_median:.2f}x", f"{two_median / one_median:.2f}x")
    return "| " + " | ".join(cells) + " |"


def bandwidth_note(results, peer):
    """Each program's decode rate in bytes of weights per second, beside what the memory gave during the same runs.

    An embedding table apart from the head is counted too, although a token reads but one row of it.
    """
    gb_per_s = [number(path, report, "read_bandwidth_gb_s") for path, report in runs(results, "one_rank", "decode")]
    ceiling = statistics.median(gb_per_s)
    weights_gb = number(pathlib.Path("llama_cpp"), peer, "model_size") / 1e9

    def share(program):
        reached = statistics.median(rates(results, program, "decode")) * weights_gb
        return f"{reached:.1f} GB/s ({100 * reached / ceiling:.0f} %)"

    return (f"Memory read bandwidth {spread(gb_per_s)} GB/s. At {weights_gb:.3f} GB of weights a token, decode reads: "
            f"llama.cpp {share('llama_cpp')}, tessera {share('one_rank')}.")


def main(results, prompt_tokens, threads, ranks):
    results = pathlib.Path(results)
    peer_runs = runs(results, "llama_cpp", "decode")
    peer = peer_runs[0][1]
    per_rank = int(threads) // int(ranks)
    header = ("tokens/s", f"llama.cpp, {threads} threads", f"tessera, 1 rank x {threads} threads", "to llama.cpp",
              f"tessera, {ranks} ranks x {per_rank} thread{'s' if per_rank > 1 else ''}", "to llama.cpp", "to 1 rank")
    labels = {"decode": "decode", "prefill": f"prefill {prompt_tokens}"}
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    lines += [table_row(results, labels[measure], measure) for measure in MEASURES]
    lines += ["", f"Medians (least to most) of {len(peer_runs)} alternating rounds. {peer.get('cpu_info')}. "
                  f"llama.cpp {peer.get('build_commit')}, model {peer.get('model_type')}, "
                  f"{number(peer_runs[0][0], peer, 'model_n_params') / 1e6:.0f} M parameters. "
                  + bandwidth_note(results, peer)]
    print("\n".join(lines))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except BadResult as error:
        sys.exit(f"compare_table.py: {error}")
