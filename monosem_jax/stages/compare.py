"""Dictionaries → how their features relate, across sizes, seeds, models and architectures, and what they form."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.joint.pair_sums import Pair, pair_sums
from monosem_jax.analysis.records_parse import plain
from monosem_jax.analysis.relations.base import Relation, Relations
from monosem_jax.analysis.relations.table import RELATIONS, RelationsConfig
from monosem_jax.report.plots import require_matplotlib
from monosem_jax.report.relations import markdown
from monosem_jax.report.relations_figures import write_relations_figures
from monosem_jax.runtime.arguments import check_name
from monosem_jax.runtime.config import check_bounds, check_seed, field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.files import write_json, write_text
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.mesh import make_mesh
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.stages.compared_crosscoders import OpenedCrosscoder, crosscoder_sets, open_crosscoders
from monosem_jax.stages.compared_sets import Opened, check_controls, check_same_text, compared_sets, open_runs
from monosem_jax.stages.kept_relations import find_once, is_kept

ENOUGH_TOKENS = 1_000_000  # correlations of rare features over fewer tokens are rough


@dataclasses.dataclass(frozen=True)
class CompareRunConfig:
    """Which dictionaries are compared, on how much text, and which kinds of relation are looked for."""

    seed: int = 0
    """Decides every draw."""
    runs: str = field("", place=Place(several=True))
    """Directories of finished train_sae runs or of sweeps, with commas between. The first one is compared with each."""
    control: str = field("", place=Place(several=True))
    """Dictionaries of control transformers (train_transformer --shuffle_of), with commas between, or empty."""
    crosscoder: str = field("", place=Place(several=True))
    """Finished train_sae runs of crosscoders of two transformers, with commas between, or empty. Of each of the two
    transformers a dictionary must be among runs, and the two stores must still be there."""
    split: str = "heldout"
    """The split on which everything is measured: heldout, or validation to choose settings."""
    contexts: int = field(0, at_least=0)
    """Contexts of the split to read; 0: all."""
    least_tokens: int = 10_000
    """With fewer tokens nothing is compared."""
    batch_contexts: int = 32
    """Contexts per forward pass."""
    mesh: str = field("", identity=False)
    """Devices among which the reading of the dictionaries is divided: "data=2,model=4". Empty: one device."""
    table_gb: float = field(4.0, above=0.0)
    """Memory that the sums of a pair of dictionaries may take; larger ones are compared by candidates."""
    without: tuple[str, ...] = ()
    """Kinds of relation to leave out."""
    relations: RelationsConfig = RelationsConfig()
    """How much is asked of each kind of relation."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        check_counts(self, "config.", "least_tokens", "batch_contexts")
        check_bounds(self, "config.")
        check_name("config.split", self.split, ("heldout", "validation"))
        for name in self.without:
            check_name("config.without", name, tuple(RELATIONS))
        if set(RELATIONS) <= set(self.without):
            raise BadInput(f"config.without has all kinds, {', '.join(RELATIONS)}: expected one to be looked for")
        self.relations.check()
        if self.mesh:
            make_mesh(self.mesh)


@stage
def compare(workdir: str | pathlib.Path, config: CompareRunConfig) -> dict[str, Any]:
    """Writes a table NAME.json and arrays NAME.npz for each kind of relation, relations.md with all tables, and returns
    the summary.

    Raises BadInput on runs of other texts or tokenizers, on an unfinished run, and on too few tokens.
    """
    config.check()
    begin = time.perf_counter()
    runs, left_out = open_runs(config.runs, "config.runs")
    controls, _ = open_runs(config.control, "config.control") if config.control else ([], [])
    check_controls(runs, controls)
    text = check_same_text([*runs, *controls], config.split)
    crosscoders = open_crosscoders(config.crosscoder, runs, text)
    sizes = [each.run.transformer.model.config.vocab_size for each in runs]
    heldout = ExampleText.of(text, config.split, max(sizes))
    pick = slice(config.contexts or None)
    heldout = dataclasses.replace(heldout, tokens=heldout.tokens[pick], documents=heldout.documents[pick])
    tokens = int(np.sum(np.asarray(heldout.tokens) != text.bos))
    if tokens < config.least_tokens:
        raise BadInput(
            f"the {config.split} split has {tokens} tokens to compare on: expected config.least_tokens, "
            f"{config.least_tokens}, or more"
        )
    parents = {f"run{i}": parent(o.run.path, "summary.json") for i, o in enumerate(runs)}
    parents |= {f"control{i}": parent(o.run.path, "summary.json") for i, o in enumerate(controls)}
    parents |= {f"crosscoder{i}": parent(o.run.path, "summary.json") for i, o in enumerate(crosscoders)}
    identity = dataclasses.replace(config, runs="", control="", crosscoder="")
    with RunDir(workdir, "compare", identity, parents, CompareRunConfig()) as rundir:
        sets = compared_sets(runs, controls)
        study = Relations(
            [*sets, *crosscoder_sets(crosscoders, sets)],
            text,
            heldout,
            rundir.path,
            seed=config.seed,
            batch=config.batch_contexts,
            mesh=make_mesh(config.mesh) if config.mesh else None,
            most_bytes=int(config.table_gb * (1 << 30)),
        )
        study.tables["sets"] = _described(study, [*runs, *controls], crosscoders)
        return rundir.once(lambda: _compare(study, left_out, tokens, config, begin))


