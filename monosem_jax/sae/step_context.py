"""What passes between an architecture and the gradients of a step."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Bool, Float

from monosem_jax.runtime.mesh import Axes


class StepContext(NamedTuple):
    """What a device of the mesh knows of a step besides its rows and its features' parameters: coefficients as they are
    at this `step`, statistics of its features, how many rows the batch has on all devices, how many features there are
    on all, whether few features are to be visited
    alone, and whether those of TopK are to be gathered."""

    axes: Axes
    hyper: dict[str, Array]
    stats: dict[str, Array]
    step: Array
    n_rows: int
    n_features: int
    use_sparse: bool = False
    use_bits: bool = False
    gather: bool = False


class Encoded(NamedTuple):
    """Activations f [b,F] of a device's features. `visit`: where alone the gradient with respect to f is wanted.
    `sums`: further arrays and numbers of theirs that are to be summed over all features."""

    f: Float[Array, "b F"]
    visit: Bool[Array, "b F"]
    sums: dict[str, Array]
