"""The record that describes an architecture by its parts. See `monosem_jax.sae.base` for the protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.sae.activation_fns import ActivationFn, ReLU
from monosem_jax.sae.errors import MeanSquares, ReconstructionError
from monosem_jax.sae.params import COMMON, PARAMETERS, DecoderFirst, LinearLayers
from monosem_jax.sae.penalties import Penalty
from monosem_jax.sae.sites import BetweenSites, OneSite, SeveralSites
from monosem_jax.sae.step_context import Params, StepContext

Terms = dict[str, Array]
# (features [B,F], reconstructions [B,M], their targets [B,M], `hyper`) -> (the loss of every row [B], its terms)
RowLosses = Callable[[Array, Array, Array, Terms], tuple[Array, Terms]]
# (recipe, parameters, scaled fp32 rows, context) -> (gradients, terms, aux), see `monosem_jax.sae.gradients`
Gradients = Callable[["Recipe", Params, Array, StepContext], tuple[Params, Terms, Terms]]


def squared_errors(
    f: Float[Array, "B F"], y_hat: Float[Array, "B M"], y: Float[Array, "B M"], hyper: Terms
) -> tuple[Float[Array, " B"], Terms]:
    """(mean squared error of every row's reconstruction, {"mse": the same}); a resampler can draw rows by it."""
    mse = jnp.mean(jnp.square(y_hat - y), axis=-1)
    return mse, {"mse": mse}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The parts of an architecture.

    `skip`: ŷ has the term x W_skip. `apply_b_dec_to_input`: b_dec is subtracted from x. `unit_norm`: training keeps
    rows of W_dec at norm 1; otherwise they are free, and the published form normalises them. `b_dec_at_median`: b_dec
    starts at the geometric median of y, else at 0. `row_losses`: the loss by which neuron resampling draws rows; None
    if resampling is not defined. `gradients`: the function that computes a step (None: `monosem_jax.sae.gradients`).
    `traced`: keys, in addition to those of the penalties, in which members of one program may differ; the training
    state holds them. `same_form_as`: the architecture with the same published form; exports use its name.
    """

    activation: ActivationFn = ReLU()
    error: ReconstructionError = MeanSquares()
    penalties: tuple[Penalty, ...] = ()
    sites: OneSite | SeveralSites | BetweenSites = OneSite()
    initial: DecoderFirst | LinearLayers = DecoderFirst()
    skip: bool = False
    apply_b_dec_to_input: bool = True
    unit_norm: bool = True
    b_dec_at_median: bool = True
    row_losses: RowLosses | None = squared_errors
    gradients: Gradients | None = None
    traced: tuple[str, ...] = ()
    same_form_as: str = ""

    @property
    def sparsity_key(self) -> str:
        """The key that sets how many features are active; a sweep varies it and a report shows it."""
        parts: tuple[ActivationFn | Penalty, ...] = (self.activation, *self.penalties)
        return next(part.sparsity_key for part in parts if part.sparsity_key is not None)

    @property
    def coefficient(self) -> str | None:
        """The key of the coefficient that rises from 0 at the start of training, or None."""
        return next((p.coefficient for p in self.penalties if p.coefficient), None)

    @property
    def warmup(self) -> str | None:
        """The key of the number of steps over which the coefficient rises, or None."""
        return next((p.warmup for p in self.penalties if p.warmup), None)

    @property
    def hyper(self) -> tuple[str, ...]:
        """The keys in which members of one program may differ."""
        return tuple(dict.fromkeys([key for p in self.penalties for key in p.traced] + list(self.traced)))

    @property
    def whole_batch(self) -> bool:
        """Whether the selection of features, or a term of the loss, depends on all rows of a batch together."""
        return self.activation.whole_batch or any(p.whole_batch for p in self.penalties)

    @property
    def by_index(self) -> bool:
        """Whether training needs only a few features of each row, known before the products with W_dec."""
        return self.activation.by_index and self.error.by_index and all(p.by_index for p in self.penalties)

    @property
    def parameters(self) -> dict[str, float]:
        """Name -> initial value of all parameters; W_enc and W_dec have no single initial value."""
        own = self.activation.parameters() | ({"W_skip": 0.0} if self.skip else {})
        return {name: PARAMETERS[name].initial for name in COMMON} | own
