"""The tiny models whose values are kept here: one for each architecture and each variant of one."""

from __future__ import annotations

import dataclasses
from typing import Any

SIZES = {"vocab_size": 48, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
LLAMA = SIZES | {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
}  # fmt: skip
LONG = LLAMA | {"num_hidden_layers": 2, "rms_norm_eps": 1e-5}
GEMMA = LLAMA | {"num_hidden_layers": 2, "query_pre_attn_scalar": 5, "sliding_window": 5}
GEMMA3 = {
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0},
    },
    "layer_types": ["full_attention", "sliding_attention"],
}
NEOX = SIZES | {
    "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "max_position_embeddings": 64, "hidden_act": "gelu",
}  # fmt: skip
ALL_ROTARY = {"rope_parameters": {"partial_rotary_factor": 1.0}}


@dataclasses.dataclass(frozen=True)
class Case:
    """`config`: of the class for `model_type`. `shards`: whether the weights are in several files. `sites`: whether the
    activations at all sites are kept, and passes spliced at those of layer 1."""

    model_type: str
    config: dict[str, Any]
    shards: bool = False
    sites: bool = True


def rope(kind: str, **values: Any) -> dict[str, Any]:
    """The settings of a rotary scaling, from 16 positions to 64."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0, "factor": 4.0, **values}}


CASES = {
    "llama": Case("llama", LLAMA, shards=True),
    "llama_biases_tied": Case(
        "llama", LONG | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": None}
    ),
    "llama_linear": Case("llama", LONG | rope("linear"), sites=False),
    "llama_llama3": Case(
        "llama",
        LONG
        | rope("llama3", low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16),
        sites=False,
    ),
    "llama_yarn": Case(
        "llama",
        LONG | rope("yarn", original_max_position_embeddings=16, beta_fast=1.0, beta_slow=0.05),
        sites=False,
    ),
    "mistral": Case("mistral", LLAMA | {"sliding_window": 5}),
    "qwen2": Case("qwen2", {**LLAMA, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2}),
    "qwen3": Case("qwen3", LLAMA | {"tie_word_embeddings": True}),
    "gemma": Case("gemma", LONG | {"tie_word_embeddings": True}, sites=False),
    "gemma2": Case("gemma2", GEMMA | {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 2.0}),
    "gemma3": Case("gemma3_text", GEMMA | GEMMA3),
    "gpt2": Case(
        "gpt2", SIZES | {"n_embd": 24, "n_inner": 32, "n_layer": 3, "n_head": 2, "n_positions": 64}
    ),
    "gpt_neox": Case("gpt_neox", NEOX | {"rope_parameters": {"partial_rotary_factor": 0.5}}),
    "gpt_neox_sequential": Case(
        "gpt_neox", NEOX | ALL_ROTARY | {"num_hidden_layers": 2, "use_parallel_residual": False}
    ),
}  # fmt: skip
