"""Dictionaries: one file per architecture. A new one is a file, a line in `ARCHITECTURES`, and a configuration.

Each has a frozen config, a `monosem_jax.sae.config.SaeConfig`, and a linen module, a
`monosem_jax.sae.base.SparseAutoencoder`: its activation and its loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.april_2024 import April, AprilConfig
from monosem_jax.sae.architectures.batchtopk import BatchTopK, BatchTopKConfig
from monosem_jax.sae.architectures.crosscoder import Crosscoder, CrosscoderConfig
from monosem_jax.sae.architectures.gated import Gated, GatedConfig
from monosem_jax.sae.architectures.jumprelu import JumpRelu, JumpReluConfig
from monosem_jax.sae.architectures.matryoshka import Matryoshka, MatryoshkaConfig
from monosem_jax.sae.architectures.relu import Relu, ReluConfig
from monosem_jax.sae.architectures.topk import TopK, TopKConfig
from monosem_jax.sae.architectures.transcoder import Transcoder, TranscoderConfig
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.params import FEATURE_AXIS, RULES  # noqa: F401

ARCHITECTURES: dict[str, tuple[type, type]] = {
    "relu": (ReluConfig, Relu),
    "april_2024": (AprilConfig, April),
    "topk": (TopKConfig, TopK),
    "batchtopk": (BatchTopKConfig, BatchTopK),
    "jumprelu": (JumpReluConfig, JumpRelu),
    "gated": (GatedConfig, Gated),
    "matryoshka": (MatryoshkaConfig, Matryoshka),
    "transcoder": (TranscoderConfig, Transcoder),
    "crosscoder": (CrosscoderConfig, Crosscoder),
}


def find(architecture: str) -> tuple[type, type]:
    """The (config class, linen class) of an architecture; raises BadInput on an unknown name."""
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BadInput(f"sae.architecture is {architecture!r}: expected one of {known}")
    return ARCHITECTURES[architecture]


def variant(values: Mapping[str, Any]) -> type:
    """The class of configuration that these values are of, as their architecture says to `config.from_dict`.

    Raises BadInput when one of them belongs to another architecture.
    """
    name = values.get("architecture", "relu")
    cls = find(name)[0]
    keys = {architecture: {f.name for f in dataclasses.fields(c)} for architecture, (c, _) in ARCHITECTURES.items()}
    others = set().union(*keys.values()) - keys[name]
    for key in values:
        if key in others:
            file = "a1" if name == "relu" else name
            raise BadInput(f"sae.architecture {name} has no {key}: begin with --config=experiments/configs/{file}.py")
    return cls


SaeConfig.variant = staticmethod(variant)


def build(config: SaeConfig, width: int, dtype: Any, parts: tuple[int, ...] = ()) -> Any:
    """The linen module of a config for rows of `width`, which consist of `parts` where they are of several sites.

    Raises BadInput when the rows do not consist of what the architecture needs.
    """
    module = find(config.architecture)[1]
    of_parts = hasattr(config, "widths")
    parts = tuple(config.widths or parts or (width,)) if of_parts else (width,)
    if sum(parts) != width:
        raise BadInput(f"sae.widths {parts} make {sum(parts)}: the rows have a width of {width}")
    if of_parts:
        config.check_parts(parts)
    return module(width=width, n_features=config.n_features, dtype=dtype, config=config, parts=parts)
