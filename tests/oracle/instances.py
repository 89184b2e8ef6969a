"""The table of tiny random models that the numeric oracle is made of: one row an instance.

make_instances.py turns each row into a folder that a Hugging Face checkpoint would be: config.json, weights, and
what the reference computes with them. A row says only what is unusual about it; the sizes are small, odd and prime
on purpose, so that nothing divides evenly among 2, 3 or 4 ranks unless it is handled.

Fields of a row
  config     config.json as written (eos_token_id is added once the greedy tokens are known)
  dtypes     storage type of the tensors: "F32", "F16", "BF16", or "mixed" (norms F32, embeddings F16, rest BF16)
  shards     number of safetensors files; more than one comes with model.safetensors.index.json
  prefix     False: tensor names lack the base model's prefix, as in a file saved from the base model
  head       "stored" (untied), "omitted" (tied, absent from the file), "copied" (tied, and stored as well)
  junk       True: the file holds the constant buffers that old releases saved (masks, inverse frequencies)
  qk_gain    size of the query and key weights; smaller where the scores are not divided by sqrt(head_dim)
  gain       size of the other weights; larger where the head is tied, whose greedy text else repeats itself
  lengths    prompt lengths; the default is LENGTHS
  new_tokens greedy tokens a prompt gets: a function of the prompt length, 0 for none
  variety    the part of the greedy tokens that must differ from each other
  eos        True: greedy decoding stops at the ids of generation_config.json, and some prompts do
"""

LENGTHS = (1, 2, 7, 23, 61)
NEW_TOKENS = 16


def sixteen(length):
    """Greedy tokens of a prompt, whatever its length."""
    return NEW_TOKENS


def inside(limit):
    """Greedy tokens that keep prompt and continuation within `limit` positions, where the rotation changes."""
    return lambda length: max(0, min(NEW_TOKENS, limit - length))


def one_side_of(limit):
    """As inside(limit), but a prompt that starts beyond the limit stays beyond it and gets them all."""
    return lambda length: NEW_TOKENS if length > limit else inside(limit)(length)


def llama(embed, heads, kv, ffn, vocab, layers=2, **more):
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": embed,
        "num_attention_heads": heads, "num_key_value_heads": kv, "intermediate_size": ffn, "vocab_size": vocab,
        "num_hidden_layers": layers, "max_position_embeddings": 96, "hidden_act": "silu", "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "torch_dtype": "float32"}
    config.update(more)
    return without_none(config)


def mistral(embed, heads, kv, ffn, vocab, layers=2, **more):
    config = llama(embed, heads, kv, ffn, vocab, layers)
    config.update({"architectures": ["MistralForCausalLM"], "model_type": "mistral"})
    config.update(more)
    return config


def gpt2(embed, heads, vocab, layers=2, **more):
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": embed, "n_head": heads,
        "n_layer": layers, "n_positions": 96, "vocab_size": vocab, "layer_norm_epsilon": 1e-05, "bos_token_id": 1}
    config.update(more)
    return config


def gpt_neox(embed, heads, ffn, vocab, layers=2, **more):
    config = {
        "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_size": embed,
        "num_attention_heads": heads, "intermediate_size": ffn, "vocab_size": vocab, "num_hidden_layers": layers,
        "max_position_embeddings": 96, "hidden_act": "gelu", "layer_norm_eps": 1e-05, "rotary_pct": 0.25,
        "rotary_emb_base": 10000, "use_parallel_residual": True, "tie_word_embeddings": False, "bos_token_id": 0}
    config.update(more)
    return without_none(config)


def family(model_type, architecture, **config):
    """A config of any other family: sizes under the names that its class gives them."""
    return without_none({"architectures": [architecture], "model_type": model_type, "bos_token_id": 1, **config})


def bloom(embed, heads, vocab, layers=2, **more):
    return family("bloom", "BloomForCausalLM", **{
        "hidden_size": embed, "n_head": heads, "vocab_size": vocab, "n_layer": layers, **more})


def opt(embed, heads, ffn, vocab, layers=2, **more):
    return family("opt", "OPTForCausalLM", **{
        "hidden_size": embed, "num_attention_heads": heads, "ffn_dim": ffn, "vocab_size": vocab,
        "num_hidden_layers": layers, "max_position_embeddings": 96, "word_embed_proj_dim": embed,
        "activation_function": "relu", **more})


