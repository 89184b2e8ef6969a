"""The instances of the families whose modelling code is not part of transformers; fields as in instances.py.

make_remote.py turns each row into a folder. `tensors` in shapes() says which weights a family has: name -> shape.
"""
from instances import LENGTHS, inside, sixteen, without_none


def internlm(embed, heads, ffn, vocab, **more):
    config = {"architectures": ["InternLMForCausalLM"], "model_type": "internlm",
              "auto_map": {"AutoModelForCausalLM": "modeling_internlm.InternLMForCausalLM"},
              "hidden_size": embed, "num_attention_heads": heads, "intermediate_size": ffn, "vocab_size": vocab,
              "num_hidden_layers": 2, "max_position_embeddings": 96, "hidden_act": "silu", "rms_norm_eps": 1e-05,
              "bias": True, "bos_token_id": 1}
    return without_none({**config, **more})


def baichuan(embed, heads, ffn, vocab, **more):
    config = {"architectures": ["BaichuanForCausalLM"], "model_type": "baichuan", "hidden_size": embed,
              "num_attention_heads": heads, "intermediate_size": ffn, "vocab_size": vocab, "num_hidden_layers": 2,
              "max_position_embeddings": 96, "model_max_length": 96, "hidden_act": "silu", "rms_norm_eps": 1e-06,
              "tie_word_embeddings": False, "bos_token_id": 1}
    return without_none({**config, **more})


def qwen(embed, heads, ffn, vocab, **more):
    config = {"architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": embed,
              "num_attention_heads": heads, "kv_channels": embed // heads, "intermediate_size": ffn,
              "vocab_size": vocab, "num_hidden_layers": 2, "max_position_embeddings": 96, "seq_length": 96,
              "layer_norm_epsilon": 1e-06, "no_bias": True, "rotary_emb_base": 10000, "rotary_pct": 1.0,
              "use_dynamic_ntk": True, "use_logn_attn": True, "tie_word_embeddings": False}
    return without_none({**config, **more})


def chatglm(embed, heads, ffn, vocab, **more):
    config = {"architectures": ["ChatGLMModel"], "model_type": "chatglm", "hidden_size": embed,
              "num_attention_heads": heads, "kv_channels": embed // heads, "ffn_hidden_size": ffn,
              "padded_vocab_size": vocab, "num_layers": 2, "seq_length": 96, "layernorm_epsilon": 1e-05,
              "rmsnorm": True, "post_layer_norm": True, "apply_residual_connection_post_layernorm": False,
              "add_bias_linear": False, "add_qkv_bias": True, "apply_query_key_layer_scaling": True,
              "multi_query_attention": True, "multi_query_group_num": 2, "original_rope": True,
              "tie_word_embeddings": False}
    return without_none({**config, **more})


def chatglm_6b(embed, heads, ffn, vocab, **more):
    config = {"architectures": ["ChatGLMModel"], "model_type": "chatglm", "hidden_size": embed,
              "num_attention_heads": heads, "inner_hidden_size": ffn, "vocab_size": vocab, "num_layers": 2,
              "max_sequence_length": 96, "layernorm_epsilon": 1e-05, "position_encoding_2d": True,
              "tie_word_embeddings": False}
    return without_none({**config, **more})


def glm(embed, heads, vocab, **more):
    config = {"architectures": ["GLMForConditionalGeneration"], "model_type": "glm", "hidden_size": embed,
              "num_attention_heads": heads, "vocab_size": vocab, "num_layers": 2, "max_sequence_length": 96,
              "attention_scale": 1.0, "block_position_encoding": True, "output_predict": True,
              "relative_encoding": False, "spell_func": "lstm", "pool_token": "cls"}
    return without_none({**config, **more})


def to_prompt(mask, start, behind=0):
    """Makes prompts of ids: a mask within, the start token behind, and behind it what has been written already."""
    def prepare(ids, config):
        ids = [token for token in ids if token not in (mask, start)] or [3]
        place = len(ids) * 2 // 3
        head, tail = ids[:place], ids[place:]
        written = tail[len(tail) - behind:] if len(tail) > behind else []
        tail = tail[:len(tail) - len(written)]
        return head + [mask] + tail + [start] + written
    return prepare


