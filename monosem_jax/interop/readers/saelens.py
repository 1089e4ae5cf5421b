"""Reads SAELens' folders, of every version: `cfg.json` and `sae_weights.safetensors`.

Exact are all its architectures of single rows, b_dec taken from the input or not, and what else decides the numbers:

    expected_average_only_in  the factor is folded in; it is in activation_scaler.json or, before version 6, in
                              activations_store_state.safetensors, where SAELens has not folded it in itself
    covariance_whitening      folded in, from activation_whitening.safetensors
    layer_norm, constant_norm_rescale   belong to each row, and are kept (see `sae.row_scales`)
    scaling_factor            of finetuning, multiplied into W_dec
    rescale_acts_by_decoder_norm        rows of W_dec become unit vectors

Checkpoints of a training with BatchTopK or Matryoshka are read as the JumpReLU dictionaries that they are published as.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from monosem_jax.interop.exported import ExportedSAE, check_finite
from monosem_jax.interop.readers import saelens_cfg
from monosem_jax.interop.readers.common import (
    EXACT,
    Kind,
    Params,
    centred,
    norms,
    pickles,
    positive,
    read_object,
    rounded,
    short,
    size,
    switch,
    text,
    without_thresholds_below_zero,
)
from monosem_jax.interop.saelens import BY_K, CFG, KINDS, TRAINED, TRANSCODERS, WEIGHTS
from monosem_jax.interop.tensors import read_tensors
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_safetensors_header

SCALER, WHITENING = "activation_scaler.json", "activation_whitening.safetensors"
STORE = "activations_store_state.safetensors"  # of training before version 6
READS = (*KINDS, *TRAINED, *TRANSCODERS)
KINDS_READ = {
    **{there: Kind(ours, EXACT) for there, (ours, _) in KINDS.items()},
    **dict.fromkeys(TRAINED, Kind("jumprelu", "exactly, from a training's checkpoint, with its threshold")),
    **dict.fromkeys(TRANSCODERS, Kind("transcoder", EXACT)),
    "temporal": Kind(None, "no: a row's features depend on other rows"),
    "matching_pursuit": Kind(None, "no: features are chosen one after the other"),
}
CONDITIONS = {
    "cfg.json before version 6": "with the names and defaults that SAELens gives it",
    "apply_b_dec_to_input false": "the bias is folded into the encoder's",
    "rescale_acts_by_decoder_norm": "norms are folded in, rows of W_dec become unit vectors",
    "normalize_activations expected_average_only_in": f"folded in with the factor in {SCALER} or {STORE}",
    "normalize_activations covariance_whitening": f"folded in with {WHITENING}",
    "normalize_activations layer_norm, constant_norm_rescale": (
        "kept, as a normalisation of single rows; not in transcoders"
    ),
    "scaling_factor": "multiplied into W_dec where finetuning_scaling_factor is true",
    "reshape_activations hook_z": "site attn_z, all heads together",
    "hook_head_index": "no: one head alone is no site",
    "float64 weights": "no",
}


def fits(folder: pathlib.Path) -> bool:
    """Whether a folder is one of SAELens."""
    return (folder / WEIGHTS).exists() or ((folder / CFG).exists() and not (folder / "sae.safetensors").exists())


def read(folder: pathlib.Path, site: str | None = None) -> ExportedSAE:
    """The dictionary in a folder; `site` stands before the hook that the folder names.

    Raises BadInput with the reason when it cannot be imported exactly.
    """
    where = folder / CFG
    cfg = saelens_cfg.read(where)
    architecture = cfg.get("architecture")
    if not isinstance(architecture, str) or architecture not in READS:
        raise BadInput(f"{where}: architecture is {short(architecture)}: expected one of {', '.join(READS)}")
    if not (folder / WEIGHTS).is_file():
        found = pickles(folder)
        why = f"; {found[0]} is not opened, because such files can run code" if found else ""
        raise BadInput(f"{folder} holds no {WEIGHTS}{why}")
    saelens_cfg.check(cfg, where)
    k = size(cfg, "k", where, ("d_sae", size(cfg, "d_sae", where))) if architecture in BY_K else None
    params = _transcoder(cfg, folder) if architecture in TRANSCODERS else _dictionary(cfg, folder)
    metadata = {**cfg, **cfg["metadata"]}
    length = metadata.get("context_size")
    return ExportedSAE(
        "transcoder" if architecture in TRANSCODERS else KINDS.get(architecture, ("jumprelu",))[0],
        params,
        site=site or saelens_cfg.site(cfg, where, False),
        k=k,
        rows=saelens_cfg.NORMALISED[cfg["normalize_activations"]],
        model_name=text(metadata.get("model_name")),
        context_length=length if type(length) is int and length > 0 else None,
        files=(where, folder / WEIGHTS, *_scalers(folder, cfg["normalize_activations"])),
    )


def _dictionary(cfg: dict[str, Any], folder: pathlib.Path) -> Params:
    """Our parameters, for b_dec that is taken from the input and features that are not rescaled."""
    where, weights, kind = folder / CFG, str(folder / WEIGHTS), cfg["architecture"]
    from_input = switch(cfg, "apply_b_dec_to_input", True, where)
    rescaled = kind in (*BY_K, *TRAINED) and switch(cfg, "rescale_acts_by_decoder_norm", False, where)
    m, f = (size(cfg, name, where) for name in ("d_in", "d_sae"))
    vectors = {"b_enc": "b_enc"} if kind in TRAINED else KINDS[kind][1]
    threshold = {"topk_threshold": ()} if kind in TRAINED else {}
    shapes = {"W_enc": (m, f), **dict.fromkeys(vectors, (f,)), "W_dec": (f, m), "b_dec": (m,), **threshold}
    tuned = {"scaling_factor": (f,), "finetuning_scaling_factor": (f,)}
    found = read_tensors(folder / WEIGHTS, shapes, optional=tuned, numbers=threshold)
    dtype = saelens_cfg.dtype(cfg, where)
    by_hand = [name for name in tuned if name in found and np.any(found[name] != 1)]
    factors = [found.pop(name) for name in tuned if name in found]
    if by_hand and cfg.get("finetuning_scaling_factor") is not True:
        raise BadInput(
            f"{folder / WEIGHTS}: {by_hand[0]} is not 1 everywhere, but finetuning_scaling_factor of {CFG} is not true"
        )
    params = {vectors.get(name, name): rounded(t, dtype) for name, t in found.items()}
    if threshold:
        params["threshold"] = np.full(f, params.pop("topk_threshold").item(), np.float32)
    check_finite(params, weights)
    if "r_mag" in params:
        with np.errstate(over="ignore"):
            check_finite({"exp(r_mag)": np.exp(params["r_mag"])}, weights)
    for factor in factors if by_hand else ():
        params["W_dec"] = rounded(params["W_dec"] * rounded(factor, dtype)[:, None])
    if not from_input:
        params |= centred(params)
    if cfg["normalize_activations"] == saelens_cfg.SCALED:
        params |= _unscaled(params, _factor(folder), rescaled)
    if rescaled:
        params |= _with_unit_rows(params, weights)
    if cfg["normalize_activations"] == saelens_cfg.WHITENED:  # behind the norms, which it changes
        params |= _unwhitened(params, folder)
    params |= without_thresholds_below_zero(params)
    check_finite(params, weights)
    return params


def _transcoder(cfg: dict[str, Any], folder: pathlib.Path) -> Params:
    """Our parameters of a transcoder."""
    where, weights, kind = folder / CFG, str(folder / WEIGHTS), cfg["architecture"]
    if switch(cfg, "apply_b_dec_to_input", False, where):
        raise BadInput(
            f"{where}: apply_b_dec_to_input is True: a transcoder's b_dec is of another site, expected false"
        )
    if cfg["normalize_activations"] != "none":
        raise BadInput(
            f"{where}: normalize_activations is {cfg['normalize_activations']!r}: in a transcoder only 'none' can be "
            "imported exactly"
        )
    m, f, out = (size(cfg, name, where) for name in ("d_in", "d_sae", "d_out"))
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (m, f), "b_enc": (f,), "W_dec": (f, out), "b_dec": (out,)}
    shapes |= {"W_skip": (out, m)} if "skip" in kind else {}
    shapes |= {"threshold": (f,)} if "jumprelu" in kind else {}
    found, dtype = read_tensors(folder / WEIGHTS, shapes, optional={}), saelens_cfg.dtype(cfg, where)
    params = {name: rounded(t.T if name == "W_skip" else t, dtype) for name, t in found.items()}
    params |= without_thresholds_below_zero(params)
    check_finite(params, weights)
    return params


def _unscaled(p: Params, s: float, rescaled: bool) -> Params:
    """What changes for raw activations in a dictionary of activations times `s`."""
    scaled = {"W_enc": p["W_enc"] * s, "W_dec": p["W_dec"] / s, "b_dec": p["b_dec"] / s}
    if rescaled and "threshold" in p:  # it is compared with a feature times the norm of its row
        scaled["threshold"] = p["threshold"] / s
    return {name: rounded(value) for name, value in scaled.items()}


def _unwhitened(p: Params, folder: pathlib.Path) -> Params:
    """What changes for raw activations x in a dictionary of (x - mean) matrix."""
    path, m = folder / WHITENING, len(p["b_dec"])
    if not path.exists():
        raise BadInput(
            f"{folder / CFG}: normalize_activations is '{saelens_cfg.WHITENED}', but the folder holds no {WHITENING}"
        )
    shapes: dict[str, tuple[int, ...]] = {"mean": (m,), "matrix": (m, m), "inverse_matrix": (m, m)}
    found = read_tensors(path, shapes, optional={}, numbers=shapes)
    white = {name: np.asarray(t, np.float64) for name, t in found.items()}
    check_finite(white, str(path))
    inverse = white["inverse_matrix"]
    raw = {
        "W_enc": white["matrix"] @ p["W_enc"], "W_dec": p["W_dec"] @ inverse,
        "b_dec": p["b_dec"] @ inverse + white["mean"],
    }  # fmt: skip
    return {name: rounded(value) for name, value in raw.items()}


def _scalers(folder: pathlib.Path, mode: str) -> list[pathlib.Path]:
    """The files that a scale or a whitening was read from."""
    if mode == saelens_cfg.SCALED:
        return [folder / (SCALER if (folder / SCALER).exists() else STORE)]
    return [folder / WHITENING] if mode == saelens_cfg.WHITENED else []


def _factor(folder: pathlib.Path) -> float:
    """The factor that activations were multiplied by."""
    if (folder / SCALER).exists():
        values = read_object(folder / SCALER)
        if values.get("scaling_factor") is not None:
            return positive(values, "scaling_factor", folder / SCALER)
        return 1.0  # SAELens folded it in
    name = "estimated_norm_scaling_factor"
    if (folder / STORE).exists() and name in (header := read_safetensors_header(folder / STORE)):
        others = {other: t.shape for other, t in header.items() if other != name}
        found = read_tensors(folder / STORE, {name: header[name].shape}, others, [name, *others])[name]
        if found.size == 1:
            return positive({name: found.item()}, name, folder / STORE)
    raise BadInput(
        f"{folder / CFG}: normalize_activations is '{saelens_cfg.SCALED}', but the folder does not hold the factor: "
        f"expected {SCALER} or {STORE} beside it, as in a training's checkpoint"
    )


def _with_unit_rows(p: Params, where: str) -> Params:
    """The parameters of an equal dictionary with unit rows of W_dec, in which TopK compares features times their norms.

    Raises BadInput on a row of zeros, by whose norm SAELens divides.
    """
    norm = norms(p)
    if not np.all(norm > 0):
        n = int(np.sum(norm == 0))
        raise BadInput(f"{where}: {n} rows of W_dec are zero, which rescale_acts_by_decoder_norm does not allow")
    scaled = {"W_enc": p["W_enc"] * norm, "b_enc": p["b_enc"] * norm, "W_dec": p["W_dec"] / norm[:, None]}
    return {name: rounded(value) for name, value in scaled.items()}
