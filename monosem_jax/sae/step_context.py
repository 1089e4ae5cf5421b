"""What passes between the parts of an architecture and the gradients of a step."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float

from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.ops.strategy import MatmulStrategy

Params = dict[str, Array]  # by the names of `monosem_jax.sae.params.PARAMETERS`


class StepContext(NamedTuple):
    """What a device of the mesh knows of a step besides its rows and its features' parameters.

    `hyper` are the coefficients as they are at this `step`, `stats` the statistics of this device's features before it,
    `n_rows` the rows of the batch on all devices, `n_features` the features on all devices, `n_steps` the steps of the
    whole training (0 where nothing depends on them).
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

    `visit`: where the gradient with respect to f is wanted; f is zero elsewhere. `z`: activations before the selection,
    from which AuxK takes those of dead features. `gate` [b,F]: what a penalty on the gates is of, where the activation
    function has gates. `aux`: numbers for the statistics.
    """

    f: Float[Array, "b F"]
    visit: Bool[Array, "b F"]
    z: Float[Array, "b F"]
    gate: Any = None
    aux: dict[str, Array] | None = None
