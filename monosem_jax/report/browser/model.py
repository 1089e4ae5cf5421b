"""The files with which the page "Try it" runs the transformer and the dictionary itself.

A manifest (`Manifest` of `front/src/engine/model.ts`) names every array with its place in two packs of bytes, the
transformer's and the dictionary's, which lie in chunks of at most PART bytes. Matrices are stored as [out, in], in
float16; where the files would be larger than LIMIT bytes, the largest matrices are stored in int8 with a scale for each
row. Vectors are float32. Dictionaries of one transformer share its files.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from monosem_jax.report.browser.container import write_json_chunk, write_packed
from monosem_jax.report.browser.tokenizer import NotServed, tokenizer_data

FORMAT = 1
LIMIT = 12_000_000  # bytes of the files of a model's weights
MOST_PARAMETERS = 5_000_000  # of a transformer: more take too long on a telephone
PART = 3_000_000  # bytes of a chunk: at most 4 MB as a file
FORMS = ("relu", "topk", "abs_topk", "jumprelu", "gated")
# What becomes int8 first, until the files are small enough. W_enc comes after W_dec: it decides what fires.
ROUNDED_FIRST = ("W_dec", "W_enc", "unembed", "embed", "")
BASE64 = 4 / 3
TRANSFORMER_KEYS = ("n_layers", "d_model", "d_mlp", "n_heads", "context_length", "vocab_size")


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A transformer and a dictionary of it as plain values.

    `transformer` has TRANSFORMER_KEYS, `dictionary` the keys of `DictionaryShape` in `front/src/engine/model.ts`.
    `params` are the transformer's as Flax names them; `dictionary_params` are published ones: W_enc [M,F], b_enc [F],
    W_dec [F,M], b_dec [M], and threshold, b_gate, r_mag [F] or W_skip [M,M] where there are any. `tokenizer` is the
    text of a tokenizer.json.
    """

    transformer: Mapping[str, int]
    params: Mapping[str, Any]
    dictionary: Mapping[str, Any]
    dictionary_params: Mapping[str, np.ndarray]
    bos: int
    tokenizer: str

    def check(self) -> None:
        """Raises NotServed saying why the page cannot run the model."""
        form = self.dictionary["form"]
        if form not in FORMS:
            raise NotServed(f"the page does not know the activation function {form}")
        n = sum(a.size for _, a in transformer_arrays(self.params))
        if n > MOST_PARAMETERS:
            raise NotServed(f"the transformer has {n:,} parameters: the page runs at most {MOST_PARAMETERS:,}")
        arrays = [a for pack in self.packs() for _, a in pack]
        if not all(np.isfinite(a).all() for a in arrays):
            raise NotServed("the model has parameters that are not finite numbers")
        least = sum(a.size if a.ndim > 1 else 4 * a.size for a in arrays) * BASE64
        if least > LIMIT:
            raise NotServed(
                f"the transformer and the dictionary would be at least {least / 1e6:.0f} MB of files: the page loads "
                f"at most {LIMIT / 1e6:.0f} MB"
            )
        tokenizer_data(self.tokenizer)

    def packs(self) -> tuple[list[tuple[str, np.ndarray]], ...]:
        """(name, array) of the transformer, and of the dictionary."""
        dictionary = [
            (name, np.asarray(value, np.float32).T if name in ("W_enc", "W_skip") else np.asarray(value, np.float32))
            for name, value in sorted(self.dictionary_params.items())
        ]
        return list(transformer_arrays(self.params)), dictionary


