"""Opens the run directory of a harvest."""

from __future__ import annotations

import functools

from monosem_jax.activations.store.store import Store, find_stores
from monosem_jax.models.run import FromTransformer
from monosem_jax.runtime.arguments import Named
from monosem_jax.runtime.errors import BadInput


class HarvestRun(FromTransformer):
    """`store` is the activation store, and `stores` those of a harvest of several sites by their names."""

    @functools.cached_property
    def store(self) -> Store:
        """Raises BadInput where there are several."""
        if len(self.stores) > 1:
            raise BadInput(f"{self.path} holds a store for each of {', '.join(self.stores)}: expected .stores[SITE]")
        return Store(self.path)

    @functools.cached_property
    def stores(self) -> dict[str, Store]:
        """site -> its store; of a harvest of one site, that one."""
        found = {site: Store(self.path / site) for site in find_stores(self.path)}
        if not found:
            one = Store(self.path)
            found = {one.manifest["site"]: one}
        return Named(f"the site of {self.path}", found)
