"""The protocol of an architecture, and the module that every one of them is.

A dictionary reads activations x, has features f of them, and reconstructs y, which is x itself but for transcoders:

    h = (x - b_dec) W_enc        f = activation(h)        ŷ = f W_dec + b_dec (+ x W_skip)
    loss = mean over the batch of  error(ŷ, y)  +  Σ penalties

An architecture is a `recipe.Recipe`: a frozen record that names its parts, objects that other recipes can use too:

    activation   `activation_fns.ActivationFn`: f, its parameters, statistics and published form
    error        `errors.ReconstructionError`: mean or sum of squares, share of the variance, over prefixes
    penalties    `penalties.Penalty`: L1, L0, AuxK …, with the keys, coefficient and warm-up that each declares once
    sites        `sites`: one site, from one to another, several together
    initial      `params.DecoderFirst` or `params.LinearLayers`

Parts are asked in a fixed order. While training, on each device (`gradients`): `activation.train(h) -> Encoded`, each
`penalty.local`, `error.local`; sums over features; `error.loss`, each `penalty.loss`; after the step
`activation.update_stats` and `penalty.update_stats`. Published: `activation.to_inference`, `sites.unscale`, then
`encode` and `decode`, in which a row does not depend on the other rows.

To add an architecture: a file in `architectures/` with a frozen configuration whose `recipe` says the above, and a line
in the table there. A part that is new is a class in that file; a parameter that is new is a line in `params`.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.ops.matmul import matmul
from monosem_jax.sae.params import PARAMETERS, with_unit_rows
from monosem_jax.sae.recipe import Recipe, squared_errors
from monosem_jax.sae.step_context import StepContext


class SparseAutoencoder(nn.Module):
    """Parameters W_enc [M,F], b_enc [F], W_dec [F,M], b_dec [M] and those of the recipe, in fp32; operands of products
    in `dtype`, sums in fp32.

    `width` is that of a row, `parts` are the widths of what it consists of. Made by `architectures.build`. Methods that
    take parameters are called by `apply({"params": …}, …, method=sae.encode)` with published ones.
    """

    width: int
    n_features: int
    config: SaeConfig
    dtype: Any = jnp.float32
    parts: tuple[int, ...] = ()

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe(self.parts)

    @property
    def width_in(self) -> int:
        """M of the activations that are read."""
        return self.recipe.sites.widths(self.width)[0]

    @property
    def width_out(self) -> int:
        """M of those that are reconstructed."""
        return self.recipe.sites.widths(self.width)[1]

    # The published form.

    @nn.nowrap
    def inputs(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B M"]:
        """The activations of rows that are read."""
        return self.recipe.sites.inputs(rows)

    @nn.nowrap
    def targets(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B M"]:
        """Those that are to be reconstructed."""
        return self.recipe.sites.targets(rows)

    def encode(self, x: Float[Array, "*B M"]) -> Float[Array, "*B F"]:
        """Feature activations of single vectors."""
        p = self._params()
        # b_dec goes through the encoder once per batch rather than once per row: a sixth of all FLOPs saved.
        centre = p["b_dec"] @ p["W_enc"] if self.recipe.apply_b_dec_to_input else 0.0
        return self.recipe.activation.inference(p, self._product(x, p["W_enc"]), centre)

    def threshold(self) -> Float[Array, " F"]:
        """What a feature must exceed to be active (with TopK it must also be among the k largest)."""
        return self.recipe.activation.threshold(self._params())

    @nn.nowrap
    def active(self, f: Float[Array, "*B F"]) -> Bool[Array, "*B F"]:
        """Where features count as active, for L0 and densities."""
        return self.recipe.activation.active(f)

    def decode(self, f: Float[Array, "*B F"], x: Float[Array, "*B M"] | None = None) -> Float[Array, "*B M"]:
        """Reconstructions from feature activations; x are the activations that they are of, which a skip needs.

        Raises BadInput where x is needed and not given.
        """
        p = self._params()
        y_hat = self._product(f, p["W_dec"]) + p["b_dec"]
        if not self.recipe.skip:
            return y_hat
        if x is None:
            raise BadInput("a skip transcoder decodes from features and activations: decode(f, x)")
        return y_hat + self._product(x, p["W_skip"])

    def forward(self, rows: Float[Array, "*B W"]) -> tuple[Float[Array, "*B F"], Float[Array, "*B M"]]:
        """Features and reconstructions of rows."""
        x = self.inputs(rows)
        f = self.encode(x)
        return f, self.decode(f, x)

    def row_losses(
        self, rows: Float[Array, "B W"], hyper: dict[str, Array]
    ) -> tuple[Float[Array, " B"], dict[str, Array]]:
        """(how badly every row is reconstructed, terms): what resampling draws rows by."""
        f, y_hat = self.forward(rows)
        return (self.recipe.row_losses or squared_errors)(f, y_hat, self.targets(rows), hyper)

    def _params(self) -> dict[str, Array]:
        variables: Any = self.variables
        return dict(variables["params"])

    def _product(self, a: Array, b: Array) -> Array:
        return matmul(a.astype(self.dtype), b.astype(self.dtype))

    @nn.nowrap
    def to_inference(self, params: dict[str, Any], stats: dict[str, Any]) -> dict[str, Any]:
        """Parameters as `encode` takes them, from those that training has and its statistics."""
        return self.recipe.activation.to_inference(params, stats)

    @nn.nowrap
    def unscale(self, params: dict[str, Any], scale: Any) -> dict[str, Any]:
        """Published parameters for raw activations x from those for scale · x, with unit rows of W_dec.

        `scale` is a number, or one for each of the parts of a row. Features come out in the units of what is
        reconstructed.
        """
        params = self.recipe.sites.unscale(params, scale)
        return params if self.recipe.unit_norm else with_unit_rows(params)

    # Training.

    @nn.compact
    def create(self) -> None:
        """Declares the parameters."""
        sizes = {"F": self.n_features, "M_in": self.width_in, "M_out": self.width_out}

        def shape(name: str) -> tuple[int, ...]:
            return tuple(sizes[axis] for axis in PARAMETERS[name].axes)

        self.recipe.initial.create(self.param, shape)
        for name, value in self.recipe.parameters.items():
            if name not in ("W_enc", "b_enc", "W_dec"):
                self.param(name, nn.initializers.constant(value), shape(name))

    @nn.nowrap
    def initial(self, key: Array) -> dict[str, Array]:
        """Parameters at the beginning."""
        return dict(self.init(key, method=SparseAutoencoder.create)["params"])

    @nn.nowrap
    def init_value(self, name: str) -> float:
        """What a feature's `name` is at the beginning, where it is one number."""
        return self.recipe.parameters[name]

    @nn.nowrap
    def initial_stats(self) -> dict[str, Array]:
        """`last_fired` [F]: the number of steps done when the feature last fired, 0 before it ever did; and those of
        the recipe's parts."""
        stats = {"last_fired": jnp.zeros((self.n_features,), jnp.int32)} | self.recipe.activation.initial_stats()
        for penalty in self.recipe.penalties:
            stats |= penalty.initial_stats()
        return stats

    @nn.nowrap
    def update_stats(
        self, ctx: StepContext, fired: Bool[Array, " F"], terms: dict[str, Array], aux: dict[str, Array]
    ) -> dict[str, Array]:
        """Statistics after a step, from those before it, in which features fired, the step's terms (sums over all rows)
        and `aux` of `gradients`."""
        stats = {**ctx.stats, "last_fired": jnp.where(fired, ctx.step + 1, ctx.stats["last_fired"])}
        stats |= self.recipe.activation.update_stats(ctx, aux)
        for penalty in self.recipe.penalties:
            stats |= penalty.update_stats(ctx, terms)
        return stats
