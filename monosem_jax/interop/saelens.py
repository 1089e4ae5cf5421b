"""SAELens' folders: `cfg.json`, `sae_weights.safetensors` and, where densities are known, `sparsity.safetensors`.

Its dictionaries equal our published ones, with the same orientation and mostly the same names:

    standard    ReLU                          topk     the k largest
    abstopk     the k largest by magnitude
    jumprelu    what exceeds `threshold`      gated    with b_gate and r_mag, and b_mag for our b_enc

and transcoders of the first and third kind. Folders are written as by version 6; `readers.saelens` reads those of every
version.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from monosem_jax.interop.exported import ExportedSAE, for_architecture
from monosem_jax.models.base import split_sites
from monosem_jax.models.hooks import hook_name, site_of  # noqa: F401
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json

CFG, WEIGHTS, SPARSITY = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
LOWEST_DENSITY = 1e-10
# SAELens' name of an architecture -> our name, and the names of the parameters [F] there -> our names.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "standard": ("relu", {"b_enc": "b_enc"}),
    "topk": ("topk", {"b_enc": "b_enc"}),
    "jumprelu": ("jumprelu", {"b_enc": "b_enc", "threshold": "threshold"}),
    "gated": ("gated", {"b_mag": "b_enc", "b_gate": "b_gate", "r_mag": "r_mag"}),
    "abstopk": ("abs_topk", {"b_enc": "b_enc"}),
}
BY_K = ("topk", "abstopk")  # SAELens' architectures with a k
TRAINED = ("batchtopk", "matryoshka_batchtopk")  # of a training's checkpoints, published as jumprelu
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
NORMALISED = {"": "none", "layer_norm": "layer_norm", "constant_norm": "constant_norm_rescale"}  # by our names


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
    of_z = dictionary.site is not None and dictionary.site.startswith("attn_z.")
    rows = {
        "normalize_activations": NORMALISED[dictionary.rows], "reshape_activations": "hook_z" if of_z else "none"
    }  # fmt: skip
    write_json(folder / CFG, {**cfg, **rows, **shape, "metadata": metadata})
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


def hook_names(dictionary: ExportedSAE) -> dict[str, str | None]:
    """The hooks of the activations that are read and, for a transcoder, of those that are reconstructed."""
    site = dictionary.site or ""
    sites = split_sites(site)
    if dictionary.architecture == "transcoder" and len(sites) == 2:
        return {"hook_name": hook_name(sites[0]), "hook_name_out": hook_name(sites[1])}
    return {"hook_name": hook_name(site)}
