#!/usr/bin/env python3
"""Trains the embedded default model: a small Llama that writes like Shakespeare, with its own tokenizer.

    examples/models/train_shakespeare.py tinyshakespeare.txt examples/models/shakespeare

Reads one text file and writes a folder in Hugging Face layout: config.json, generation_config.json, tokenizer.json,
tokenizer_config.json, model.safetensors (bfloat16) and metrics.json (what was measured). Takes a minute or two on one
GPU. Needs torch, transformers, tokenizers and safetensors.

The corpus has one megabyte and the model five million parameters, so everything here works against learning it by
heart:
  - the last tenth of the text is held out: neither the tokenizer nor the weights see it;
  - dropout on the embeddings, inside attention and on what each block adds to the residual stream; weight decay;
  - BPE dropout (Provilkov et al., 2020): each pass over the text is cut into tokens anew with some merges left out at
    random, less of it as training goes on and none at its end;
  - an exponential moving average of the weights is what is measured and kept;
  - the average with the lowest held-out loss is the result, and training stops once that has not fallen for a while.
"""

import argparse
import copy
import json
import math
import pathlib
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

EOS = "<|endoftext|>"
EOS_ID = 0
HELD_OUT = 0.1  # the share of the text, at its end, that nothing is trained on


def parse_options():
    parser = argparse.ArgumentParser(
        description="Trains a small Llama on one text file.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("text", type=pathlib.Path, help="the corpus, UTF-8")
    parser.add_argument("folder", type=pathlib.Path, help="where the model goes")
    shape = parser.add_argument_group("shape")
    shape.add_argument("--vocabulary", type=int, default=2048)
    shape.add_argument("--hidden", type=int, default=256)
    shape.add_argument("--layers", type=int, default=7)
    shape.add_argument("--heads", type=int, default=8)
    shape.add_argument("--kv-heads", type=int, default=4)
    shape.add_argument("--ffn", type=int, default=688)
    shape.add_argument("--context", type=int, default=1024, help="longest sequence, in tokens")
    training = parser.add_argument_group("training")
    training.add_argument("--steps", type=int, default=1800, help="length of the learning-rate schedule")
    training.add_argument("--batch", type=int, default=16, help="sequences of --context tokens in a step")
    training.add_argument("--learning-rate", type=float, default=1.5e-3, help="at the end of the warm-up")
    training.add_argument("--warm-up", type=int, default=100, help="steps")
    training.add_argument("--weight-decay", type=float, default=0.5, help="of matrices")
    training.add_argument("--dropout", type=float, default=0.3)
    training.add_argument("--bpe-dropout", type=float, default=0.2, help="at the start; falls to none")
    training.add_argument("--average", type=float, default=0.99, help="decay of the moving average per step")
    training.add_argument("--measure-every", type=int, default=50, help="steps between held-out measurements")
    training.add_argument("--patience", type=int, default=8, help="measurements without a new best before stopping")
    training.add_argument("--minutes", type=float, default=5.0, help="stop after this long")
    training.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


# --- Tokenizer --------------------------------------------------------------------------------------------------------


def train_tokenizer(text, vocabulary):
    """Byte-level BPE: GPT-2's words, all 256 bytes as the alphabet, so that any text can be written in it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    if tokenizer.token_to_id(EOS) != EOS_ID or tokenizer.get_vocab_size() != vocabulary:
        raise RuntimeError(f"expected {vocabulary} tokens with {EOS} first, found {tokenizer.get_vocab_size()}")
    return tokenizer


def encode(tokenizer, text, bpe_dropout=0.0):
    """Token ids [T]; with bpe_dropout, every merge is left out with that probability."""
    tokenizer.model.dropout = bpe_dropout or None
    try:
        # By speeches (a blank line ends one), in parallel: the pre-tokenizer never joins text across these points.
        speeches = text.replace("\n\n", "\n\n\0").split("\0")
        pieces = tokenizer.encode_batch(speeches, add_special_tokens=False)
    finally:
        tokenizer.model.dropout = None
    return torch.tensor([i for piece in pieces for i in piece.ids], dtype=torch.long)


# --- Model ------------------------------------------------------------------------------------------------------------


def model_config(options):
    """config.json, in the spelling that every release of transformers reads."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": options.vocabulary,
        "hidden_size": options.hidden,
        "intermediate_size": options.ffn,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads,
        "num_key_value_heads": options.kv_heads,
        "head_dim": options.hidden // options.heads,
        "max_position_embeddings": options.context,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": EOS_ID,
        "eos_token_id": EOS_ID,
        "torch_dtype": "bfloat16",
    }


def create_model(options, device):
    """transformers' own Llama, which has dropout in attention alone, with dropout added where Llama has none."""
    config = LlamaConfig.from_dict({**model_config(options), "attention_dropout": options.dropout})
    model = LlamaForCausalLM(config).float().to(device)

    def drop(module, inputs, output):
        return F.dropout(output, options.dropout, module.training)

    model.model.embed_tokens.register_forward_hook(drop)
    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(drop)
        layer.mlp.register_forward_hook(drop)
    return model


def autocast(device):
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


@torch.no_grad()
def loss_sum(model, ids, context):
    """Nats that the model needs for ids[1:], each given all that precede it, at least context/2 once there are so many.

    ids: [T]. Windows of context + 1 tokens advance by half of that; what the window before has scored is not scored
    again.
    """
    total, scored, start = 0.0, 1, 0
    while scored < len(ids):
        window = ids[start : start + context + 1]
        logits = model(window[None, :-1], use_cache=False).logits[0].float()
        fresh = start + len(window) - scored
        total += F.cross_entropy(logits[-fresh:], window[-fresh:], reduction="sum").item()
        scored += fresh
        start += context // 2
    return total


