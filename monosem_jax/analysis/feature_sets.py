"""A feature set is anything with `encode` and directions: a dictionary, the neurons, the dictionary of a control
transformer, an imported one, random directions. Every analysis takes feature sets, so they go through the same code."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from monosem_jax.models.base import site_widths
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.writing import Edit
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, finite_numbers, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream
from monosem_jax.sae.published import PublishedSAE

SETS = ("features", "neurons", "control", "random")  # their usual names, in the order of tables
DEVIATIONS = 2.0  # standard deviations above the mean at which a random direction begins to fire


class Encoder(Protocol):
    """Rows → features. A pytree, so that compiled functions take it as an argument."""

    @property
    def n_features(self) -> int: ...
    def encode(self, rows: Float[Array, "... W"]) -> Float[Array, "... F"]: ...
    def active(self, f: Float[Array, "... F"]) -> Bool[Array, "... F"]:
        """Where features count as firing."""
        ...

    def affine(self, features: Int[np.ndarray, " n"]) -> tuple[Float[np.ndarray, "n W"], Float[np.ndarray, " n"]]:
        """(w, b): a feature that fires has the activation row · w + b, over the columns of a row that w has."""
        ...


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["start", "stop"])
@dataclasses.dataclass(frozen=True)
class Units:
    """The coordinates `start` to `stop` of a row: neurons. They fire where they are positive."""

    start: int
    stop: int

    @property
    def n_features(self) -> int:
        return self.stop - self.start

    def encode(self, rows: Float[Array, "... W"]) -> Float[Array, "... F"]:
        return rows[..., self.start : self.stop]

    def active(self, f: Float[Array, "... F"]) -> Bool[Array, "... F"]:
        return f > 0

    def affine(self, features):
        return np.eye(self.stop, dtype=np.float32)[self.start + features], np.zeros(len(features), np.float32)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["directions", "offset"], meta_fields=["start", "stop"]
)
@dataclasses.dataclass(frozen=True)
class Projections:
    """Products with fixed directions [F,M] above an `offset` [F]: f = max(x · d − offset, 0)."""

    directions: Array
    offset: Array
    start: int
    stop: int

    @property
    def n_features(self) -> int:
        return self.directions.shape[0]

    def encode(self, rows: Float[Array, "... W"]) -> Float[Array, "... F"]:
        return jax.nn.relu(rows[..., self.start : self.stop] @ self.directions.T - self.offset)

    def active(self, f: Float[Array, "... F"]) -> Bool[Array, "... F"]:
        return f > 0

    def affine(self, features):
        w = np.asarray(self.directions, np.float32)[features]
        return np.pad(w, ((0, 0), (self.start, 0))), -np.asarray(self.offset, np.float32)[features]


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Features of a model's activations.

    `name` stands at the head of its column in tables. `tapped` is the model cut at the site whose rows are encoded,
    `directions` [F,M] are what the features add to the activations that they reconstruct (of several sites: the
    concatenation), in units of one activation.
    """

    name: str
    tapped: TappedModel
    encoder: Encoder
    directions: np.ndarray

    @property
    def n_features(self) -> int:
        return self.encoder.n_features

    def __len__(self) -> int:
        return self.n_features

    @property
    def effect_site(self) -> tuple[str, slice]:
        """The last site at which the features have an effect, and the columns of `directions` that belong to it."""
        return self.tapped.replaced_by(self.directions.shape[1])[-1]

    @property
    def effect_directions(self) -> np.ndarray:
        """[F,M] the directions at `effect_site`."""
        return self.directions[:, self.effect_site[1]]

    @pinned()
    def activations(self, tokens: Any, features: Any = None) -> np.ndarray:
        """[C,T,n] the activations of `features` (all, if None) on contexts [C,T], 0 at BOS; fp32, on the host."""
        columns = np.arange(self.n_features) if features is None else np.asarray(features)
        f = _activations(self.on_device.tapped, self.encoder, jnp.asarray(columns), jnp.asarray(tokens, jnp.int32))
        return np.asarray(f) * (np.asarray(tokens) != self.tapped.bos)[..., None]

    def held(self, features: Any, values: Any, positions: str = "all") -> Edit:
        """What `LoadedModel.generate` does to hold one or more features at values: activations x become
        x + Σ (value_i − f_i(x)) d_i on every token but BOS, or with positions="generated" on those after the prompt.

        Raises BadInput on features that do not exist, values that are not finite, and where features are read at more
        sites than the one of their effect.
        """
        columns = np.atleast_1d(np.asarray(features))
        for i in columns.tolist():
            whole_number(f"{self.name}: feature {i!r}", i, 0, self.n_features - 1)
        level = finite_numbers(f"{self.name}: values", np.atleast_1d(np.asarray(values, np.float32)), len(columns))
        site, _ = self.effect_site
        if site != self.tapped.site:
            raise BadInput(f"{self.name}: features are read at {self.tapped.site}: expected one site to hold them at")
        directions = jnp.asarray(self.effect_directions[columns])
        return Edit(site, _hold, (jax.device_put(self.encoder), jnp.asarray(columns), directions, level), positions)

    @functools.cached_property
    def on_device(self) -> FeatureSet:
        """The same set with the model's and the encoder's parameters on the default device."""
        encoder = jax.device_put(self.encoder)
        return dataclasses.replace(self, tapped=self.tapped.on(None), encoder=encoder)