def gptj(embed, heads, rotary, inner, vocab, layers=2, **more):
    return without_none({
        "architectures": ["GPTJForCausalLM"], "model_type": "gptj", "bos_token_id": 1, "n_embd": embed, "n_head": heads, "rotary_dim": rotary, "n_inner": inner, "vocab_size": vocab,
        "n_layer": layers, "n_positions": 96, "activation_function": "gelu_new", **more})


def codegen(*sizes, **more):
    return gptj(*sizes, **{"model_type": "codegen", "architectures": ["CodeGenForCausalLM"], **more})


def falcon(embed, heads, vocab, layers=2, **more):
    return family("falcon", "FalconForCausalLM", **{
        "hidden_size": embed, "num_attention_heads": heads, "vocab_size": vocab, "num_hidden_layers": layers,
        "max_position_embeddings": 96, "multi_query": True, "parallel_attn": True, "bias": False,
        "new_decoder_architecture": False, "alibi": False, **more})


def mpt(embed, heads, vocab, attention, layers=2, **more):
    return family("mpt", "MptForCausalLM", **{
        "d_model": embed, "n_heads": heads, "vocab_size": vocab, "n_layers": layers, "max_seq_len": 96,
        "attn_config": {"alibi": True, **attention}, **more})


def gpt_neo(embed, heads, inner, vocab, types, layers=2, **more):
    return family("gpt_neo", "GPTNeoForCausalLM", **{
        "hidden_size": embed, "num_heads": heads, "intermediate_size": inner, "vocab_size": vocab,
        "num_layers": layers, "max_position_embeddings": 96, "attention_types": types,
        "activation_function": "gelu_new", **more})


def gpt_bigcode(embed, heads, inner, vocab, layers=2, **more):
    return family("gpt_bigcode", "GPTBigCodeForCausalLM", **{
        "n_embd": embed, "n_head": heads, "n_inner": inner, "vocab_size": vocab, "n_layer": layers,
        "n_positions": 96, "activation_function": "gelu_pytorch_tanh", **more})


def qwen2(*sizes, **more):
    return llama(*sizes, **{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **more})


def glm(*sizes, **more):
    return llama(*sizes, **{"model_type": "glm", "architectures": ["GlmForCausalLM"], "partial_rotary_factor": 0.5, "pad_token_id": 0,
                            "attention_bias": True, **more})


def glm4(*sizes, **more):
    return glm(*sizes, **{"model_type": "glm4", "architectures": ["Glm4ForCausalLM"], **more})


def phi(embed, heads, ffn, vocab, layers=2, **more):
    return family("phi", "PhiForCausalLM", **{
        "hidden_size": embed, "num_attention_heads": heads, "intermediate_size": ffn, "vocab_size": vocab,
        "num_hidden_layers": layers, "max_position_embeddings": 96, "hidden_act": "gelu_new", **more})


def stablelm(embed, heads, kv, ffn, vocab, layers=2, **more):
    return family("stablelm", "StableLmForCausalLM", **{
        "hidden_size": embed, "num_attention_heads": heads, "num_key_value_heads": kv, "intermediate_size": ffn,
        "vocab_size": vocab, "num_hidden_layers": layers, "max_position_embeddings": 96, "hidden_act": "silu",
        **more})


def xglm(embed, heads, ffn, vocab, layers=2, **more):
    return family("xglm", "XGLMForCausalLM", **{
        "d_model": embed, "attention_heads": heads, "ffn_dim": ffn, "vocab_size": vocab, "num_layers": layers,
        "max_position_embeddings": 96, "activation_function": "gelu", "scale_embedding": True, **more})


def openai_gpt(embed, heads, vocab, layers=2, **more):
    return family("openai-gpt", "OpenAIGPTLMHeadModel", **{
        "n_embd": embed, "n_head": heads, "vocab_size": vocab, "n_layer": layers, "n_positions": 96, "afn": "gelu",
        **more})


def without_none(config):
    """Drops the keys that a row sets to None to say that its config.json lacks them."""
    return {key: value for key, value in config.items() if value is not None}


