"""The records that the parts of an architecture and the gradients of a step exchange."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float

from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.ops.strategy import MatmulStrategy

Params = dict[str, Array]  # by the names of `monosem_jax.sae.params.PARAMETERS`


class StepContext(NamedTuple):
    """The inputs of a step on one device of the mesh, other than its rows and its features' parameters.

    `hyper`: the coefficients at this `step`. `stats`: the statistics of this device's features before it. `n_rows`:
    rows of the batch on all devices. `n_features`: features on all devices. `n_steps`: steps of the whole training (0
    if nothing depends on them).
    """

    axes: Axes
    hyper: dict[str, Array]
    stats: dict[str, Array]
    step: Array
    n_rows: int
    n_features: int
    matmul: MatmulStrategy
    n_steps: int = 0


class Encoded(NamedTuple):
    """Activations f [b,F] of a device's features.

    `visit`: where the gradient with respect to f is needed; f is zero elsewhere. `z`: activations before the selection;
    AuxK uses those of dead features. `gate` [b,F]: the gates that penalties use, if the activation function has gates.
    `aux`: numbers for the statistics.
    """

    f: Float[Array, "b F"]
    visit: Bool[Array, "b F"]
    z: Float[Array, "b F"]
    gate: Any = None
    aux: dict[str, Array] | None = None
