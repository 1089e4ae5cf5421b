"""Reads sparsify's folders (EleutherAI), one for each hook of a model: `cfg.json` and `sae.safetensors`.

    encoder.weight [F,M]    encoder.bias [F]    W_dec [F,M]    b_dec [M]    W_skip [M,M], transposed

TopK of ReLU. b_dec is taken from the input unless the coder is a transcoder, which may have a skip connection. A folder
has the name of the module whose output is reconstructed: `layers.5`, `layers.5.mlp`, `h.5.attn`.
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
    read_object,
    rounded,
    short,
    size,
    switch,
    text,
    word,
)
from monosem_jax.interop.tensors import read_tensors
from monosem_jax.runtime.errors import BadInput

CFG, WEIGHTS, CONFIG = "cfg.json", "sae.safetensors", "config.json"
NAMES = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
FOLDER = re.compile(r"(?:.*[._])?(?:layers|h|blocks)[._]([0-9]{1,3})((?:[._][a-z_]+)*)")
# Behind the number of the layer: (the site before the module, the site after it).
MODULES = {
    "": ("resid_pre", "resid_post"), "mlp": ("mlp_in", "mlp_out"), "attn": ("", "attn_out"),
    "self_attn": ("", "attn_out"), "attention": ("", "attn_out"),
}  # fmt: skip
KINDS_READ = {
    "topk": Kind("topk", EXACT),
    "topk, transcode": Kind("transcoder", "exactly, with W_skip where there is one"),
    "groupmax": Kind(None, "no: features are chosen in groups"),
}
CONDITIONS = {
    "embed_skip, gram_lookup": "no: they need more than activations",
    "skip_connection without transcode": "no: a skip is for transcoders",
}
# What the weights alone do not define.
ABSENT = ("signed", "embed_skip", "gram_lookup")


def fits(folder: pathlib.Path) -> bool:
    """Whether a folder is one of sparsify."""
    return (folder / WEIGHTS).exists()


def read(folder: pathlib.Path, site: str | None = None) -> ExportedSAE:
    """The dictionary in a folder; `site` stands before the module that the folder is named after.

    Raises BadInput on other activations than TopK and on what needs more than activations.
    """
    where = folder / CFG
    cfg = read_object(where)
    word({"activation": "topk", **cfg}, "activation", where, ("topk",))
    for name in ABSENT:
        if switch(cfg, name, False, where):
            raise BadInput(f"{where}: {name} is True: it cannot be imported exactly")
    m = size(cfg, "d_in", where)
    given = cfg.get("num_latents") or None
    f = size(cfg, "num_latents", where) if given is not None else m * size(cfg, "expansion_factor", where)
    k = size(cfg, "k", where, ("its number of latents", f))
    transcoder, skip = switch(cfg, "transcode", False, where), switch(cfg, "skip_connection", False, where)
    if skip and not transcoder:
        raise BadInput(f"{where}: skip_connection is True without transcode: a skip is for transcoders, expected false")
    config = folder.parent / CONFIG
    values = read_object(config) if config.is_file() else {}
    length = values.get("ctx_len")
    return ExportedSAE(
        "transcoder" if transcoder else "topk",
        _params(folder / WEIGHTS, m, f, skip),
        site=site or _site(folder.resolve().name, transcoder),
        k=k,
        model_name=text(values.get("model")),
        context_length=length if type(length) is int and length > 0 else None,
        files=(where, folder / WEIGHTS),
    )


def _params(path: pathlib.Path, m: int, f: int, skip: bool) -> Params:
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.weight": (f, m), "encoder.bias": (f,), "W_dec": (f, m), "b_dec": (m,)
    }  # fmt: skip
    shapes |= {"W_skip": (m, m)} if skip else {}
    found: dict[str, Any] = read_tensors(path, shapes, optional={})
    turned = ("encoder.weight", "W_skip")
    params = {NAMES.get(n, n): rounded(np.asarray(t).T if n in turned else np.asarray(t)) for n, t in found.items()}
    check_finite(params, str(path))
    return params


def _site(name: str, transcoder: bool) -> str | None:
    """Our site of a module; None where the folder is named after none."""
    found = FOLDER.fullmatch(name)
    if found is None:
        return None
    module = found[2].lstrip("._")
    if module not in MODULES or (transcoder and not MODULES[module][0]):
        known = ", ".join(f"layers.N.{each}".rstrip(".") for each in MODULES)
        raise BadInput(
            f"the folder {short(name)} is of a module without a site of ours: give --site, or expected {known}"
        )
    before, after = (f"{kind}.{found[1]}" for kind in MODULES[module])
    return f"{before}+{after}" if transcoder else after
