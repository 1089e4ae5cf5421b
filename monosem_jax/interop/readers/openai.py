"""Reads the dictionaries of OpenAI's sparse_autoencoder, which are published as pickles, after a conversion to
safetensors with the same names:

    pre_bias [M]    encoder.weight [F,M]    latent_bias [F]    decoder.weight [M,F]

    f = activation(encoder (x - pre_bias) + latent_bias)        x̂ = decoder f + pre_bias

The file's metadata says the `activation` (ReLU, of versions 1 and 4, or TopK, of version 5) and TopK's `k`. With TopK
every row is normalised first (`layer_norm` of `sae.row_scales`). Paths are those of its storage, for GPT-2 small:
`resid_post_mlp_v5_32k/autoencoders/6.safetensors`.
"""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import numpy as np

from monosem_jax.interop.exported import ExportedSAE, check_finite
from monosem_jax.interop.readers.common import EXACT, Kind, Params, pickles, refuse_pickle, rounded, size, switch, word
from monosem_jax.interop.tensors import read_tensors
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_safetensors_header

CONVERT = (
    "import torch; from safetensors.torch import save_file; d = torch.load('{0}.pt', map_location='cpu', "
    "weights_only=True); a = d.pop('activation', 'ReLU'); k = d.pop('activation_state_dict', {{}}).get('k', 0); "
    "save_file({{n: t.contiguous() for n, t in d.items() if hasattr(t, 'contiguous')}}, '{0}.safetensors', "
    "{{'activation': a, 'k': str(int(k))}})"
)
NAMES = {"pre_bias": "b_dec", "encoder.weight": "W_enc", "latent_bias": "b_enc", "decoder.weight": "W_dec"}
STATISTICS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")  # of training
# Their locations and our kinds of sites. What they call resid_post_attn is after the attention of a layer.
LOCATIONS = {
    "mlp_post_act": "mlp_hidden", "resid_delta_mlp": "mlp_out", "resid_delta_attn": "attn_out",
    "resid_post_attn": "resid_mid", "resid_post_mlp": "resid_post",
}  # fmt: skip
MODEL = "gpt2-small"
KINDS_READ = {
    "ReLU": Kind("relu", EXACT), "TopK": Kind("topk", "exactly, with its layer norm of single rows"),
}  # fmt: skip
CONDITIONS = {"N.pt": "no: a pickle; the message has the line of PyTorch that makes N.safetensors of it"}


def fits(folder: pathlib.Path) -> bool:
    """Whether a folder holds one of these files, or a pickle named like one."""
    return _file(folder) is not None or any(re.fullmatch(r"(autoencoder|[0-9]+)\.pt", name) for name in pickles(folder))


def read(folder: pathlib.Path, site: str | None = None) -> ExportedSAE:
    """The dictionary in a folder, or in the file that is given; `site` stands before the one in its path.

    Raises BadInput when there is only a pickle, and on other tensors or activations.
    """
    path = folder if folder.is_file() else _file(folder)
    if path is None:
        name = next(name for name in pickles(folder) if re.fullmatch(r"(autoencoder|[0-9]+)\.pt", name))
        stem = name.removesuffix(".pt")
        raise refuse_pickle(folder, name, f"{stem}.safetensors", CONVERT.format(stem))
    header = read_safetensors_header(path)
    shape = header["encoder.weight"].shape if "encoder.weight" in header else ()
    if len(shape) != 2:
        raise BadInput(f"{path}: encoder.weight has shape {list(shape)}: expected [F, M]")
    f, m = shape
    values = _metadata(path)
    activation = word(values, "activation", path, ("ReLU", "TopK"), " in the file's metadata")
    topk = activation == "TopK"
    normalised = switch(values, "normalize", topk, path)
    return ExportedSAE(
        "topk" if topk else "relu",
        _params(path, m, f),
        site=site or _site(path),
        k=size(values, "k", path, ("the number of latents", f)) if topk else None,
        rows="layer_norm" if normalised else "",
        files=(path,),
        model_name=MODEL if any(name in part for part in path.resolve().parts for name in LOCATIONS) else None,
    )


def _file(folder: pathlib.Path) -> pathlib.Path | None:
    """The only file in a folder with tensors of these names."""
    found = []
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        try:
            names = read_safetensors_header(path)
        except BadInput:
            continue
        if "pre_bias" in names and "latent_bias" in names:
            found.append(path)
    if len(found) > 1:
        raise BadInput(f"{folder} holds {', '.join(p.name for p in found[:8])}: expected one, or the path of one file")
    return found[0] if found else None


def _metadata(path: pathlib.Path) -> dict[str, Any]:
    """The metadata of the file, with numbers and true or false as such."""
    with open(path, "rb") as f:  # the header was read before, so it is valid
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    values: dict[str, Any] = {"activation": "ReLU", **header.get("__metadata__", {})}
    k, normalise = values.get("k"), values.get("normalize")
    if isinstance(k, str) and re.fullmatch(r"[0-9]{1,9}", k):
        values["k"] = int(k)
    if isinstance(normalise, str):
        values["normalize"] = {"true": True, "false": False}.get(normalise.lower(), normalise)
    return values


def _params(path: pathlib.Path, m: int, f: int) -> Params:
    shapes: dict[str, tuple[int, ...]] = {
        "pre_bias": (m,), "encoder.weight": (f, m), "latent_bias": (f,), "decoder.weight": (m, f)
    }  # fmt: skip
    found = read_tensors(path, shapes, optional=dict.fromkeys(STATISTICS, (f,)), numbers=STATISTICS)
    params = {ours: rounded(np.asarray(found[n]).T if "." in n else np.asarray(found[n])) for n, ours in NAMES.items()}
    check_finite(params, str(path))
    return params


def _site(path: pathlib.Path) -> str | None:
    """Our site, from the name of the file and the folder of its location."""
    parts = path.resolve().parts
    kind = next((kind for part in reversed(parts) for name, kind in LOCATIONS.items() if part.startswith(name)), None)
    number = next(
        (p for p in (path.stem, *reversed(path.resolve().parent.parts)) if re.fullmatch(r"[0-9]{1,3}", p)), None
    )
    return f"{kind}.{int(number)}" if kind and number else None
