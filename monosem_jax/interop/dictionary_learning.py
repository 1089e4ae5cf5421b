"""dictionary_learning's folders: `ae.pt`, the state of its module, and `config.json`, which names the class.

Its `AutoEncoder` is our ReLU dictionary with both matrices transposed, as `torch.nn.Linear` stores them:

    bias [M]    encoder.weight [F,M]    encoder.bias [F]    decoder.weight [M,F]

When it loads one, it divides the rows of W_dec by their norms and multiplies the features by them. A dictionary whose
rows do not have unit norm is therefore written as its `AutoEncoderNew`, which is loaded unchanged. That class and
`JumpReluAutoEncoder` subtract no bias from the input, so that bias is folded into the encoder's. Its BatchTopK classes
have a single threshold for all features.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np

from monosem_jax.interop import torch_pickle as torch_file
from monosem_jax.interop.exported import ExportedSAE, for_architecture
from monosem_jax.runtime.files import write_json

# dictionary_learning accepts norms within 1e-5 of 1, by its own fp32 sum.
UNIT = 5e-6
State = tuple[str, dict[str, np.ndarray]]  # the name of a class and its tensors


def write(folder: pathlib.Path, dictionary: ExportedSAE) -> None:
    """Fills a folder for `dictionary_learning.utils.load_dictionary`.

    Raises BadInput on an architecture that the library does not have.
    """
    dict_class, arrays = for_architecture(ARCHITECTURES, dictionary, "dictionary_learning")(dictionary)
    torch_file.save(folder / "ae.pt", arrays)
    site, _, layer = (dictionary.site or "").partition(".")
    trainer = {
        "dict_class": dict_class,
        "activation_dim": dictionary.width,
        "dict_size": dictionary.n_features,
        "layer": int(layer) if layer.isdigit() else None,
        "lm_name": dictionary.model_name,
        "submodule_name": site or None,
        "steps": dictionary.step,
    }
    if "k" in arrays:
        trainer["k"] = dictionary.k
    buffer = {"d_submodule": dictionary.width, "ctx_len": dictionary.context_length}
    write_json(folder / "config.json", {"trainer": trainer, "buffer": buffer})


def relu(dictionary: ExportedSAE) -> State:
    """ReLU."""
    p = dictionary.params
    weights = _transposed(dictionary)
    norms = np.sqrt(np.einsum("FM,FM->F", p["W_dec"], p["W_dec"], dtype=np.float64))
    if dictionary.centred and np.all(np.abs(norms - 1) <= UNIT):
        return "AutoEncoder", {"bias": p["b_dec"], **weights, "encoder.bias": p["b_enc"]}
    return "AutoEncoderNew", {**weights, "encoder.bias": dictionary.bias, "decoder.bias": p["b_dec"]}


def topk(dictionary: ExportedSAE) -> State:
    """TopK. The class can also use a threshold; -1 says that it has none."""
    return "AutoEncoderTopK", _selecting(dictionary, -1)


def batchtopk(dictionary: ExportedSAE) -> State:
    """BatchTopK, or JumpReLU where thresholds differ between features."""
    threshold = dictionary.params["threshold"]
    if np.any(threshold != threshold[0]):
        return jumprelu(dictionary)
    return "BatchTopKSAE", _selecting(dictionary, threshold[0])


def jumprelu(dictionary: ExportedSAE) -> State:
    """JumpReLU, with a threshold for each feature."""
    p = dictionary.params
    named = {name: p[name] for name in ("W_enc", "W_dec", "b_dec", "threshold")}
    return "JumpReluAutoEncoder", {**named, "b_enc": dictionary.bias}


def gated(dictionary: ExportedSAE) -> State:
    """Gated."""
    names = {"decoder_bias": "b_dec", "r_mag": "r_mag", "gate_bias": "b_gate", "mag_bias": "b_enc"}
    return "GatedAutoEncoder", {**{n: dictionary.params[o] for n, o in names.items()}, **_transposed(dictionary)}


def matryoshka(dictionary: ExportedSAE) -> State:
    """Matryoshka: with BatchTopK a class of its own, otherwise the class of its activation."""
    if dictionary.activation != "jumprelu":
        return {"relu": relu, "topk": topk}[dictionary.activation](dictionary)
    dict_class, state = batchtopk(dictionary)
    if dict_class != "BatchTopKSAE":
        return dict_class, state
    sizes = np.diff(dictionary.prefixes, prepend=0)
    named = {name: dictionary.params[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    groups = sizes[sizes > 0].astype(np.int64)
    return "MatryoshkaBatchTopKSAE", {**named, "k": state["k"], "threshold": state["threshold"], "group_sizes": groups}


ARCHITECTURES: dict[str, Callable[[ExportedSAE], State]] = {
    "relu": relu,
    "april_2024": relu,
    "topk": topk,
    "batchtopk": batchtopk,
    "jumprelu": jumprelu,
    "gated": gated,
    "matryoshka": matryoshka,
}


def _transposed(dictionary: ExportedSAE) -> dict[str, np.ndarray]:
    p = dictionary.params
    return {"encoder.weight": p["W_enc"].T, "decoder.weight": p["W_dec"].T}


def _selecting(dictionary: ExportedSAE, threshold: float) -> dict[str, np.ndarray]:
    """The state of a class with k and a single threshold."""
    p = dictionary.params
    numbers = {"k": np.array(dictionary.k, np.int32), "threshold": np.array(threshold, np.float32)}
    return {**_transposed(dictionary), "encoder.bias": p["b_enc"], "b_dec": p["b_dec"], **numbers}
