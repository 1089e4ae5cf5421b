"""NeoX and Pythia in Hugging Face's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monosem_jax.models.neox import NeoxConfig
from monosem_jax.models.weights.base import From, Table
from monosem_jax.models.weights.config_json import Settings, rope_of, rotary_share
from monosem_jax.runtime.errors import BadInput

NORMS = {"ln_attn": "input_layernorm", "ln_mlp": "post_attention_layernorm"}
DENSE = {"attn_proj": "attention.dense", "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"}


def config(values: Mapping[str, Any]) -> NeoxConfig:
    """The shape that a config.json describes; raises BadInput on one that we cannot compute."""
    s = Settings(values)
    d_model, heads = s.count("hidden_size"), s.count("num_attention_heads")
    if not heads or d_model % heads:
        raise BadInput(f"config.json: num_attention_heads is {heads}: expected a divisor of hidden_size {d_model}")
    return NeoxConfig(
        n_layers=s.count("num_hidden_layers"),
        d_model=d_model,
        d_mlp=s.count("intermediate_size"),
        n_heads=heads,
        rotary=int(d_model // heads * rotary_share(values, s.number("rotary_pct", 0.25))),
        parallel=s.switch("use_parallel_residual", True),
        context_length=s.count("max_position_embeddings"),
        vocab_size=s.count("vocab_size"),
        rope=rope_of(values, s.number("rotary_emb_base", 10_000)),
        norm_eps=s.number("layer_norm_eps", 1e-5),
        nonlinearity=s.nonlinearity("hidden_act", "gelu"),
        attn_bias=s.switch("attention_bias", True),
        tied=s.switch("tie_word_embeddings", False),
    )


def parameters(c: NeoxConfig) -> dict[str, From]:
    """Where each parameter comes from. The rows for queries, keys and values of one head follow each other."""
    found = {
        "embed/embedding": From("gpt_neox.embed_in.weight"),
        "ln_final/scale": From("gpt_neox.final_layer_norm.weight"),
        "ln_final/bias": From("gpt_neox.final_layer_norm.bias"),
    }
    if not c.tied:
        found["unembed/kernel"] = From("embed_out.weight", transposed=True)
    width = c.d_model // c.n_heads
    for i in range(c.n_layers):
        ours, theirs = f"blocks_{i}", f"gpt_neox.layers.{i}"
        for kind, suffix in (("kernel", "weight"), ("bias", "bias")):
            turned = kind == "kernel"
            for at, name in enumerate("qkv"):
                fused = From(f"{theirs}.attention.query_key_value.{suffix}", transposed=turned, part=(at, 3, width))
                found[f"{ours}/{name}/{kind}"] = fused
            for name, other in DENSE.items():
                found[f"{ours}/{name}/{kind}"] = From(f"{theirs}.{other}.{suffix}", transposed=turned)
        for name, other in NORMS.items():
            found[f"{ours}/{name}/scale"] = From(f"{theirs}.{other}.weight")
            found[f"{ours}/{name}/bias"] = From(f"{theirs}.{other}.bias")
    return found


TABLE = Table(config, parameters, (("gpt_neox.", ""), ("embed_out.", "lm_head.")))
