"""Sources of activations, by name. A new kind is a file that makes an `ActivationSource`, plus a line in `SOURCES`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from monosem_jax.activations.sources.base import ActivationSource, SourceRequest
from monosem_jax.activations.sources.online import open_online
from monosem_jax.activations.sources.stored import is_several, is_store, open_array, open_several, open_store
from monosem_jax.activations.sources.synthetic import open_synthetic
from monosem_jax.runtime.locations import Place


class SourceKind(NamedTuple):
    """How a kind of source is opened, and which values of config.source are of this kind: those that `recognises`
    accepts, or only the kind's name if `recognises` is None."""

    open: Callable[[SourceRequest], ActivationSource]
    recognises: Callable[[str], bool] | None = None


# The first kind that recognises a source opens it.
SOURCES: dict[str, SourceKind] = {
    "online": SourceKind(open_online),
    "synthetic": SourceKind(open_synthetic),
    "several": SourceKind(open_several, is_several),
    "store": SourceKind(open_store, is_store),
    "array": SourceKind(open_array, lambda source: True),
}

# What a value of config.source may be.
PLACE = Place(
    words=tuple(name for name, kind in SOURCES.items() if kind.recognises is None),
    remote=True,
    tensor=True,
    several=True,
)


def open_source(request: SourceRequest) -> ActivationSource:
    """Opens the configured source; raises BadInput if it is missing or does not fit its transformer."""
    kinds = (kind for name, kind in SOURCES.items() if recognises(name, kind, request.source))
    return next(kinds).open(request)


def recognises(name: str, kind: SourceKind, source: str) -> bool:
    """Whether a value of config.source is of this kind."""
    return source == name if kind.recognises is None else kind.recognises(source)


def recorded_name(source: str) -> str:
    """config.source as recorded for a run: a keyword, or "" for paths, whose contents are recorded as parents."""
    return source if source in SOURCES and SOURCES[source].recognises is None else ""