def row_gain(encoder: Encoder, rows: Float[Array, "... W"]) -> Float[Array, "..."] | None:
    """The scale of each row where a dictionary normalises rows: a feature adds scale · f · its direction. Else None."""
    return encoder.gain(rows) if isinstance(encoder, PublishedSAE) else None


def _hold(values: Any, acts: Float[Array, "C T M"]) -> Float[Array, "C T M"]:
    encoder, columns, directions, level = values
    shift, gain = level - encoder.encode(acts)[..., columns], row_gain(encoder, acts)
    return acts + (shift if gain is None else shift * gain[..., None]) @ directions


@jax.jit
def _activations(tapped: TappedModel, encoder: Encoder, columns: jax.Array, tokens: jax.Array) -> jax.Array:
    return encoder.encode(tapped.rows(tokens))[..., columns]


def dictionary(name: str, tapped: TappedModel, sae: PublishedSAE) -> FeatureSet:
    """The features of a dictionary in its published form."""
    return FeatureSet(name, tapped, sae, np.asarray(sae.params["W_dec"], np.float32))


def neurons(tapped: TappedModel, name: str = "neurons") -> FeatureSet:
    """The coordinates of the activations that dictionaries of this site reconstruct: of several sites, the last."""
    units = _last_units(tapped)
    return FeatureSet(name, tapped, units, np.eye(units.n_features, dtype=np.float32))


def random_directions(
    tapped: TappedModel, n: int, mean: np.ndarray, variance: np.ndarray, *, seed: int = 0, name: str = "random"
) -> FeatureSet:
    """`n` unit vectors, uniform on the sphere, as features that are about as sparse as those of a dictionary.

    f = max((x − mean) · d − DEVIATIONS σ, 0), with `mean` [M] and `variance` [M] of the activations and σ the deviation
    of the projection (correlations between coordinates left out). Raises BadInput on statistics of another width.
    """
    units = _last_units(tapped)
    for what, given in (("mean", mean), ("variance", variance)):
        check_shape(f"random_directions: {what}", np.shape(given), units.n_features)
    d = stream("analysis.random_directions", seed).normal(size=(n, units.n_features))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    spread = np.sqrt(np.square(d) @ np.asarray(variance, np.float64))
    offset = d @ np.asarray(mean, np.float64) + DEVIATIONS * spread
    directions = d.astype(np.float32)
    encoder = Projections(jnp.asarray(directions), jnp.asarray(offset, jnp.float32), units.start, units.stop)
    return FeatureSet(name, tapped, encoder, directions)


def _last_units(tapped: TappedModel) -> Units:
    widths = site_widths(tapped.model, tapped.site)
    return Units(sum(widths[:-1]), sum(widths))


def check_comparable(a: FeatureSet, b: FeatureSet) -> None:
    """Raises BadInput unless two sets can be read on the same tokens: the same vocabulary size and BOS."""
    ours, theirs = ((s.tapped.model.config.vocab_size, s.tapped.bos) for s in (a, b))
    if ours != theirs:
        raise BadInput(
            f"{a.name} and {b.name} are of models with other tokenizers: {ours[0]} and {theirs[0]} tokens, BOS "
            f"{ours[1]} and {theirs[1]}"
        )
