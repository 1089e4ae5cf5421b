"""Reads Gemma Scope: JumpReLU dictionaries, and transcoders, of Gemma 2 (`params.npz`) and Gemma 3
(`params.safetensors` and, mostly, `config.json`).

The encoder subtracts no bias. Model and site are those of the path, which keeps the names of the hub:

    gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71       resid_post.20     (-mlp: mlp_out, -att: attn_z)
    gemma-scope-2b-pt-transcoders/layer_3/width_16k/…            mlp_in.3+mlp_out.3
    gemma-scope-2-1b-pt/resid_post/layer_13_width_16k_l0_small   resid_post.13
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
    read_object,
    rounded,
    text,
    without_thresholds_below_zero,
    word,
)
from monosem_jax.interop.readers.npz import read_npz
from monosem_jax.interop.tensors import read_tensors
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_safetensors_header

NPZ, SAFETENSORS, CONFIG = "params.npz", "params.safetensors", "config.json"
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
SKIP = "affine_skip_connection"
KINDS_READ = {
    "params.npz": Kind("jumprelu", EXACT),
    "params.npz, transcoder": Kind("transcoder", EXACT),
    "params.safetensors": Kind("jumprelu", EXACT),
    "params.safetensors, transcoder": Kind("transcoder", "exactly, with affine_skip_connection where there is one"),
    "params.safetensors, cross-layer": Kind(None, "no: a decoder for each layer"),
    "embedding": Kind(None, "no: there is no such site"),
}
CONTEXT = 1024  # tokens, of all of them
# What a path of Gemma Scope says of the kind of site, and what a path or config.json of Gemma Scope 2 says.
KINDS = {"-res": "resid_post", "-mlp": "mlp_out", "-att": "attn_z", "-transcoders": "transcoder"}
KINDS_2 = {
    "resid_post": "resid_post", "attn_out": "attn_z", "mlp_out": "mlp_out", "transcoder": "transcoder",
    "clt": "cross-layer transcoder",
}  # fmt: skip


def fits(folder: pathlib.Path) -> bool:
    """Whether a folder is one of Gemma Scope."""
    return (folder / NPZ).exists() or (folder / SAFETENSORS).exists()


def read(folder: pathlib.Path, site: str | None = None) -> ExportedSAE:
    """The dictionary in a folder; `site` stands before the one in its path.

    Raises BadInput when arrays are missing or of other shapes, and on a cross-layer transcoder.
    """
    npz = (folder / NPZ).exists()
    path = folder / (NPZ if npz else SAFETENSORS)
    model, kind, layer = _of_path(folder, npz)
    if not npz and (folder / CONFIG).exists():
        values = read_object(folder / CONFIG)
        word(values, "architecture", folder / CONFIG, ("jump_relu",))
        model = _model_2(text(values.get("model_name")) or model or "")
    if kind == "embedding":
        raise BadInput(
            f"{folder} explains embeddings, which Gemma scales before the first block: there is no such site"
        )
    found = _from_npz(path) if npz else _from_safetensors(path)
    check_finite(found, str(path))
    params = {name: rounded(value) for name, value in found.items()}
    params |= without_thresholds_below_zero(params)
    transcoder = kind == "transcoder" or "W_skip" in params or (site is not None and "+" in site)
    if not transcoder:
        m, out = len(params["W_enc"]), len(params["b_dec"])
        if m != out:
            raise BadInput(
                f"{path} reads {m} numbers and gives {out}, like a transcoder: give --site, such as mlp_in.3+mlp_out.3"
            )
        params |= centred(params)
        check_finite(params, str(path))
    if site is None and kind and layer is not None:
        site = f"mlp_in.{layer}+mlp_out.{layer}" if transcoder else f"{kind}.{layer}"
    return ExportedSAE(
        "transcoder" if transcoder else "jumprelu", params, site=site, model_name=model, context_length=CONTEXT,
        files=(path,),
    )  # fmt: skip


def _of_path(folder: pathlib.Path, npz: bool) -> tuple[str | None, str | None, int | None]:
    """(model, kind of site, layer) as far as the path says them."""
    parts = folder.resolve().parts
    names = "/".join(parts)
    layers = re.findall(r"(?:^|/|_)layer_([0-9]{1,3})(?![0-9])", names)
    layer = int(layers[-1]) if layers else None
    repo = next((re.sub(r".*gemma-scope", "gemma-scope", p) for p in reversed(parts) if "gemma-scope" in p), "")
    if npz:
        size = re.match(r"gemma-scope-([0-9]+b)-(pt|it)", repo)
        model = f"gemma-2-{size[1]}{'-it' if size[2] == 'it' else ''}" if size else None
        kind = next((kind for end, kind in KINDS.items() if end in repo), None)
        return model, "embedding" if "embedding" in parts else kind, layer
    size = re.match(r"gemma-scope-2-([0-9]+[bm])-(pt|it)", repo)
    model = _model_2(f"gemma-3-{size[1]}-{size[2]}") if size else None
    kind = next((kind for p in reversed(parts) for name, kind in KINDS_2.items() if p.startswith(name)), None)
    return model, kind, layer


def _model_2(name: str) -> str | None:
    """Gemma 3's name on the hub, of which the smallest has no ending."""
    name = name.removeprefix("google/").replace("-v3", "-3")
    return (name.removesuffix("-pt") if "270m" in name else name) or None


