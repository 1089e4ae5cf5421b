"""Weights of pretrained models: from the files that others publish to the parameters of our modules.

A source (`base.Tensors`) gives named tensors, whatever the format; its names are those of Hugging Face. A table for
each architecture says which of them each of our parameters is, and makes a configuration of a config.json. A new
architecture is one such file, and a line in `TABLES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monosem_jax.models.weights import gemma, gpt2, llama, neox
from monosem_jax.models.weights.base import Table
from monosem_jax.models.weights.config_json import shown
from monosem_jax.runtime.errors import BadInput

# `model_type` of a config.json -> the table of its architecture.
TABLES: dict[str, Table] = {
    **dict.fromkeys(("llama", "mistral", "ministral", "qwen2", "qwen3"), llama.TABLE),
    "gpt2": gpt2.TABLE,
    "gpt_neox": neox.TABLE,
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), gemma.TABLE),
}


def find_table(config: Mapping[str, Any], where: str) -> Table:
    """The table of the architecture that a config.json names; raises BadInput on one that there is none for."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in TABLES:
        raise BadInput(f"{where}: model_type is {shown(name)}: expected one of {', '.join(sorted(TABLES))}")
    return TABLES[name]
