"""A language model of ours as a reader of prompts: what it expects after each of many endings of one beginning.

The keys and values of a beginning are computed once (the collection "cache"), and all endings start from them. Lengths
are rounded up, so few programs are compiled; what stands behind a text's last token is never attended to.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from monosem_jax.models.base import token_losses
from monosem_jax.models.loaded import LoadedModel
from monosem_jax.runtime.errors import BadInput

ROUNDED = 8  # lengths are multiples of it
Advance = Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class Beginning:
    """A text that was read: its `tokens`, and the memory of them for one context with room for more."""

    tokens: tuple[int, ...]
    memory: Any


class Reader:
    """Reads prompts with a model. `batch` endings are read at a time.

    Raises BadInput where the model has no memory.
    """

    def __init__(self, found: LoadedModel, name: str, batch: int):
        if not hasattr(found.model, "memory"):
            raise BadInput(f"{name} is of the architecture {found.config.architecture}, which cannot read in parts")
        self.name, self.batch, self.bos, self.config = name, batch, found.bos, found.config
        self.model: Any = found.model
        self.tokenizer = found.tokenizer
        self._params = jax.device_put(found.params)
        self._last = found.sites[-1]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without one that begins it."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def begin(self, tokens: Sequence[int], room: int) -> Beginning:
        """Reads the beginning of prompts, to which up to `room` tokens are added later."""
        length = rounded(len(tokens)) + rounded(room)
        self.check(len(tokens) + room)
        return self._add(self.model.memory(1, length), (), tokens)

    def go_on(self, begun: Beginning, tokens: Sequence[int], width: int = 0) -> Beginning:
        """A longer beginning; `begun` can be gone on with in other ways too. One program serves all lengths up to
        `width`."""
        return self._add(begun.memory, begun.tokens, tokens, width)

    def check(self, length: int) -> None:
        """Raises BadInput on a prompt that is longer than the contexts on which the model was trained."""
        if length > self.config.context_length:
            raise BadInput(
                f"{self.name} is asked with prompts of up to {length} tokens: its context_length is "
                f"{self.config.context_length}"
            )

    def expected(
        self,
        begun: Beginning,
        endings: Sequence[Sequence[int]],
        at: Sequence[Sequence[int]],
        columns: Sequence[int],
        advance: Advance = lambda n: None,
    ) -> Float[np.ndarray, "N K c"]:
        """Logits of the tokens `columns` after each ending's tokens number `at`, in fp32. All `at` are of one length K.

        `advance` is told how many endings were read.
        """
        out = np.zeros((len(endings), len(at[0]) if len(at) else 0, len(columns)), np.float32)
        picked = jnp.asarray(columns, jnp.int32)
        for rows, memory, tokens in self._parts(begun, endings):
            places = np.zeros((self.batch, out.shape[1]), np.int32)
            places[: len(rows)] = [at[i] for i in rows]
            out[rows] = np.asarray(self._read(self._params, memory, tokens, places, picked))[: len(rows)]
            advance(len(rows))
        return out

    def likelihood(
        self, begun: Beginning, endings: Sequence[Sequence[int]], advance: Advance = lambda n: None
    ) -> list[Float[np.ndarray, " T"]]:
        """The log probability in nats of each token of an ending, but its first."""
        out: dict[int, np.ndarray] = {}
        for rows, memory, tokens in self._parts(begun, endings):
            found = np.asarray(self._likely(self._params, memory, tokens))
            out |= {i: found[n, : len(endings[i]) - 1] for n, i in enumerate(rows)}
            advance(len(rows))
        return [out[i] for i in range(len(endings))]

    def _parts(self, begun: Beginning, endings: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Any, np.ndarray]]:
        """(which endings, the memory, their tokens [batch,width]): those of like lengths together."""
        order = sorted(range(len(endings)), key=lambda i: len(endings[i]))
        for part in _batches(len(order), self.batch):
            rows = [order[i] for i in part]
            width = rounded(len(endings[rows[-1]]))
            self.check(len(begun.tokens) + width)
            memory = _longer(begun.memory, len(begun.tokens) + width)
            yield rows, memory, self._padded([endings[i] for i in rows], width, self.batch)

    def _add(self, memory: Any, before: tuple[int, ...], tokens: Sequence[int], least: int = 0) -> Beginning:
        read = (*before, *map(int, tokens))
        if not len(tokens):
            return Beginning(read, memory)
        width = rounded(max(len(tokens), least))
        memory = _longer(memory, len(before) + width)
        memory = self._extend(self._params, memory, self._padded([tokens], width, 1))
        return Beginning(read, {**memory, "start": jnp.int32(len(read))})

    def _padded(self, rows: Sequence[Sequence[int]], width: int, n: int) -> np.ndarray:
        """[n,width] tokens, whose ends and last rows mean nothing."""
        tokens = np.full((n, width), self.bos, np.int32)
        for row, ids in zip(tokens, rows, strict=False):
            row[: len(ids)] = ids
        return tokens

    def _to_last(self, params: Any, memory: Any, tokens: Array) -> tuple[Any, Array]:
        """(memory with the tokens in it, the residual stream after the last block)."""
        variables = {"params": params, "cache": memory}
        (_, acts), new = self.model.apply(variables, tokens, self._last, method=self.model.to_acts, mutable=["cache"])
        return new["cache"], acts

    def _logits(self, params: Any, acts: Array) -> Array:
        return self.model.apply({"params": params}, None, acts, self._last, method=self.model.from_acts)

    @functools.cached_property
    def _extend(self) -> Any:
        return jax.jit(lambda params, memory, tokens: self._to_last(params, memory, tokens)[0])

    @functools.cached_property
    def _read(self) -> Any:
        def read(params: Any, memory: Any, tokens: Array, at: Array, columns: Array) -> Array:
            memory = {k: jax.tree.map(lambda a: _repeated(a, len(tokens)), v) for k, v in memory.items()}
            _, acts = self._to_last(params, memory, tokens)
            acts = jnp.take_along_axis(acts, at[..., None], axis=1)
            return self._logits(params, acts)[..., columns].astype(jnp.float32)

        return jax.jit(read)

    @functools.cached_property
    def _likely(self) -> Any:
        def likely(params: Any, memory: Any, tokens: Array) -> Array:
            memory = {k: jax.tree.map(lambda a: _repeated(a, len(tokens)), v) for k, v in memory.items()}
            _, acts = self._to_last(params, memory, tokens)
            return -token_losses(self._logits(params, acts), tokens)

        return jax.jit(likely)


def rounded(length: int) -> int:
    """The next multiple of ROUNDED."""
    return -(-length // ROUNDED) * ROUNDED


def _repeated(a: Array, n: int) -> Array:
    """The same for n contexts; the number `start` is one for all."""
    return jnp.broadcast_to(a, (n, *a.shape[1:])) if a.ndim else a


def _longer(memory: Any, length: int) -> Any:
    """The memory with room for at least `length` positions."""
    return jax.tree.map(lambda a: _padded_to(a, rounded(length)) if a.ndim == 4 else a, memory)


def _padded_to(a: Array, length: int) -> Array:
    short = length - a.shape[1]
    return jnp.pad(a, ((0, 0), (0, short), (0, 0), (0, 0))) if short > 0 else a


def _batches(n: int, size: int) -> Iterator[list[int]]:
    for first in range(0, n, size):
        yield list(range(first, min(first + size, n)))