ROWS = {
    "internlm_origin": dict(  # attention with biases, the first releases' config without "rotary"
        config=internlm(30, 5, 37, 97, rms_norm_eps=0.02)),
    "internlm_dynamic": dict(
        config=internlm(42, 7, 29, 131, bias=False, hidden_act="gelu_new", max_position_embeddings=24,
                        rotary={"base": 700, "type": "dynamic", "scaling_factor": 3.0}, torch_dtype="bfloat16"),
        dtypes="BF16", lengths=(1, 2, 7, 23, 24, 25, 61), new_tokens=inside(24)),
    "internlm_tied": dict(
        config=internlm(36, 3, 31, 89, tie_word_embeddings=True, rotary={"base": 500, "type": "origin"}),
        head="omitted", prefix=False, shards=2),
    "baichuan_7b": dict(
        config=baichuan(40, 5, 43, 103, architectures=["BaiChuanForCausalLM"], rms_norm_eps=0.01), shards=2),
    "baichuan2_7b": dict(
        config=baichuan(42, 7, 31, 113, z_loss_weight=0, torch_dtype="float16", rms_norm_eps=0.02, hidden_act="relu"),
        dtypes="F16", norm_gain=5.0),
    "baichuan_13b": dict(  # no max_position_embeddings: ALiBi; 7 heads: three slopes of the second series
        config=baichuan(56, 7, 37, 97, max_position_embeddings=None, rms_norm_eps=0.02, torch_dtype="bfloat16"),
        dtypes="BF16"),
    "baichuan2_13b": dict(
        config=baichuan(40, 5, 29, 89, max_position_embeddings=None, z_loss_weight=0, rms_norm_eps=0.01),
        norm_gain=5.0, prefix=False),
    "baichuan_tied": dict(
        config=baichuan(40, 5, 31, 101, rms_norm_eps=0.02, tie_word_embeddings=True, torch_dtype="float16"),
        dtypes="F16", head="omitted", prefix=False),
    "chatglm2": dict(  # two groups of keys and values, as released
        config=chatglm(48, 6, 37, 101, torch_dtype="float16", layernorm_epsilon=0.02), dtypes="F16"),
    "chatglm3_wide": dict(  # heads wider than hidden / heads, five to a group
        config=chatglm(30, 5, 31, 97, kv_channels=12, multi_query_group_num=1, rope_ratio=50.0, vocab_size=97),
        shards=2),
    "chatglm2_options": dict(  # everything that released models leave at its default
        config=chatglm(56, 7, 29, 103, multi_query_attention=False, rmsnorm=False, add_bias_linear=True,
                       apply_residual_connection_post_layernorm=True), prefix=False),
    "chatglm2_open": dict(  # no final norm, no biases
        config=chatglm(40, 5, 43, 89, multi_query_attention=False, post_layer_norm=False, add_qkv_bias=False),
        norm_gain=1.0, qk_gain=1.0, gain=0.5),
    "chatglm_6b": dict(  # ids of mask and start as the class has them: four and none before bos
        config=chatglm_6b(40, 5, 43, 101, bos_token_id=90, torch_dtype="float16"), dtypes="F16",
        prepare=to_prompt(86, 90)),
    "chatglm_6b_written": dict(  # prompts that go on behind the start token; ids stated, three layers
        config=chatglm_6b(48, 3, 37, 97, num_layers=3, bos_token_id=40, mask_token_id=41, gmask_token_id=60,
                          layernorm_epsilon=0.02), prepare=to_prompt(60, 40, behind=3), shards=2),
    "chatglm2_tied": dict(
        config=chatglm(42, 7, 31, 97, multi_query_group_num=1, layernorm_epsilon=0.02, tie_word_embeddings=True,
                       torch_dtype="bfloat16"), dtypes="BF16", head="omitted", prefix=False),
    "chatglm_6b_tied": dict(
        config=chatglm_6b(32, 4, 29, 89, tie_word_embeddings=True, bos_token_id=60, mask_token_id=61,
                          gmask_token_id=62, layernorm_epsilon=0.02), prepare=to_prompt(61, 60), head="omitted", gain=6.0, qk_gain=2.5,
        prefix=False),
    "glm_v1": dict(
        config=glm(40, 5, 103, sop_token_id=50, mask_token_id=51, smask_token_id=52, gmask_token_id=53),
        prepare=to_prompt(52, 50), head="omitted"),
    "glm_v1_plain": dict(  # one row of positions; prompts without a start token, read in one direction
        config=glm(42, 7, 97, sop_token_id=96, mask_token_id=95, smask_token_id=94, gmask_token_id=93,
                   block_position_encoding=False, torch_dtype="bfloat16"), dtypes="BF16", prefix=False,
        prepare=lambda ids, config: [min(token, 92) for token in ids], head="omitted"),
    "qwen_short": dict(  # within the trained length: plain rotation, plain queries
        config=qwen(40, 5, 62, 107, no_bias=False, rotary_emb_base=900, layer_norm_epsilon=0.02)),
    "qwen_long": dict(  # prompts on both sides of the trained length, of twice it and of four times it
        config=qwen(36, 3, 58, 127, seq_length=12, layer_norm_epsilon=0.01, torch_dtype="bfloat16"), dtypes="BF16",
        lengths=(1, 2, 7, 11, 12, 13, 24, 25, 48, 49, 61)),
    "qwen_partial": dict(  # half of each head rotates
        config=qwen(56, 7, 46, 101, seq_length=16, rotary_pct=0.5, layer_norm_epsilon=0.01, use_logn_attn=False,
                    tie_word_embeddings=True),
        head="copied", prefix=False, lengths=(1, 2, 7, 16, 17, 33, 61)),
    "qwen_logn": dict(
        config=qwen(30, 5, 34, 109, seq_length=9, use_dynamic_ntk=False, layer_norm_epsilon=0.02)),
}

