"""What fires in a text, batch by batch, for evidence that needs a pass of its own."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.batch import Batch
from monosem_jax.analysis.scan.encoding import Encoding
from monosem_jax.analysis.scan.reader import Input, Reader
from monosem_jax.runtime.arguments import token_ids, whole_number


def read(
    features: FeatureSet, tokens: Int[np.ndarray, "C T"], *, batch: int = 32, mesh: Mesh | None = None
) -> Iterator[Batch]:
    """Contexts [C,T] in batches of `batch`, with the firings of a set. Firings at BOS are left out.

    Raises BadInput on tokens that the model does not have, and on activations that are not finite.
    """
    batch = whole_number(f"batch is {batch!r}", batch, 1)
    tokens = np.asarray(token_ids("read", tokens, features.tapped.model.config.vocab_size))
    none = np.broadcast_to(np.int32(-1), tokens.shape)
    given = Input(tokens, none, None, np.zeros(len(tokens), bool))
    signed = bool(np.asarray(features.encoder.active(jnp.full((1,), -1.0)))[0])
    reader = Reader(
        given, (features,), Encoding((features,), mesh), batch=min(batch, max(len(tokens), 1)), cache_bytes=0,
        signed=signed,
    )  # fmt: skip
    for parts in reader.batches(0, ()):
        yield from parts
