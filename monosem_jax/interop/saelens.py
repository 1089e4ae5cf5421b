"""SAELens' folders: `cfg.json`, `sae_weights.safetensors` and, if it is known how often features fire,
`sparsity.safetensors`.

Its "standard" dictionary is our ReLU one, with the same names and orientation. Written are folders of its version 6;
read are also those of before, whose `cfg.json` had other names.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from monosem_jax.errors import BadInput
from monosem_jax.interop.dictionary import Dictionary, check_finite, for_architecture
from monosem_jax.interop.tensors import read_tensors
from monosem_jax.run import write_json

CFG, WEIGHTS, SPARSITY = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
# Our sites under TransformerLens' names. `hook_mlp_in` is before the LayerNorm, mlp_in behind it.
HOOKS = {
    "resid_pre": "hook_resid_pre", "attn_out": "hook_attn_out", "resid_mid": "hook_resid_mid",
    "mlp_in": "ln2.hook_normalized", "mlp_hidden": "mlp.hook_post", "mlp_out": "hook_mlp_out",
}  # fmt: skip
LOWEST_DENSITY = 1e-10
MAX_CFG_BYTES = 1 << 24
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
RENAMED = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}  # since version 6
# What must be so for a dictionary to be what its weights say, and what it is taken for when it is not there.
REQUIRED = {
    "normalize_activations": ("none", (None, False)), "reshape_activations": ("none", (None,)),
    "activation_fn": ("relu", (None,)), "finetuning_scaling_factor": (False, (None,)),
}  # fmt: skip


def write(folder: pathlib.Path, dictionary: Dictionary) -> None:
    """Fills a folder that `sae_lens.SAE.load_from_disk` takes; raises BadInput on an architecture that it has not."""
    cfg, tensors = for_architecture(WRITTEN, dictionary, "SAELens")(dictionary)
    metadata: dict[str, Any] = {"sae_lens_version": "6.0.0"}
    if dictionary.site is not None:
        metadata["hook_name"] = hook_name(dictionary.site)
    if dictionary.model_name is not None:
        metadata |= {"model_name": dictionary.model_name, "prepend_bos": True}  # as every context of ours begins
    if dictionary.context_length is not None:
        metadata["context_size"] = dictionary.context_length
    shape = {"d_in": dictionary.width, "d_sae": dictionary.n_features, "dtype": "float32", "device": "cpu"}
    write_json(folder / CFG, {**cfg, **shape, "metadata": metadata})
    save_file({name: np.ascontiguousarray(t, "<f4") for name, t in tensors.items()}, folder / WEIGHTS)
    if dictionary.density is not None:
        sparsity = np.log10(np.maximum(dictionary.density, LOWEST_DENSITY)).astype("<f4")
        save_file({"sparsity": sparsity}, folder / SPARSITY)


def write_standard(dictionary: Dictionary) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(what cfg.json says beside the shape, tensors) of a ReLU dictionary."""
    same = {"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"}
    return {"architecture": "standard", **same}, dictionary.params


def read(folder: pathlib.Path) -> Dictionary:
    """The dictionary in a folder, if it is exactly one of ours; raises BadInput with what is in the way otherwise."""
    if not folder.is_dir():
        raise BadInput(f"--import {folder} is not a folder: expected one with {CFG} and {WEIGHTS}")
    cfg = _read_cfg(folder / CFG)
    architecture = cfg.get("architecture", None if "sae_lens_version" in cfg["metadata"] else "standard")
    if not isinstance(architecture, str) or architecture not in READ:
        raise BadInput(f"{folder / CFG}: architecture is {_short(architecture)}: expected one of {', '.join(READ)}")
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"))
        found = f"; {pickles[0]} is not opened, because such files can run code" if pickles else ""
        raise BadInput(f"{folder} holds no {WEIGHTS}{found}")
    hook = cfg["metadata"].get("hook_name", cfg.get("hook_name"))
    return Dictionary(*READ[architecture](cfg, folder), site=site_of(hook))


