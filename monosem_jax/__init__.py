"""monosem_jax: "Towards Monosemanticity" end to end in JAX. `load_run` opens the directory of any experiment."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    if name == "load_run":  # imported where used: JAX takes a second
        from monosem_jax.load import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
