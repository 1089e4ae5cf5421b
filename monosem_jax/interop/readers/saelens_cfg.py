"""SAELens' `cfg.json` of any version, a file of unknown origin: its values, checked.

Every function raises BadInput on an unexpected value, in one line with the key, the value found and the expected one.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

from monosem_jax.interop.readers.common import read_object, short, word
from monosem_jax.models.hooks import HOOKS, site_of
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import DTYPES

# Before version 6, and since.
RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
ACTIVATIONS = {"topk": "topk"}  # by architecture; others have relu
SCALED, WHITENED = "expected_average_only_in", "covariance_whitening"
# normalize_activations -> how single rows are normalised (`sae.row_scales`)
NORMALISED = {
    "none": "", SCALED: "", WHITENED: "", "layer_norm": "layer_norm", "constant_norm_rescale": "constant_norm"
}  # fmt: skip
RESHAPED = ("none", "hook_z")


def read(path: pathlib.Path) -> dict[str, Any]:
    """cfg.json under the names of version 6, with a `metadata`."""
    cfg = read_object(path)
    if not isinstance(cfg.get("metadata", {}), dict):
        raise BadInput(f"{path} is {short(cfg)}: expected an object whose `metadata` is an object")
    named: dict[str, Any] = {str(RENAMED.get(name, name)): value for name, value in cfg.items()}
    version = str(named.setdefault("metadata", {}).get("sae_lens_version") or named.get("sae_lens_version"))
    return named if re.match(r"([6-9]|[1-9][0-9]+)\.", version) else _of_before(named)


def _of_before(cfg: dict[str, Any]) -> dict[str, Any]:
    """Fills in the defaults that SAELens assumes for files of versions before 6."""
    cfg.setdefault("architecture", "standard")
    if "reshape_activations" not in cfg and "hook_z" in str(cfg.get("hook_name")):
        cfg["reshape_activations"] = "hook_z"
    if type(cfg.get("normalize_activations")) is bool:
        cfg["normalize_activations"] = SCALED if cfg["normalize_activations"] else "none"
    details = cfg.get("activation_fn_kwargs")
    if cfg.get("activation_fn") == "topk" and isinstance(details, dict) and details.keys() == {"k"}:
        cfg |= {"architecture": "topk", "k": details["k"]}
    return cfg


def check(cfg: dict[str, Any], where: pathlib.Path) -> None:
    """Raises BadInput when something decides how activations are transformed that the weights and known keys do not."""
    activation = ACTIVATIONS.get(cfg["architecture"], "relu")
    if cfg.get("activation_fn") not in (None, activation):
        raise BadInput(
            f"{where}: activation_fn is {short(cfg['activation_fn'])}: only {activation!r} can be imported exactly"
        )
    for name, known in (("normalize_activations", NORMALISED), ("reshape_activations", RESHAPED)):
        if cfg.get(name) is None:
            cfg[name] = "none"
        word(cfg, name, where, known)
    tuned = cfg.get("finetuning_scaling_factor")
    if not any(tuned is known for known in (None, False, True)):
        raise BadInput(f"{where}: finetuning_scaling_factor is {short(tuned)}: expected true or false")
    head = cfg["metadata"].get("hook_head_index", cfg.get("hook_head_index"))
    if head is not None:
        raise BadInput(
            f"{where}: hook_head_index is {short(head)}: a site of ours has all heads together, expected null"
        )


def site(cfg: dict[str, Any], where: pathlib.Path, given: bool) -> str | None:
    """Our site of the hook that is read and, in a transcoder, of the one that is reconstructed; None: not said.

    Raises BadInput where there is no such site, unless another is `given` in its place.
    """
    names = ("hook_name", "hook_name_out") if "transcoder" in cfg["architecture"] else ("hook_name",)
    hooks = [cfg["metadata"].get(name, cfg.get(name)) for name in names]
    found = [site_of(hook) for hook in hooks]
    if given or not any(isinstance(hook, str) and hook for hook in hooks):
        return None
    for name, hook, one in zip(names, hooks, found, strict=True):
        if one is None:
            known = ", ".join(f"blocks.N.{each}" for each in HOOKS.values())
            raise BadInput(
                f"{where}: {name} is {short(hook)}, no site of ours: give --site, or expected one of {known}"
            )
    return "+".join(str(one) for one in found)


def dtype(cfg: dict[str, Any], where: pathlib.Path) -> Any:
    """The type in which SAELens computes."""
    name = cfg.get("dtype")
    plain = name.removeprefix("torch.") if isinstance(name, str) else None
    if plain not in DTYPES:
        raise BadInput(f"{where}: dtype is {short(name)}: expected one of {', '.join(DTYPES)}")
    return DTYPES[plain]
