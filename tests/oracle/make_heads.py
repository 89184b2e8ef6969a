#!/usr/bin/env python3
"""Makes heads/NAME.json: small heads over the instances' layers, and the logits that transformers computes with them.

    make_heads.py [NAME...]      for the rows below (all by default); the environment is that of make_instances.py

Weights are multiples of 1/64, so that they stand in the file as they are. The logits come from the family's own
ForSequenceClassification and ForTokenClassification classes in float64 and must agree with the numpy computation of
reference.py; for a family that has no such class there (InternLM), they come from remote_reference.py alone. Texts
that end in padding are given to the class with it.
"""
import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

import heads
import make_instances
import reference
import remote_reference

HERE = pathlib.Path(__file__).resolve().parent
AGREE = 2e-5
TEXT, TOKEN = "ForSequenceClassification", "ForTokenClassification"


def text(base, labels, **config):
    return {"base": base, "kind": TEXT, "labels": labels, "config": config}


def token(base, labels, bias="classifier", **config):
    return {"base": base, "kind": TOKEN, "labels": labels, "tensor": bias, "config": config}


ROWS = {
    "bloom_text": text("bloom_seven_heads", 3),
    "bloom_token": token("bloom_normed_residual", 5),
    "falcon_text": text("falcon_multi_query", 2, pad_token_id=11),
    "falcon_token": token("falcon_grouped", 7),
    "glm_text": text("glm_tied", 5, pad_token_id=3),
    "glm_token": token("glm_grouped", 3, "score"),
    "glm4_text": text("glm4_grouped", 4),  # the padding of the class, which this vocabulary does not have
    "glm4_token": token("glm4_tied", 2, "score"),
    "gpt2_text": text("gpt2_base", 6, pad_token_id=7),
    "gpt2_token": token("gpt2_untied", 9),
    "gpt_bigcode_text": text("gpt_bigcode_multi_query", 2),
    "gpt_bigcode_token": token("gpt_bigcode_heads", 4),
    "gpt_neo_text": text("gpt_neo_local", 3, pad_token_id=0),
    "gpt_neo_token": token("gpt_neo_pattern", 5),
    "gpt_neox_text": text("gpt_neox_parallel", 1, problem_type="regression"),
    "gpt_neox_token": token("gpt_neox_sequential", 3),
    "gptj_text": text("gptj_partial", 7, pad_token_id=100),
    "internlm_text": text("internlm_dynamic", 3, pad_token_id=2),
    "llama_text": text("llama_gqa", 5, pad_token_id=2, problem_type="multi_label_classification"),
    "llama_token": token("llama_mqa", 3, "score"),
    "mistral_text": text("mistral_window", 2, pad_token_id=None),
    "mistral_token": token("mistral_yarn", 11, "score"),
    "mpt_text": text("mpt_clipped", 4, pad_token_id=1),
    "mpt_token": token("mpt_scaled", 2),
    "openai_gpt_text": text("openai_gpt_tanh", 3, pad_token_id=5),
    "opt_text": text("opt_post", 5),  # the padding of the class
    "qwen2_text": text("qwen2_window", 1, pad_token_id=8),
    "phi_text": text("phi_grouped", 2),
    "phi_token": token("phi_half", 4, "score"),
    "stablelm_text": text("stablelm_sequential", 3, pad_token_id=0),
    "stablelm_token": token("stablelm_parallel", 5, "score"),
    "qwen2_token": token("qwen2_layer_types", 6, "score"),
}
ARCHITECTURE = {"bloom": "Bloom", "falcon": "Falcon", "glm": "Glm", "glm4": "Glm4", "gpt2": "GPT2",
                "gpt_bigcode": "GPTBigCode", "gpt_neo": "GPTNeo", "gpt_neox": "GPTNeoX", "gptj": "GPTJ",
                "internlm": "InternLM", "llama": "Llama", "mistral": "Mistral", "mpt": "Mpt",
                "openai-gpt": "OpenAIGPT", "opt": "OPT", "phi": "Phi", "qwen2": "Qwen2", "stablelm": "StableLm"}


def width_of(base):
    """Columns of what the head reads: of the embedding, which OPT's project_out goes back to."""
    config = json.loads((HERE / base / "config.json").read_text())
    keys = ("word_embed_proj_dim", "hidden_size", "n_embd", "n_embed", "d_model")
    return next(config[key] for key in keys if key in config)


def draw(row, seed):
    """The head's tensors as lists: logits of a few units over hidden values near 1."""
    generator, width = torch.Generator().manual_seed(seed), width_of(row["base"])
    weight = torch.randn(row["labels"], width, generator=generator) * (2.5 / width**0.5)
    name = row.get("tensor", "score")
    tensors = {name + ".weight": torch.round(weight * 64).div(64).tolist()}
    if row["kind"] == TOKEN:
        bias = torch.randn(row["labels"], generator=generator)
        tensors[name + ".bias"] = torch.round(bias * 64).div(64).tolist()
    return tensors


