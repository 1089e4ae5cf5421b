"""Activation functions: from h = (x - b_dec) W_enc to features f, in the training form and in the published form.

In training an activation function may depend on the whole batch (BatchTopK); in the published form a row's features
depend only on that row. To add one, write a subclass of `ActivationFn` in the file of its architecture.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from monosem_jax.sae.ops import top_k
from monosem_jax.sae.ops.gathered_matmul import TopKIndices
from monosem_jax.sae.step_context import Encoded, Params, StepContext


@dataclasses.dataclass(frozen=True)
class ActivationFn:
    """The interface of an activation function; the defaults here are for one without parameters of its own.

    `h` [*B,F] is x W_enc; `centre` [F] is b_dec W_enc if b_dec is subtracted from x, else 0. `form` names the published
    form in exports: relu, topk, jumprelu, gated …
    """

    form: ClassVar[str]
    signed: ClassVar[bool] = False  # activations may be negative, so a dictionary vector also stands for its opposite

    # Methods that every subclass defines.

    def inference(self, p: Params, h: Float[Array, "*B F"], centre: Any) -> Float[Array, "*B F"]:
        """Features from published parameters; `h` is not centred, since centring one vector per batch is cheaper."""
        raise NotImplementedError

    def train(self, p: Params, h: Float[Array, "b F"], ctx: StepContext) -> Encoded:
        """Features on one device of the mesh, from centred h."""
        raise NotImplementedError

    # Methods with a default.

    @property
    def sparsity_key(self) -> str | None:
        """The configuration key that sets how many features are active; None if a penalty sets it."""
        return None

    @property
    def whole_batch(self) -> bool:
        """Whether features are selected over all rows of a batch together."""
        return False

    @property
    def by_index(self) -> bool:
        """Whether at most k features of each row matter, and `candidates` finds them."""
        return False

    def rectify(self, z: Array) -> Array:
        """Activations before the selection; if `by_index`."""
        raise NotImplementedError

    def candidates(self, z: Float[Array, "b F"], ctx: StepContext) -> TopKIndices:
        """This device's features that may be active in each row; if `by_index`."""
        raise NotImplementedError

    def at(self, p: Params, h: Float[Array, "b k"], i: TopKIndices) -> Float[Array, "b k"]:
        """Features from h at the indices `i`, 0 at indices that are not real; if `by_index`."""
        raise NotImplementedError

    def parameters(self) -> dict[str, float]:
        """Name -> initial value of the parameters that not every dictionary has."""
        return {}

    def active(self, f: Float[Array, "*B F"]) -> Bool[Array, "*B F"]:
        """Where features count as active."""
        return f != 0 if self.signed else f > 0

    def threshold(self, p: Params) -> Float[Array, " F"]:
        """The value that h + b_enc must exceed for a feature to be active, from published parameters."""
        return jnp.zeros_like(p["b_enc"])

    def gain(self, p: Params) -> Float[Array, " F"]:
        """The factor of h in the number that a feature's activation is where it is active: gain · h + b_enc."""
        return jnp.ones_like(p["b_enc"])

    def initial_stats(self) -> dict[str, Array]:
        """The initial statistics; numbers, not arrays."""
        return {}

    def update_stats(self, ctx: StepContext, aux: dict[str, Array]) -> dict[str, Array]:
        """The statistics after a step; `aux` is that of `Encoded`, from `train`."""
        return {}

    def to_inference(self, params: dict[str, Any], stats: dict[str, Any]) -> dict[str, Any]:
        """Published parameters from trained ones."""
        return params


@dataclasses.dataclass(frozen=True)
class ReLU(ActivationFn):
    """f = ReLU(h + b_enc)."""

    form: ClassVar[str] = "relu"

    def inference(self, p, h, centre):
        return nn.relu(h + (p["b_enc"] - centre))

    def train(self, p, h, ctx):
        z = nn.relu(h + p["b_enc"])
        return Encoded(z, z > 0, z)


@dataclasses.dataclass(frozen=True)
class TopK(ActivationFn):
    """The k largest values of ReLU(h + b_enc) in each row; ties go to the features with the lowest index."""

    form: ClassVar[str] = "topk"
    k: int

    @property
    def sparsity_key(self):
        return "k"

    @property
    def by_index(self):
        return True

    def rectify(self, z):
        return nn.relu(z)

    def inference(self, p, h, centre):
        z = self.rectify(h - centre + p["b_enc"])
        return top_k.per_row(z, self.k)

    def train(self, p, h, ctx):
        z = self.rectify(h + p["b_enc"])
        mask = top_k.row_mask(jnp.abs(z), self.k, ctx.axes)
        return Encoded(jnp.where(mask, z, 0), mask, z)

    def candidates(self, z, ctx):
        return TopKIndices(*top_k.row_index(jnp.abs(z), self.k, ctx.axes))

    def at(self, p, h, i):
        return jnp.where(i.real, self.rectify(h + p["b_enc"][i.at]), 0)


