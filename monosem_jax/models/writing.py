"""Text that a language model writes, each token computed once: what came before stays in the model's memory.

All shapes are filled up to a few sizes, texts on the left, so that few programs are compiled. What is drawn for a text
depends on the seed and on its number among the samples of its prompt, not on the texts beside it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from monosem_jax.models.base import LanguageModel
from monosem_jax.models.sampling import Rules, draw
from monosem_jax.models.tapped import TappedModel

POSITIONS = ("all", "generated")
ROWS = 64  # texts at a time, at most
MEMORY_BYTES = 1 << 29  # of keys and values at a time, unless those of one text are more
SHORTEST, CHUNK = 32, 512  # sizes are powers of two between these, then multiples of CHUNK


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["site", "function", "positions"]
)
@dataclasses.dataclass(frozen=True)
class Edit:
    """What is done to the activations at one site while a model writes.

    function(values, acts [C,T,M]) gives what replaces the activations of tokens, of each from its own alone; `values`
    is any tree of arrays. It is asked about every token but BOS, or with positions="generated" about those after the
    prompt.
    """

    site: str
    function: Callable[[Any, Array], Array]
    values: Any = None
    positions: str = "all"


class Writing(NamedTuple):
    """Texts being written: the memory of all tokens but the `newest` [R], the `n` tokens written so far in
    `written` [R,N], and the texts that are `done` [R]."""

    memory: Any
    newest: Array
    written: Array
    done: Array
    n: Array


def size(n: int) -> int:
    """The size to which a number of tokens is filled up."""
    if n <= CHUNK:
        return max(SHORTEST, 1 << (n - 1).bit_length()) if n > 0 else 0
    return -(-n // CHUNK) * CHUNK


def rows_at_once(model: Any, length: int) -> int:
    """How many texts of `length` tokens are written together: a power of two."""
    found = jax.eval_shape(lambda: model.memory(1, length))
    one = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(found))
    most = max(1, min(ROWS, MEMORY_BYTES // one))
    return 1 << (most.bit_length() - 1)


def remembers(model: LanguageModel) -> bool:
    """Whether a model can be given its tokens in parts."""
    return hasattr(model, "memory")


def begin(
    tapped: TappedModel, prompts: Sequence[np.ndarray], n: int, edit: Edit | None = None, *, exact: bool = False
) -> Writing:
    """The memory of all tokens of the prompts but the last of each, with room for n more.

    Prompts of unequal lengths are filled up on the left, and the rows to a power of two with copies of the last one,
    which are done. `exact`: nothing is filled up, where all shapes are known and occur again.
    """
    longest = max(map(len, prompts)) - 1
    filled, room = (longest, n) if exact else (size(longest), size(n))
    n_rows = len(prompts) if exact else 1 << (len(prompts) - 1).bit_length()
    rows = [*prompts, *[prompts[-1]] * (n_rows - len(prompts))]
    tokens = np.zeros((n_rows, filled), np.int32)
    for row, prompt in zip(tokens, rows, strict=True):
        row[filled - len(prompt) + 1 :] = prompt[:-1]
    pad = np.asarray([filled - len(p) + 1 for p in rows], np.int32)
    model: Any = tapped.model
    memory = model.memory(n_rows, filled + room, pad)
    for start in range(0, filled, CHUNK):
        part = tokens[:, start : start + CHUNK]
        given = start + np.arange(part.shape[1]) >= pad[:, None]
        memory = _read(tapped, memory, part, given, edit)
    return Writing(
        memory,
        jnp.asarray([p[-1] for p in rows], jnp.int32),
        jnp.zeros((n_rows, room), jnp.int32),
        jnp.arange(n_rows) >= len(prompts),
        jnp.int32(0),
    )


@functools.partial(jax.jit, donate_argnames="memory")
def _read(tapped: TappedModel, memory: Any, tokens: Int[Array, "R T"], given: Bool[Array, "R T"], edit: Any) -> Any:
    """The memory after more tokens of the prompts, of which those that are not `given` are padding."""
    edited = given & (tokens != tapped.bos) & (edit is not None and edit.positions == "all")
    return forward(tapped, memory, tokens, edited, edit)[1]


def forward(
    tapped: TappedModel, memory: Any, tokens: Int[Array, "R T"], edited: Bool[Array, "R T"], edit: Edit | None
) -> tuple[Array, Any]:
    """(logits [R,T,V], memory) after more tokens, with the activations of those that are `edited` replaced."""
    model: Any = tapped.model
    params = {"params": tapped.params}
    apply: Any = functools.partial(model.apply, mutable=["cache"])
    if edit is None:
        logits, changed = apply({**params, "cache": memory}, tokens)
        return logits, changed["cache"]
    (carry, acts), changed = apply({**params, "cache": memory}, tokens, edit.site, method=model.to_acts)
    acts = jnp.where(edited[..., None], edit.function(edit.values, acts), acts)
    logits, changed = apply({**params, **changed}, carry, acts, edit.site, method=model.from_acts)
    return logits, changed["cache"]


@functools.partial(jax.jit, donate_argnames="writing")
def write(
    tapped: TappedModel, writing: Writing, keys: Array, first: Array, rules: Rules, edit: Edit | None, until: Array
) -> Writing:
    """Goes on until `until` tokens are written or all texts are done.

    Token j of a text is drawn with its key [R], into which first + j is folded.
    """

    def step(now: Writing) -> Writing:
        edited = now.newest != tapped.bos
        if edit is not None and edit.positions == "generated":
            edited &= now.n > 0
        logits, memory = forward(tapped, now.memory, now.newest[:, None], edited[:, None], edit)
        token = draw(logits[:, 0], jax.vmap(jax.random.fold_in, (0, None))(keys, first + now.n), rules)
        written = jax.lax.dynamic_update_slice_in_dim(now.written, token[:, None], now.n, axis=1)
        return Writing(memory, token, written, now.done | jnp.isin(token, rules.ends), now.n + 1)

    return jax.lax.while_loop(lambda now: (now.n < until) & ~jnp.all(now.done), step, writing)
