"""The activations at the tokens of a text as rows, computed when they are read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.models.base import site_width
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.arguments import token_ids
from monosem_jax.runtime.errors import BadInput
from monosem_jax.text.batches import context_batches


class TextRows:
    """Rows [n,W] in fp32: the activations of `tapped` at all tokens of contexts [C,T] but BOS, in their order.

    Raises BadInput on tokens that the model does not have, and when there are none but BOS.
    """

    def __init__(self, tapped: TappedModel, tokens: np.ndarray, batch: int = 32):
        self._tapped, self._batch = tapped.on(None), batch
        self._tokens = np.asarray(token_ids("the rows of a text", tokens, tapped.model.config.vocab_size), np.int32)
        self._ends = np.cumsum((self._tokens != tapped.bos).sum(axis=1))  # [C] rows up to the end of each context
        self.n_rows, self.dtype = int(self._ends[-1]) if len(self._ends) else 0, np.dtype(np.float32)
        self.width = site_width(tapped.model, tapped.site)
        if not self.n_rows:
            raise BadInput("the rows of a text: it has no tokens but BOS, expected others")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop-1; fewer when `stop` lies beyond the last row."""
        stop = min(stop, self.n_rows)
        if start >= stop:
            return np.empty((0, self.width), self.dtype)
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right")
        found = []
        for t, weight in context_batches(self._tokens[first : last + 1], self._batch):
            real = (np.asarray(t) != self._tapped.bos) & (np.asarray(weight) > 0)[:, None]
            found.append(np.asarray(_rows(self._tapped, jnp.asarray(t)), self.dtype)[real])
        before = int(self._ends[first - 1]) if first else 0
        return np.concatenate(found)[start - before : stop - before]


@jax.jit
def _rows(tapped: TappedModel, tokens: jax.Array) -> jax.Array:
    return tapped.rows(tokens)
