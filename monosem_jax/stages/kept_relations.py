"""What each kind of relation found, kept until the comparison is whole: one that was stopped goes on after the last."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np

from monosem_jax.analysis.records_parse import plain
from monosem_jax.analysis.relations.base import Relations
from monosem_jax.runtime.files import read_json, write_json

KEYS = ("tables", "arrays", "summary", "gaps", "seconds")


def is_kept(study: Relations, name: str) -> bool:
    """Whether an earlier attempt at this comparison has found all of this kind."""
    return _file(study, name).exists()


def find_once(study: Relations, name: str, find: Callable[[], None]) -> None:
    """Runs `find`, which puts into the study what it finds, and keeps that; or takes what is kept."""
    if is_kept(study, name):
        _take(study, name)
        return
    tables, arrays, summary = dict(study.tables), dict(study.arrays), dict(study.summary)
    gaps = len(study.gaps)
    find()
    new = {key: x for key, x in study.arrays.items() if key not in arrays}
    path = _file(study, name)
    path.parent.mkdir(exist_ok=True)
    for key, value in new.items():
        with open(path.with_suffix(f".{key}.npz"), "wb") as file:
            np.savez(file, **value)  # type: ignore[arg-type]
    found = {
        "tables": {key: plain(x) for key, x in study.tables.items() if key not in tables},
        "arrays": list(new),
        "summary": {key: x for key, x in study.summary.items() if key not in summary},
        "gaps": study.gaps[gaps:],
        "seconds": study.seconds.get(name),
    }
    write_json(path, plain(found))


def _file(study: Relations, name: str) -> pathlib.Path:
    return study.path / "parts" / f"{name}.json"


def _take(study: Relations, name: str) -> None:
    path = _file(study, name)
    found = read_json(path, dict, KEYS)
    study.tables |= found["tables"]
    study.summary |= found["summary"]
    study.gaps += found["gaps"]
    study.seconds[name] = found["seconds"]
    for key in found["arrays"]:
        with np.load(path.with_suffix(f".{key}.npz"), allow_pickle=False) as arrays:
            study.arrays[key] = {k: arrays[k] for k in arrays.files}
    print(f"note: {name}: found by an earlier attempt at this comparison", flush=True)
