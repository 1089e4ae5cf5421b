"""Configuration keys that several architectures share, with the bound of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from monosem_jax.runtime.config import Variants
from monosem_jax.runtime.errors import BadInput, listed
from monosem_jax.sae.recipe import Recipe


class Bound(NamedTuple):
    """A check of a value, given the whole configuration, and its text for error messages; {n} is n_features."""

    holds: Callable[[Any, Any], bool]
    expected: str


def key(default: Any, bound: Bound) -> Any:
    """A dataclass field with a bound. A subclass that only changes the default keeps the bound."""
    return dataclasses.field(default=default, metadata={"bound": bound})


def one_of(*values: str) -> Bound:
    """The bound that a value is one of these words."""
    return Bound(lambda value, config: value in values, f"{', '.join(values[:-1])} or {values[-1]}")


def _from_zero(value: float, config: object) -> bool:
    return math.isfinite(value) and value >= 0


NUMBER = Bound(_from_zero, "0 or more")
STEPS = Bound(_from_zero, "a number of steps, or a fraction below 1")
COUNT = Bound(lambda value, config: value >= 1, "1 or more")
POSITIVE = Bound(lambda value, config: math.isfinite(value) and value > 0, "a positive number")
DECAY = Bound(lambda value, config: 0 <= value < 1, "0 or more, and less than 1")
FEATURES = Bound(
    lambda value, config: config.sparsity_key != "k" or (type(value) is int and 1 <= value <= config.n_features),
    "1 to n_features = {n}",
)


@dataclasses.dataclass(frozen=True)
class SaeConfig(Variants):
    """Keys of every architecture."""

    architecture: str = ""
    """Its name in the table of architectures."""
    n_features: int = key(4096, COUNT)
    """Features, F."""
    input_scale: str = key("none", one_of("none", "unit_rms", "sqrt_width", "unit_norm"))
    """Activations are multiplied by one number, found on the store and folded into the parameters on loading. unit_rms:
    a mean square of 1 of their elements; sqrt_width: E‖x‖ = √M; unit_norm: E‖x‖² = 1; none: as they are."""
    sparse: str = key("auto", one_of("auto", "never", "gather"))
    """auto: on CPUs in fp32 only features that are not zero are visited where that is faster; never: whole arrays are
    always multiplied; gather: the features that TopK chose are gathered, on any device."""
    tied_norm: float = key(1.0, NUMBER)
    """W_enc starts as this multiple of the transpose of W_dec; 0: it is drawn independently. Short runs reconstruct
    better with 0.1 (experiments/results/fronts.md)."""

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        """The parts of this architecture, for rows with parts of widths `parts`; () if these do not matter."""
        raise NotImplementedError(f"{type(self).__name__} is not the configuration of an architecture")

    @classmethod
    def variant(cls, values: dict[str, Any]) -> type[SaeConfig]:
        """The configuration class for `values`, chosen by their architecture. Raises BadInput if one of them belongs to
        another architecture."""
        return config_class(values) if cls is SaeConfig else cls

    @classmethod
    def variants(cls) -> Mapping[str, type[SaeConfig]]:
        """The table of architectures."""
        return ARCHITECTURES

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        for field in dataclasses.fields(self):
            self.check_key(field.name)

    def check_key(self, name: str) -> None:
        """Raises BadInput if the value of this key is impossible."""
        value, bound = getattr(self, name), self._bound(name)
        if bound and not bound.holds(value, self):
            raise BadInput(f"sae.{name} is {value!r}: expected {bound.expected.format(n=self.n_features)}")

    def _bound(self, name: str) -> Bound | None:
        """The bound from the nearest class in the method resolution order that declares one, or None."""
        fields = (getattr(cls, "__dataclass_fields__", {}).get(name) for cls in type(self).__mro__)
        return next((f.metadata["bound"] for f in fields if f is not None and "bound" in f.metadata), None)

    @property
    def sparsity_key(self) -> str:
        """The key that sets how many features are active; a sweep varies it."""
        return self.recipe().sparsity_key

    @property
    def sparsity(self) -> float:
        """The value of `sparsity_key`."""
        return getattr(self, self.sparsity_key)

    def hyper(self) -> dict[str, float]:
        """Name -> value of the keys in which members of one program may differ."""
        return {name: getattr(self, name) for name in self.recipe().hyper}

    def warmup_steps(self, steps: int) -> int:
        """The number of steps, of `steps` in all, over which the coefficient rises from 0."""
        name = self.recipe().warmup
        return in_steps(getattr(self, name), steps) if name else 0


# The configuration class of every architecture, in the order of `register`.
ARCHITECTURES: dict[str, type[SaeConfig]] = {}


def register(*configs: type[SaeConfig]) -> None:
    """Adds architectures to the table, under the names in their configurations."""
    ARCHITECTURES.update({config.architecture: config for config in configs})


def find(architecture: str) -> type[SaeConfig]:
    """The configuration class of an architecture; raises BadInput on an unknown name."""
    if architecture not in ARCHITECTURES:
        raise BadInput(f"sae.architecture is {architecture!r}: expected one of {listed(architecture, ARCHITECTURES)}")
    return ARCHITECTURES[architecture]


def config_class(values: Mapping[str, Any]) -> type[SaeConfig]:
    """The configuration class for these values, chosen by their architecture.

    Raises BadInput if one of them belongs to another architecture.
    """
    name = values.get("architecture", "relu")
    cls = find(name)
    keys = {architecture: {f.name for f in dataclasses.fields(c)} for architecture, c in ARCHITECTURES.items()}
    others = set().union(*keys.values()) - keys[name]
    for key in values:
        if key in others:
            file = "a1" if name == "relu" else name
            raise BadInput(
                f"sae.architecture {name} has no {key}: begin with --config=experiments/configs/{file}.py, which is "
                "for train_sae and sweep"
            )
    return cls


def in_steps(value: float, steps: int) -> int:
    """`value` as a number of steps; a value below 1 is a fraction of `steps`."""
    return round(value * steps) if value < 1 else int(value)


@dataclasses.dataclass(frozen=True)
class L1Config(SaeConfig):
    """Keys of architectures with an L1 penalty."""

    l1_coefficient: float = key(0.004, NUMBER)
    """λ, the weight of L1. What it means depends on the units of the architecture's loss."""
    l1_warmup: float = key(0.0, STEPS)
    """Steps over which the coefficient rises from 0; below 1 a fraction of train.steps."""


@dataclasses.dataclass(frozen=True)
class TopConfig(SaeConfig):
    """Keys of architectures that choose k features, with AuxK for the dead ones."""

    input_scale: str = "unit_rms"
    k: int = key(32, FEATURES)
    """Features that are active on a row; with batchtopk on average over a batch."""
    aux_coefficient: float = key(1 / 32, NUMBER)
    """The weight of AuxK, the error that dead features leave of the reconstruction's error. 0: no AuxK."""
    k_aux: int = key(512, COUNT)
    """Dead features that reconstruct the error of a row."""
    dead_rows: int = key(10_000_000, COUNT)
    """A feature that was not active in so many rows is dead."""


@dataclasses.dataclass(frozen=True)
class AnyConfig(TopConfig, L1Config):
    """Keys of three activation functions: `activation` says which, and so which keys matter."""

    activation: str = key("batchtopk", one_of("relu", "topk", "batchtopk"))
    """The activation function: relu has an L1 penalty, topk and batchtopk choose k features and have AuxK."""
    threshold_decay: float = key(0.999, DECAY)
    """Of the running mean, over steps, of batchtopk's threshold."""