def settings(row):
    model_type = json.loads((HERE / row["base"] / "config.json").read_text())["model_type"]
    told = {"architectures": [ARCHITECTURE[model_type] + row["kind"]], **row["config"]}
    if row["labels"] != 2:  # two need not be said
        told["id2label"] = {str(i): f"name {i}" for i in range(row["labels"])}
    return told


def load(folder, row):
    """The family's own class over a folder, in float64."""
    config = make_instances.readable_config(json.loads((folder / "config.json").read_text()))
    if config.model_type == "gpt2":
        config.reorder_and_upcast_attn = False
    prefix = make_instances.PREFIX[config.model_type]
    tensors = {name if name.startswith((prefix, "score.", "classifier.")) else prefix + name: tensor
               for name, tensor in load_file(folder / "model.safetensors").items()}
    kind = getattr(transformers, ARCHITECTURE[config.model_type] + row["kind"])
    with tempfile.TemporaryDirectory() as other:
        save_file(tensors, pathlib.Path(other) / "model.safetensors", {"format": "pt"})
        how = "sdpa" if config.model_type == "falcon" and config.alibi else "eager"
        model = kind.from_pretrained(other, config=config, attn_implementation=how, dtype=torch.float32,
                                     use_safetensors=True)
    return model.double().eval()


def plain_logits(folder, row, ids, pad):
    """[rows, labels] by numpy."""
    remote = remote_reference.knows(folder)
    model = (remote_reference if remote else reference).Model(folder)
    if row["kind"] == TEXT:
        while pad is not None and len(ids) > 1 and ids[-1] == pad:
            ids = ids[:-1]
    hidden = getattr(model, model.family)(ids, len(ids)) if remote else model.hidden(ids)
    name = row.get("tensor", "score")
    logits = hidden @ model.tensors[name + ".weight"].T + model.tensors.get(name + ".bias", 0.0)
    return logits[-1:] if row["kind"] == TEXT else logits


def logits_of(model, folder, row, ids):
    pad = heads.config_of({"base": row["base"], "config": settings(row)}).get("pad_token_id")
    pad = model.config.pad_token_id if model else pad
    plain = plain_logits(folder, row, ids, pad)
    if model is None:
        return plain
    options = {} if model.config.model_type == "openai-gpt" else {"use_cache": False}
    with torch.no_grad(), make_instances.default_dtype(model):
        logits = model(torch.tensor([ids]), **options).logits
    logits = logits.numpy() if row["kind"] == TEXT else logits[0].numpy()
    assert abs(logits - plain).max() < AGREE, (row, abs(logits - plain).max())
    return logits


def texts_of(row):
    """Some prompts of the base; of texts, one with padding behind it and one of padding alone."""
    prompts = json.loads((HERE / row["base"] / "expected.json").read_text())["prompts"]
    texts = [entry["ids"] for entry in prompts if len(entry["ids"]) <= (61 if row["kind"] == TEXT else 23)][-4:]
    pad = row["config"].get("pad_token_id", 1 if row["base"] == "opt_post" else None)
    if row["kind"] == TEXT and pad is not None:
        texts += [texts[-1][:9] + [pad, pad, pad], [pad, pad]]
    return texts


def make(name):
    row = ROWS[name]
    told = {"base": row["base"], "config": settings(row), "tensors": draw(row, sum(map(ord, name)))}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        heads.assemble(told, folder)
        model = None if remote_reference.knows(folder) else load(folder, row)
        told["texts"] = [{"ids": ids, "logits": np.round(logits_of(model, folder, row, ids), 7).tolist()}
                         for ids in texts_of(row)]
    spread = max(np.ptp(np.array(entry["logits"])) for entry in told["texts"])
    assert row["labels"] == 1 or spread > 1, (name, spread)
    (HERE / "heads").mkdir(exist_ok=True)
    parts = [f'"{key}": {json.dumps(told[key])}' for key in ("base", "config", "tensors")]
    lines = ",\n  ".join(json.dumps(entry, separators=(",", ":")) for entry in told["texts"])
    whole = "{\n " + ",\n ".join(parts) + ',\n "texts": [\n  ' + lines + "\n ]\n}\n"
    json.loads(whole)
    (HERE / "heads" / f"{name}.json").write_text(whole)
    print(f"{name:20} {row['labels']:2} labels, {len(told['texts'])} texts, logits over {spread:.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="all by default")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name in parser.parse_args().names or ROWS:
        make(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
