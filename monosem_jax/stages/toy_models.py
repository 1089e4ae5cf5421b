"""Toy models of superposition, and the dictionaries that find their features: the one place where truth is known."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from monosem_jax.report import toy_figures
from monosem_jax.report.plots import require_matplotlib
from monosem_jax.runtime.config import check_bounds, check_seed, field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import finite, write_arrays, write_json
from monosem_jax.runtime.formatting import text_table
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.toy import found, pictures
from monosem_jax.toy.found import DictionariesConfig
from monosem_jax.toy.phase import PHASES, PhaseDiagram, phase_diagram
from monosem_jax.toy.run import TABLES
from monosem_jax.toy.superposition import ToyConfig, Toys


def _toy(n_features: int, n_hidden: int, **values: Any) -> ToyConfig:
    return ToyConfig(n_features, n_hidden, **{"batch_size": 512, "learning_rate": 1e-2, "steps": 3000, **values})


@dataclasses.dataclass(frozen=True)
class ToyModelsConfig:
    """The sizes of every study. In each of them the models differ in density, importance and seed only."""

    seed: int = 0
    """Decides everything random."""
    instances: int = field(25, at_least=2)
    """Densities of the geometry, from 1 to 1 / 100."""
    pictures: int = field(10, at_least=2)
    """Densities of the polygons, from 1 to 1 / 20."""
    phase_points: int = field(13, at_least=2)
    """Densities, and as many importances, of the phase diagram."""
    phase_seeds: int = field(3, at_least=1)
    """Models at each point of the phase diagram, of which the best is taken."""
    seeds: int = field(8, at_least=1)
    """Models of correlated features."""
    polygons: ToyConfig = _toy(5, 2)
    """Five features in two dimensions."""
    geometry: ToyConfig = _toy(100, 10, steps=6000)
    """Many features of equal importance; of falling importance for the study of graded features."""
    phase: ToyConfig = _toy(2, 1, steps=1500)
    """Two features in one dimension."""
    pairs: ToyConfig = _toy(4, 2, steps=2000)
    """Two pairs of features, correlated or not."""
    groups: ToyConfig = _toy(20, 10)
    """Two groups of features that are active together."""
    learning: ToyConfig = ToyConfig(10, 4, steps=2500, learning_rate=1e-3, final_fraction=1.0, snapshots=100)
    """Models whose training is watched closely."""
    hidden: ToyConfig = _toy(80, 20)
    """The model whose hidden activations dictionaries are trained on."""
    families: ToyConfig = _toy(20, 20)
    """Pairs of parent and child for absorption; in as many dimensions as features, so that nothing else interferes."""
    dictionaries: DictionariesConfig = DictionariesConfig()
    """Dictionaries on the hidden activations."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        check_bounds(self, "config.")
        for f in dataclasses.fields(self):
            if isinstance(value := getattr(self, f.name), ToyConfig):
                value.check(f"{f.name}.")
        if self.families.n_features % 2 or self.groups.n_features % 2:
            raise BadInput("families.n_features and groups.n_features must be even: they are divided into two")
        self.dictionaries.check()

    def toy(self, name: str) -> ToyConfig:
        """The configuration of a study, with the features of this run's seed."""
        own = getattr(self, name)
        return dataclasses.replace(own, seed=(own.seed + self.seed) % (1 << 32))


class Study:
    """What the studies have found so far: tables, arrays, lines about what is missing, and seconds."""

    def __init__(self, path: pathlib.Path, config: ToyModelsConfig):
        self.path, self.config = path, config
        self.tables: dict[str, Any] = {}
        self.arrays: dict[str, dict[str, np.ndarray]] = {}
        self.gaps: list[str] = []
        self.seconds: dict[str, float] = {}

    def keep(self, name: str, toys: Toys, rows: list[dict[str, Any]]) -> None:
        """A table, and the arrays of its models."""
        self.tables[name] = rows
        names = ("p", "importance", "seeds", "W", "b", "steps", "losses", "dimensionality", "final_loss")
        self.arrays[name] = {key: getattr(toys, key) for key in names}


@stage
def toy_models(workdir: str | pathlib.Path, config: ToyModelsConfig) -> dict[str, Any]:
    """Trains toy models and dictionaries on them. Writes the tables to toy.json, the weights to NAME.npz, figures as
    PNG and SVG, and returns the summary."""
    require_matplotlib()
    config.check()
    begin = time.perf_counter()
    with RunDir(workdir, "toy_models", config, {}, ToyModelsConfig()) as rundir:
        fresh = not rundir.finished
        summary = rundir.once(lambda: _run(Study(rundir.path, config), begin))
    if fresh:
        print(told(summary))
    return summary


