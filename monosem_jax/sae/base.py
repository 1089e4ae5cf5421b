"""The protocol of an architecture, and the Flax module that all architectures share.

A dictionary encodes activations x as features f and reconstructs y, which is x itself except in transcoders:

    h = (x - b_dec) W_enc        f = activation(h)        ŷ = f W_dec + b_dec (+ x W_skip)
    loss = mean over the batch of  error(ŷ, y)  +  Σ penalties

An architecture is a `recipe.Recipe`: a frozen record that names its parts. Several recipes can share a part:

    activation   `activation_fns.ActivationFn`: f, its parameters, statistics and published form
    error        `errors.ReconstructionError`: mean or sum of squares, share of the variance, over prefixes
    penalties    `penalties.Penalty`: L1, L0, AuxK …, with the keys, coefficient and warm-up that each declares once
    sites        `sites`: one site, from one to another, several together
    initial      `params.DecoderFirst` or `params.LinearLayers`

Parts are called in a fixed order. In training, on each device (`gradients`): `activation.train(h) -> Encoded`, each
`penalty.local`, `error.local`; sums over features; `error.loss`, each `penalty.loss`; after the step
`activation.update_stats` and `penalty.update_stats`. In the published form: `activation.to_inference`, `sites.unscale`,
then `encode` and `decode`, in which a row does not depend on the other rows.

To add an architecture, write a file in `architectures/` with a frozen configuration whose `recipe` names these parts,
and add a line to the table there. Write a new part as a class in that file; add a new parameter as a line in `params`.
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
from monosem_jax.sae.row_scales import ROW_SCALES
from monosem_jax.sae.step_context import StepContext


class SparseAutoencoder(nn.Module):
    """Parameters W_enc [M,F], b_enc [F], W_dec [F,M], b_dec [M] and those of the recipe, in fp32; operands of products
    in `dtype`, sums in fp32.

    `width` is the width of a row, `parts` the widths of its parts, `rows` the normalisation of single rows that a
    published dictionary may have (a key of `row_scales.ROW_SCALES`). `architectures.build` makes the module. Call
    methods that read parameters as `apply({"params": …}, …, method=sae.encode)`, with published parameters.
    """

    width: int
    n_features: int
    config: SaeConfig
    dtype: Any = jnp.float32
    parts: tuple[int, ...] = ()
    rows: str = ""

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe(self.parts)

    @property
    def width_in(self) -> int:
        """M of the activations that the encoder reads."""
        return self.recipe.sites.widths(self.width)[0]

    @property
    def width_out(self) -> int:
        """M of the activations that the decoder reconstructs."""
        return self.recipe.sites.widths(self.width)[1]

    # The published form.

    @nn.nowrap
    def inputs(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B M"]:
        """The part of each row that the encoder reads."""
        return self.recipe.sites.inputs(rows)

    @nn.nowrap
    def targets(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B M"]:
        """The part of each row that the decoder reconstructs."""
        return self.recipe.sites.targets(rows)

    def encode(self, x: Float[Array, "*B M"]) -> Float[Array, "*B F"]:
        """Feature activations of single vectors."""
        p = self._params()
        if self.rows:
            shift, divisor, _ = ROW_SCALES[self.rows](x)
            x = (x - shift) / divisor
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

    @nn.nowrap
    def gain(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B"] | None:
        """What a feature's activation is multiplied by in each row's reconstruction; None: by 1 in all."""
        return ROW_SCALES[self.rows](self.inputs(rows))[2][..., 0] if self.rows else None

    def decode(self, f: Float[Array, "*B F"], x: Float[Array, "*B M"] | None = None) -> Float[Array, "*B M"]:
        """Reconstructions from feature activations; `x`: the activations that were encoded, needed for a skip and
        where rows are normalised.

        Raises BadInput if x is needed and not given.
        """
        p = self._params()
        y_hat = self._product(f, p["W_dec"]) + p["b_dec"]
        if self.rows:
            if x is None:
                raise BadInput(
                    f"a dictionary of rows with {self.rows} decodes from features and activations: decode(f, x)"
                )
            shift, _, scale = ROW_SCALES[self.rows](x)
            return y_hat * scale + shift
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
        """(the loss of every row, terms): resampling draws rows by this loss."""
        f, y_hat = self.forward(rows)
        return (self.recipe.row_losses or squared_errors)(f, y_hat, self.targets(rows), hyper)

    def _params(self) -> dict[str, Array]:
        variables: Any = self.variables
        return dict(variables["params"])

    def _product(self, a: Array, b: Array) -> Array:
        return matmul(a.astype(self.dtype), b.astype(self.dtype))

    @nn.nowrap
    def to_inference(self, params: dict[str, Any], stats: dict[str, Any]) -> dict[str, Any]:
        """Published parameters, as `encode` expects them, from the training's parameters and statistics."""
        return self.recipe.activation.to_inference(params, stats)

    @nn.nowrap
    def unscale(self, params: dict[str, Any], scale: Any) -> dict[str, Any]:
        """Published parameters for raw activations x from those for scale · x, with unit rows of W_dec.

        `scale` is one number, or one number per part of a row. Features have the units of the reconstruction.
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
        """The initial parameters."""
        return dict(self.init(key, method=SparseAutoencoder.create)["params"])

    @nn.nowrap
    def init_value(self, name: str) -> float:
        """The initial value of a feature's parameter `name`, if it is one number."""
        return self.recipe.parameters[name]

    @nn.nowrap
    def initial_stats(self) -> dict[str, Array]:
        """The initial statistics: `last_fired` [F], the number of steps done when the feature last fired (0: never),
        and the statistics of the recipe's parts."""
        stats = {"last_fired": jnp.zeros((self.n_features,), jnp.int32)} | self.recipe.activation.initial_stats()
        for penalty in self.recipe.penalties:
            stats |= penalty.initial_stats()
        return stats

    @nn.nowrap
    def update_stats(
        self, ctx: StepContext, fired: Bool[Array, " F"], terms: dict[str, Array], aux: dict[str, Array]
    ) -> dict[str, Array]:
        """Statistics after a step, from those before it, `fired` (which features fired), the step's terms (sums over
        all rows) and the `aux` of `gradients`."""
        stats = {**ctx.stats, "last_fired": jnp.where(fired, ctx.step + 1, ctx.stats["last_fired"])}
        stats |= self.recipe.activation.update_stats(ctx, aux)
        for penalty in self.recipe.penalties:
            stats |= penalty.update_stats(ctx, terms)
        return stats
