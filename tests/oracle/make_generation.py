#!/usr/bin/env python3
"""Makes the instances whose generation_config.json, or config.json in its place, says which tokens may be chosen.

    make_generation.py [NAME...]        writes tests/oracle/NAME/ for the rows below (all by default)

Greedy tokens are those of transformers' own generate() under the same file; everything else as in make_instances.py,
whose model, files and rules these are. The smallest lead is taken among the tokens that were allowed.
"""
import json
import pathlib
import sys

import torch
import transformers

import instances
import make_instances as base

HERE = pathlib.Path(__file__).resolve().parent
LENGTHS = (1, 2, 5, 9, 17, 30)

ROWS = {
    "rules_suppress": dict(
        config=instances.llama(20, 2, 1, 23, 53, layers=1),
        rules=lambda ids: {"suppress_tokens": ids[:3], "begin_suppress_tokens": ids[3:8] + [9999],
                           "bad_words_ids": [[ids[8]], [ids[9], ids[10]], [ids[11], ids[12], ids[13]], [50]],
                           "repetition_penalty": 1.4, "eos_token_id": 50}),
    "rules_lengths": dict(
        config=instances.llama(22, 1, 1, 19, 47, layers=1),
        rules=lambda ids: {"min_length": 14, "min_new_tokens": 6, "no_repeat_ngram_size": 2,
                           "eos_token_id": ids[:4]}),
    "rules_forced": dict(
        config=instances.llama(24, 3, 1, 21, 59, layers=1),
        rules=lambda ids: {"forced_bos_token_id": 7, "forced_eos_token_id": [12, 11], "no_repeat_ngram_size": 3,
                           "begin_suppress_tokens": ids[:6], "eos_token_id": [ids[9], 12], "pad_token_id": 0}),
    "rules_config": dict(  # no generation_config.json: an old checkpoint
        config=instances.llama(20, 2, 2, 25, 61, layers=1), old=True,
        rules=lambda ids: {"no_repeat_ngram_size": 1, "min_length": 9, "bad_words_ids": [[ids[2]], [ids[0], ids[5]]],
                           "eos_token_id": ids[6]}),
}
DEFAULTS = dict(dtypes="F32", shards=1, prefix=True, head="stored", junk=False, qk_gain=1.5, gain=1.0, eos=True,
                lengths=LENGTHS, new_tokens=instances.sixteen)


def greedy(model, ids, count):
    prompt = torch.tensor([ids])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False,
                         pad_token_id=0, return_dict_in_generate=True, output_logits=True, output_scores=True)
    new = out.sequences[0, len(ids):].tolist()
    rows = torch.log_softmax(torch.cat(out.logits).double(), dim=-1)
    best = torch.cat(out.scores).double().topk(2).values
    return new, [rows[i, token].item() for i, token in enumerate(new)], (best[:, 0] - best[:, 1]).min().item()


def entry_of(model, free, row, ids, known):
    """The entry of one prompt; `free` is the same model without rules, whose lists of best tokens are expected."""
    entry, rows = base.expect_prompt(free, {**row, "new_tokens": lambda n: 0}, ids)
    count = row["new_tokens"](len(ids))
    new, values, gap = greedy(model, ids, count)
    if gap < base.MIN_GAP:
        raise base.TooClose("a greedy step")
    entry.update(greedy=new, greedy_logprobs=[round(v, 8) for v in values], max_new_tokens=count,
                 finish_reason="eos" if new[-1] in known else "length")
    return entry, rows


def write_rules(folder, row, rules):
    if row.get("old"):
        return base.write_config(folder, {**row["config"], **rules})
    base.write_config(folder, row["config"])
    (folder / "generation_config.json").write_text(json.dumps(rules, indent=2) + "\n")


def make_with_seed(row, seed):
    folder = HERE / row["name"]
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    base.write_config(folder, row["config"])
    base.write_weights(folder, base.stored_tensors(row, base.random_weights(row, seed)), 1)
    texts = list(base.prompts(row, seed))
    free = base.load(folder, torch.float64)
    plain = [base.expect_prompt(free, {**row, "eos": False}, ids)[0] for ids in texts]
    often = [token for entry in plain for token in entry["greedy"]]  # what the rules are to stand in the way of
    ids = list(dict.fromkeys(often))
    if len(ids) < 15:
        raise base.TooClose("greedy text repeats itself")
    rules = row["rules"](ids)
    write_rules(folder, row, rules)
    model = base.load(folder, torch.float64)
    known = rules["eos_token_id"] if isinstance(rules["eos_token_id"], list) else [rules["eos_token_id"]]
    results = [entry_of(model, free, row, ids, known) for ids in texts]
    entries = [entry for entry, _ in results]
    if sum(a["greedy"][:len(b["greedy"])] != b["greedy"] for a, b in zip(plain, entries)) < 4:
        raise base.TooClose("the rules hardly matter")
    worst = base.rounding_error(folder, [{**e, "greedy": None} for e in entries], [rows for _, rows in results])
    full = len(entries) - 1
    base.save_file({"logprobs": results[full][1].float().contiguous()}, folder / "full.safetensors")
    about = {"instance": row["name"], "seed": seed, "rounding_error": float(f"{worst:.1e}"),
             "bfloat16_error": base.bfloat16_error(folder, entries),
             "full": {"prompt": full, "file": "full.safetensors"},
             "made_with": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}}
    base.write_expected(folder, about, entries)
    for file in folder.iterdir():
        file.chmod(0o644)


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    base.make_with_seed = make_with_seed
    for name in sys.argv[1:] or ROWS:
        base.make({"name": name, **DEFAULTS, **ROWS[name]})


if __name__ == "__main__":
    main()