DEFAULTS = dict(dtypes="F32", shards=1, prefix=True, head="stored", qk_gain=1.5, lengths=LENGTHS, new_tokens=sixteen,
                norm_gain=1.0)


def llama_like(config, attention):
    """Names and shapes of a Llama-shaped family; `attention` has those of its first projections."""
    e, f = config["hidden_size"], config["intermediate_size"]
    yield "model.embed_tokens.weight", (config["vocab_size"], e)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        for name, shape in attention(e):
            yield at + "self_attn." + name, shape
        yield from ((f"{at}mlp.{p}_proj.weight", (f, e)) for p in ("gate", "up"))
        yield at + "mlp.down_proj.weight", (e, f)
        yield from ((f"{at}{p}_layernorm.weight", (e,)) for p in ("input", "post_attention"))
    yield "model.norm.weight", (e,)
    yield "lm_head.weight", (config["vocab_size"], e)


def internlm_attention(config):
    def of(e):
        for p in "qkvo":
            yield f"{p}_proj.weight", (e, e)
            if config["bias"]:
                yield f"{p}_proj.bias", (e,)
    return of


def baichuan_attention(config):
    return lambda e: (("W_pack.weight", (3 * e, e)), ("o_proj.weight", (e, e)))


def qwen_tensors(config):
    e, f = config["hidden_size"], config["intermediate_size"] // 2
    yield "transformer.wte.weight", (config["vocab_size"], e)
    for i in range(config["num_hidden_layers"]):
        at = f"transformer.h.{i}."
        yield at + "attn.c_attn.weight", (3 * e, e)
        yield at + "attn.c_attn.bias", (3 * e,)
        shapes = {"attn.c_proj": (e, e), "mlp.w1": (f, e), "mlp.w2": (f, e), "mlp.c_proj": (e, f)}
        for name, shape in shapes.items():
            yield f"{at}{name}.weight", shape
            if not config["no_bias"]:
                yield f"{at}{name}.bias", shape[:1]
        yield from ((f"{at}ln_{n}.weight", (e,)) for n in (1, 2))
    yield "transformer.ln_f.weight", (e,)
    yield "lm_head.weight", (config["vocab_size"], e)


