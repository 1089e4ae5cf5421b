"""Parameters that are still in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
from jax.sharding import Mesh


class Source(Protocol):
    """Where parameters come from: `monosem_jax.models.pretrained.Pretrained`."""

    @property
    def parts(self) -> Sequence[str]:
        """The names of its parts, such as blocks_0."""
        ...

    @property
    def sha256(self) -> str:
        """A hash that identifies the files."""
        ...

    def params(self, mesh: Mesh | None = None, *, under: str = "", put: Callable[[Any], Any] = ...) -> dict[str, Any]:
        """All of them, or one part."""
        ...


class Unread(Mapping[str, Any]):
    """Stands for the parameters of a model. A part that is looked up ("blocks_3") is read to the host, and kept; `on`
    reads straight onto devices, so that the host never holds the model. As an argument of a compiled function it is the
    dictionary of all parts."""

    def __init__(self, source: Source):
        self._source = source
        self._held: dict[str, Any] = {}
        self._placed: tuple[Mesh | None, dict[str, Any]] | None = None

    def __getitem__(self, part: str) -> Any:
        if part not in self._source.parts:
            raise KeyError(part)
        if part not in self._held:
            self._held[part] = self._source.params(under=part)[part]
        return self._held[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.parts)

    def __len__(self) -> int:
        return len(self._source.parts)

    __eq__ = object.__eq__  # a comparison reads nothing
    __hash__ = object.__hash__

    @property
    def sha256(self) -> str:
        """A hash that identifies the files."""
        return self._source.sha256

    def on(self, mesh: Mesh | None) -> dict[str, Any]:
        """The parameters on a mesh, each device its own part, or on the default device. They are kept for the next
        call.

        Where devices of this process have them in parts already, they stay there also for a call without a mesh: such a
        model may be too large for one device.
        """
        if self._placed is None or self._placed[0] != (self._divided if mesh is None else mesh):
            self._placed = None  # what other devices hold is not needed any longer
            self._placed = (mesh, self._source.params(mesh, put=jax.device_put))
        return self._placed[1]

    @property
    def _divided(self) -> Mesh | None:
        """The mesh of this process over which the parameters are divided."""
        mesh = self._placed[0] if self._placed else None
        return mesh if mesh is not None and not mesh.is_multi_process and mesh.shape.get("model", 1) > 1 else None


def _flatten(unread: Unread) -> tuple[tuple[dict[str, Any]], None]:
    return (dict(unread),), None


def _unflatten(_: None, children: Any) -> Any:
    return children[0]  # a dictionary: it has been read


jax.tree_util.register_pytree_node(Unread, _flatten, _unflatten)