def _from_npz(path: pathlib.Path) -> Params:
    """The five arrays, with names in upper or lower case."""
    names = {name.lower(): name for name in NAMES}
    found = read_npz(path, [*NAMES, "w_enc", "w_dec"])
    arrays = {names[name.lower()]: value for name, value in found.items()}
    if len(arrays) < len(found) or arrays.keys() != set(NAMES):
        raise BadInput(f"{path} holds {', '.join(sorted(found)) or 'nothing'}: expected {', '.join(NAMES)}")
    shape = arrays["W_enc"].shape
    for name, axes in (("W_enc", "[M, F]"), ("b_dec", "[M]")):
        found_axes, n = arrays[name].shape, axes.count(",") + 1
        if len(found_axes) != n or 0 in found_axes:
            raise BadInput(f"{path}: {name} has shape {list(found_axes)}: expected {axes}")
    for name, wanted in _shapes(shape[0], shape[1], arrays["b_dec"].shape).items():
        if arrays[name].shape != wanted:
            raise BadInput(f"{path}: {name} has shape {list(arrays[name].shape)}: expected {list(wanted)}")
    return arrays


def _from_safetensors(path: pathlib.Path) -> Params:
    """The same of Gemma Scope 2, with a skip connection where there is one."""
    header = read_safetensors_header(path)
    entry, out = header.get("w_enc"), header.get("b_dec")
    if entry is None or len(entry.shape) != 2 or out is None or len(out.shape) != 1:
        if out is not None and "w_dec" in header and len(header["w_dec"].shape) == 3:
            raise BadInput(f"{path} is a cross-layer transcoder, with a decoder for each layer: expected w_dec [F, M]")
        raise BadInput(
            f"{path} holds {', '.join(sorted(header)) or 'nothing'}: expected w_enc [M, F], b_dec [M] and others"
        )
    if "w_dec" in header and len(header["w_dec"].shape) == 3:
        raise BadInput(f"{path} is a cross-layer transcoder, with a decoder for each layer: expected w_dec [F, M]")
    shapes = _shapes(*entry.shape, out.shape)
    theirs = {name.replace("W", "w"): shape for name, shape in shapes.items()}
    found: dict[str, Any] = read_tensors(path, theirs, optional={SKIP: (entry.shape[0], out.shape[0])})
    return {"W_skip" if name == SKIP else name.replace("w_", "W_"): np.asarray(t) for name, t in found.items()}


def _shapes(m: int, f: int, out: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {"W_enc": (m, f), "b_enc": (f,), "W_dec": (f, *out), "b_dec": out, "threshold": (f,)}
