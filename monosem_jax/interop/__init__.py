"""Dictionaries and analyses in the formats of other programs: one file per format and one line in a table.

A writer of `WRITERS` fills an empty folder from an `ExportedSAE`, with one function per architecture; those of an
analysis (`stages/export_analysis.py` has their table) from an `Analyzed`. `readers.READERS` are those of the opposite
way. Neither the other programs nor PyTorch are needed, and no file that is read can run code.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from monosem_jax.interop import dictionary_learning, plain, saelens
from monosem_jax.interop.exported import ExportedSAE
from monosem_jax.runtime.errors import BadInput

WRITERS: dict[str, Callable[[pathlib.Path, ExportedSAE], None]] = {
    "saelens": saelens.write,
    "dictionary_learning": dictionary_learning.write,
    "safetensors": plain.write_safetensors,
    "numpy": plain.write_numpy,
}


def find_writer(name: str, others: tuple[str, ...] = ()) -> Callable[[pathlib.Path, ExportedSAE], None]:
    """The writer of a format; raises BadInput on an unknown name. `others`: formats that are not of dictionaries."""
    if name not in WRITERS:
        more = f"; of an analysis {', '.join(others)}" if others else ""
        raise BadInput(f"--format is {name!r}: expected one of {', '.join(WRITERS)}{more}")
    return WRITERS[name]
