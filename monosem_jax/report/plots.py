"""What all figures share: colours, style, and what needs matplotlib."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import numpy as np

from monosem_jax.runtime.errors import BadInput

BLUE, ORANGE, GREY = "#1d5b9e", "#b84a00", "#5b6470"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.edgecolor": "#8b939c",
    "axes.labelcolor": "#3a424b",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.7,
    "xtick.color": "#8b939c",
    "ytick.color": "#8b939c",
    "xtick.labelcolor": "#3a424b",
    "ytick.labelcolor": "#3a424b",
    "legend.frameon": False,
    "text.parse_math": False,
}


def require_matplotlib() -> None:
    """Raises BadInput when matplotlib, which only figures need, is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BadInput("figures need matplotlib: pip install 'monosem_jax[report]'") from None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return isinstance(value, int | float | np.number) and math.isfinite(value)
