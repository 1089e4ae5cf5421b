"""The Llama family in Hugging Face's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monosem_jax.models.llama import LlamaConfig
from monosem_jax.models.weights.base import From, Table
from monosem_jax.models.weights.config_json import Settings, rope_of, rotary_share, shown
from monosem_jax.runtime.errors import BadInput

LOCAL, GLOBAL = "sliding_attention", "full_attention"
BIASES = ("llama", "qwen3")  # in these kinds attention has the biases that attention_bias says
# What transformers takes where a config.json does not say: of other kinds hidden_size / num_attention_heads.
HEAD_DIM = {"qwen3": 128}
WINDOW, FIRST_LOCAL = 4096, 28


def config(values: Mapping[str, Any]) -> LlamaConfig:
    """The shape that a config.json describes; raises BadInput on one that we cannot compute."""
    s = Settings(values)
    kind, heads, n_layers = s.text("model_type"), s.count("num_attention_heads"), s.count("num_hidden_layers")
    s.expect("hidden_act", "silu", "swish")
    if (share := rotary_share(values)) != 1:
        raise BadInput(f"config.json: partial_rotary_factor is {share:g}: expected 1, every column of a head is rotary")
    bias = kind in BIASES and s.switch("attention_bias", False)
    return LlamaConfig(
        n_layers=n_layers,
        d_model=s.count("hidden_size"),
        d_mlp=s.count("intermediate_size"),
        n_heads=heads,
        n_kv_heads=s.count("num_key_value_heads", heads),
        head_dim=s.count("head_dim", HEAD_DIM.get(kind, s.count("hidden_size") // max(heads, 1))),
        context_length=s.count("max_position_embeddings"),
        vocab_size=s.count("vocab_size"),
        rope=rope_of(values),
        norm_eps=s.number("rms_norm_eps", 1e-6),
        tied=s.switch("tie_word_embeddings", False),
        qkv_bias=kind == "qwen2" or bias,
        out_bias=bias,
        mlp_bias=kind == "llama" and s.switch("mlp_bias", False),
        qk_norm=kind == "qwen3",
        windows=_windows(s, kind, n_layers),
    )


def _windows(s: Settings, kind: str, n_layers: int) -> tuple[int, ...]:
    """Of each layer, to how many tokens a token attends; () if to all. A sliding_window of null is none."""
    qwen = kind in ("qwen2", "qwen3")
    size = 0 if s.values.get("sliding_window", WINDOW) is None else s.count("sliding_window", WINDOW)
    if not size or kind == "llama" or (qwen and not s.switch("use_sliding_window", False)):
        return ()
    if (kinds := s.values.get("layer_types")) is not None:
        if not isinstance(kinds, list) or len(kinds) != n_layers or not {*map(str, kinds)} <= {LOCAL, GLOBAL}:
            raise BadInput(
                f"config.json: layer_types is {shown(kinds)}: expected {LOCAL} or {GLOBAL} for {n_layers} layers"
            )
        return tuple(size * (k == LOCAL) for k in kinds)
    first = s.count("max_window_layers", FIRST_LOCAL) if qwen else 0
    return tuple(size * (i >= first) for i in range(n_layers))


def parameters(c: LlamaConfig) -> dict[str, From]:
    """Where each parameter comes from."""
    found = {
        "embed/embedding": From("model.embed_tokens.weight"),
        "ln_final/scale": From("model.norm.weight"),
    }
    if not c.tied:
        found["unembed/kernel"] = From("lm_head.weight", transposed=True)
    dense = {
        "q": ("self_attn.q_proj", c.qkv_bias), "k": ("self_attn.k_proj", c.qkv_bias),
        "v": ("self_attn.v_proj", c.qkv_bias), "attn_proj": ("self_attn.o_proj", c.out_bias),
        "gate": ("mlp.gate_proj", c.mlp_bias), "up": ("mlp.up_proj", c.mlp_bias),
        "down": ("mlp.down_proj", c.mlp_bias),
    }  # fmt: skip
    norms = {"ln_attn": "input_layernorm", "ln_mlp": "post_attention_layernorm"}
    norms |= {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"} if c.qk_norm else {}
    for i in range(c.n_layers):
        ours, theirs = f"blocks_{i}", f"model.layers.{i}"
        for name, (other, bias) in dense.items():
            found[f"{ours}/{name}/kernel"] = From(f"{theirs}.{other}.weight", transposed=True)
            if bias:
                found[f"{ours}/{name}/bias"] = From(f"{theirs}.{other}.bias")
        for name, other in norms.items():
            found[f"{ours}/{name}/scale"] = From(f"{theirs}.{other}.weight")
    return found


TABLE = Table(config, parameters, (("model.", ""),))  # some files have no unembedding
