"""What all dictionaries share: the keys of their configurations, sharding rules, what a device knows of a step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

from monosem_jax.runtime.errors import BadInput


def _one_of(*values: str) -> tuple[Callable, str]:
    return lambda value, config: value in values, f"{', '.join(values[:-1])} or {values[-1]}"


def _from_zero(value: float, config: Any) -> bool:
    return math.isfinite(value) and value >= 0


def _features(value: Any, config: Any) -> bool:
    return type(value) is int and (config.activation == "relu" or 1 <= value <= config.n_features)


NUMBER = (_from_zero, "0 or more")

STEPS = (_from_zero, "a number of steps, or a fraction below 1")

COUNT = (lambda value, config: value >= 1, "1 or more")

POSITIVE = (lambda value, config: math.isfinite(value) and value > 0, "a positive number")

# What is possible for a key, given the whole configuration, and how that is said.
KEYS: dict[str, tuple[Callable, str]] = {
    "n_features": COUNT,
    "input_scale": _one_of("none", "unit_rms", "sqrt_width", "unit_norm"),
    "sparse": _one_of("auto", "never", "gather"),
    "activation": _one_of("relu", "topk", "batchtopk"),
    "k": (_features, "1 to n_features = {n}"),
    "multi": NUMBER,
    "threshold_decay": (lambda value, config: 0 <= value < 1, "0 or more, and less than 1"),
    "aux_coefficient": NUMBER,
    "k_aux": COUNT,
    "dead_rows": COUNT,
    "l1_coefficient": NUMBER,
    "tied_norm": NUMBER,
    "l1_warmup": STEPS,
    "l0_coefficient": NUMBER,
    "l0_warmup": STEPS,
    "target_l0": NUMBER,
    "bandwidth": POSITIVE,
    "initial_threshold": POSITIVE,
}


@dataclasses.dataclass(frozen=True)
class SaeConfig:
    """Keys of every architecture. `input_scale` multiplies activations by one number, found on the store and folded
    into the parameters on loading: "unit_rms" for a mean square of 1 of their elements, "sqrt_width" for E‖x‖ = √M,
    "unit_norm" for E‖x‖² = 1. W_enc starts as `tied_norm` times the transpose of W_dec, or apart from it (0): 0.1 makes
    short runs better and leaves fewer features dead (BUILD_NOTES.md 39).

    `sparse` "auto" visits features that are not zero alone where that is faster, on CPUs in fp32; "never" always
    multiplies whole arrays; "gather" gathers those that TopK chose, anywhere.
    """

    architecture: str = ""
    n_features: int = 4096
    input_scale: str = "none"
    sparse: str = "auto"
    tied_norm: float = 1.0

    COEFFICIENT: ClassVar[str] = "l1_coefficient"  # which rises from 0 over the steps that WARMUP says
    WARMUP: ClassVar[str] = "l1_warmup"
    TRACED: ClassVar[tuple[str, ...]] = ("l1_coefficient",)  # keys in which members of one program may differ
    activation: ClassVar[str] = "relu"

    def check(self) -> None:
        """Raises BadInput naming the first impossible value; a key means the same in every architecture."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            possible, expected = KEYS.get(field.name, (lambda value, config: True, ""))
            if not possible(value, self):
                raise BadInput(f"sae.{field.name} is {value!r}: expected {expected.format(n=self.n_features)}")

    @property
    def sparsity_key(self) -> str:
        """The key that decides how many features are active: what a sweep varies."""
        return {"relu": "l1_coefficient", "topk": "k", "batchtopk": "k"}[self.activation]

    @property
    def sparsity(self) -> float:
        """Its value."""
        return getattr(self, self.sparsity_key)

    def hyper(self) -> dict[str, float]:
        """What the members of one program may differ in."""
        return {name: getattr(self, name) for name in self.TRACED}

    def warmup_steps(self, steps: int) -> int:
        """Over how many of `steps` the coefficient rises from 0."""
        warmup = getattr(self, self.WARMUP, 0)
        return round(warmup * steps) if warmup < 1 else int(warmup)


@dataclasses.dataclass(frozen=True)
class L1Config(SaeConfig):
    """λ is `l1_coefficient`; it rises from 0 over `l1_warmup` steps, below 1 a fraction of `train.steps`."""

    l1_coefficient: float = 0.004
    l1_warmup: float = 0.0


@dataclasses.dataclass(frozen=True)
class TopConfig(SaeConfig):
    """`k` features a row. Latents that were not active in `dead_rows` rows are dead; the `k_aux` largest of them
    reconstruct the error, with the weight `aux_coefficient` (0: never)."""

    input_scale: str = "unit_rms"
    k: int = 32
    aux_coefficient: float = 1 / 32
    k_aux: int = 512
    dead_rows: int = 10_000_000

    TRACED: ClassVar[tuple[str, ...]] = ()


@dataclasses.dataclass(frozen=True)
class AnyConfig(TopConfig, L1Config):
    """Keys of all activations: `activation` says which, and so which keys matter."""

    activation: str = "batchtopk"
    threshold_decay: float = 0.999

    TRACED: ClassVar[tuple[str, ...]] = ("l1_coefficient",)
