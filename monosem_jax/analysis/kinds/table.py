"""The kinds of evidence, in the order in which they are looked for: an analysis is a function here."""

from __future__ import annotations

from collections.abc import Callable

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.kinds.categories import categories
from monosem_jax.analysis.kinds.health import health

KINDS: dict[str, Callable[[Study], None]] = {"categories": categories, "health": health}
