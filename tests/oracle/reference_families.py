"""The further families of the second oracle (reference.py): the hidden states behind the last norm, float64.

Each function takes a reference.Model and token ids and is a transcription of the family's formulas; HIDDEN lists them
by model_type.
"""
import math

import numpy as np

import reference as parts


def heads_of(x, heads):
    """[T, heads * D] -> [T, heads, D]"""
    return x.reshape(len(x), heads, -1)


def slopes(heads, largest=8.0):
    """ALiBi: 2^(-largest i / n) for the n heads of a power of 2, then every second one of twice as many."""
    n = 2**int(math.log2(heads))
    first = [2**(-largest * (i + 1) / n) for i in range(n)]
    return np.array(first + [2**(-largest * (2 * i + 1) / (2 * n)) for i in range(heads - n)])


def bfloat16(x):
    """Rounded to the nearest bfloat16, ties to even."""
    bits = np.asarray(x, "<f4").view("<u4").astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return bits.astype("<u4").view("<f4").astype(np.float64)


def alibi(heads, length, largest=8.0):
    return (slopes(heads, largest)[:, None] * np.arange(length))[:, None, :]


def bloom(model, ids):
    config, t = model.config, len(ids)
    heads = model.get("n_head", "num_attention_heads")
    x = model.layer_norm("word_embeddings_layernorm", model.tensors["word_embeddings.weight"][ids])
    for i in range(model.get("n_layer", "num_hidden_layers")):
        at = f"h.{i}."
        n = model.layer_norm(at + "input_layernorm", x)
        q, k, v = model.linear(at + "self_attention.query_key_value", n).reshape(t, heads, 3, -1).transpose(2, 0, 1, 3)
        seen = parts.attention(q, k, v, q.shape[-1]**-0.5, bias=alibi(heads, t))
        after = config.get("apply_residual_connection_post_layernorm", False)
        x = (n if after else x) + model.linear(at + "self_attention.dense", seen)
        n = model.layer_norm(at + "post_attention_layernorm", x)
        up = parts.gelu_tanh(model.linear(at + "mlp.dense_h_to_4h", n))
        x = (n if after else x) + model.linear(at + "mlp.dense_4h_to_h", up)
    return model.layer_norm("ln_f", x)


def fairseq_layer(model, at, x, heads, before):
    """The decoder layer of OPT and XGLM: norm before or behind each of attention and MLP."""
    act = parts.ACTIVATIONS[model.get("activation_function")]
    n = model.layer_norm(at + "self_attn_layer_norm", x) if before else x
    q, k, v = (heads_of(model.linear(f"{at}self_attn.{p}_proj", n), heads) for p in "qkv")
    x = x + model.linear(at + "self_attn.out_proj", parts.attention(q, k, v, q.shape[-1]**-0.5))
    x = x if before else model.layer_norm(at + "self_attn_layer_norm", x)
    n = model.layer_norm(at + "final_layer_norm", x) if before else x
    x = x + model.linear(at + "fc2", act(model.linear(at + "fc1", n)))
    return x if before else model.layer_norm(at + "final_layer_norm", x)


def opt(model, ids):
    config, tensors = model.config, model.tensors
    before = config.get("do_layer_norm_before", True)
    x = tensors["decoder.embed_tokens.weight"][ids]
    if "decoder.project_in.weight" in tensors:
        x = model.linear("decoder.project_in", x)
    x = x + tensors["decoder.embed_positions.weight"][2:2 + len(ids)]
    for i in range(config["num_hidden_layers"]):
        x = fairseq_layer(model, f"decoder.layers.{i}.", x, config["num_attention_heads"], before)
    if before and not config.get("_remove_final_layer_norm", False):
        x = model.layer_norm("decoder.final_layer_norm", x)
    return model.linear("decoder.project_out", x) if "decoder.project_out.weight" in tensors else x


def sinusoids(length, width, offset):
    half = width // 2
    angles = np.arange(offset, offset + length)[:, None] * np.exp(np.arange(half) * -(math.log(10000) / (half - 1)))
    return np.concatenate([np.sin(angles), np.cos(angles), np.zeros((length, width % 2))], axis=1)


