"""Published dictionaries of other programs: one file per format and one line in a table.

A reader recognises a folder by its files and returns an `ExportedSAE` with our published parameters, which compute what
the other program computes. No file that is read can run code: pickles are refused, with the line that converts them.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from monosem_jax.interop.exported import ExportedSAE
from monosem_jax.interop.readers import dictionary_learning, gemma_scope, openai, saelens, sparsify
from monosem_jax.interop.readers.common import Kind, pickles
from monosem_jax.runtime.errors import BadInput

MOST_NAMED = 5  # folders, in one line


class Reader(NamedTuple):
    """`fits(folder)`: whether a folder looks like one of the format; `read(folder, site)`: its dictionary, of `site` if
    that is not None; `files`: what it is recognised by; `kinds`: its architectures, by their names there; `conditions`:
    what else there may be, and how it is read."""

    files: str
    fits: Callable[[pathlib.Path], bool]
    read: Callable[[pathlib.Path, str | None], ExportedSAE]
    kinds: Mapping[str, Kind]
    conditions: Mapping[str, str] = MappingProxyType({})


# In the order in which they are tried.
READERS: dict[str, Reader] = {
    "saelens": Reader(
        "cfg.json and sae_weights.safetensors", saelens.fits, saelens.read, saelens.KINDS_READ, saelens.CONDITIONS
    ),
    "sparsify": Reader(
        "cfg.json and sae.safetensors", sparsify.fits, sparsify.read, sparsify.KINDS_READ, sparsify.CONDITIONS
    ),
    "gemma_scope": Reader(
        "params.npz or params.safetensors", gemma_scope.fits, gemma_scope.read, gemma_scope.KINDS_READ
    ),
    "dictionary_learning": Reader(
        "config.json and ae.safetensors", dictionary_learning.fits, dictionary_learning.read,
        dictionary_learning.KINDS_READ, dictionary_learning.CONDITIONS,
    ),
    "openai": Reader(
        "a .safetensors file with pre_bias and latent_bias", openai.fits, openai.read, openai.KINDS_READ,
        openai.CONDITIONS,
    ),
}  # fmt: skip


def format_of(folder: pathlib.Path) -> str | None:
    """The name of the format that a folder looks like, None for anything else."""
    if not folder.is_dir():
        return None
    return next((name for name, reader in READERS.items() if reader.fits(folder)), None)


def inside(folder: pathlib.Path) -> list[str]:
    """The names of the folders in a folder that look like published dictionaries."""
    return [p.name for p in sorted(folder.iterdir()) if format_of(p)] if folder.is_dir() else []


def read_folder(folder: pathlib.Path, site: str | None = None) -> ExportedSAE:
    """The dictionary in a folder of any of the formats; `site` stands before the one that the folder names.

    Raises BadInput with what was looked for when it is none of them, or with the reason why it cannot be read exactly.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: expected one of a published dictionary")
    name = format_of(folder)
    if name is not None:
        return READERS[name].read(folder, site)
    names = inside(folder)
    if names:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        raise BadInput(f"{folder} holds {len(names)} dictionaries: give one, {', '.join(names[:MOST_NAMED])}{more}")
    known = "; ".join(f"{name}: {reader.files}" for name, reader in READERS.items())
    found = pickles(folder)
    why = f" ({found[0]} is a pickle, which is not opened because such files can run code)" if found else ""
    raise BadInput(f"{folder} is no published dictionary{why}: expected {known}")
