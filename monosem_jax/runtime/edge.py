"""The edge of a stage: what is settled before its first line of work, whether a command or Python calls it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.config import typed
from monosem_jax.runtime.locations import local_path, located

C = TypeVar("C")
R = TypeVar("R")


def stage(function: Callable[[Any, C], R]) -> Callable[[str | os.PathLike[str], C], R]:
    """A stage, function(workdir, config), that begins at the edge: the configuration is of the class that is annotated
    and its values of their types, the working directory and every path in the configuration become absolute paths on
    this machine, and JAX is set as the numbers need it."""

    @functools.wraps(function)
    def entered(workdir: str | os.PathLike[str], config: C) -> R:
        config = typed(config, get_type_hints(function)["config"])
        place, config = local_path(workdir, "workdir"), located(config)
        with pinned():
            return function(place, config)

    return entered
