"""Reads dictionary_learning's folders: `ae.safetensors`, made of its `ae.pt`, and `config.json`, which names the class.

What the classes compute is said in `interop.dictionary_learning`. `AutoEncoder` divides rows of W_dec by their norms
when it is loaded, and BatchTopK classes use their single threshold, so both are read like that.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np

from monosem_jax.interop.exported import ExportedSAE, check_finite
from monosem_jax.interop.readers.common import (
    EXACT,
    Kind,
    Params,
    centred,
    norms,
    read_object,
    refuse_pickle,
    rounded,
    section,
    short,
    size,
    text,
    without_thresholds_below_zero,
    word,
)
from monosem_jax.interop.tensors import read_tensors
from monosem_jax.models.base import SITES
from monosem_jax.models.hooks import site_of
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_safetensors_header

WEIGHTS, PICKLE, CONFIG = "ae.safetensors", "ae.pt", "config.json"
CONVERT = (
    "import torch; from safetensors.torch import save_file; save_file({k: v.contiguous() for k, v in "
    "torch.load('ae.pt', map_location='cpu', weights_only=True).items()}, 'ae.safetensors')"
)
LINEAR = {"encoder.weight": "W_enc", "decoder.weight": "W_dec"}  # transposed there
BIAS = {"encoder.bias": "b_enc"}
OURS = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
# class -> (our architecture, whether b_dec is taken from the input, names of its tensors -> our names)
CLASSES: dict[str, tuple[str, bool, dict[str, str]]] = {
    "AutoEncoder": ("relu", True, LINEAR | BIAS | {"bias": "b_dec"}),
    "AutoEncoderNew": ("relu", False, LINEAR | BIAS | {"decoder.bias": "b_dec"}),
    "AutoEncoderTopK": ("topk", True, LINEAR | BIAS | {"b_dec": "b_dec"}),
    "BatchTopKSAE": ("jumprelu", True, LINEAR | BIAS | {"b_dec": "b_dec", "threshold": "threshold"}),
    "MatryoshkaBatchTopKSAE": ("jumprelu", True, OURS | {"threshold": "threshold"}),
    "JumpReluAutoEncoder": ("jumprelu", False, OURS | {"threshold": "threshold"}),
    "GatedAutoEncoder": ("gated", True, LINEAR | {
        "decoder_bias": "b_dec", "r_mag": "r_mag", "gate_bias": "b_gate", "mag_bias": "b_enc"
    }),
}  # fmt: skip
KINDS_READ = {there: Kind(ours, EXACT) for there, (ours, _, _) in CLASSES.items()}
CONDITIONS = {"ae.pt": "no: a pickle; the message has the line of PyTorch that makes ae.safetensors of it"}
AXES = {"W_enc": "MF", "W_dec": "FM", "b_dec": "M"}  # of the others F
SINGLE = ("BatchTopKSAE", "MatryoshkaBatchTopKSAE")  # classes with one threshold
EXTRA = ("k", "threshold", "group_sizes")  # of training, in some classes
UNIT = 1e-5  # its `AutoEncoder` leaves norms that are as near to 1 as they are


def fits(folder: pathlib.Path) -> bool:
    """Whether a folder is one of dictionary_learning."""
    return (folder / WEIGHTS).exists() or (folder / PICKLE).exists()


def read(folder: pathlib.Path, site: str | None = None) -> ExportedSAE:
    """The dictionary in a folder; `site` stands before the one that config.json names.

    Raises BadInput when there is only the pickle, on an unknown class, and on other tensors.
    """
    if not (folder / WEIGHTS).exists():
        raise refuse_pickle(folder, PICKLE, WEIGHTS, CONVERT)
    where = folder / CONFIG
    values = read_object(where)
    trainer, buffer = section(values, "trainer", where), section(values, "buffer", where)
    name = word(trainer, "dict_class", where, CLASSES)
    m, f = (size(trainer, key, where) for key in ("activation_dim", "dict_size"))
    architecture, from_input, _ = CLASSES[name]
    params = _params(folder / WEIGHTS, name, m, f)
    if not from_input:
        params |= centred(params)
    if name == "AutoEncoder" and not np.all(np.abs((norm := norms(params)) - 1) <= UNIT):
        if not np.all(norm > 0):
            raise BadInput(f"{folder / WEIGHTS}: {int(np.sum(norm == 0))} rows of W_dec are zero, which it divides by")
        scaled = {
            "W_enc": params["W_enc"] * norm,
            "b_enc": params["b_enc"] * norm,
            "W_dec": params["W_dec"] / norm[:, None],
        }
        params |= {name: rounded(value) for name, value in scaled.items()}
    params |= without_thresholds_below_zero(params)
    check_finite(params, str(folder / WEIGHTS))
    length = buffer.get("ctx_len")
    return ExportedSAE(
        architecture,
        params,
        site=site or _site(trainer, where),
        k=size(trainer, "k", where, ("dict_size", f)) if architecture == "topk" else None,
        model_name=text(trainer.get("lm_name")),
        context_length=length if type(length) is int and length > 0 else None,
        files=(where, folder / WEIGHTS),
    )


def _params(path: pathlib.Path, name: str, m: int, f: int) -> Params:
    """Our parameters, with the biases as they are there."""
    sizes, names = {"M": m, "F": f}, CLASSES[name][2]
    shapes: dict[str, tuple[int, ...]] = {}
    for theirs, ours in names.items():
        shape = tuple(sizes[axis] for axis in AXES.get(ours, "F"))
        shapes[theirs] = () if ours == "threshold" and name in SINGLE else shape[::-1] if "." in theirs else shape
    extra: dict[str, tuple[int, ...]] = {each: () for each in EXTRA[:2] if each not in shapes}
    extra |= {"group_sizes": _groups(path)} if name.startswith("Matryoshka") else {}
    found: dict[str, Any] = read_tensors(path, shapes, optional=extra, numbers=EXTRA)
    params = {}
    for theirs, ours in names.items():
        value = np.asarray(found[theirs])
        params[ours] = rounded(value.T if "." in theirs else value)
    if name in SINGLE:
        params["threshold"] = np.full(f, params["threshold"].item(), np.float32)
    check_finite(params, str(path))
    return params


def _groups(path: pathlib.Path) -> tuple[int, ...]:
    """The shape of `group_sizes`, which the features do not depend on."""
    entry = read_safetensors_header(path).get("group_sizes")
    return entry.shape if entry else ()


def _site(trainer: dict[str, Any], where: pathlib.Path) -> str | None:
    """Our site of the submodule; its trainings name it "resid_post_layer_3" or not at all."""
    layer, name = trainer.get("layer"), trainer.get("submodule_name")
    if layer is None or type(layer) is not int or layer < 0:
        return None
    if name is None:
        return None
    found = re.fullmatch(r"([a-z_]+?)(?:_layer_[0-9]+)?", name) if isinstance(name, str) else None
    kind = found[1] if found else None
    if kind in SITES:
        return f"{kind}.{layer}"
    if (hook := site_of(name)) is not None:
        return hook
    raise BadInput(f"{where}: submodule_name is {short(name)}: give --site, or expected one of {', '.join(SITES)}")
