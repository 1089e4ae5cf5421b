"""The edge of a stage: what is settled before its first line of work, whether a command or Python calls it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from monosem_jax.runtime.ambient import pinned_stage
from monosem_jax.runtime.config import typed
from monosem_jax.runtime.locations import ANYWHERE, local_path, located
from monosem_jax.runtime.streams import forgiving

C = TypeVar("C")
R = TypeVar("R")
Stage = Callable[[str | os.PathLike[str], C], R]


def stage(function: Callable[[Any, C], R]) -> Stage[C, R]:
    """A stage, function(workdir, config), that begins at the edge: the configuration is of the class that is annotated
    and its values of their types, the working directory and every path in the configuration become absolute paths on
    this machine, JAX is set as the numbers need it, and a log that nobody reads any more is no error."""
    return _entered(function, local_path)


def stage_anywhere(function: Callable[[Any, C], R]) -> Stage[C, R]:
    """`stage`, for a function whose workdir, then a str, may also be a URL."""
    return _entered(function, ANYWHERE.locate)


def _entered(function: Callable[[Any, C], R], locate: Callable[[Any, str], Any]) -> Stage[C, R]:
    @functools.wraps(function)
    def entered(workdir: str | os.PathLike[str], config: C) -> R:
        config = typed(config, get_type_hints(function)["config"])
        place, config = locate(workdir, "--workdir"), located(config)
        with forgiving(), pinned_stage():
            return function(place, config)

    return entered
