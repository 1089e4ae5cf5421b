"""delphi's cache of activations: latents/SITE/START_END.safetensors for features START to END, and tokenizer.json.

    tokenizer = PreTrainedTokenizerFast(tokenizer_file="OUT/tokenizer.json")
    LatentDataset("OUT/latents", sampler_cfg, constructor_cfg, tokenizer)

Each file holds `locations` [n,3] (context, position, feature - START), `activations` [n] and `tokens` [C,T], on the
text that the analysis scanned. Activations of at most 1e-5 are left out, as delphi does, and those at BOS. The text is
encoded once; what fires goes to files, so that memory holds one batch of contexts.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import pathlib
import shutil
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.encoding import Encoding
from monosem_jax.interop.analyzed import Analyzed
from monosem_jax.load import feature_set
from monosem_jax.runtime.arguments import token_ids
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.progress import progress

SMALLEST = 1e-5  # delphi's cache leaves out activations that are not above it
SPLITS, SPLIT_ENTRIES = (
    5,
    1 << 23,
)  # at least so many files; at most about so many firings in one, which delphi reads whole
BATCH_BYTES = 1 << 28  # of activations on the device at a time
BLOCK = 1 << 18  # firings in memory when a file is put together
EXAMPLE = 32  # delphi cuts contexts into examples of so many tokens by default
LARGEST_HALF = 65504.0
ENTRY = np.dtype([("at", "<u4", 3), ("value", "<f4")])  # of the files between: context, position, feature; activation


@dataclasses.dataclass
class Split:
    """The features `start` to `stop` - 1, with their firings in a file."""

    start: int
    stop: int
    path: pathlib.Path
    count: int = 0
    largest: float = 0.0


def write(folder: pathlib.Path, analysis: Analyzed) -> str:
    """Fills a folder; returns what was written in words. Raises BadInput where the dictionary, the transformer or the
    text is gone."""
    tokens = analysis.scanned()
    features = feature_set(analysis.run.dictionary)
    token_ids("export", np.asarray(tokens[:1]), features.tapped.model.config.vocab_size)
    place, between = folder / "latents" / analysis.site, folder / "between"
    place.mkdir(parents=True)
    between.mkdir()
    splits = _merged(_encoded(features, tokens, _splits(analysis, features.n_features, between)))
    for split in splits:
        _assemble(place / f"{split[0].start}_{split[-1].stop - 1}.safetensors", split, tokens)
    shutil.rmtree(between)
    text = analysis.run.dictionary.transformer.text
    write_json(place / "config.json", _about(analysis, tokens, len(splits)))
    shutil.copyfile(text.path / "tokenizer.json", folder / "tokenizer.json")
    length = tokens.shape[1]
    if length % EXAMPLE:
        fits = max(n for n in range(1, EXAMPLE) if length % n == 0)
        print(
            f"note: contexts have {length} tokens: give delphi --example_ctx_len {fits}, {EXAMPLE} does not divide them"
        )
    count = sum(part.count for split in splits for part in split)
    return f"{count} activations on {tokens.size} tokens in {len(splits)} files"


def _splits(analysis: Analyzed, n_features: int, folder: pathlib.Path) -> list[Split]:
    """Ranges of features as delphi makes them, with about SPLIT_ENTRIES firings or less on average."""
    expected = float(np.sum(analysis.run.density)) * analysis.tokens
    n = min(max(SPLITS, math.ceil(expected / SPLIT_ENTRIES)), n_features)
    ends = np.linspace(0, n_features, n + 1).astype(int)
    return [Split(int(a), int(b), folder / str(a)) for a, b in itertools.pairwise(ends)]


def _encoded(features: FeatureSet, tokens: np.ndarray, splits: list[Split]) -> list[Split]:
    """Writes what fires on the contexts into the files of the splits, in the order of the text for each feature."""
    length = tokens.shape[1]
    size = max(1, min(BATCH_BYTES // (4 * length * features.n_features), 64))
    encoding = Encoding([features], None)
    with progress(len(tokens), "activations", "contexts") as bar:
        for start in range(0, len(tokens), size):
            some = np.asarray(tokens[start : start + size], np.int32)
            batch = np.zeros((size, length), np.int32)  # every batch of one shape: one program is compiled
            batch[: len(some)] = some
            weight = (np.arange(size) < len(some)).astype(np.float32)
            for block in encoding.collect(encoding.start(batch, weight, [0])):
                f = block.firings.where(np.abs(block.firings.value) > SMALLEST)
                for split in splits:
                    chosen = slice(f.starts[split.start], f.starts[split.stop])
                    _append(split, f.row[chosen], f.value[chosen], f.feature[chosen], start + block.first, length)
            bar.update(len(some))
    return splits


def _append(split: Split, row: np.ndarray, value: np.ndarray, feature: np.ndarray, context: int, length: int) -> None:
    entries = np.empty(len(row), ENTRY)
    entries["at"] = np.stack([context + row // length, row % length, feature], axis=1)
    entries["value"] = value
    split.count += len(row)
    split.largest = max(split.largest, float(np.abs(value).max(initial=0.0)))
    with open(split.path, "ab") as file:
        entries.tofile(file)


def _merged(splits: list[Split]) -> list[list[Split]]:
    """Neighbouring splits joined until none is empty: delphi cannot read an empty one."""
    found: list[list[Split]] = []
    for split in splits:
        if found and (not split.count or not sum(s.count for s in found[-1])):
            found[-1].append(split)
        else:
            found.append([split])
    return found


def _assemble(path: pathlib.Path, parts: list[Split], tokens: np.ndarray) -> None:
    """Writes a .safetensors file of the firings of neighbouring splits, BLOCK of them in memory at a time."""
    n, span = sum(p.count for p in parts), parts[-1].stop - parts[0].start
    short = max(span, *tokens.shape) <= 1 << 16
    whole = max(p.largest for p in parts) > LARGEST_HALF  # delphi has fp16, and takes fp32
    kinds: dict[str, tuple[str, Any, tuple[int, ...]]] = {
        "tokens": ("I32", np.dtype("<i4"), tokens.shape),
        "activations": ("F32", np.dtype("<f4"), (n,)) if whole else ("F16", np.dtype("<f2"), (n,)),
        "locations": ("U16", np.dtype("<u2"), (n, 3)) if short else ("U32", np.dtype("<u4"), (n, 3)),
    }
    kinds = dict(sorted(kinds.items(), key=lambda item: -item[1][1].itemsize))  # so that each is aligned
    first = np.array([0, 0, parts[0].start], np.uint32)
    with open(path, "wb") as file:
        _write_header(file, kinds)
        for name, (_, dtype, _) in kinds.items():
            if name == "tokens":
                for c in range(0, len(tokens), 1024):
                    np.asarray(tokens[c : c + 1024]).astype(dtype).tofile(file)
                continue
            for entries in _entries(parts):
                values = entries["at"] - first if name == "locations" else entries["value"]
                values.astype(dtype).tofile(file)


def _entries(parts: list[Split]) -> Iterator[np.ndarray]:
    for part in parts:
        if part.count:
            with open(part.path, "rb") as file:
                while len(entries := np.fromfile(file, ENTRY, BLOCK)):
                    yield entries


def _write_header(file: IO[bytes], kinds: dict[str, tuple[str, Any, tuple[int, ...]]]) -> None:
    """The header of a .safetensors file of these tensors, one after another."""
    header, end = {}, 0
    for name, (word, dtype, shape) in kinds.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": word, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)


def _about(analysis: Analyzed, tokens: np.ndarray, n_splits: int) -> dict[str, Any]:
    """delphi's CacheConfig."""
    text = analysis.run.dictionary.transformer.text
    return {
        "dataset_repo": str(text.manifest.get("corpus", "")),
        "dataset_split": str(analysis.run.config.get("split", "heldout")),
        "dataset_name": "",
        "dataset_column": "text",
        "batch_size": int(analysis.run.config.get("batch_contexts", 32)),
        "cache_ctx_len": int(tokens.shape[1]),
        "n_tokens": int(tokens.size),
        "n_splits": n_splits,
        "model_name": analysis.model_name,
    }