def xglm(model, ids):
    config, width = model.config, model.config["d_model"]
    scale = math.sqrt(width) if config.get("scale_embedding", True) else 1.0
    x = model.tensors["embed_tokens.weight"][ids] * scale + sinusoids(len(ids), width, 2)
    for i in range(config["num_layers"]):
        x = fairseq_layer(model, f"layers.{i}.", x, config["attention_heads"], True)
    return model.layer_norm("layer_norm", x)


def gptj(model, ids):
    """GPT-J, and CodeGen with its four shards of [q | v | k] in one tensor."""
    config, act, t = model.config, parts.ACTIVATIONS[model.get("activation_function")], len(ids)
    heads = config["n_head"]
    rotary = config["rotary_dim"]
    angles = np.arange(t)[:, None] * 10000.0**(-np.arange(0, rotary, 2) / rotary)
    tables = np.cos(angles), np.sin(angles)
    x = model.tensors["wte.weight"][ids]
    for i in range(config["n_layer"]):
        at = f"h.{i}."
        n = model.layer_norm(at + "ln_1", x)
        if model.family == "codegen":
            fused = model.linear(at + "attn.qkv_proj", n).reshape(t, 4, 3, -1)
            q, v, k = (heads_of(fused[:, :, part].reshape(t, -1), heads) for part in range(3))
        else:
            q, k, v = (heads_of(model.linear(f"{at}attn.{p}_proj", n), heads) for p in "qkv")
        q, k = parts.rotate_pairs(q, tables), parts.rotate_pairs(k, tables)
        seen = parts.attention(q, k, v, q.shape[-1]**-0.5)
        x = x + model.linear(at + "attn.out_proj", seen) + model.linear(
            at + "mlp.fc_out", act(model.linear(at + "mlp.fc_in", n)))
    return model.layer_norm("ln_f", x)