def read_standard(cfg: dict[str, Any], folder: pathlib.Path) -> tuple[str, dict[str, np.ndarray]]:
    """(our architecture, parameters) of a standard dictionary; raises BadInput when it is not exactly a ReLU one."""
    where = folder / CFG
    for name, (wanted, same) in REQUIRED.items():
        value = cfg.get(name)
        if not any(value is s for s in same) and not (type(value) is type(wanted) and value == wanted):
            raise BadInput(f"{where}: {name} is {_short(value)}: only {wanted!r} can be imported exactly")
    from_input = cfg.get("apply_b_dec_to_input", True)
    if not isinstance(from_input, bool):
        raise BadInput(f"{where}: apply_b_dec_to_input is {_short(from_input)}: expected true or false")
    m, f = (_size(cfg, name, where) for name in ("d_in", "d_sae"))
    shapes = {"W_enc": (m, f), "b_enc": (f,), "W_dec": (f, m), "b_dec": (m,)}
    found = read_tensors(folder / WEIGHTS, shapes, optional={"scaling_factor": (f,)})
    scaling = found.pop("scaling_factor", None)
    if scaling is not None and np.any(scaling != 1):  # some versions saved one that does nothing
        raise BadInput(f"{folder / WEIGHTS}: scaling_factor is not 1 everywhere: it cannot be imported exactly")
    params = {name: _rounded(t, _dtype(cfg, where)) for name, t in found.items()}
    check_finite(params, str(folder / WEIGHTS))
    if not from_input:
        moved = np.einsum("M,MF->F", params["b_dec"], params["W_enc"], dtype=np.float64)
        params["b_enc"] = _rounded(params["b_enc"] + moved, np.float32)
        check_finite(params, str(folder / WEIGHTS))
    return "relu", params


WRITTEN: dict[str, Callable[[Dictionary], tuple[dict[str, Any], dict[str, np.ndarray]]]] = {"relu": write_standard}
READ: dict[str, Callable[[dict[str, Any], pathlib.Path], tuple[str, dict[str, np.ndarray]]]] = {
    "standard": read_standard
}


def hook_name(site: str) -> str | None:
    """What TransformerLens calls one of our sites; None where it has no counterpart."""
    kind, _, layer = site.partition(".")
    return f"blocks.{layer}.{HOOKS[kind]}" if kind in HOOKS else None


def site_of(hook: Any) -> str | None:
    """Our name for one of TransformerLens' hooks; None where we have no counterpart."""
    found = re.fullmatch(r"blocks\.(0|[1-9][0-9]{0,3})\.([a-z0-9_.]+)", hook) if isinstance(hook, str) else None
    kinds = [kind for kind, name in HOOKS.items() if found and name == found[2]]
    return f"{kinds[0]}.{found[1]}" if kinds else None


def _read_cfg(path: pathlib.Path) -> dict[str, Any]:
    """cfg.json with the names of version 6 and a `metadata`; raises BadInput when it is damaged."""
    try:
        if path.stat().st_size > MAX_CFG_BYTES:
            raise BadInput(f"{path} has {path.stat().st_size} bytes: no {CFG} is that large")
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
        raise BadInput(f"{path} is {_short(cfg)}: expected an object, and in it `metadata` an object")
    cfg = {RENAMED.get(name, name): value for name, value in cfg.items()}
    old = "sae_lens_version" not in cfg.setdefault("metadata", {})
    if old and "reshape_activations" not in cfg and "hook_z" in str(cfg.get("hook_name")):
        cfg["reshape_activations"] = "hook_z"  # as SAELens takes it
    return cfg


def _size(cfg: dict[str, Any], name: str, where: pathlib.Path) -> int:
    value = cfg.get(name)
    if type(value) is not int or value < 1:
        raise BadInput(f"{where}: {name} is {_short(value)}: expected a whole number of at least 1")
    return value


def _dtype(cfg: dict[str, Any], where: pathlib.Path) -> Any:
    name = cfg.get("dtype")
    plain = name.removeprefix("torch.") if isinstance(name, str) else None
    if plain not in DTYPES:
        raise BadInput(f"{where}: dtype is {_short(name)}: expected one of {', '.join(DTYPES)}")
    return DTYPES[plain]


def _rounded(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Rounded to the dtype that SAELens would compute in, as fp32."""
    with np.errstate(over="ignore"):  # found as not finite later
        return np.ascontiguousarray(values.astype(dtype), np.float32)


def _short(value: Any) -> str:
    """A value that may be anything, for a message of one line."""
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
