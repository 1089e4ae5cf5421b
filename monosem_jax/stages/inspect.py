"""Describes the contents of a run directory: its configuration, checkpoints, metrics and files."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from monosem_jax.load import load_run
from monosem_jax.runtime.checkpoint import check_step, read_metadata
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.formatting import quantity
from monosem_jax.runtime.loaded_run import LoadedRun
from monosem_jax.sae.run import SweepRun

SHOWN_METRICS = 8


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """How closely a directory is inspected."""

    verify: bool = False
    """Read all checkpoints and compare them with their checksums."""


@stage
def inspect(workdir: str | pathlib.Path, config: InspectConfig) -> dict[str, Any]:
    """Prints a description of `workdir` and returns its damaged steps; raises BadInput when there are any."""
    found = load_run(workdir)
    for line in describe(found):
        print(line)
    if not config.verify:
        return {}
    opened = found.members.values() if isinstance(found, SweepRun) else [found]
    steps = [(one.path / "checkpoints", step) for one in opened for step in one.steps]
    damages = [line for path, step in steps if (line := check_step(path, step))]
    for line in damages:
        print(f"damaged: {line}", file=sys.stderr)
    if damages:
        raise BadInput(f"{workdir}: {len(damages)} of {len(steps)} checkpoints are damaged, listed above")
    print(f"\nverified      {len(steps)} checkpoints are whole")
    return {"steps": len(steps)}


def describe(run: LoadedRun) -> Iterator[str]:
    """The lines of the description."""
    record, summary = run.record, run.summary
    yield f"{run.path}: {run.experiment}, {'finished' if summary else 'not finished'}, format {record.get('format', 1)}"
    for name, parent in record["parents"].items():
        yield f"made from     {name}: {parent['path']}"
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    yield f"written with  {versions}" + (f"; git {record['git'][:12]}" if record.get("git") else "")
    yield from ("", "configuration")
    yield from _table(_leaves(record["config"]))
    yield from _checkpoints(run)
    if isinstance(run, SweepRun):
        yield from ("", f"members       {len(run.members)} with checkpoints")
        yield from _table({name: f"steps {member.steps}" for name, member in run.members.items()})
    if metrics := run.metrics:
        known: dict[str, Any] = {}
        for line in metrics:
            known |= line
        last = ", ".join(f"{k} {_value(v)}" for k, v in list(known.items())[: SHOWN_METRICS + 1] if k != "step")
        yield from ("", f"metrics       {len(metrics)} lines up to step {known['step']}; last: {last}")
    if summary:
        yield from ("", "summary")
        yield from _table({k: v for k, v in _leaves(summary).items() if not isinstance(v, list)})
    yield from ("", "files")
    yield from _table({p.name + "/" * p.is_dir(): size(p) for p in sorted(run.path.iterdir()) if p.name[0] != "."})


def _checkpoints(run: LoadedRun) -> Iterator[str]:
    folder = run.path / "checkpoints"
    if not folder.is_dir():
        return
    yield from ("", f"checkpoints   {len(run.steps)} steps, {size(folder)}")
    for step in run.steps:
        try:
            noted = read_metadata(folder / str(step))
            metrics = ", ".join(f"{k} {_value(v)}" for k, v in list(noted.get("metrics", {}).items())[:SHOWN_METRICS])
            told = f"format {noted.get('format', 1)}" + (f"; {metrics}" if metrics else "")
        except (ValueError, OSError) as e:
            told = f"its metadata cannot be read ({e})"
        yield f"  step {step:<9}{size(folder / str(step)):>10}  {told}"


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def _table(values: dict[str, Any]) -> Iterator[str]:
    width = max((len(k) for k in values), default=0) + 2
    for key, value in values.items():
        yield f"  {key:<{width}}{_value(value)}"


def _value(value: Any) -> str:
    """A value as text for a terminal, with control characters escaped."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def size(path: pathlib.Path) -> str:
    """The size of a file or of all files in a directory, such as "12.3 MB"."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return quantity(sum(p.stat().st_size for p in files), "B")
