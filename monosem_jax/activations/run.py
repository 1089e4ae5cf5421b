"""Opens the run directory of a harvest."""

from __future__ import annotations

import functools

from monosem_jax.activations.store.store import Store
from monosem_jax.models.run import FromTransformer


class HarvestRun(FromTransformer):
    """`store` is the activation store."""

    @functools.cached_property
    def store(self) -> Store:
        return Store(self.path)
