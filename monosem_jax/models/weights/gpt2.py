"""GPT-2 in Hugging Face's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monosem_jax.models.gpt2 import Gpt2Config
from monosem_jax.models.weights.base import From, Table
from monosem_jax.models.weights.config_json import Settings

NORMS = {"ln_attn": "ln_1", "ln_mlp": "ln_2"}
DENSE = {"attn_proj": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}


def config(values: Mapping[str, Any]) -> Gpt2Config:
    """The shape that a config.json describes; raises BadInput on one that we cannot compute."""
    s = Settings(values)
    s.expect("scale_attn_weights", True)
    s.expect("scale_attn_by_inverse_layer_idx", False)
    s.expect("add_cross_attention", False)
    d_model = s.count("n_embd")
    return Gpt2Config(
        n_layers=s.count("n_layer"),
        d_model=d_model,
        d_mlp=s.count("n_inner", 4 * d_model),
        n_heads=s.count("n_head"),
        context_length=s.count("n_positions"),
        vocab_size=s.count("vocab_size"),
        norm_eps=s.number("layer_norm_epsilon", 1e-5),
        nonlinearity=s.nonlinearity("activation_function", "gelu_new"),
        tied=s.switch("tie_word_embeddings", True),
    )


def parameters(c: Gpt2Config) -> dict[str, From]:
    """Where each parameter comes from. GPT-2's matrices are stored [in, out], those of queries, keys and values as
    one."""
    found = {
        "embed/embedding": From("transformer.wte.weight"),
        "embed_positions/embedding": From("transformer.wpe.weight"),
        "ln_final/scale": From("transformer.ln_f.weight"),
        "ln_final/bias": From("transformer.ln_f.bias"),
    }
    if not c.tied:
        found["unembed/kernel"] = From("lm_head.weight", transposed=True)
    for i in range(c.n_layers):
        ours, theirs = f"blocks_{i}", f"transformer.h.{i}"
        for kind, suffix in (("kernel", "weight"), ("bias", "bias")):
            for at, name in enumerate("qkv"):
                found[f"{ours}/{name}/{kind}"] = From(f"{theirs}.attn.c_attn.{suffix}", part=(at, 3, c.d_model))
            for name, other in DENSE.items():
                found[f"{ours}/{name}/{kind}"] = From(f"{theirs}.{other}.{suffix}")
        for name, other in NORMS.items():
            found[f"{ours}/{name}/scale"] = From(f"{theirs}.{other}.weight")
            found[f"{ours}/{name}/bias"] = From(f"{theirs}.{other}.bias")
    return found


TABLE = Table(config, parameters, (("transformer.", ""),))  # those of OpenAI have no unembedding
