#!/usr/bin/env python3
"""Holds remote_reference.py against transformers where a family of its own has the same mathematics.

    check_twins.py [NAME...]

An instance of InternLM or Baichuan is a Llama, one of Qwen a Qwen2 and one of ChatGLM a Glm under other names: the weights are renamed,
fused tensors taken apart, and both compute the same prompts. What the twin lacks (Qwen's steps and logarithms past
the trained length) is compared up to where it begins. Needs torch and transformers, as make_instances.py does.
"""
import json
import pathlib
import sys

import numpy as np
import torch
import transformers

import remote_reference as reference

HERE = pathlib.Path(__file__).resolve().parent
AGREE = 5e-5  # transformers keeps rotation, norms and softmax in float32


def llama(model):
    config, tensors = model.config, {}
    for name, value in model.tensors.items():
        if "W_pack" in name:
            for part, rows in zip("qkv", np.split(value, 3)):
                tensors[name.replace("W_pack", part + "_proj")] = rows
        else:
            tensors[name] = value
    if "z_loss_weight" in config:
        head = tensors["lm_head.weight"]
        tensors["lm_head.weight"] = head / np.linalg.norm(head, axis=1, keepdims=True)
    rotary = config.get("rotary", {})
    scaling = {"rope_type": "dynamic", "factor": rotary["scaling_factor"]} if rotary.get("type") == "dynamic" else None
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=config["vocab_size"], hidden_size=config["hidden_size"], rope_scaling=scaling,
        intermediate_size=config["intermediate_size"], num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"], max_position_embeddings=config["max_position_embeddings"],
        hidden_act=config["hidden_act"], rms_norm_eps=config["rms_norm_eps"], rope_theta=rotary.get("base", 10000),
        attention_bias=config.get("bias", False), tie_word_embeddings=config.get("tie_word_embeddings", False),
        attn_implementation="eager")), tensors


QWEN_NAMES = {"wte": "embed_tokens", "ln_f": "norm", "h.": "layers.", "ln_1": "input_layernorm",
              "ln_2": "post_attention_layernorm", "mlp.w1": "mlp.up_proj", "mlp.w2": "mlp.gate_proj",
              "mlp.c_proj": "mlp.down_proj", "attn.c_proj": "self_attn.o_proj"}


def qwen2(model):
    config, tensors = model.config, {}
    if config["rotary_pct"] != 1 or not config["no_bias"]:
        return None, None
    for name, value in model.tensors.items():
        for old, new in QWEN_NAMES.items():
            name = name.replace(old, new)
        if "attn.c_attn" in name:
            for part, rows in zip("qkv", np.split(value, 3)):
                tensors[name.replace("attn.c_attn", f"self_attn.{part}_proj")] = rows
        else:
            tensors[name] = value
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(
        vocab_size=config["vocab_size"], hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"] // 2, num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"], num_key_value_heads=config["num_attention_heads"],
        rms_norm_eps=config["layer_norm_epsilon"], rope_theta=config["rotary_emb_base"],
        tie_word_embeddings=config["tie_word_embeddings"], attn_implementation="eager")), tensors


GLM_NAMES = {"embedding.word_embeddings": "embed_tokens", "encoder.layers": "layers", "output_layer": "lm_head",
             "encoder.final_layernorm": "norm", "self_attention.dense": "self_attn.o_proj",
             "mlp.dense_h_to_4h": "mlp.gate_up_proj", "mlp.dense_4h_to_h": "mlp.down_proj"}


def glm(model):
    config, tensors = model.config, {}
    if not (config["rmsnorm"] and config["post_layer_norm"] and config["multi_query_attention"]):
        return None, None
    width, heads, groups = config["kv_channels"], config["num_attention_heads"], config["multi_query_group_num"]
    for name, value in model.tensors.items():
        for old, new in GLM_NAMES.items():
            name = name.replace(old, new)
        if "query_key_value" in name:
            for part, rows in zip("qkv", np.split(value, [heads * width, (heads + groups) * width])):
                tensors[name.replace("self_attention.query_key_value", f"self_attn.{part}_proj")] = rows
        else:
            tensors[name] = value
    return transformers.GlmForCausalLM(transformers.GlmConfig(
        vocab_size=config["padded_vocab_size"], hidden_size=config["hidden_size"], head_dim=width,
        intermediate_size=config["ffn_hidden_size"], num_hidden_layers=config["num_layers"],
        num_attention_heads=heads, num_key_value_heads=groups, rms_norm_eps=config["layernorm_epsilon"],
        rope_theta=10000.0 * config.get("rope_ratio", 1.0), partial_rotary_factor=0.5, attention_bias=True,
        tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, attn_implementation="eager")), tensors


TWINS = {"internlm": llama, "baichuan": llama, "qwen": qwen2, "chatglm": glm}


def load(twin, tensors):
    names = {name if name.startswith("lm_head") else "model." + name: torch.from_numpy(value)
             for name, value in tensors.items()}
    twin = twin.double()
    missing, unexpected = twin.load_state_dict(names, strict=False)
    tied = [name for name in missing if not (name == "lm_head.weight" and twin.config.tie_word_embeddings)]
    assert not tied and not unexpected, (tied, unexpected)
    twin.tie_weights()
    return twin.eval()


def check(name):
    folder = HERE / name
    model = reference.Model(folder)
    if model.family == "baichuan" and "max_position_embeddings" not in model.config:
        return None  # ALiBi
    twin, tensors = TWINS[model.family](model)
    if twin is None:
        return None
    twin, worst = load(twin, tensors), 0.0
    limit = model.config["seq_length"] if model.family == "qwen" else 1 << 30
    for entry in json.loads((folder / "expected.json").read_text())["prompts"]:
        ids = entry["ids"][:limit]
        with torch.no_grad():
            rows = torch.log_softmax(twin(torch.tensor([ids]), use_cache=False).logits[0].double(), dim=-1).numpy()
        worst = max(worst, abs(rows - model.logprobs(ids)).max())
    return worst


def main():
    names = sys.argv[1:] or sorted(path.parent.name for path in HERE.glob("*/expected.json")
                                   if reference.knows(path.parent))
    good = True
    for name in names:
        worst = check(name)
        good = good and (worst is None or worst < AGREE)
        print(f"{name:24} {'no twin' if worst is None else f'worst {worst:.1e}'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