LLAMA = {
    "llama_wide_heads": dict(  # head_dim is not hidden_size / heads, and neither divides anything
        config=llama(35, 5, 5, 37, 97, head_dim=10, rms_norm_eps=0.03, rope_theta=700.0)),
    "llama_gqa": dict(
        config=llama(54, 9, 3, 43, 131, attention_bias=True, torch_dtype="bfloat16"), dtypes="BF16"),
    "llama_mqa": dict(
        config=llama(42, 7, 1, 29, 257, mlp_bias=True, hidden_act="gelu", tie_word_embeddings=True,
                     torch_dtype="float16"),
        dtypes="F16", head="omitted"),
    "llama_base": dict(  # saved from LlamaModel: no `model.` prefix, no head; three layers in three files
        config=llama(40, 5, 5, 31, 101, layers=3, attention_bias=True, mlp_bias=True, hidden_act="relu",
                     rope_theta=500000.0, tie_word_embeddings=True),
        prefix=False, head="omitted", shards=3),
    "llama_linear": dict(  # the old key `type`; the tied head is in the file all the same
        config=llama(24, 4, 2, 37, 89, rope_scaling={"type": "linear", "factor": 2.5}, tie_word_embeddings=True),
        head="copied"),
    "llama_dynamic": dict(
        config=llama(30, 3, 3, 41, 107, max_position_embeddings=24,
                     rope_scaling={"rope_type": "dynamic", "factor": 3.0}),
        lengths=(1, 2, 7, 23, 24, 25, 61), new_tokens=inside(24)),
    "llama_yarn": dict(
        config=llama(40, 5, 5, 37, 103, head_dim=16, max_position_embeddings=256, rope_theta=100.0, rope_scaling={
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 4.0,
            "beta_slow": 0.5})),
    "llama_yarn_params": dict(  # transformers 5 spelling; mscale pair, correction range left unrounded
        config=llama(36, 6, 2, 43, 109, head_dim=12, max_position_embeddings=512, rope_theta=None, torch_dtype=None,
                     dtype="float32", rope_parameters={
                         "rope_type": "yarn", "rope_theta": 50.0, "factor": 8.0, "beta_fast": 3.0,
                         "original_max_position_embeddings": 64, "mscale": 1.4, "mscale_all_dim": 0.6,
                         "truncate": False})),
    "llama_longrope": dict(  # Phi-3 style: the original length stands beside rope_scaling
        config=llama(32, 4, 2, 37, 113, head_dim=10, max_position_embeddings=128, rope_scaling={
            "type": "longrope", "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3],
            "long_factor": [1.2, 1.9, 3.1, 4.7, 6.3]}, original_max_position_embeddings=32),
        lengths=(1, 2, 7, 23, 32, 33, 61), new_tokens=one_side_of(32)),
    "llama_longrope_params": dict(  # transformers 5 spelling, with an attention factor of its own
        config=llama(30, 5, 1, 31, 97, max_position_embeddings=128, rope_theta=None, torch_dtype="bfloat16",
                     rope_parameters={
                         "rope_type": "longrope", "rope_theta": 2000.0, "factor": 4.0, "attention_factor": 1.3,
                         "original_max_position_embeddings": 32, "short_factor": [0.9, 1.0, 1.2],
                         "long_factor": [1.5, 3.0, 5.5]}),
        dtypes="BF16", lengths=(1, 2, 7, 23, 32, 33, 61), new_tokens=one_side_of(32)),
    "llama_llama3": dict(
        config=llama(48, 4, 4, 53, 251, num_key_value_heads=None, head_dim=12, max_position_embeddings=256,
                     tie_word_embeddings=True, torch_dtype="bfloat16", rope_scaling={
                         "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 32}),
        dtypes="BF16", head="omitted"),
    "llama_eos": dict(
        config=llama(20, 2, 1, 23, 53, layers=1, hidden_act="gelu_pytorch_tanh"), eos=True,
        lengths=(1, 2, 5, 7, 11, 23)),
    "llama_code": dict(  # as Code Llama: a large base, two key-value groups for eight heads, odd rows of a vocabulary
        config=llama(48, 8, 2, 41, 131, rope_theta=1000000, max_position_embeddings=16384, pretraining_tp=2,
                     torch_dtype="bfloat16"), dtypes="BF16"),
}

MISTRAL = {
    "mistral_window": dict(
        config=mistral(33, 6, 2, 37, 113, head_dim=10, sliding_window=5)),
    "mistral_yarn": dict(  # no window; no original length: the ramp is laid out on max_position_embeddings
        config=mistral(42, 7, 7, 45, 127, head_dim=8, sliding_window=None, rope_theta=20.0, hidden_act="swish",
                       rope_scaling={"rope_type": "yarn", "factor": 4.0, "beta_fast": 4, "attention_factor": 0.8}),
        dtypes="mixed"),
    "mistral_bare": dict(
        config=mistral(42, 7, 1, 31, 101, layers=3, sliding_window=9, tie_word_embeddings=True, rope_theta=300.0,
                       rms_norm_eps=0.02, torch_dtype="float16"),
        dtypes="F16", prefix=False, head="omitted"),
}

GPT2 = {
    "gpt2_prefixed": dict(
        config=gpt2(30, 5, 103, n_inner=None, activation_function="gelu_new"), head="omitted", junk=True),
    "gpt2_base": dict(  # head_dim 7, unscaled scores
        config=gpt2(35, 5, 109, n_inner=53, activation_function="relu", scale_attn_weights=False,
                    layer_norm_epsilon=0.02, torch_dtype="float16"),
        dtypes="F16", prefix=False, head="omitted", junk=True, qk_gain=0.6),
    "gpt2_untied": dict(
        config=gpt2(30, 3, 101, layers=3, n_inner=31, activation_function="gelu", tie_word_embeddings=False,
                    scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True),
        shards=2, qk_gain=2.0),
    "gpt2_many_heads": dict(  # as GPT-2 XL: 25 heads
        config=gpt2(75, 25, 67, n_inner=29, activation_function="gelu_new", torch_dtype="float16"),
        dtypes="F16", head="omitted"),
    "gpt2_aliases": dict(  # the general names for the sizes, which the reference's config class accepts as well
        config={"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "hidden_size": 42,
                "num_attention_heads": 7, "num_hidden_layers": 2, "max_position_embeddings": 96, "vocab_size": 127,
                "activation_function": "gelu_fast", "scale_attn_weights": False, "bos_token_id": 1,
                "scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": True, "torch_dtype": "bfloat16"},
        dtypes="BF16", head="copied", qk_gain=0.9),
}

GPT_NEOX = {
    "gpt_neox_parallel": dict(
        config=gpt_neox(56, 7, 47, 89), junk=True),
    "gpt_neox_sequential": dict(
        config=gpt_neox(40, 5, 43, 131, use_parallel_residual=False, rotary_pct=0.5, attention_bias=False,
                        hidden_act="relu", tie_word_embeddings=True, layer_norm_eps=0.02, torch_dtype="bfloat16"),
        dtypes="BF16", prefix=False, head="omitted"),
    "gpt_neox_linear": dict(
        config=gpt_neox(30, 5, 37, 97, rotary_pct=1.0, rotary_emb_base=500, hidden_act="gelu_new",
                        rope_scaling={"type": "linear", "factor": 3.0}),
        shards=2),
    "gpt_neox_dynamic": dict(
        config=gpt_neox(36, 3, 41, 101, rotary_pct=0.5, max_position_embeddings=24, hidden_act="silu",
                        use_parallel_residual=False, rope_scaling={"rope_type": "dynamic", "factor": 3.0}),
        lengths=(1, 2, 7, 23, 24, 25, 61), new_tokens=inside(24)),
    "gpt_neox_odd_rotary": dict(  # int(12 * 0.25) = 3: two frequencies with exponents of 3, so 4 channels turn
        config=gpt_neox(36, 3, 37, 89, attention_bias=False, hidden_act="gelu_fast")),
    "gpt_neox_params": dict(  # transformers 5 spelling
        config=gpt_neox(40, 5, 31, 83, rotary_pct=None, rotary_emb_base=None, dtype="float16", hidden_act="quick_gelu",
                        rope_parameters={"rope_type": "default", "rope_theta": 300.0,
                                         "partial_rotary_factor": 0.75}),
        dtypes="F16"),
}

BLOOM = {
    "bloom_seven_heads": dict(config=bloom(28, 7, 103), prefix=False, head="omitted", gain=2.0, qk_gain=2.0),
    "bloom_normed_residual": dict(  # the old name of the hidden size; residuals taken behind the norms
        config=bloom(None, 5, 97, layers=3, n_embed=30, apply_residual_connection_post_layernorm=True,
                     layer_norm_epsilon=0.02, tie_word_embeddings=False, torch_dtype="bfloat16"),
        dtypes="BF16", shards=2, gain=2.0, qk_gain=2.0, variety=0.12),
}

OPT = {
    "opt_pre": dict(config=opt(30, 5, 41, 101), head="omitted"),
    "opt_post": dict(  # as the 350m: post-norm, embeddings narrower than the layers, no final norm
        config=opt(28, 7, 43, 107, do_layer_norm_before=False, word_embed_proj_dim=12, activation_function="gelu",
                   torch_dtype="float16"),
        dtypes="F16", prefix=False, head="omitted"),
    "opt_bare": dict(  # no biases, norms without weights, no final norm; untied
        config=opt(36, 9, 37, 113, layers=3, enable_bias=False, layer_norm_elementwise_affine=False,
                   _remove_final_layer_norm=True, word_embed_proj_dim=20, tie_word_embeddings=False),
        shards=2),
}

GPTJ = {
    "gptj_partial": dict(config=gptj(40, 5, 4, 43, 101), junk=True),
    "gptj_tied": dict(  # whole heads turn; the head is tied and has a bias of its own
        config=gptj(42, 7, 6, None, 109, activation_function="gelu", layer_norm_epsilon=0.02,
                    tie_word_embeddings=True, torch_dtype="bfloat16"),
        dtypes="BF16", prefix=False, head="omitted"),
}

CODEGEN = {
    "codegen_eight_heads": dict(config=codegen(48, 8, 4, 41, 103), junk=True),
    "codegen_tied": dict(
        config=codegen(48, 12, 2, None, 97, activation_function="relu", tie_word_embeddings=True,
                       layer_norm_epsilon=0.02, torch_dtype="float16"),
        dtypes="F16", prefix=False, head="omitted"),
}

FALCON = {
    "falcon_multi_query": dict(  # as the 7B
        config=falcon(42, 7, 103, ffn_hidden_size=47), prefix=False, head="omitted"),
    "falcon_grouped": dict(  # as the 40B, with biases
        config=falcon(36, 6, 107, new_decoder_architecture=True, num_kv_heads=2, bias=True, rope_theta=500.0,
                      tie_word_embeddings=False, torch_dtype="bfloat16"),
        dtypes="BF16"),
    "falcon_one_norm": dict(  # as the 11B: one norm for both branches
        config=falcon(36, 9, 97, layers=3, new_decoder_architecture=True, num_kv_heads=3, num_ln_in_parallel_attn=1,
                      layer_norm_epsilon=0.02, rope_scaling={"type": "linear", "factor": 2.5}, ffn_hidden_size=41),
        head="omitted", shards=2),
    "falcon_rw": dict(  # ALiBi in bfloat16: positions past 256 are no longer exact; sequential blocks
        config=falcon(30, 5, 211, multi_query=False, parallel_attn=False, bias=True, alibi=True,
                      activation="gelu_new", ffn_hidden_size=43, max_position_embeddings=512),
        head="copied", lengths=(1, 2, 7, 61, 300), variety=0.2),
    "falcon_heads": dict(  # [heads, 3, D] with rotation, in parallel
        config=falcon(40, 5, 89, multi_query=False, activation="relu", ffn_hidden_size=37,
                      tie_word_embeddings=False, torch_dtype="float16"),
        dtypes="F16"),
    "falcon_alibi_multi_query": dict(
        config=falcon(42, 7, 211, alibi=True, ffn_hidden_size=41, max_position_embeddings=512), head="omitted",
        lengths=(1, 2, 23, 290), variety=0.2),
}

MPT = {
    "mpt_clipped": dict(
        config=mpt(28, 7, 103, {"clip_qkv": 0.9}), prefix=False, head="omitted",
        variety=0.2),
    "mpt_scaled": dict(  # untied, with a scale of its own
        config=mpt(30, 5, 109, {"softmax_scale": 0.31, "clip_qkv": None}, layers=3, layer_norm_epsilon=0.02,
                   tie_word_embeddings=False, torch_dtype="bfloat16"),
        dtypes="BF16"),
}

GPT_NEO = {
    "gpt_neo_local": dict(
        config=gpt_neo(30, 5, 41, 103, [[["global", "local"], 1]], window_size=5), prefix=False, head="omitted", qk_gain=0.7),
    "gpt_neo_pattern": dict(
        config=gpt_neo(28, 7, None, 97, [[["local"], 1], [["global", "local"], 1]], layers=3, window_size=3,
                       activation_function="relu", layer_norm_epsilon=0.02, tie_word_embeddings=False,
                       torch_dtype="float16"),
        dtypes="F16", junk=True, qk_gain=0.7),
}

GPT_BIGCODE = {
    "gpt_bigcode_multi_query": dict(config=gpt_bigcode(42, 7, 43, 103), prefix=False, head="omitted", junk=True),
    "gpt_bigcode_heads": dict(
        config=gpt_bigcode(30, 5, None, 97, multi_query=False, scale_attn_weights=False, activation_function="relu",
                           layer_norm_epsilon=0.02, tie_word_embeddings=False, torch_dtype="bfloat16"),
        dtypes="BF16", qk_gain=0.8),
}

QWEN2 = {
    "qwen2_grouped": dict(  # the window that is not used
        config=qwen2(36, 6, 2, 43, 109, use_sliding_window=False, sliding_window=3, rms_norm_eps=0.02,
                     torch_dtype="bfloat16"),
        dtypes="BF16"),
    "qwen2_window": dict(
        config=qwen2(42, 7, 1, 37, 97, layers=3, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                     rope_theta=500.0, tie_word_embeddings=True),
        prefix=False, head="omitted"),
    "qwen2_layer_types": dict(
        config=qwen2(40, 4, 4, 31, 89, use_sliding_window=True, sliding_window=4, max_window_layers=2,
                     layer_types=["sliding_attention", "full_attention"])),
}

GLM = {
    "glm_grouped": dict(config=glm(33, 6, 2, 43, 107, head_dim=8)),
    "glm_tied": dict(  # no biases; another part of the head turns
        config=glm(42, 7, 1, 37, 97, head_dim=12, partial_rotary_factor=0.34, attention_bias=False, rope_theta=300.0,
                   rms_norm_eps=0.02, tie_word_embeddings=True, torch_dtype="float16"),
        dtypes="F16", prefix=False, head="omitted"),
    "glm4_grouped": dict(config=glm4(33, 6, 2, 43, 107, head_dim=8, attention_bias=False)),
    "glm4_tied": dict(
        config=glm4(42, 7, 1, 37, 97, layers=3, head_dim=10, partial_rotary_factor=1.0, hidden_act="gelu",
                    rms_norm_eps=0.02, tie_word_embeddings=True, torch_dtype="bfloat16"),
        dtypes="BF16", prefix=False, head="omitted"),
}

XGLM = {
    "xglm_scaled": dict(config=xglm(30, 5, 41, 103), prefix=False, head="omitted", gain=3.0, variety=0.15),
    "xglm_odd": dict(  # an odd width leaves the last column of the positions empty
        config=xglm(35, 7, 37, 97, layers=3, activation_function="relu", scale_embedding=False,
                    tie_word_embeddings=False, torch_dtype="float16"),
        dtypes="F16"),
}

OPENAI_GPT = {
    "openai_gpt_tanh": dict(config=openai_gpt(28, 7, 103), prefix=False, head="omitted"),
    "openai_gpt_relu": dict(
        config=openai_gpt(30, 5, 97, layers=3, afn="relu", layer_norm_epsilon=0.02, tie_word_embeddings=False,
                          torch_dtype="bfloat16"),
        dtypes="BF16", junk=True),
}

PHI = {
    "phi_half": dict(config=phi(40, 5, 43, 103, torch_dtype="float16"), dtypes="F16"),
    "phi_grouped": dict(
        config=phi(42, 6, 37, 97, layers=3, num_key_value_heads=2, head_dim=10, partial_rotary_factor=0.4,
                   rope_theta=300.0, layer_norm_eps=0.02, hidden_act="relu", tie_word_embeddings=True),
        prefix=False, head="omitted"),
}

STABLELM = {
    "stablelm_sequential": dict(  # a quarter of each head turns
        config=stablelm(56, 7, 1, 43, 103, layer_norm_eps=0.02, use_qkv_bias=True, torch_dtype="float16"),
        dtypes="F16"),
    "stablelm_parallel": dict(
        config=stablelm(60, 6, 2, 37, 97, layers=3, use_parallel_residual=True, partial_rotary_factor=0.6,
                        hidden_act="gelu", rope_theta=500.0, tie_word_embeddings=True, torch_dtype="bfloat16"),
        dtypes="BF16", prefix=False, head="omitted"),
}

DEFAULTS = dict(dtypes="F32", shards=1, prefix=True, head="stored", junk=False, qk_gain=1.5, lengths=LENGTHS,
                new_tokens=sixteen, eos=False, variety=0.4)


def all_instances():
    """Every row by name, in order, with the defaults filled in."""
    rows = {**LLAMA, **MISTRAL, **GPT2, **GPT_NEOX, **BLOOM, **OPT, **GPTJ, **CODEGEN, **FALCON, **MPT, **GPT_NEO,
            **GPT_BIGCODE, **QWEN2, **GLM, **XGLM, **OPENAI_GPT, **PHI, **STABLELM}
    gain = {name: 2.0 if "head" in row else 1.0 for name, row in rows.items()}
    return {name: {"name": name, "gain": gain[name], **DEFAULTS, **row} for name, row in rows.items()}
