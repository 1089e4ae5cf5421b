"""The linen module that architectures begin from. What they have in common is here, what differs is theirs.

A dictionary reads activations x, has features f ≥ 0 of them, and reconstructs y, which is x itself but for transcoders:

    f = activation((x - b_dec) W_enc + b_enc)        ŷ = f W_dec + b_dec
    loss = mean over the batch of  error(ŷ, y)  +  λ Σ_F f ‖W_dec,f‖  +  α AuxK

In its published form (`encode`, `decode`) a row's features do not depend on the other rows; while it is trained, those
of BatchTopK do.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.sae import gradients as learning
from monosem_jax.sae.ops import auxk
from monosem_jax.sae.ops import top_k as select
from monosem_jax.sae.ops.gathered_matmul import MatmulStrategy, TopKIndices, decode_at
from monosem_jax.sae.ops.matmul import matmul
from monosem_jax.sae.params import linear_init, row_norms, unit_rows, with_unit_rows
from monosem_jax.sae.step_context import Encoded, StepContext


class SparseAutoencoder(nn.Module):
    """Parameters W_enc [M,F], b_enc [F], W_dec [F,M], b_dec [M] in fp32; matmul operands in `dtype`, sums in fp32.

    `width` is that of a row; `parts` are the widths of what it consists of where it comes from several sites.
    """

    width: int
    n_features: int
    dtype: Any = jnp.float32
    config: Any = None
    parts: tuple[int, ...] = ()

    UNIT_NORM = True  # of the rows of W_dec
    ROW_NORM = 1.0  # of W_dec at the beginning
    CENTRED = True  # b_dec is taken from the input
    AT_MEDIAN = True  # b_dec starts at the geometric median of activations, else at 0
    RESAMPLES = True  # neuron resampling is defined for it
    ERROR = "mean"  # of squares over M; or their "sum", or the mean in units of the activations' "variance"
    LOCAL_TERMS = ()  # of what `gradients` gives, those that are still to be summed over features

    @property
    def width_in(self) -> int:
        """M of the activations that are read."""
        return self.width

    @property
    def width_out(self) -> int:
        """M of those that are reconstructed."""
        return self.width

    @property
    def activation(self) -> str:
        """ "relu", "topk" or "batchtopk"."""
        return self.config.activation if self.config else "relu"

    @property
    def whole_batch(self) -> bool:
        """Whether features are chosen, or terms of the loss normalised, over all rows of a batch together."""
        aux = self.activation != "relu" and getattr(self.config, "aux_coefficient", 0)
        return self.activation == "batchtopk" or bool(aux)

    def setup(self):
        f = self.n_features
        rows = lambda *a: self.ROW_NORM * unit_rows(nn.initializers.normal(1.0)(*a))  # noqa: E731
        self.W_dec = self.param("W_dec", rows, (f, self.width_out))
        self.W_enc = self.param("W_enc", self.encoder_init, (self.width_in, f))
        self.b_enc = self.param("b_enc", nn.initializers.zeros, (f,))
        self.b_dec = self.param("b_dec", nn.initializers.zeros, (self.width_out,))

    def encoder_init(self, key: Array, shape: tuple[int, int]) -> Array:
        """Some of the decoder's transpose, untied from then on; or as the decoder's rows are drawn."""
        norm = self.config.tied_norm if self.config else 1.0
        return norm * self.W_dec.T if norm else linear_init(0)(key, shape)

    # The published form.

    def given(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B M"]:
        """The activations of rows that are read."""
        return rows

    def wanted(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B M"]:
        """Those that are to be reconstructed."""
        return rows

    def encode(self, x: Float[Array, "*B M"]) -> Float[Array, "*B F"]:
        """Feature activations of single vectors."""
        h = self.product(x, self.W_enc)
        # b_dec goes through the encoder once per batch rather than once per row.
        return self.features(h - self.b_dec @ self.W_enc if self.CENTRED else h)

    def features(self, h: Float[Array, "*B F"]) -> Float[Array, "*B F"]:
        """Activations from h = (x - b_dec) W_enc."""
        z = nn.relu(h + self.b_enc)
        if self.activation == "topk":
            return select.per_row(z, self.config.k)
        return jnp.where(z > self.threshold(), z, 0)

    def threshold(self) -> Float[Array, " F"]:
        """What a feature must exceed to be active (with TopK it must also be among the k largest)."""
        if self.activation == "batchtopk":
            return self.get_variable("params", "threshold")
        return jnp.zeros_like(self.b_enc)

    def decode(self, f: Float[Array, "*B F"], x: Float[Array, "*B M"] | None = None) -> Float[Array, "*B M"]:
        """Reconstructions from feature activations; x is what they are of, where it is needed too."""
        return self.product(f, self.W_dec) + self.b_dec

    def forward(self, rows: Float[Array, "*B W"]) -> tuple[Float[Array, "*B F"], Float[Array, "*B M"]]:
        """Features and reconstructions of rows."""
        x = self.given(rows)
        f = self.encode(x)
        return f, self.decode(f, x)

    def row_losses(self, rows: Float[Array, "B W"], **hyper: Any) -> tuple[Float[Array, " B"], dict[str, Any]]:
        """How badly every row is reconstructed: what resampling draws by."""
        mse = jnp.mean(jnp.square(self.forward(rows)[1] - self.wanted(rows)), axis=-1)
        return mse, {"mse": mse}

    def product(self, a: Array, b: Array) -> Array:
        return matmul(a.astype(self.dtype), b.astype(self.dtype))

    @nn.nowrap
    def publish(self, params: dict[str, Any], stats: dict[str, Any]) -> dict[str, Any]:
        """Parameters as `encode` takes them, from what training has."""
        if self.activation == "batchtopk":
            return {**params, "threshold": params["b_enc"] * 0 + stats["threshold"]}
        return params

    @nn.nowrap
    def fold(self, params: dict[str, Any], scale: Any) -> dict[str, Any]:
        """Published parameters for raw activations x from those for scale · x, with unit rows of W_dec.

        Only what is added to activations changes with the scale, and features come out in the units of x.
        """
        folded = {n: p if n.startswith("W_") or n == "r_mag" else p / scale for n, p in params.items()}
        return folded if self.UNIT_NORM else with_unit_rows(folded)

    # Training, on one device.

    def activate(self, h: Float[Array, "b F"], here: StepContext) -> Encoded:
        """The features that are active."""
        z = nn.relu(h + self.b_enc)
        if self.activation == "relu":
            norm = 1.0 if self.UNIT_NORM else self.feature_norm()
            return Encoded(z, z > 0, {"l1": jnp.sum(z * norm)})
        if self.activation == "topk":
            mask = select.row_mask(z, self.config.k, here.axes)
        else:
            mask = select.batch_mask(z, self.config.k * here.n_rows, here.axes)
        return Encoded(jnp.where(mask, z, 0), mask, auxk.reconstruct(z, self.W_dec, self.config, here, self.dtype))

    @property
    def by_index(self) -> bool:
        """Whether training need only look at a few features of each row, of which it is known early which they are."""
        return self.activation == "topk" and type(self).reconstruct is SparseAutoencoder.reconstruct

    def candidates(self, h: Float[Array, "b F"], here: StepContext) -> dict[str, TopKIndices]:
        """The features to be looked at, with TopK: those that may be active, and those of dead latents."""
        z = nn.relu(h + self.b_enc)
        found = {"y_hat": TopKIndices(*select.row_index(z, self.config.k, here.axes))}
        return found | auxk.candidates(z, self.config, here)

    def local_at(
        self, h: dict[str, Float[Array, "b k"]], at: dict[str, TopKIndices], here: StepContext
    ) -> tuple[dict[str, Array], tuple[Array, dict[str, Array]]]:
        """What `local` gives, from h at the candidates alone."""
        f = {name: jnp.where(i.real, nn.relu(h[name] + self.b_enc[i.at]), 0) for name, i in at.items()}
        sums = decode_at(MatmulStrategy(here.gather, self.dtype), f, self.W_dec, at)
        if "aux" in at:
            sums["n_dead"] = auxk.count_dead(self.config, here)
        fired = jnp.zeros(self.n_features).at[at["y_hat"].at].add(f["y_hat"] > 0)
        return sums, (fired, {})

    def feature_norm(self) -> Float[Array, " F"]:
        """By which a feature's L1 is weighted: the norm of its row of W_dec."""
        return row_norms(self.W_dec)

    def local(
        self, h: Float[Array, "b F"], here: StepContext
    ) -> tuple[dict[str, Array], tuple[Array, dict[str, Array]]]:
        """(what is to be summed over features, (in how many rows each was active, notes))."""
        code = self.activate(h, here)
        sums = {"y_hat": self.reconstruct(code, here), **code.sums}
        notes = {}
        if self.activation == "batchtopk":
            notes["least"] = select.least(code.f, code.visit, here.axes)
        return sums, (learning.count(code.f > 0, here), notes)

    def reconstruct(self, code: Encoded, here: StepContext) -> Float[Array, "b M"]:
        """The part of ŷ that a device's features make."""
        return learning.decode(code.f, self.W_dec, code.visit, here, self.dtype)

    def loss(
        self, sums: dict[str, Array], x: Float[Array, "b M"], y: Float[Array, "b M"], here: StepContext
    ) -> tuple[Array, dict[str, Array]]:
        """The loss and its terms, summed over rows."""
        error = self.reconstructed(sums, x) - y
        squares = jnp.sum(jnp.square(error))
        loss, terms = self.weigh(squares, here), {"mse": squares / self.width_out}
        return self.penalise(loss, terms, sums, error, here)

    def reconstructed(self, sums: dict[str, Array], x: Float[Array, "b M"]) -> Float[Array, "b M"]:
        """ŷ from the sums over features."""
        return sums["y_hat"] + self.b_dec

    def weigh(self, squares: Array, here: StepContext) -> Array:
        """A sum of squared errors in the units of the loss."""
        if self.ERROR == "sum":
            return squares
        mean = squares / self.width_out
        return mean / here.hyper["variance"] if self.ERROR == "variance" else mean

    def penalise(
        self,
        loss: Array,
        terms: dict[str, Array],
        sums: dict[str, Array],
        error: Float[Array, "b M"],
        here: StepContext,
    ) -> tuple[Array, dict[str, Array]]:
        """(loss, terms) with those that keep features few and alive."""
        if "l1" in sums:
            return loss + here.hyper["l1_coefficient"] * sums["l1"], {**terms, "l1": sums["l1"]}
        if "aux" in sums:
            aux, more = auxk.loss(sums, error, self.config, here)
            return loss + aux, {**terms, **more}
        return loss, terms

    @nn.nowrap
    def gradients(self, params: dict[str, Array], rows: Array, here: StepContext) -> tuple[dict, dict, dict]:
        """What `monosem_jax.sae.gradients.gradients` gives."""
        return learning.gradients(self, params, rows, here)

    @nn.nowrap
    def total(self, terms: dict[str, Array], hyper: dict[str, Array]) -> Array:
        """The loss from the terms of `gradients`."""
        return terms["loss"]

    @nn.nowrap
    def fresh(self, name: str) -> float:
        """What a feature's `name` is at the beginning, where it is one number."""
        return 0.0

    @nn.nowrap
    def initial(self, key: Array) -> dict[str, Array]:
        """Parameters at the beginning."""
        return self.init(key, method=lambda m: m.b_dec)["params"]

    @nn.nowrap
    def initial_stats(self) -> dict[str, Array]:
        """`last_fired` [F]: the number of steps done when the feature last fired; 0 before it ever did. `threshold`:
        the running mean of the smallest activation that is kept of a batch."""
        stats = {"last_fired": jnp.zeros((self.n_features,), jnp.int32)}
        return stats | ({"threshold": jnp.zeros(())} if self.activation == "batchtopk" else {})

    @nn.nowrap
    def new_stats(self, here: StepContext, fired: Array, notes: dict[str, Array]) -> dict[str, Array]:
        """Statistics after a step, from those before it, in which features fired, and notes of `gradients`."""
        stats = {**here.stats, "last_fired": jnp.where(fired, here.step + 1, here.stats["last_fired"])}
        if "least" in notes:
            # At the beginning its memory is a tenth of the steps so far.
            decay = jnp.minimum(here.step / (here.step + 10), self.config.threshold_decay)
            old = here.stats["threshold"]
            stats["threshold"] = jnp.where(notes["least"] < jnp.inf, decay * old + (1 - decay) * notes["least"], old)
        return stats
