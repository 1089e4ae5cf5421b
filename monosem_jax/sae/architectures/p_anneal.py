"""p-annealing (Karvonen et al., 2024, "Measuring progress in dictionary learning for language model interpretability
with board game models"): an L1 penalty that changes during training into one closer to L0.

    f = ReLU((x - b_dec) W_enc + b_enc)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  Σ_M (x - x̂)²  +  λ Σ_F f^p

for activations with E‖x‖² = 1. p is 1 until `anneal_start`. Then it falls by equal amounts in `p_updates` updates at
equal distances, so that p is `p_end` in the last interval of the training. At each update λ is multiplied by the ratio
of Σ_F f^p with the old p to that with the new p on recent activations: this keeps the strength of the penalty while its
shape changes.

The source is `trainers/p_anneal.py` of dictionary_learning (its "Lp^p"), which trained SAEBench's dictionaries. Its
default for `p_end` is 0, a penalty whose gradient vanishes at the end. Published runs use 0.2, with a constant phase of
10,000 of about 240,000 steps and λ from 0.006 to 0.025, so the default here is 0.2. There are three differences. In the
source the last update is at the last step; recent activations are the last ten batches with equal weights, while here
each new batch reduces the weight of earlier ones by a tenth; and the error is ‖x - x̂‖. Below `FLOOR`, f^p is replaced
by the line through 0, since its slope at 0 is infinite.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.config import COUNT, STEPS, Bound, L1Config, in_steps, key
from monosem_jax.sae.errors import SumOfSquares
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.penalties import L1
from monosem_jax.sae.recipe import Recipe

FLOOR = 1e-4
MEMORY = 0.9  # the weight of a batch is multiplied by this at every later batch

EXPONENT = Bound(lambda value, config: 0 <= value <= 1, "0 to 1")


@dataclasses.dataclass(frozen=True)
class PAnnealConfig(L1Config):
    """λ at p = 1 is `l1_coefficient`."""

    architecture: str = "p_anneal"
    input_scale: str = "unit_norm"
    l1_coefficient: float = 0.1
    l1_warmup: float = 0.05
    anneal_start: float = key(0.05, STEPS)
    """Steps with p = 1, before the exponent falls; below 1 a fraction of train.steps."""
    p_end: float = key(0.2, EXPONENT)
    """The exponent p at the end of the training."""
    p_updates: int = key(10, COUNT)
    """How many equal steps p takes from 1 to p_end."""

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        return Recipe(
            error=SumOfSquares(),
            penalties=(AnnealedLp(start=self.anneal_start, p_end=self.p_end, updates=self.p_updates),),
            initial=DecoderFirst(self.tied_norm),
            b_dec_at_median=False,
            same_form_as="relu",
        )


@dataclasses.dataclass(frozen=True)
class AnnealedLp(L1):
    """λ s Σ_F f^p. Statistics: `lp_scale` is s; `lp_sum` and `lp_sum_next` are sums of Σ_F f^p over the batches since
    the last update, with the current p and with the next one; older batches have less weight."""

    start: float = 0.0
    p_end: float = 0.2
    updates: int = 10

    def updates_done(self, step: Any, n_steps: int) -> Array:
        """The number of updates of p done when step `step` begins; steps count from 0."""
        if not n_steps:  # the length of the training is unknown: p stays 1
            return jnp.int32(0)
        start = in_steps(self.start, n_steps)
        if start >= n_steps:
            raise BadInput(f"sae.anneal_start is {self.start}: expected fewer than the {n_steps} of train.steps")
        at = [start + (n_steps - start) * i // self.updates for i in range(self.updates)]
        return jnp.sum(step >= jnp.asarray(at))

    def exponent(self, done: Any) -> Array:
        """p after `done` updates."""
        return 1 - (1 - self.p_end) * jnp.minimum(done, self.updates) / self.updates

    def initial_stats(self):
        return {"lp_scale": jnp.ones(()), "lp_sum": jnp.zeros(()), "lp_sum_next": jnp.zeros(())}

    def local(self, p, code, ctx):
        done, fixed = self.updates_done(ctx.step, ctx.n_steps), jax.lax.stop_gradient(code.f)
        return {
            "l1": jnp.sum(fixed),
            "lp": jnp.sum(power(code.f, self.exponent(done))),
            "lp_next": jnp.sum(power(fixed, self.exponent(done + 1))),
        }

    def loss(self, sums, error, ctx):
        weight = ctx.hyper["l1_coefficient"] * ctx.stats["lp_scale"]
        return weight * sums["lp"], {name: sums[name] for name in ("l1", "lp", "lp_next")}

    def update_stats(self, ctx, terms):
        total, following = (MEMORY * ctx.stats[f"lp_sum{s}"] + terms[f"lp{s}"] for s in ("", "_next"))
        due = self.updates_done(ctx.step + 1, ctx.n_steps) > self.updates_done(ctx.step, ctx.n_steps)
        ratio = jnp.where(following > 0, total / jnp.where(following > 0, following, 1), 1)
        return {
            "lp_scale": ctx.stats["lp_scale"] * jnp.where(due, ratio, 1),
            "lp_sum": jnp.where(due, 0, total),
            "lp_sum_next": jnp.where(due, 0, following),
        }


def power(f: Float[Array, "b F"], p: Array) -> Float[Array, "b F"]:
    """f^p for f above `FLOOR`; below it, the line from 0 to f^p at `FLOOR`."""
    return jnp.where(f > FLOOR, jnp.maximum(f, FLOOR) ** p, f * FLOOR ** (p - 1))
