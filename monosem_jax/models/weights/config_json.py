"""A config.json of Hugging Face, a file of unknown origin: its values, checked.

Every function raises BadInput on an unexpected value, in one line with the key, the value and what is expected.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from monosem_jax.models.rope import KINDS, Rope
from monosem_jax.runtime.errors import BadInput

MOST = 1 << 31  # every number in a configuration is smaller
LAYERS, MOST_LAYERS = ("num_hidden_layers", "n_layer"), 10_000  # work is done for each of them before tensors are read
LARGEST = 1e30
REQUIRED: Any = object()
# Hugging Face's names of nonlinearities -> ours.
NONLINEAR = {
    "relu": "relu", "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_python_tanh": "gelu_tanh", "silu": "silu",
    "swish": "silu",
}  # fmt: skip


def shown(value: Any) -> str:
    """A value of unknown origin, for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The values of a config.json."""

    values: Mapping[str, Any]

    def count(self, key: str, default: Any = REQUIRED) -> int:
        """A whole number; null is `default`."""
        value, most = self._get(key, default), MOST_LAYERS if key in LAYERS else MOST
        if type(value) is not int or not 0 <= value < most:
            raise BadInput(f"config.json: {key} is {shown(value)}: expected a whole number below {most:,}")
        return value

    def number(self, key: str, default: Any = REQUIRED) -> float:
        """A finite number."""
        value = self._get(key, default)
        if type(value) not in (int, float) or not abs(value) < LARGEST:  # NaN included
            raise BadInput(f"config.json: {key} is {shown(value)}: expected a number")
        return float(value)

    def switch(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise BadInput(f"config.json: {key} is {shown(value)}: expected true or false")
        return value

    def text(self, key: str, default: Any = REQUIRED) -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise BadInput(f"config.json: {key} is {shown(value)}: expected a string")
        return value

    def nonlinearity(self, key: str, default: str) -> str:
        """Our name of a nonlinearity."""
        if (name := self.text(key, default)) not in NONLINEAR:
            raise BadInput(f"config.json: {key} is {shown(name)}: expected one of {', '.join(sorted(NONLINEAR))}")
        return NONLINEAR[name]

    def expect(self, key: str, *allowed: Any) -> None:
        """Raises BadInput unless the value is one of `allowed`, the first of which is the default."""
        if not any(type(value := self._get(key, allowed[0])) is type(a) and value == a for a in allowed):
            raise BadInput(f"config.json: {key} is {shown(value)}: expected {' or '.join(map(shown, allowed))}")

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        value = default if value is None else value
        if value is REQUIRED:
            raise BadInput(f"config.json has no {key}")
        return value


def rope_of(values: Mapping[str, Any], theta: float = 10_000.0, kind: str = "") -> Rope:
    """The rotary positions that a config.json describes, in the form of before transformers 5 (`rope_theta` and
    `rope_scaling`) or since (`rope_parameters`, there by `kind` of layer if given). `theta`: if it has none."""
    s, top = Settings(_rope_values(values, kind)), Settings(values)
    name = s.text("rope_type", s.text("type", "default"))
    if name not in KINDS:
        raise BadInput(f"config.json: rope_type is {shown(name)}: expected one of {', '.join(KINDS)}")
    length, original = top.count("max_position_embeddings", 0), 0
    if name in ("llama3", "yarn"):
        here = s.count("original_max_position_embeddings", length)
        original = top.count("original_max_position_embeddings", here)
    lengthened = length / original if name == "yarn" and original else REQUIRED
    factor = 1.0 if name == "default" else s.number("factor", lengthened)
    return Rope(
        theta=s.number("rope_theta", top.number("rope_theta", theta)),
        kind=name,
        factor=factor,
        original_length=original,
        low_freq_factor=s.number("low_freq_factor", 1.0),
        high_freq_factor=s.number("high_freq_factor", 4.0),
        beta_fast=s.number("beta_fast", 32.0) or 32.0,
        beta_slow=s.number("beta_slow", 1.0) or 1.0,
        attention_factor=s.number("attention_factor", _mscale(s, factor)) if name == "yarn" else 0.0,
        truncate=s.switch("truncate", True),
    )


def rotary_share(values: Mapping[str, Any], default: float = 1.0, kind: str = "") -> float:
    """Which part of the columns of a head has rotary positions."""
    share = Settings(values).number("partial_rotary_factor", default)
    return Settings(_rope_values(values, kind)).number("partial_rotary_factor", share)


def _rope_values(values: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """What is said of rotary positions apart from the rest. Where there are both, transformers takes rope_scaling."""
    new = _object(values, "rope_parameters")
    return _object(new, kind) if kind and kind in new else _object(values, "rope_scaling") or new


def _mscale(s: Settings, factor: float) -> float:
    """The attention factor of a YaRN that gives it as `mscale` and `mscale_all_dim` (DeepSeek); 0 where it does not."""
    over, under = s.number("mscale", 0.0), s.number("mscale_all_dim", 0.0)
    if not over or not under or factor <= 1:
        return 0.0
    return (0.1 * over * math.log(factor) + 1) / (0.1 * under * math.log(factor) + 1)


def _object(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise BadInput(f"config.json: {key} is {shown(found)}: expected an object")
    return found
