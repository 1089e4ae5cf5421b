"""Which dictionaries go into the formats of other programs, and which come out of them: two tables, made of the tables
by which `WRITERS` write and `READERS` read.

What can be written is found out with a small dictionary of every architecture.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from monosem_jax.interop import WRITERS, dictionary_learning, saelens
from monosem_jax.interop.exported import ExportedSAE, details_of, for_architecture
from monosem_jax.interop.readers import READERS
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import jax_key
from monosem_jax.sae import architectures as sae_lib

WIDTH, FEATURES = 4, 16
ACTIVATIONS = ("relu", "topk", "batchtopk")
PARTS = {"transcoder": (WIDTH, WIDTH), "crosscoder": (WIDTH, WIDTH)}
NO = "–"


def tables() -> str:
    """Both tables as Markdown."""
    read = ["| format | there | here | read |", "|---|---|---|---|", *map(_row, read_rows())]
    names = list(WRITERS)
    written = [_row(("architecture", *names)), _row(("---",) * (len(names) + 1)).replace(" ", "")]
    written += [_row((name, *cells)) for name, cells in written_rows()]
    return "\n".join(["## Read", "", *read, "", "## Written", "", *written, ""])


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def read_rows() -> Iterator[tuple[str, str, str, str]]:
    """(format, architecture there, ours or –, how it is read or why it is not) for everything that readers know."""
    for name, reader in READERS.items():
        for there, kind in reader.kinds.items():
            yield name, there, kind.ours or NO, kind.how
        for condition, how in reader.conditions.items():
            yield name, condition, "", how


def written_rows() -> Iterator[tuple[str, tuple[str, ...]]]:
    """(our architecture, its name in each format of `WRITERS`, or –)."""
    for name, dictionary in small_dictionaries():
        yield name, tuple(_written(form, dictionary) for form in WRITERS)


def _written(form: str, dictionary: ExportedSAE) -> str:
    """The name that a format has for a dictionary; – where it has none."""
    try:
        if form == "saelens":
            return for_architecture(saelens.WRITTEN, dictionary, "SAELens")(dictionary)[0]["architecture"]
        if form == "dictionary_learning":
            table = dictionary_learning.ARCHITECTURES
            return for_architecture(table, dictionary, "dictionary_learning")(dictionary)[0]
    except BadInput:
        return NO
    return dictionary.activation


def small_dictionaries() -> Iterator[tuple[str, ExportedSAE]]:
    """(name, untrained dictionary in the published form) of every architecture, with every activation that it has."""
    for architecture, cls in sae_lib.ARCHITECTURES.items():
        fields = {f.name for f in dataclasses.fields(cls)}
        choices: dict[str, tuple[Any, ...]] = {"activation": ACTIVATIONS} if "activation" in fields else {}
        choices |= {"skip": (False, True)} if "skip" in fields else {}
        for values in itertools.product(*choices.values()):
            chosen = dict(zip(choices, values, strict=True))
            name = ", ".join([architecture, *(v if isinstance(v, str) else key for key, v in chosen.items() if v)])
            with contextlib.suppress(BadInput):  # it does not have this activation
                yield name, _small(architecture, {**chosen, **({"k": 2} if "k" in fields else {})})


def _small(architecture: str, chosen: dict[str, Any]) -> ExportedSAE:
    parts = PARTS.get(architecture, ())
    config = sae_lib.find(architecture)(n_features=FEATURES, **chosen)
    sae = sae_lib.build(config, sum(parts) or WIDTH, jnp.float32, parts)
    statistics = {name: np.float32(0.5) for name in sae.recipe.activation.initial_stats()}
    params = sae.to_inference(sae.initial(jax_key("formats", 0)), statistics)
    return ExportedSAE(architecture, {name: np.asarray(p) for name, p in params.items()}, **details_of(sae))
