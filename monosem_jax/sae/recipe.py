"""The record that an architecture is: the parts it consists of. See `monosem_jax.sae.base` for the protocol."""

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
# (features [B,F], reconstructions [B,M], what they are of [B,M], `hyper`) -> (a loss [B] of every row, its terms)
RowLosses = Callable[[Array, Array, Array, Terms], tuple[Array, Terms]]
# (recipe, parameters, scaled fp32 rows, context) -> (gradients, terms, aux), as `monosem_jax.sae.gradients` says
Gradients = Callable[["Recipe", Params, Array, StepContext], tuple[Params, Terms, Terms]]


def squared_errors(
    f: Float[Array, "B F"], y_hat: Float[Array, "B M"], y: Float[Array, "B M"], hyper: Terms
) -> tuple[Float[Array, " B"], Terms]:
    """(mean squared error of every row's reconstruction, {"mse": the same}): a resampler may draw rows by it."""
    mse = jnp.mean(jnp.square(y_hat - y), axis=-1)
    return mse, {"mse": mse}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The parts of an architecture.

    `skip`: ŷ has the term x W_skip. `apply_b_dec_to_input`: b_dec is subtracted from x. `unit_norm`: rows of W_dec are
    kept at norm 1; otherwise they are free, and made so on publication. `b_dec_at_median`: b_dec starts at the
    geometric median of y, else at 0. `row_losses`: what neuron resampling draws rows by; None where it is not defined.
    `gradients`: how a step is computed (None: `monosem_jax.sae.gradients`). `traced`: keys besides those of the
    penalties in which members of one program may differ; the training state holds them. `same_form_as`: the
    architecture whose published form this one has, and as which it is exported.
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
        """The key that sets how many features are active: what a sweep varies and a report shows."""
        parts: tuple[ActivationFn | Penalty, ...] = (self.activation, *self.penalties)
        return next(part.sparsity_key for part in parts if part.sparsity_key is not None)

    @property
    def coefficient(self) -> str | None:
        """The key of the coefficient that rises from 0 at the beginning, if there is one."""
        return next((p.coefficient for p in self.penalties if p.coefficient), None)

    @property
    def warmup(self) -> str | None:
        """The key that says over how many steps it does."""
        return next((p.warmup for p in self.penalties if p.warmup), None)

    @property
    def hyper(self) -> tuple[str, ...]:
        """The keys in which members of one program may differ."""
        return tuple(dict.fromkeys([key for p in self.penalties for key in p.traced] + list(self.traced)))

    @property
    def whole_batch(self) -> bool:
        """Whether features are chosen, or terms of the loss normalised, over all rows of a batch together."""
        return self.activation.whole_batch or any(p.whole_batch for p in self.penalties)

    @property
    def by_index(self) -> bool:
        """Whether training need only look at a few features of each row, and it is known early which they are."""
        return self.activation.by_index and self.error.by_index and all(p.by_index for p in self.penalties)

    @property
    def parameters(self) -> dict[str, float]:
        """Name -> initial value of all parameters; that of W_enc and W_dec is not one number."""
        own = self.activation.parameters() | ({"W_skip": 0.0} if self.skip else {})
        return {name: PARAMETERS[name].initial for name in COMMON} | own