def falcon_heads(config, fused):
    """[T, ...] -> q [T, H, D], k and v [T, K, D], by each of the three layouts."""
    t, heads = len(fused), config["num_attention_heads"]
    dim = config["hidden_size"] // heads
    if config["new_decoder_architecture"]:
        groups = config.get("num_kv_heads") or heads
        fused = fused.reshape(t, groups, heads // groups + 2, dim)
        return fused[:, :, :-2].reshape(t, heads, dim), fused[:, :, -2], fused[:, :, -1]
    if config["multi_query"]:
        fused = fused.reshape(t, heads + 2, dim)
        return fused[:, :-2], fused[:, -2:-1], fused[:, -1:]
    return fused.reshape(t, heads, 3, dim).transpose(2, 0, 1, 3)


def falcon(model, ids):
    config, act, t = model.config, parts.ACTIVATIONS[model.get("activation", default="gelu")], len(ids)
    heads = config["num_attention_heads"]
    dim, new, parallel = config["hidden_size"] // heads, config["new_decoder_architecture"], config["parallel_attn"]
    x, scale = model.tensors["word_embeddings.weight"][ids], dim**-0.5
    bias = scale * bfloat16(bfloat16(slopes(heads))[:, None] * bfloat16(np.arange(t)))[:, None, :]
    for i in range(config["num_hidden_layers"]):
        at = f"h.{i}."
        two = new and (config.get("num_ln_in_parallel_attn") or 2) == 2
        n = model.layer_norm(at + ("ln_attn" if two else "input_layernorm"), x)
        q, k, v = falcon_heads(config, model.linear(at + "self_attention.query_key_value", n))
        if not config["alibi"]:
            tables = parts.rope_tables(config, dim, t)
            q, k = parts.rotate(q, tables), parts.rotate(k, tables)
        seen = model.linear(at + "self_attention.dense",
                            parts.attention(q, k, v, scale, bias=bias if config["alibi"] else 0.0))
        if two:
            n = model.layer_norm(at + "ln_mlp", x)
        if not parallel:
            n = model.layer_norm(at + "post_attention_layernorm", x + seen)
        x = x + seen + model.linear(at + "mlp.dense_4h_to_h", act(model.linear(at + "mlp.dense_h_to_4h", n)))
    return model.layer_norm("ln_f", x)


def mpt(model, ids):
    config, t, heads = model.config, len(ids), model.config["n_heads"]
    attn = config["attn_config"]
    scale = attn.get("softmax_scale") or (config["d_model"] / heads)**-0.5
    x = model.tensors["wte.weight"][ids]
    for i in range(config["n_layers"]):
        at = f"blocks.{i}."
        fused = model.linear(at + "attn.Wqkv", model.layer_norm(at + "norm_1", x))
        if attn.get("clip_qkv"):
            fused = np.clip(fused, -attn["clip_qkv"], attn["clip_qkv"])
        q, k, v = fused.reshape(t, 3, heads, -1).transpose(1, 0, 2, 3)
        seen = parts.attention(q, k, v, scale, bias=alibi(heads, t, attn.get("alibi_bias_max", 8)))
        x = x + model.linear(at + "attn.out_proj", seen)
        up = parts.ACTIVATIONS["gelu"](model.linear(at + "ffn.up_proj", model.layer_norm(at + "norm_2", x)))
        x = x + model.linear(at + "ffn.down_proj", up)
    return model.layer_norm("norm_f", x)


def gpt_neo(model, ids):
    config, act, heads = model.config, parts.ACTIVATIONS[model.get("activation_function")], model.config["num_heads"]
    kinds = [kind for pattern, times in config["attention_types"] for _ in range(times) for kind in pattern]
    x = model.tensors["wte.weight"][ids] + model.tensors["wpe.weight"][:len(ids)]
    for i, kind in enumerate(kinds):
        at = f"h.{i}."
        n = model.layer_norm(at + "ln_1", x)
        q, k, v = (heads_of(model.linear(f"{at}attn.attention.{p}_proj", n), heads) for p in "qkv")
        seen = parts.attention(q, k, v, 1.0, config.get("window_size", 256) if kind == "local" else None)
        x = x + model.linear(at + "attn.attention.out_proj", seen)
        x = x + model.linear(at + "mlp.c_proj", act(model.linear(at + "mlp.c_fc", model.layer_norm(at + "ln_2", x))))
    return model.layer_norm("ln_f", x)


def gpt_bigcode(model, ids):
    config, act, t = model.config, parts.ACTIVATIONS[model.get("activation_function")], len(ids)
    heads, width = config["n_head"], config["n_embd"]
    dim = width // heads
    x = model.tensors["wte.weight"][ids] + model.tensors["wpe.weight"][:t]
    for i in range(config["n_layer"]):
        at = f"h.{i}."
        fused = model.linear(at + "attn.c_attn", model.layer_norm(at + "ln_1", x))
        if config.get("multi_query", True):
            q, k, v = (heads_of(part, part.shape[-1] // dim) for part in np.split(fused, [width, width + dim], axis=1))
        else:
            q, k, v = fused.reshape(t, heads, 3, dim).transpose(2, 0, 1, 3)
        scale = dim**-0.5 if config.get("scale_attn_weights", True) else 1.0
        x = x + model.linear(at + "attn.c_proj", parts.attention(q, k, v, scale))
        x = x + model.linear(at + "mlp.c_proj", act(model.linear(at + "mlp.c_fc", model.layer_norm(at + "ln_2", x))))
    return model.layer_norm("ln_f", x)


def qwen2(model, ids):
    config, layers = model.config, model.config["num_hidden_layers"]
    kinds = config.get("layer_types") or [
        "sliding_attention" if i >= config.get("max_window_layers", 28) else "full_attention" for i in range(layers)]
    window = config.get("sliding_window", 4096) if config.get("use_sliding_window", False) else None
    return gated(model, ids, parts.rotate, [window if kind == "sliding_attention" else None for kind in kinds])


def glm(model, ids):
    return gated(model, ids, parts.rotate_pairs, [None] * model.config["num_hidden_layers"])


def gated(model, ids, rotate, windows):
    """Llama's layer with the variations of Qwen2 and GLM; GLM-4 norms what each branch gives as well."""
    config, act = model.config, parts.ACTIVATIONS[model.config["hidden_act"]]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = model.get("head_dim", default=config["hidden_size"] // heads)
    tables = parts.rope_tables(config, dim, len(ids))
    x = model.tensors["embed_tokens.weight"][ids]
    outer = model.rms_norm if model.family == "glm4" else lambda name, y: y
    for i, window in enumerate(windows):
        at = f"layers.{i}."
        n = model.rms_norm(at + "input_layernorm", x)
        q, k, v = (heads_of(model.linear(f"{at}self_attn.{p}_proj", n), h) for p, h in zip("qkv", (heads, kv, kv)))
        seen = parts.attention(rotate(q, tables), rotate(k, tables), v, dim**-0.5, window)
        x = x + outer(at + "post_self_attn_layernorm", model.linear(at + "self_attn.o_proj", seen))
        n = model.rms_norm(at + "post_attention_layernorm", x)
        if model.family == "qwen2":
            gate, up = (model.linear(f"{at}mlp.{p}_proj", n) for p in ("gate", "up"))
        else:
            gate, up = np.split(model.linear(at + "mlp.gate_up_proj", n), 2, axis=1)
        x = x + outer(at + "post_mlp_layernorm", model.linear(at + "mlp.down_proj", act(gate) * up))
    return model.rms_norm("norm", x)


def phi(model, ids):
    config, act = model.config, parts.ACTIVATIONS[model.config["hidden_act"]]
    heads = config["num_attention_heads"]
    kv = config.get("num_key_value_heads") or heads
    dim = config.get("head_dim", config["hidden_size"] // heads)
    tables = parts.rope_tables(config, dim, len(ids))
    x = model.tensors["embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        at = f"layers.{i}."
        n = model.layer_norm(at + "input_layernorm", x)
        q, k, v = (heads_of(model.linear(f"{at}self_attn.{p}_proj", n), h) for p, h in zip("qkv", (heads, kv, kv)))
        seen = parts.attention(parts.rotate(q, tables), parts.rotate(k, tables), v, dim**-0.5)
        x = x + model.linear(at + "self_attn.dense", seen) + model.linear(at + "mlp.fc2",
                                                                         act(model.linear(at + "mlp.fc1", n)))
    return model.layer_norm("final_layernorm", x)


def stablelm(model, ids):
    config, act, t = model.config, parts.ACTIVATIONS[model.config["hidden_act"]], len(ids)
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    tables = parts.rope_tables(config, config["hidden_size"] // heads, t)
    x = model.tensors["embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        at = f"layers.{i}."
        n = model.layer_norm(at + "input_layernorm", x)
        q, k, v = (heads_of(model.linear(f"{at}self_attn.{p}_proj", n), h) for p, h in zip("qkv", (heads, kv, kv)))
        seen = parts.attention(parts.rotate(q, tables), parts.rotate(k, tables), v, q.shape[-1]**-0.5)
        x = x + model.linear(at + "self_attn.o_proj", seen)
        if not config.get("use_parallel_residual", False):
            n = model.layer_norm(at + "post_attention_layernorm", x)
        gate, up = (model.linear(f"{at}mlp.{p}_proj", n) for p in ("gate", "up"))
        x = x + model.linear(at + "mlp.down_proj", act(gate) * up)
    return model.layer_norm("norm", x)


def openai_gpt(model, ids):
    config, heads, t = model.config, model.config["n_head"], len(ids)
    act = parts.gelu_tanh if config.get("afn", "gelu") == "gelu" else parts.ACTIVATIONS[config["afn"]]
    x = model.tensors["tokens_embed.weight"][ids] + model.tensors["positions_embed.weight"][:t]
    for i in range(config["n_layer"]):
        at = f"h.{i}."
        q, k, v = model.linear(at + "attn.c_attn", x).reshape(t, 3, heads, -1).transpose(1, 0, 2, 3)
        seen = model.linear(at + "attn.c_proj", parts.attention(q, k, v, q.shape[-1]**-0.5))
        x = model.layer_norm(at + "ln_1", x + seen)
        x = model.layer_norm(at + "ln_2", x + model.linear(at + "mlp.c_proj", act(model.linear(at + "mlp.c_fc", x))))
    return x


HIDDEN = {"bloom": bloom, "opt": opt, "xglm": xglm, "gptj": gptj, "codegen": gptj, "falcon": falcon, "mpt": mpt,
          "gpt_neo": gpt_neo, "gpt_bigcode": gpt_bigcode, "qwen2": qwen2, "glm": glm, "glm4": glm,
          "openai-gpt": openai_gpt, "phi": phi, "stablelm": stablelm}
