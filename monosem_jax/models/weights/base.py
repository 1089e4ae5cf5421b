"""What a source of pretrained weights is, and what a table of an architecture says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from monosem_jax.models.weights.files import File

Index = tuple[slice, ...]


class Tensors(Protocol):
    """Named tensors in files, read when asked for. Names are those of Hugging Face."""

    @property
    def where(self) -> str:
        """The place, for messages."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every tensor."""
        ...

    @property
    def files(self) -> Sequence[File]:
        """The files that hold them. Their lengths are known once `shapes` is."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The model's shape, as in a config.json."""
        ...

    def check(self, name: str) -> None:
        """Raises BadInput on a tensor of a type that cannot be read."""
        ...

    def read(self, name: str, index: Index | None = None) -> np.ndarray:
        """A tensor or a part of it, in the type of the file (what is quantised: fp32)."""
        ...

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a tokenizer with them."""
        ...

    def tokenizer(self) -> Tokenizer:
        """The model's; raises BadInput when there is none."""
        ...


@dataclasses.dataclass(frozen=True)
class From:
    """One of our parameters, as it lies in a file.

    `transposed`: PyTorch's Linear layers are stored [out, in], our kernels are [in, out]. `part` (i, n, run): the file
    holds n parameters as one, of every n·run outputs the i-th `run` are this one's. `arrange` makes the parameter of
    the whole stored tensor where more than that is different: it is of no use to read a part then.
    """

    name: str
    transposed: bool = False
    arrange: Callable[[np.ndarray], np.ndarray] | None = None
    part: tuple[int, int, int] | None = None

    def stored(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the tensor in the file that gives a parameter of `shape`."""
        shape = (*shape[:-1], shape[-1] * (self.part[1] if self.part else 1))
        return shape[::-1] if self.transposed else shape

    def read(self, tensors: Tensors, index: Index | None = None) -> np.ndarray:
        """The parameter, or the part of it at `index`."""
        if self.arrange is not None:
            found = self.arrange(tensors.read(self.name))
            return found if index is None else found[index]
        if self.part is not None:
            return self._read_part(self.part, tensors, index)
        return self._read(tensors, index)

    def _read(self, tensors: Tensors, index: Index | None) -> np.ndarray:
        if not self.transposed:
            return tensors.read(self.name, index)
        return tensors.read(self.name, None if index is None else index[::-1]).T

    def _read_part(self, part: tuple[int, int, int], tensors: Tensors, index: Index | None) -> np.ndarray:
        """Reads from the first output to the last, and takes those that are ours."""
        i, n, run = part
        shape = tensors.shapes[self.name][:: -1 if self.transposed else 1]
        *others, outputs = index or (slice(None),) * len(shape)
        ours = np.arange(shape[-1] // n)[outputs]
        theirs = ours + (ours // run * (n - 1) + i) * run
        first, last = int(theirs.min(initial=shape[-1])), int(theirs.max(initial=-1))
        return self._read(tensors, (*others, slice(first, last + 1)))[..., theirs - first]


@dataclasses.dataclass(frozen=True)
class Table:
    """An architecture's: `config` makes our configuration of a config.json; `parameters` says for a configuration
    where each parameter, by its path ("blocks_0/q/kernel"), comes from. `spellings`: pairs of the beginning of a name
    there and another that some files have in its place."""

    config: Callable[[Mapping[str, Any]], Any]
    parameters: Callable[[Any], dict[str, From]]
    spellings: tuple[tuple[str, str], ...] = ()

    def parameters_in(self, config: Any, tensors: Tensors) -> dict[str, From]:
        """`parameters` under the names that a file has; a tensor that it lacks keeps its name."""
        return {path: self._spelled(source, tensors.shapes) for path, source in self.parameters(config).items()}

    def _spelled(self, source: From, known: Mapping[str, Any]) -> From:
        if source.name in known:
            return source
        others = (b + source.name.removeprefix(a) for a, b in self.spellings if source.name.startswith(a))
        return dataclasses.replace(source, name=next((n for n in others if n in known), source.name))


def halved(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows [heads·K, …] of W_q or W_k whose rotary pairs lie side by side (2i, 2i+1), in our order (i, i + K/2)."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def heads_of(name: str, config: Mapping[str, Any]) -> int:
    """The heads of W_q or W_k by the name of the tensor; 0 for every other tensor."""
    kinds = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    return next((config[key] for kind, key in kinds.items() if f"self_attn.{kind}." in name), 0)