def _compare(
    study: Relations, left_out: list[str], tokens: int, config: CompareRunConfig, begin: float
) -> dict[str, Any]:
    for reason in left_out:
        study.gap("runs", reason)
    if tokens < ENOUGH_TOKENS:
        study.gap("tokens", f"{tokens} tokens: correlations of rare features are rough below {ENOUGH_TOKENS}")
    chosen = {name: relation for name, relation in RELATIONS.items() if name not in config.without}
    left = {name: relation for name, relation in chosen.items() if not is_kept(study, name)}
    needed = []
    for name, relation in left.items():
        try:
            needed += relation.needs(study, getattr(config.relations, name))
        except BadInput as e:  # before minutes of work for the others
            study.gap(name, str(e))
            study.seconds[name] = 0.0
            del chosen[name]
    _sum_pairs(study, needed)
    for name, relation in chosen.items():
        find_once(study, name, functools.partial(_find, study, name, relation, config))
    _write(study)
    for name in ("scan", "parts"):
        shutil.rmtree(study.path / name, ignore_errors=True)
    return {
        **study.summary,
        "compared_tokens": tokens,
        "gaps": len(study.gaps),
        "seconds": study.seconds,
        "wall_seconds": time.perf_counter() - begin,
    }


def _find(study: Relations, name: str, relation: Relation, config: CompareRunConfig) -> None:
    started = time.perf_counter()
    print(f"relation: {name}", flush=True)
    try:
        relation.find(study, getattr(config.relations, name))
    except BadInput as e:
        study.gap(name, str(e))
    study.seconds[name] = round(time.perf_counter() - started, 1)


def _described(
    study: Relations, opened: Sequence[Opened], crosscoders: Sequence[OpenedCrosscoder]
) -> list[dict[str, Any]]:
    """A row per set: its name and what it is. Dictionaries and controls are the first sets, crosscoders the last."""
    paths: dict[int, str] = {i: str(o.run.path) for i, o in enumerate(opened)}
    first = len(study.sets) - len(crosscoders)
    paths |= {first + i: str(o.run.path) for i, o in enumerate(crosscoders)}
    return [
        {
            "name": s.name,
            "role": s.role,
            "model": s.model,
            "architecture": s.architecture or None,
            "seed": s.seed,
            "site": s.features.tapped.site,
            "n_features": s.n_features,
            "run": paths.get(i),
        }
        for i, s in enumerate(study.sets)
    ]


def _sum_pairs(study: Relations, needed: list[Pair]) -> None:
    """The sums of all pairs that fit, in one reading; of equal ones the masked one."""
    wanted: dict[tuple[int, int], Pair] = {}
    for pair in needed:
        key = (min(pair.a, pair.b), max(pair.a, pair.b))
        if study.fits(pair) and not (key in wanted and wanted[key].masked >= pair.masked):
            wanted[key] = pair
    if not wanted:
        return
    started, pairs, tokens = time.perf_counter(), list(wanted.values()), study.heldout.tokens
    with progress(len(tokens), f"compare {len(pairs)} pairs of sets", "contexts") as bar:
        sums = pair_sums(
            [s.features for s in study.sets], pairs, tokens, batch=study.batch, mesh=study.mesh, advance=bar.update
        )
    study.sums.update(zip(pairs, sums, strict=True))
    study.seconds["reading"] = round(time.perf_counter() - started, 1)


def _write(study: Relations) -> None:
    tables = {name: plain(found) for name, found in {**study.tables, "gaps": study.gaps}.items()}
    for name, found in tables.items():
        write_json(study.path / f"{name}.json", found)
    for name, arrays in study.arrays.items():
        with open(study.path / f"{name}.npz", "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    write_text(study.path / "relations.md", markdown(tables))
    try:
        require_matplotlib()
    except BadInput as e:
        print(f"note: no figures: {e}", flush=True)
    else:
        (study.path / "figures").mkdir(exist_ok=True)
        write_relations_figures(study.path / "figures", tables, study.arrays)
