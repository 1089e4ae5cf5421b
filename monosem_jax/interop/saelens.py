"""SAELens' folders: `cfg.json`, `sae_weights.safetensors` and, where densities are known, `sparsity.safetensors`.

Its dictionaries equal our published ones, with the same orientation and mostly the same names:

    standard    ReLU                          topk     the k largest
    abstopk     the k largest by magnitude
    jumprelu    what exceeds `threshold`      gated    with b_gate and r_mag, and b_mag for our b_enc

and transcoders of the first and third kind. Folders are written as by version 6, and also read as written by earlier
versions, whose `cfg.json` has other names.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from monosem_jax.interop import saelens_cfg
from monosem_jax.interop.exported import ExportedSAE, check_finite, for_architecture
from monosem_jax.interop.tensors import read_tensors
from monosem_jax.models.base import split_sites
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json

CFG, WEIGHTS, SPARSITY = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
# Our sites and TransformerLens' names. `hook_mlp_in` is before the LayerNorm, our mlp_in after it.
HOOKS = {
    "resid_pre": "hook_resid_pre", "attn_out": "hook_attn_out", "resid_mid": "hook_resid_mid",
    "mlp_in": "ln2.hook_normalized", "mlp_hidden": "mlp.hook_post", "mlp_out": "hook_mlp_out",
}  # fmt: skip
LOWEST_DENSITY = 1e-10
UNCHANGED = {"normalize_activations": "none", "reshape_activations": "none"}
# SAELens' name of an architecture -> our name, and the names of the parameters [F] there -> our names.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "standard": ("relu", {"b_enc": "b_enc"}),
    "topk": ("topk", {"b_enc": "b_enc"}),
    "jumprelu": ("jumprelu", {"b_enc": "b_enc", "threshold": "threshold"}),
    "gated": ("gated", {"b_mag": "b_enc", "b_gate": "b_gate", "r_mag": "r_mag"}),
    "abstopk": ("abs_topk", {"b_enc": "b_enc"}),
}
BY_K = ("topk", "abstopk")  # SAELens' architectures with a k
TRAINED = ("batchtopk", "matryoshka_batchtopk")  # exist in SAELens during training only


def write(folder: pathlib.Path, dictionary: ExportedSAE) -> None:
    """Fills a folder for `sae_lens.SAE.load_from_disk`; raises BadInput on an architecture without counterpart."""
    cfg, tensors = for_architecture(WRITTEN, dictionary, "SAELens")(dictionary)
    metadata: dict[str, Any] = {"sae_lens_version": "6.0.0"}
    if dictionary.site is not None:
        metadata |= hook_names(dictionary)
    if dictionary.model_name is not None:
        metadata |= {"model_name": dictionary.model_name, "prepend_bos": True}  # every context begins with BOS
    if dictionary.context_length is not None:
        metadata["context_size"] = dictionary.context_length
    shape = {"d_in": dictionary.width, "d_sae": dictionary.n_features, "dtype": "float32", "device": "cpu"}
    write_json(folder / CFG, {**cfg, **UNCHANGED, **shape, "metadata": metadata})
    save_file({name: np.ascontiguousarray(t, "<f4") for name, t in tensors.items()}, folder / WEIGHTS)
    if dictionary.density is not None:
        sparsity = np.log10(np.maximum(dictionary.density, LOWEST_DENSITY)).astype("<f4")
        save_file({"sparsity": sparsity}, folder / SPARSITY)


def write_sae(dictionary: ExportedSAE) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(entries of cfg.json except the shape, tensors) of a dictionary that reconstructs its input."""
    theirs = next(name for name, (ours, _) in KINDS.items() if ours == dictionary.activation)
    cfg: dict[str, Any] = {"architecture": theirs, "apply_b_dec_to_input": dictionary.centred}
    if theirs in BY_K:
        cfg |= {"k": dictionary.k, "rescale_acts_by_decoder_norm": False}
    names = {"W_enc": "W_enc", "W_dec": "W_dec", "b_dec": "b_dec", **KINDS[theirs][1]}
    return cfg, {name: dictionary.params[ours] for name, ours in names.items()}


