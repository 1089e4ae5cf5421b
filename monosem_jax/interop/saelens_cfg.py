"""SAELens' `cfg.json`, written by somebody else: what it says, if that is what we take it for.

Every function raises BadInput on anything else, in one line that names the key, what was found and what was expected.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import DTYPES

MAX_BYTES = 1 << 24
RENAMED = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}  # since version 6
# What must be so for a dictionary to be what its weights say, and what it is taken for when it is not there.
REQUIRED = {
    "normalize_activations": ("none", (None, False)), "reshape_activations": ("none", (None,)),
    "finetuning_scaling_factor": (False, (None,)),
}  # fmt: skip
ACTIVATIONS = {"topk": "topk"}  # of architectures where it is not relu


def read(path: pathlib.Path) -> dict[str, Any]:
    """cfg.json with the names of version 6 and a `metadata`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path} has {path.stat().st_size} bytes: no {path.name} is that large")
        cfg = json.loads(path.read_bytes())
    except OSError as e:
        raise BadInput(f"{path} cannot be read: {e.strerror}") from None
    except RecursionError:
        raise BadInput(f"{path} is nested too deeply") from None
    except ValueError as e:
        if isinstance(e, BadInput):
            raise
        raise BadInput(f"{path} is not valid JSON: {str(e)[:200]}") from None
    if not isinstance(cfg, dict) or not isinstance(cfg.get("metadata", {}), dict):
        raise BadInput(f"{path} is {short(cfg)}: expected an object, and in it `metadata` an object")
    cfg = {RENAMED.get(name, name): value for name, value in cfg.items()}
    return cfg if "sae_lens_version" in cfg.setdefault("metadata", {}) else _of_before(cfg)


def _of_before(cfg: dict[str, Any]) -> dict[str, Any]:
    """What a version before 6 left out, as SAELens takes it."""
    cfg.setdefault("architecture", "standard")
    if "reshape_activations" not in cfg and "hook_z" in str(cfg.get("hook_name")):
        cfg["reshape_activations"] = "hook_z"
    details = cfg.get("activation_fn_kwargs")
    if cfg.get("activation_fn") == "topk" and isinstance(details, dict) and details.keys() == {"k"}:
        cfg |= {"architecture": "topk", "k": details["k"]}
    return cfg


def check(cfg: dict[str, Any], where: pathlib.Path) -> None:
    """Whether activations go in, through and out as the weights alone say."""
    activation = ACTIVATIONS.get(cfg["architecture"], "relu")
    for name, (wanted, same) in {**REQUIRED, "activation_fn": (activation, (None,))}.items():
        value = cfg.get(name)
        if not any(value is s for s in same) and not (type(value) is type(wanted) and value == wanted):
            raise BadInput(f"{where}: {name} is {short(value)}: only {wanted!r} can be imported exactly")


def switch(cfg: dict[str, Any], name: str, default: bool, where: pathlib.Path) -> bool:
    """A key that is true or false."""
    value = cfg.get(name, default)
    if not isinstance(value, bool):
        raise BadInput(f"{where}: {name} is {short(value)}: expected true or false")
    return value


def size(cfg: dict[str, Any], name: str, where: pathlib.Path) -> int:
    """A key that is a number of things."""
    value = cfg.get(name)
    if type(value) is not int or value < 1:
        raise BadInput(f"{where}: {name} is {short(value)}: expected a whole number of at least 1")
    return value


def features_per_row(cfg: dict[str, Any], where: pathlib.Path) -> int:
    """`k` of TopK."""
    k, most = cfg.get("k"), cfg["d_sae"]
    if type(k) is not int or not 1 <= k <= most:
        raise BadInput(f"{where}: k is {short(k)}: expected a whole number from 1 to d_sae = {most}")
    return k


def dtype(cfg: dict[str, Any], where: pathlib.Path) -> Any:
    """The type that SAELens computes in."""
    name = cfg.get("dtype")
    plain = name.removeprefix("torch.") if isinstance(name, str) else None
    if plain not in DTYPES:
        raise BadInput(f"{where}: dtype is {short(name)}: expected one of {', '.join(DTYPES)}")
    return DTYPES[plain]


def short(value: Any) -> str:
    """A value that may be anything, for a message of one line."""
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
