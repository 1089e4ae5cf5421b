"""dictionary_learning's folders: `ae.pt`, the state of its module, and `config.json`, which says of which class it is.

Its `AutoEncoder` is our ReLU dictionary with both matrices transposed, as `torch.nn.Linear` has them:

    bias [M]    encoder.weight [F,M]    encoder.bias [F]    decoder.weight [M,F]

But on loading one it divides rows of W_dec by their norm, and multiplies the features by it. A dictionary whose rows
are not of unit norm is therefore written as its `AutoEncoderNew`, which it takes as it is: that one takes no bias from
the input, so it is folded into the encoder's, and the decoder's is called decoder.bias.
"""

from __future__ import annotations

import pathlib

import numpy as np

from monosem_jax.interop import torch_file
from monosem_jax.interop.dictionary import Dictionary, for_architecture
from monosem_jax.run import write_json

# dictionary_learning calls a row one of unit norm up to 1e-5, by its own fp32 sum.
UNIT = 5e-6


def write(folder: pathlib.Path, dictionary: Dictionary) -> None:
    """Fills a folder that `dictionary_learning.utils.load_dictionary` takes; raises BadInput on an architecture that
    it does not have."""
    dict_class, arrays = for_architecture(ARCHITECTURES, dictionary, "dictionary_learning")(dictionary)
    torch_file.save(folder / "ae.pt", arrays)
    site, _, layer = (dictionary.site or "").partition(".")
    trainer = {
        "dict_class": dict_class,
        "activation_dim": dictionary.width,
        "dict_size": dictionary.n_features,
        "layer": int(layer) if layer else None,
        "lm_name": dictionary.model_name,
        "submodule_name": site or None,
        "steps": dictionary.step,
    }
    buffer = {"d_submodule": dictionary.width, "ctx_len": dictionary.context_length}
    write_json(folder / "config.json", {"trainer": trainer, "buffer": buffer})


def relu(dictionary: Dictionary) -> tuple[str, dict[str, np.ndarray]]:
    """(class, state) of a ReLU dictionary."""
    p = dictionary.params
    encoder, decoder = p["W_enc"].T, p["W_dec"].T
    norms = np.sqrt(np.einsum("FM,FM->F", p["W_dec"], p["W_dec"], dtype=np.float64))
    if np.all(np.abs(norms - 1) <= UNIT):
        state = {"bias": p["b_dec"], "encoder.weight": encoder, "encoder.bias": p["b_enc"], "decoder.weight": decoder}
        return "AutoEncoder", state
    bias = p["b_enc"] - np.einsum("M,MF->F", p["b_dec"], p["W_enc"], dtype=np.float64)
    state = {"encoder.weight": encoder, "encoder.bias": bias, "decoder.weight": decoder, "decoder.bias": p["b_dec"]}
    return "AutoEncoderNew", state


ARCHITECTURES = {"relu": relu}
