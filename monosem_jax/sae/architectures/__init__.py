"""Architectures: one file each. To add one, write a file with a configuration and add a line to the table here.

The configuration is a frozen `monosem_jax.sae.config.SaeConfig` whose `recipe` names the parts: see
`monosem_jax.sae.base`.
"""

from __future__ import annotations

from typing import Any

from monosem_jax.sae.architectures.abs_topk import AbsTopKConfig
from monosem_jax.sae.architectures.april_2024 import AprilConfig
from monosem_jax.sae.architectures.batchtopk import BatchTopKConfig
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.architectures.gated import GatedConfig
from monosem_jax.sae.architectures.jumprelu import JumpReluConfig
from monosem_jax.sae.architectures.matryoshka import MatryoshkaConfig
from monosem_jax.sae.architectures.p_anneal import PAnnealConfig
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.architectures.topk import TopKConfig
from monosem_jax.sae.architectures.transcoder import TranscoderConfig
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import ARCHITECTURES, SaeConfig, find, register  # noqa: F401
from monosem_jax.sae.params import FEATURE_AXIS, RULES  # noqa: F401

register(
    ReluConfig,
    AprilConfig,
    TopKConfig,
    BatchTopKConfig,
    JumpReluConfig,
    GatedConfig,
    MatryoshkaConfig,
    TranscoderConfig,
    CrosscoderConfig,
    PAnnealConfig,
    AbsTopKConfig,
)


def build(config: SaeConfig, width: int, dtype: Any, parts: tuple[int, ...] = (), rows: str = "") -> SparseAutoencoder:
    """The module of a configuration for rows of `width`; `parts` are the widths of the sites in a row, if several,
    `rows` the normalisation of single rows of a published dictionary, "" for none.

    Raises BadInput if the rows do not have the parts that the architecture needs.
    """
    parts = config.recipe(parts).sites.parts(width)
    return SparseAutoencoder(width, config.n_features, config, dtype, parts, rows)
