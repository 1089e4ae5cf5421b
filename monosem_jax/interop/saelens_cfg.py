"""SAELens' `cfg.json`, a file of unknown origin: its values, checked.

Every function raises BadInput on an unexpected value, in one line with the key, the value found and the expected one.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import DTYPES

MAX_BYTES = 1 << 24
RENAMED = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}  # since version 6
# Values without which the weights alone do not define the dictionary, and those that mean the same.
REQUIRED = {
    "normalize_activations": ("none", (None, False)), "reshape_activations": ("none", (None,)),
    "finetuning_scaling_factor": (False, (None,)),
}  # fmt: skip
ACTIVATIONS = {"topk": "topk"}  # by architecture; others have relu


def read(path: pathlib.Path) -> dict[str, Any]:
    """cfg.json under the names of version 6, with a `metadata`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path} has {path.stat().st_size} bytes: expected at most {MAX_BYTES}")
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
        raise BadInput(f"{path} is {short(cfg)}: expected an object whose `metadata` is an object")
    named: dict[str, Any] = {str(RENAMED.get(name, name)): value for name, value in cfg.items()}
    return named if "sae_lens_version" in named.setdefault("metadata", {}) else _of_before(named)


def _of_before(cfg: dict[str, Any]) -> dict[str, Any]:
    """Fills in the defaults that SAELens assumes for files of versions before 6."""
    cfg.setdefault("architecture", "standard")
    if "reshape_activations" not in cfg and "hook_z" in str(cfg.get("hook_name")):
        cfg["reshape_activations"] = "hook_z"
    details = cfg.get("activation_fn_kwargs")
    if cfg.get("activation_fn") == "topk" and isinstance(details, dict) and details.keys() == {"k"}:
        cfg |= {"architecture": "topk", "k": details["k"]}
    return cfg


def check(cfg: dict[str, Any], where: pathlib.Path) -> None:
    """Raises BadInput when more than the weights decides how activations are transformed."""
    activation = ACTIVATIONS.get(cfg["architecture"], "relu")
    for name, (wanted, same) in {**REQUIRED, "activation_fn": (activation, (None,))}.items():
        value = cfg.get(name)
        if not any(value is s for s in same) and not (type(value) is type(wanted) and value == wanted):
            raise BadInput(f"{where}: {name} is {short(value)}: only {wanted!r} can be imported exactly")


def switch(cfg: dict[str, Any], name: str, default: bool, where: pathlib.Path) -> bool:
    """The value of a key that is true or false."""
    value = cfg.get(name, default)
    if not isinstance(value, bool):
        raise BadInput(f"{where}: {name} is {short(value)}: expected true or false")
    return value


def size(cfg: dict[str, Any], name: str, where: pathlib.Path) -> int:
    """The value of a key that is a size, at least 1."""
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
    """The type in which SAELens computes."""
    name = cfg.get("dtype")
    plain = name.removeprefix("torch.") if isinstance(name, str) else None
    if plain not in DTYPES:
        raise BadInput(f"{where}: dtype is {short(name)}: expected one of {', '.join(DTYPES)}")
    return DTYPES[plain]


def short(value: Any) -> str:
    """Any value, shortened for a message of one line."""
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
