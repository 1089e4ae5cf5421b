"""Dictionaries: one file per architecture. A new one is a file, a line in `ARCHITECTURES`, and a configuration.

Each has a frozen config, a `monosem_jax.sae.base.SaeConfig`, and a linen module, a
`monosem_jax.sae.dictionary.Dictionary`: its activation and its loss.
"""

from __future__ import annotations

from typing import Any

from monosem_jax.errors import BadInput
from monosem_jax.sae.april_2024 import April, AprilConfig
from monosem_jax.sae.base import FEATURE_AXIS, RULES, SaeConfig  # noqa: F401
from monosem_jax.sae.batchtopk import BatchTopK, BatchTopKConfig
from monosem_jax.sae.crosscoder import Crosscoder, CrosscoderConfig
from monosem_jax.sae.gated import Gated, GatedConfig
from monosem_jax.sae.jumprelu import JumpRelu, JumpReluConfig
from monosem_jax.sae.matryoshka import Matryoshka, MatryoshkaConfig
from monosem_jax.sae.relu import Relu, ReluConfig
from monosem_jax.sae.topk import TopK, TopKConfig
from monosem_jax.sae.transcoder import Transcoder, TranscoderConfig

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


# Which class the values of a configuration belong to: their architecture says it to `monosem_jax.config.from_dict`.
SaeConfig.variant = staticmethod(lambda values: find(values.get("architecture", "relu"))[0])


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
