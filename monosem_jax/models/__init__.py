"""Language models that can be cut at a site. A new architecture is one file, plus a line in `MODELS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from monosem_jax.models.base import LanguageModel, ModelConfig
from monosem_jax.models.gemma import Gemma, GemmaConfig
from monosem_jax.models.gpt2 import Gpt2, Gpt2Config
from monosem_jax.models.llama import Llama, LlamaConfig
from monosem_jax.models.neox import Neox, NeoxConfig
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.runtime.config import from_dict
from monosem_jax.runtime.errors import BadInput, listed

# Name of an architecture in a configuration -> (configuration class, linen module).
MODELS: dict[str, tuple[type, type]] = {
    "transformer": (TransformerConfig, Transformer),
    "gpt2": (Gpt2Config, Gpt2),
    "llama": (LlamaConfig, Llama),
    "neox": (NeoxConfig, Neox),
    "gemma": (GemmaConfig, Gemma),
}


def find_model(architecture: Any) -> tuple[type, type]:
    """The (config class, linen class) of an architecture; raises BadInput on an unknown name."""
    if not isinstance(architecture, str) or architecture not in MODELS:
        raise BadInput(f"transformer.architecture is {architecture!r}: expected one of {listed(architecture, MODELS)}")
    return MODELS[architecture]


def build_model(config: ModelConfig, dtype: Any = jnp.float32) -> LanguageModel:
    """The linen module of a configuration; its matmuls run in `dtype`."""
    return find_model(config.architecture)[1](config, dtype=dtype)


def read_model(values: Mapping[str, Any]) -> LanguageModel:
    """The module of a configuration from a file, in fp32; raises BadInput on invalid keys or values. Directories of
    earlier versions do not name the architecture: it is the paper's transformer."""
    config_class, _ = find_model(values.get("architecture", "transformer"))
    return build_model(from_dict(config_class, dict(values)))
