"""Rotary positions with the scalings that lengthen contexts, under their names in Hugging Face configurations."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from monosem_jax.runtime.errors import BadInput

KINDS = ("default", "linear", "llama3", "yarn")


@dataclasses.dataclass(frozen=True)
class Rope:
    """Angles per position of rotary embedding."""

    theta: float = 10_000.0
    """The base: pair i of R/2 turns by theta^(-2i/R) per position."""
    kind: str = "default"
    """default, linear (positions divided by factor), llama3 (low frequencies divided), or yarn (Peng et al., 2023)."""
    factor: float = 1.0
    """How many times longer contexts become."""
    original_length: int = 0
    """The longest context before that (llama3, yarn)."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths above original_length / low_freq_factor are divided by factor."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths below original_length / high_freq_factor stay as they are."""
    beta_fast: float = 32.0
    """yarn: pairs that turn more often than this within original_length stay as they are."""
    beta_slow: float = 1.0
    """yarn: pairs that turn less often than this are divided by factor."""
    attention_factor: float = 0.0
    """yarn: what queries and keys are multiplied by; 0: 0.1 ln(factor) + 1."""
    truncate: bool = True
    """yarn: whether the two pairs between which frequencies pass from one to the other are rounded to whole ones."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.kind not in KINDS:
            raise BadInput(f"rope.kind is {self.kind!r}: expected one of {', '.join(KINDS)}")
        if not (self.theta > 1 and self.factor >= 1):
            raise BadInput(f"rope: theta is {self.theta} and factor {self.factor}: expected above 1 and at least 1")
        if self.kind in ("llama3", "yarn") and self.original_length < 1:
            raise BadInput(f"rope.original_length is {self.original_length}: {self.kind} needs the earlier length")

    @property
    def scale(self) -> float:
        """What rotated queries and keys are multiplied by."""
        if self.kind != "yarn":
            return 1.0
        return self.attention_factor or (0.1 * math.log(self.factor) + 1 if self.factor > 1 else 1.0)

    def angles(self, width: int) -> Float[Array, " R/2"]:
        """The angle of each pair of `width` columns per position."""
        plain = self.theta ** -(np.arange(width // 2) * 2 / width)
        found = {"default": lambda: plain, "linear": lambda: plain / self.factor, "llama3": lambda: self._llama3(plain),
                 "yarn": lambda: self._yarn(plain, width)}[self.kind]()  # fmt: skip
        return jnp.asarray(found, jnp.float32)

    def _llama3(self, plain: np.ndarray) -> np.ndarray:
        turns = self.original_length * plain / (2 * math.pi)
        keep = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        keep = np.clip(keep, 0, 1)
        return plain * (keep + (1 - keep) / self.factor)

    def _yarn(self, plain: np.ndarray, width: int) -> np.ndarray:
        low, high = (self._pair(beta, width) for beta in (self.beta_fast, self.beta_slow))
        low, high = (math.floor(low), math.ceil(high)) if self.truncate else (low, high)
        low, high = max(low, 0), min(high, width - 1)
        divided = np.clip((np.arange(width // 2) - low) / max(high - low, 1e-3), 0, 1)
        return plain * (1 - divided + divided / self.factor)

    def _pair(self, turns: float, width: int) -> float:
        """The pair, as a fraction, that turns so often within original_length."""
        return width * math.log(self.original_length / (turns * 2 * math.pi)) / (2 * math.log(self.theta))