def transformer_arrays(params: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of a transformer's parameters, matrices as [out, in]."""
    yield "embed", np.asarray(params["embed"]["embedding"], np.float32)
    yield "unembed", np.asarray(params["unembed"]["kernel"], np.float32).T
    blocks = sorted(name for name in params if name.startswith("blocks_"))
    for name in [*(f"{block}.{part}" for block in blocks for part in params[block]), "ln_final"]:
        block, _, part = name.rpartition(".")
        of = params[block][part] if block else params[part]
        for kind, value in of.items():
            array = np.asarray(value, np.float32)
            yield (name, array.T) if kind == "kernel" else (f"{name}.{kind}", array)


def write_model(folder: pathlib.Path, key: str, served: ServedModel) -> int:
    """Writes the data files of a model into the browser in `folder`, its manifest under `key`; returns their bytes.

    Raises NotServed like `ServedModel.check`.
    """
    served.check()
    packs, tensors = _small_enough(served)
    tokenizer = tokenizer_data(served.tokenizer)
    name = _name(*packs[0], json.dumps(tokenizer).encode())
    prefixes = (f"transformer.{name}", f"{key}.dictionary")  # no id has a dot
    keys = [[f"{prefix}/{i}" for i in range(len(parts))] for prefix, parts in zip(prefixes, packs, strict=True)]
    size = 0
    for names, parts in zip(keys, packs, strict=True):
        size += sum(write_packed(folder, k, part) for k, part in zip(names, parts, strict=True))
    size += write_json_chunk(folder, f"{prefixes[0]}/tokenizer", tokenizer)
    manifest = {
        "format": FORMAT,
        "transformer": {k: int(served.transformer[k]) for k in TRANSFORMER_KEYS},
        "dictionary": dict(served.dictionary),
        "bos": served.bos,
        "tensors": tensors,
        "packs": keys,
        "tokenizer": f"{prefixes[0]}/tokenizer",
        "bytes": size,
    }
    return size + write_json_chunk(folder, key, manifest)


def _small_enough(served: ServedModel) -> tuple[list[list[bytes]], dict[str, Any]]:
    """(the gzipped parts of each pack, the entries of all arrays), with as few matrices in int8 as LIMIT needs."""
    arrays = served.packs()
    for n in range(len(ROUNDED_FIRST) + 1):
        rounded = ROUNDED_FIRST[:n]
        packs: list[list[bytes]] = []
        tensors: dict[str, Any] = {}
        for number, pack in enumerate(arrays):
            data, entries = _packed(pack, number, rounded)
            packs.append([gzip.compress(data[i : i + PART], 6, mtime=0) for i in range(0, len(data), PART)])
            tensors |= entries
        if sum(len(part) for parts in packs for part in parts) * BASE64 <= LIMIT:
            break
    return packs, tensors


def _packed(
    arrays: list[tuple[str, np.ndarray]], pack: int, rounded: tuple[str, ...]
) -> tuple[bytes, dict[str, dict[str, Any]]]:
    """(the bytes of some arrays, one after the other; the entry of each)."""
    parts, entries, offset = [], {}, 0
    for name, array in arrays:
        entry = {"pack": pack, "offset": offset, "shape": list(array.shape), "scale": None, "scales": None}
        if array.ndim == 1:
            entry["dtype"], data = "float32", array.astype("<f4").tobytes()
        elif name in rounded or "" in rounded:
            scales = np.maximum(np.abs(array).max(axis=1), np.finfo(np.float32).tiny * 127) / 127
            whole = np.rint(array / scales[:, None]).astype(np.int8)
            entry |= {"dtype": "int8", "scales": offset + whole.size}
            data = whole.tobytes() + scales.astype("<f4").tobytes()
        else:
            entry["dtype"], entry["scale"] = "float16", _power_of_two(array)
            halves = (array / entry["scale"]).astype("<f2").reshape(-1).view(np.uint8).reshape(-1, 2)
            data = halves[:, 1].tobytes() + halves[:, 0].tobytes()  # bytes of one kind together compress better
        parts.append(data)
        entries[name], offset = entry, offset + len(data)
    return b"".join(parts), entries


def _power_of_two(array: np.ndarray) -> float:
    """The scale that brings the largest number near the top of float16, where its precision is full."""
    largest = float(np.abs(array).max(initial=0))
    return 2.0 ** (math.ceil(math.log2(largest)) - 15) if largest else 1.0


def _name(*parts: bytes) -> str:
    """A short name that says what is in some files, so that equal files are written once."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]
