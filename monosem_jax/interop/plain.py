"""Formats that need no library for dictionaries: one `.safetensors` file, or a folder of `.npy` files.

Both hold the parameters under our names and in our orientation, in fp32: W_enc [M,F], b_enc [F], W_dec [F,M], b_dec [M]
and those that the architecture adds: threshold [F], b_gate [F], r_mag [F], W_skip [M_in,M_out]. Their use:

    h = (x - b_dec) W_enc, or x W_enc where `centred` is false        z = h + b_enc
    x̂ = f W_dec + b_dec (+ x W_skip)

    `activation`  relu      f = max(z, 0)
                  topk      f = max(z, 0) where it is among the `k` largest of its row, otherwise 0
                  abs_topk  f = z where it is among the `k` largest of its row by magnitude, otherwise 0
                  jumprelu  f = max(z, 0) where it exceeds threshold, otherwise 0
                  gated     f = max(exp(r_mag) h + b_enc, 0) where h + b_gate > 0, otherwise 0
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from monosem_jax.interop.exported import ExportedSAE
from monosem_jax.runtime.files import write_json

FORMAT = "monosem_jax dictionary 1"


def write_safetensors(folder: pathlib.Path, dictionary: ExportedSAE) -> None:
    """`dictionary.safetensors`, with `description` as metadata; unknown values are left out."""
    known = {name: value for name, value in description(dictionary).items() if value is not None}
    metadata = {name: v if isinstance(v, str) else json.dumps(v) for name, v in known.items()}
    arrays = {name: np.ascontiguousarray(p, "<f4") for name, p in dictionary.params.items()}
    save_file(arrays, folder / "dictionary.safetensors", metadata)


def write_numpy(folder: pathlib.Path, dictionary: ExportedSAE) -> None:
    """A `.npy` file per parameter, and `dictionary.json` with `description`."""
    for name, p in dictionary.params.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(p, "<f4"))
    write_json(folder / "dictionary.json", description(dictionary))


def description(dictionary: ExportedSAE) -> dict[str, Any]:
    """The properties of a dictionary as JSON, None where unknown or without meaning. `widths` are those of the sites
    that a row joins (for a transcoder: of its input and its target); `prefixes` are Matryoshka's. `rows` is only there
    where single rows are normalised first, as `sae.row_scales` says."""
    return {
        "format": FORMAT,
        "architecture": dictionary.architecture,
        "activation": dictionary.activation,
        "centred": dictionary.centred,
        "k": dictionary.k,
        "widths": list(dictionary.widths) or None,
        "prefixes": list(dictionary.prefixes) or None,
        "n_features": dictionary.n_features,
        "width": dictionary.width,
        "site": dictionary.site,
        "step": dictionary.step,
        "model_name": dictionary.model_name,
        **({"rows": dictionary.rows} if dictionary.rows else {}),
    }