def _run(study: Study, begin: float) -> dict[str, Any]:
    parts: dict[str, Callable[[Study], None]] = {
        "geometry": _pictures,
        "phase diagram": _phase,
        "correlated features": _correlated,
        "learning": _learning,
        "dictionaries": _dictionaries,
    }
    for number, (name, part) in enumerate(parts.items(), 1):
        started = time.perf_counter()
        print(f"[{number}/{len(parts)}] {name}", flush=True)
        part(study)
        study.seconds[name] = round(time.perf_counter() - started, 1)
        jax.clear_caches()  # the next part does not use this part's programs
    for name, arrays in study.arrays.items():
        write_arrays(study.path / f"{name}.npz", arrays)
    tables = finite({**study.tables, "gaps": study.gaps})
    write_json(study.path / TABLES, tables)
    toy_figures.write(study.path, tables, study.arrays)
    return {**_summary(tables), "seconds": study.seconds, "wall_seconds": time.perf_counter() - begin}


def _pictures(study: Study) -> None:
    config = study.config
    study.keep("polygons", *pictures.polygons(config.toy("polygons"), config.pictures))
    study.keep("geometry", *pictures.dimensions(config.toy("geometry"), config.instances))
    study.keep("graded", *pictures.graded(config.toy("geometry")))


def _phase(study: Study) -> None:
    config, n = study.config, study.config.phase_points
    found = phase_diagram(config.toy("phase"), np.logspace(0, -2, n), np.logspace(-1, 1, n), config.phase_seeds)
    study.arrays["phase"] = {f.name: getattr(found, f.name) for f in dataclasses.fields(PhaseDiagram)}
    away = found.away
    study.tables["phase"] = {
        "phases": list(PHASES),
        "points": found.agrees.size,
        "agree": float(found.agrees.mean()),
        "away_from_borders": int(away.sum()),
        "agree_away_from_borders": float(found.agrees[away].mean()) if away.any() else None,
    }


def _correlated(study: Study) -> None:
    config = study.config
    study.tables["pairs"] = pictures.correlated(config.toy("pairs"), config.seeds)
    study.tables["groups"] = pictures.local_bases(config.toy("groups"), config.seeds)


def _learning(study: Study) -> None:
    study.keep("learning", *pictures.learning(study.config.toy("learning")))


def _dictionaries(study: Study) -> None:
    config, own, gaps = study.config, study.config.dictionaries, study.gaps
    subject = found.sparse_toy(config.toy("hidden"), own, config.seed)
    other = found.sparse_toy(config.toy("hidden"), own, config.seed + 1)
    study.tables["architectures"] = found.by_architecture(subject, gaps)
    study.tables["other_toy"] = found.other_toy(subject, other.W, gaps)
    study.tables["sizes"] = found.by_size(subject, gaps)
    study.tables["absorption"] = found.absorbed(config.toy("families"), own, config.seed, gaps)
    study.tables["resampling"] = found.resampled(subject, gaps)


def _summary(tables: dict[str, Any]) -> dict[str, Any]:
    geometry = tables["geometry"]
    jumps = [row for row in tables["learning"] if row["steps"]]
    levels = {name: sum(row["levels"][name] for row in geometry) for name in geometry[0]["levels"]}
    absorption: dict[str, list[float]] = {"parent": [], "independent": []}
    for row in tables["absorption"]:
        if row["absorbed"] is not None:
            absorption[row["occurrence"]].append(row["absorbed"])
    return {
        "d_star_dense": geometry[0]["d_star"],
        "d_star_sparse": geometry[-1]["d_star"],
        "instances_at_half": sum(abs(row["d_star"] - 0.5) < 0.03 for row in geometry),
        "levels": levels,
        "phase_agree": tables["phase"]["agree"],
        "phase_agree_away_from_borders": tables["phase"]["agree_away_from_borders"],
        "loss_drop_at_jumps": _mean([row["drop_at_jumps"] for row in jumps]),
        "loss_drop_elsewhere": _mean([row["drop_elsewhere"] for row in jumps]),
        "recovered": {row["architecture"]: row["recovered"] for row in tables["architectures"]},
        "precision": {row["architecture"]: row["precision"] for row in tables["architectures"]},
        "recovered_of_other_toy": _mean([row["recovered"] for row in tables["other_toy"]]),
        "absorbed": _mean(absorption["parent"]),
        "absorbed_independent": _mean(absorption["independent"]),
        "recovered_by_resampling": {row["resampling"]: row["recovered"] for row in tables["resampling"]},
        "gaps": len(tables["gaps"]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def told(summary: dict[str, Any]) -> str:
    """The most important figures, in a few lines."""

    def percent(x: float | None) -> str:
        return "-" if x is None else f"{x:.1%}"

    lines = [
        ["dimensions per feature, dense and sparse", f"{summary['d_star_dense']:.2f}, {summary['d_star_sparse']:.2f}"],
        ["densities at which it is one half", str(summary["instances_at_half"])],
        ["phase diagram agrees with the closed form", percent(summary["phase_agree"])],
        [
            "absorbed, and of independent pairs",
            f"{percent(summary['absorbed'])}, {percent(summary['absorbed_independent'])}",
        ],
        *([f"recovered by {name}", percent(x)] for name, x in summary["recovered"].items()),
        *([f"recovered, resampling: {name}", percent(x)] for name, x in summary["recovered_by_resampling"].items()),
        ["wall time", f"{summary['wall_seconds']:.0f} s"],
    ]
    return "\n" + "\n".join(text_table(lines, left=[0]))