# --- Training ---------------------------------------------------------------------------------------------------------


def learning_rate(step, options):
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < options.warm_up:
        return options.learning_rate * (step + 1) / options.warm_up
    progress = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return options.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def create_optimizer(model, options):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98))


def batches(tokenizer, text, options, device):
    """Yields a step's [batch, context + 1] windows, from random places of the text, cut into tokens anew per pass."""
    step = 0
    while True:
        # None left for the last third of the steps: the model is to write whole tokens in the end.
        strength = max(0.0, 1 - 1.5 * step / options.steps)
        ids = encode(tokenizer, text, options.bpe_dropout * strength).to(device)
        if len(ids) <= options.context + 1:
            sys.exit(f"{options.text}: expected more than {options.context + 1} tokens, found {len(ids)}")
        places = torch.arange(options.context + 1, device=device)
        for _ in range(max(1, len(ids) // (options.batch * options.context))):
            starts = torch.randint(len(ids) - options.context, (options.batch, 1), device=device)
            yield ids[starts + places]
            step += 1


def train(tokenizer, train_text, held_out_text, options, device):
    """Returns (the best averaged weights, the step that they are from, steps run)."""
    model = create_model(options, device)
    average = copy.deepcopy(model).eval()
    optimizer = create_optimizer(model, options)
    held_out = encode(tokenizer, held_out_text).to(device)
    source = batches(tokenizer, train_text, options, device)
    best, best_step, best_weights = math.inf, 0, None
    began = time.monotonic()
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options)
        windows = next(source)
        model.train()
        with autocast(device):
            logits = model(windows[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        # The average forgets its random start: it follows quickly at first.
        follow = max(1 - options.average, 1 / (step + 1))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), model.parameters()):
                mean.lerp_(parameter, follow)
        if (step + 1) % options.measure_every and step + 1 < options.steps:
            continue
        with autocast(device):
            measured = loss_sum(average, held_out, options.context) / (len(held_out) - 1)
        elapsed = time.monotonic() - began
        print(f"step {step + 1}: training {loss.item():.4f}, held out {measured:.4f} nats a token, {elapsed:.0f} s")
        if measured < best:
            best, best_step = measured, step + 1
            best_weights = {k: v.detach().clone() for k, v in average.state_dict().items()}
        if step + 1 - best_step >= options.patience * options.measure_every or elapsed > options.minutes * 60:
            break
    return best_weights, best_step, step + 1


# --- Result -----------------------------------------------------------------------------------------------------------


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save(folder, tokenizer, weights, options):
    folder.mkdir(parents=True, exist_ok=True)
    # The head is the embedding: it is stored once.
    kept = {k: v.to(torch.bfloat16).contiguous().cpu() for k, v in weights.items() if k != "lm_head.weight"}
    save_file(kept, str(folder / "model.safetensors"), metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "config.json", model_config(options))
    write_json(folder / "generation_config.json", {"bos_token_id": EOS_ID, "eos_token_id": EOS_ID})
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": EOS,
            "eos_token": EOS,
            "model_max_length": options.context,
            "clean_up_tokenization_spaces": False,
        },
    )
    return sum(weight.numel() for weight in kept.values())


def sample(model, tokenizer, prompt, device, count=200, temperature=0.8):
    ids = torch.tensor([tokenizer.encode(prompt).ids], device=device)
    settings = {"max_new_tokens": count, "do_sample": True, "temperature": temperature, "top_k": 0}
    out = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=EOS_ID, **settings)
    return tokenizer.decode(out[0].tolist())


def evaluate(folder, tokenizer, train_text, held_out_text, device):
    """Measures the files that were written: bfloat16 weights, float32 arithmetic."""
    model = LlamaForCausalLM.from_pretrained(str(folder)).float().to(device).eval()
    measures = {}
    # As much of the training text as is held out, from its end, shows how much was learned by heart.
    for name, text in (("held_out", held_out_text), ("training", train_text[-len(held_out_text) :])):
        ids = encode(tokenizer, text).to(device)
        nats = loss_sum(model, ids, model.config.max_position_embeddings)
        # The first token is given, not predicted: its bytes do not count.
        predicted_bytes = len(text.encode()) - len(tokenizer.decode([ids[0].item()]).encode())
        measures[name] = {
            "tokens": len(ids) - 1,
            "bytes": predicted_bytes,
            "nats_per_token": round(nats / (len(ids) - 1), 4),
            "nats_per_byte": round(nats / predicted_bytes, 4),
        }
    return model, measures


def main():
    options = parse_options()
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    text = options.text.read_text(encoding="utf-8")
    cut = int(len(text) * (1 - HELD_OUT))
    train_text, held_out_text = text[:cut], text[cut:]

    began = time.monotonic()
    tokenizer = train_tokenizer(train_text, options.vocabulary)
    weights, best_step, steps = train(tokenizer, train_text, held_out_text, options, device)
    seconds = time.monotonic() - began
    if weights is None:
        sys.exit("the held-out loss was never a number: nothing is written")

    parameters = save(options.folder, tokenizer, weights, options)
    torch.set_float32_matmul_precision("highest")
    model, measures = evaluate(options.folder, tokenizer, train_text, held_out_text, device)
    settings = {k: v for k, v in vars(options).items() if k not in ("text", "folder")}
    measures = {
        "parameters": parameters,
        "steps": steps,
        "best_step": best_step,
        "seconds": round(seconds),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        **measures,
        "settings": settings,
    }
    write_json(options.folder / "metrics.json", measures)
    print(json.dumps(measures, indent=2))
    for prompt in ("ROMEO:\n", "Shall I compare thee"):
        print(f"--- {prompt!r}\n{sample(model, tokenizer, prompt, device)}")


if __name__ == "__main__":
    main()