@dataclasses.dataclass(frozen=True)
class BatchTopK(ActivationFn):
    """The k B largest values of ReLU(h + b_enc) in a batch of B rows on all devices together.

    The published threshold is a running mean, over steps, of the smallest value kept, with decay threshold_decay or, if
    smaller, n / (n + 10) at step n. Where rows of W_dec are free, values are compared times `weights` (W_dec).
    """

    form: ClassVar[str] = "jumprelu"
    k: int
    threshold_decay: float = 0.999
    weights: Callable[[Array], Array] | None = None

    @property
    def sparsity_key(self):
        return "k"

    @property
    def whole_batch(self):
        return True

    def inference(self, p, h, centre):
        z = nn.relu(h - centre + p["b_enc"])
        return jnp.where(z > p["threshold"], z, 0)

    def train(self, p, h, ctx):
        z = nn.relu(h + p["b_enc"])
        value = jax.lax.stop_gradient(z if self.weights is None else z * self.weights(p["W_dec"]))
        mask = top_k.batch_mask(value, self.k * ctx.n_rows, ctx.axes)
        return Encoded(jnp.where(mask, z, 0), mask, z, aux={"least": top_k.least(value, mask, ctx.axes)})

    def threshold(self, p):
        return p["threshold"]

    def initial_stats(self):
        return {"threshold": jnp.zeros(())}

    def update_stats(self, ctx, aux):
        decay = jnp.minimum(ctx.step / (ctx.step + 10), self.threshold_decay)
        old, least = ctx.stats["threshold"], aux["least"]
        return {"threshold": jnp.where(least < jnp.inf, decay * old + (1 - decay) * least, old)}

    def to_inference(self, params, stats):
        threshold = params["b_enc"] * 0 + stats["threshold"]
        if self.weights is not None:
            weight = (jnp if isinstance(threshold, jax.Array) else np).asarray(self.weights(params["W_dec"]))
            threshold = threshold / (weight + (weight == 0))
        return {**params, "threshold": threshold}


@dataclasses.dataclass(frozen=True)
class JumpReLU(ActivationFn):
    """f = z H(z - θ) for z = h + b_enc; H is the step function. log θ is trained, so that θ stays positive.

    Gradients are those of a kernel estimate (`step`, `jump`) of width `bandwidth`. Published as threshold = θ.
    """

    form: ClassVar[str] = "jumprelu"
    bandwidth: float
    initial_threshold: float

    def parameters(self):
        return {"log_threshold": math.log(self.initial_threshold)}

    def threshold(self, p):
        return p["threshold"] if "threshold" in p else jnp.exp(p["log_threshold"])

    def inference(self, p, h, centre):
        z = nn.relu(h - centre + p["b_enc"])
        return jnp.where(z > self.threshold(p), z, 0)

    def train(self, p, h, ctx):
        z, theta = h + p["b_enc"], self.threshold(p)
        visit = z > theta - self.bandwidth / 2  # z just below θ also gives θ a gradient
        return Encoded(jump(z, theta, self.bandwidth), visit, z, gate=step(z, theta, self.bandwidth))

    def to_inference(self, params, stats):
        rest = {name: p for name, p in params.items() if name != "log_threshold"}
        log = params["log_threshold"]
        return {**rest, "threshold": (jnp if isinstance(log, jax.Array) else np).exp(log)}


@dataclasses.dataclass(frozen=True)
class Gated(ActivationFn):
    """f = H(h + b_gate) ReLU(exp(r_mag) h + b_enc); b_enc is the bias of the magnitude.

    The gate that penalties see is ReLU(h + b_gate).
    """

    form: ClassVar[str] = "gated"

    def parameters(self):
        return {"b_gate": 0.0, "r_mag": 0.0}

    def inference(self, p, h, centre):
        return self._features(p, h - centre)

    def train(self, p, h, ctx):
        f = self._features(p, h)
        return Encoded(f, f > 0, f, gate=nn.relu(h + p["b_gate"]))

    def threshold(self, p):
        """The value that exp(r_mag) h + b_enc must exceed for the gate to be open."""
        return nn.relu(p["b_enc"] - jnp.exp(p["r_mag"]) * p["b_gate"])

    def gain(self, p):
        return jnp.exp(p["r_mag"])

    def _features(self, p: Params, h: Array) -> Array:
        return jnp.where(h + p["b_gate"] > 0, nn.relu(jnp.exp(p["r_mag"]) * h + p["b_enc"]), 0)


@jax.custom_vjp
def step(z: Array, theta: Array, bandwidth: float) -> Array:
    """H(z - θ), with ∂/∂θ = -(1/ε) K((z - θ)/ε): K is 1 on (-1/2, 1/2) and 0 elsewhere, ε the bandwidth."""
    return (z > theta).astype(z.dtype)


def _kernel(z, theta, bandwidth):
    return (jnp.abs(z - theta) < bandwidth / 2) / bandwidth


def _step_forward(z, theta, bandwidth):
    return step(z, theta, bandwidth), (z, theta, bandwidth)


def _step_backward(kept, d):
    return jnp.zeros_like(kept[0]), jnp.sum(-_kernel(*kept) * d, axis=0), None


step.defvjp(_step_forward, _step_backward)


@jax.custom_vjp
def jump(z: Array, theta: Array, bandwidth: float) -> Array:
    """z H(z - θ), with ∂/∂z = H(z - θ) and ∂/∂θ = -(θ/ε) K((z - θ)/ε)."""
    return jnp.where(z > theta, z, 0)


def _jump_forward(z, theta, bandwidth):
    return jump(z, theta, bandwidth), (z, theta, bandwidth)


def _jump_backward(kept, d):
    z, theta, _ = kept
    return jnp.where(z > theta, d, 0), jnp.sum(-theta * _kernel(*kept) * d, axis=0), None


jump.defvjp(_jump_forward, _jump_backward)
