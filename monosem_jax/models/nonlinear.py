"""The nonlinearities of the MLPs of pretrained models, by the names that our configurations give them."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn

from monosem_jax.runtime.errors import BadInput

# gelu: with the normal distribution itself (Hendrycks and Gimpel, 2016); gelu_tanh: their approximation with tanh.
NONLINEAR: dict[str, Any] = {
    "relu": nn.relu,
    "gelu": functools.partial(nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),
    "silu": nn.silu,
}


def check_nonlinearity(name: str) -> None:
    """Raises BadInput on an unknown name."""
    if name not in NONLINEAR:
        raise BadInput(f"nonlinearity is {name!r}: expected one of {', '.join(NONLINEAR)}")