def write_transcoder(dictionary: ExportedSAE) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The same for a transcoder; raises BadInput when its activation is TopK."""
    if dictionary.activation == "topk":
        raise BadInput("SAELens has transcoders with sae.activation relu and batchtopk, but this one has topk")
    tensors, name = dict(dictionary.params), "transcoder"
    if "W_skip" in tensors:
        tensors["W_skip"], name = tensors["W_skip"].T, f"skip_{name}"
    if dictionary.activation == "jumprelu":
        name = f"jumprelu_{name}"
    return {"architecture": name, "apply_b_dec_to_input": False, "d_out": dictionary.width_out}, tensors


# By our architectures. A trained BatchTopK is a JumpReLU there, a Matryoshka the architecture of its activation.
WRITTEN: dict[str, Callable[[ExportedSAE], tuple[dict[str, Any], dict[str, np.ndarray]]]] = {
    "relu": write_sae,
    "april_2024": write_sae,
    "topk": write_sae,
    "abs_topk": write_sae,
    "batchtopk": write_sae,
    "jumprelu": write_sae,
    "gated": write_sae,
    "matryoshka": write_sae,
    "transcoder": write_transcoder,
}


def read(folder: pathlib.Path) -> ExportedSAE:
    """The dictionary in a folder. Raises BadInput with the reason when it cannot be imported exactly."""
    if not folder.is_dir():
        raise BadInput(f"--import {folder} is not a folder: expected one with {CFG} and {WEIGHTS}")
    where = folder / CFG
    cfg = saelens_cfg.read(where)
    architecture = cfg.get("architecture")
    if not isinstance(architecture, str) or architecture not in KINDS:
        hint = " (its save_inference_model makes a jumprelu of it)" if architecture in TRAINED else ""
        found = f"{saelens_cfg.short(architecture)}{hint}"
        raise BadInput(f"{where}: architecture is {found}: expected one of {', '.join(KINDS)}")
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"))
        found = f"; {pickles[0]} is not opened, because such files can run code" if pickles else ""
        raise BadInput(f"{folder} holds no {WEIGHTS}{found}")
    saelens_cfg.check(cfg, where)
    params = _read_params(cfg, folder)
    k = saelens_cfg.features_per_row(cfg, where) if architecture in BY_K else None
    hook = cfg["metadata"].get("hook_name", cfg.get("hook_name"))
    return ExportedSAE(KINDS[architecture][0], params, site=site_of(hook), k=k)


def _read_params(cfg: dict[str, Any], folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Our parameters, for b_dec that is taken from the input and features that are not rescaled."""
    where, weights = folder / CFG, str(folder / WEIGHTS)
    from_input = saelens_cfg.switch(cfg, "apply_b_dec_to_input", True, where)
    rescaled = cfg["architecture"] in BY_K and saelens_cfg.switch(cfg, "rescale_acts_by_decoder_norm", False, where)
    m, f = (saelens_cfg.size(cfg, name, where) for name in ("d_in", "d_sae"))
    vectors = KINDS[cfg["architecture"]][1]
    shapes = {"W_enc": (m, f), **dict.fromkeys(vectors, (f,)), "W_dec": (f, m), "b_dec": (m,)}
    found = read_tensors(folder / WEIGHTS, shapes, optional={"scaling_factor": (f,)})
    scaling = found.pop("scaling_factor", None)
    if scaling is not None and np.any(scaling != 1):  # some versions saved one without effect
        raise BadInput(f"{folder / WEIGHTS}: scaling_factor is not 1 everywhere: it cannot be imported exactly")
    dtype = saelens_cfg.dtype(cfg, where)
    params = {vectors.get(name, name): _rounded(t, dtype) for name, t in found.items()}
    check_finite(params, weights)
    if "r_mag" in params:
        with np.errstate(over="ignore"):
            check_finite({"exp(r_mag)": np.exp(params["r_mag"])}, weights)
    if not from_input:
        params |= _centred(params)
    if rescaled:
        params |= _with_unit_rows(params, weights)
    if "threshold" in params:  # features are never negative, so a negative threshold acts like 0
        params["threshold"] = np.maximum(params["threshold"], 0)
    check_finite(params, weights)
    return params


def _centred(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The encoder biases of an equal dictionary that subtracts b_dec from its input."""
    moved = np.einsum("M,MF->F", p["b_dec"], p["W_enc"], dtype=np.float64)
    if "b_gate" not in p:
        return {"b_enc": _rounded(p["b_enc"] + moved, np.float32)}
    magnitude = p["b_enc"] + np.exp(p["r_mag"].astype(np.float64)) * moved
    return {"b_enc": _rounded(magnitude, np.float32), "b_gate": _rounded(p["b_gate"] + moved, np.float32)}


def _with_unit_rows(p: dict[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """The parameters of an equal dictionary with unit rows of W_dec, in which TopK compares features times their norms.

    Raises BadInput on a row of zeros, by whose norm SAELens divides.
    """
    norms = np.sqrt(np.einsum("FM,FM->F", p["W_dec"], p["W_dec"], dtype=np.float64))
    if not np.all(norms > 0):
        n = int(np.sum(norms == 0))
        raise BadInput(f"{where}: {n} rows of W_dec are zero, which rescale_acts_by_decoder_norm does not allow")
    scaled = {"W_enc": p["W_enc"] * norms, "b_enc": p["b_enc"] * norms, "W_dec": p["W_dec"] / norms[:, None]}
    return {name: _rounded(value, np.float32) for name, value in scaled.items()}


def hook_names(dictionary: ExportedSAE) -> dict[str, str | None]:
    """The hooks of the activations that are read and, for a transcoder, of those that are reconstructed."""
    site = dictionary.site or ""
    sites = split_sites(site)
    if dictionary.architecture == "transcoder" and len(sites) == 2:
        return {"hook_name": hook_name(sites[0]), "hook_name_out": hook_name(sites[1])}
    return {"hook_name": hook_name(site)}


def hook_name(site: str) -> str | None:
    """TransformerLens' name for one of our sites, None where it has none."""
    kind, _, layer = site.partition(".")
    return f"blocks.{layer}.{HOOKS[kind]}" if kind in HOOKS and layer.isdigit() else None


def site_of(hook: Any) -> str | None:
    """Our name for one of TransformerLens' hooks, None where there is no such site."""
    found = re.fullmatch(r"blocks\.(0|[1-9][0-9]{0,3})\.([a-z0-9_.]+)", hook) if isinstance(hook, str) else None
    if found is None:
        return None
    kinds = [kind for kind, name in HOOKS.items() if name == found[2]]
    return f"{kinds[0]}.{found[1]}" if kinds else None


def _rounded(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Rounded to the dtype in which SAELens computes, as fp32."""
    with np.errstate(over="ignore"):  # an overflow is reported later, as not finite
        return np.ascontiguousarray(values.astype(dtype), np.float32)
