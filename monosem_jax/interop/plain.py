"""Formats for programs that know nothing of dictionaries: one `.safetensors` file, or a folder of `.npy` files.

Both hold the parameters under our names and in our orientation: W_enc [M,F], b_enc [F], W_dec [F,M], b_dec [M], fp32.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from monosem_jax.interop.dictionary import Dictionary
from monosem_jax.run import write_json

FORMAT = "monosem_jax dictionary 1"


def write_safetensors(folder: pathlib.Path, dictionary: Dictionary) -> None:
    """`dictionary.safetensors`, with `description` as metadata; what is not known is left out."""
    metadata = {name: str(value) for name, value in description(dictionary).items() if value is not None}
    arrays = {name: np.ascontiguousarray(p, "<f4") for name, p in dictionary.params.items()}
    save_file(arrays, folder / "dictionary.safetensors", metadata)


def write_numpy(folder: pathlib.Path, dictionary: Dictionary) -> None:
    """A `.npy` file per parameter, and `dictionary.json` with `description`."""
    for name, p in dictionary.params.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(p, "<f4"))
    write_json(folder / "dictionary.json", description(dictionary))


def description(dictionary: Dictionary) -> dict[str, Any]:
    """What a dictionary is, as JSON; None where it is not known."""
    return {
        "format": FORMAT,
        "architecture": dictionary.architecture,
        "n_features": dictionary.n_features,
        "width": dictionary.width,
        "site": dictionary.site,
        "step": dictionary.step,
        "model_name": dictionary.model_name,
    }