def chatglm_tensors(config):
    e, f, d, v = (config[key] for key in ("hidden_size", "ffn_hidden_size", "kv_channels", "padded_vocab_size"))
    q = config["num_attention_heads"] * d
    kv = config["multi_query_group_num"] * d if config["multi_query_attention"] else q
    bias, norms = config["add_bias_linear"], (("weight",) if config["rmsnorm"] else ("weight", "bias"))
    yield "transformer.embedding.word_embeddings.weight", (v, e)
    for i in range(config["num_layers"]):
        at = f"transformer.encoder.layers.{i}."
        shapes = {"self_attention.query_key_value": (q + 2 * kv, e), "self_attention.dense": (e, q),
                  "mlp.dense_h_to_4h": (2 * f, e), "mlp.dense_4h_to_h": (e, f)}
        for name, shape in shapes.items():
            yield f"{at}{name}.weight", shape
            if bias or (config["add_qkv_bias"] and "query" in name):
                yield f"{at}{name}.bias", shape[:1]
        yield from ((f"{at}{p}_layernorm.{w}", (e,)) for p in ("input", "post_attention") for w in norms)
    if config["post_layer_norm"]:
        yield from ((f"transformer.encoder.final_layernorm.{w}", (e,)) for w in norms)
    yield "transformer.output_layer.weight", (v, e)


def glm_layer(at, e, f):
    shapes = {"attention.query_key_value": (3 * e, e), "attention.dense": (e, e), "mlp.dense_h_to_4h": (f, e),
              "mlp.dense_4h_to_h": (e, f), "input_layernorm": (e,), "post_attention_layernorm": (e,)}
    for name, shape in shapes.items():
        yield f"{at}{name}.weight", shape
        yield f"{at}{name}.bias", shape[:1]


def chatglm_6b_tensors(config):
    e, v = config["hidden_size"], config["vocab_size"]
    yield "transformer.word_embeddings.weight", (v, e)
    for i in range(config["num_layers"]):
        yield from glm_layer(f"transformer.layers.{i}.", e, config["inner_hidden_size"])
    yield from ((f"transformer.final_layernorm.{w}", (e,)) for w in ("weight", "bias"))
    yield "lm_head.weight", (v, e)


def glm_tensors(config):
    e, blocks = config["hidden_size"], config["block_position_encoding"]
    yield "glm.word_embeddings.weight", (config["vocab_size"], e)
    yield "glm.transformer.position_embeddings.weight", (config["max_sequence_length"] + blocks, e)
    if blocks:
        yield "glm.transformer.block_position_embeddings.weight", (config["max_sequence_length"] + 1, e)
    for i in range(config["num_layers"]):
        yield from glm_layer(f"glm.transformer.layers.{i}.", e, 4 * e)
    yield from ((f"glm.transformer.final_layernorm.{w}", (e,)) for w in ("weight", "bias"))


def shapes(config):
    """Every tensor of an untied model by name."""
    family = config["model_type"]
    if "inner_hidden_size" in config:
        return dict(chatglm_6b_tensors(config))
    if family == "glm":
        return dict(glm_tensors(config))
    if family == "chatglm":
        return dict(chatglm_tensors(config))
    if family == "qwen":
        return dict(qwen_tensors(config))
    attention = {"internlm": internlm_attention, "baichuan": baichuan_attention}[family]
    return dict(llama_like(config, attention(config)))


def all_instances():
    gain = {name: 2.0 if "head" in row else 1.0 for name, row in ROWS.items()}
    return {name: {"name": name, "gain": gain[name], **DEFAULTS, **row} for name, row in ROWS.items()}
