"""A grid of dictionaries {sizes} x {L1 coefficients} x {seeds}, trained together from one read of the activations."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Iterable
from typing import Any

import jax
from jax.sharding import Mesh

from monosem_jax.activations.sources import open_source
from monosem_jax.activations.sources.base import ActivationSource
from monosem_jax.load import load_run
from monosem_jax.report import comparison, pareto
from monosem_jax.report.plots import require_matplotlib
from monosem_jax.runtime.config import check_seed
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.formatting import distinct
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae import cost_table, trainer
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.run import SweepRun
from monosem_jax.sae.step_timing import measure_steps
from monosem_jax.sae.trainer import SaeEnsemble, SaeMember
from monosem_jax.stages import train_sae
from monosem_jax.stages.adopted import adopted
from monosem_jax.stages.evaluate import check_split
from monosem_jax.stages.train_sae import Evaluator, SaeRunConfig, identity
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.ensemble import member_of
from monosem_jax.training.loop import FitResult

MEMBERS = "members"
COLUMNS = (
    "l0",
    "mse",
    "variance_explained",
    "loss_recovered_zero",
    "loss_recovered_mean",
    "l0_share_above_1pct",
    "median_density",
    "dead",
    "ultralow",
    "diverged_at_step",
)


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """The grid: every size with every coefficient and every seed. The defaults give the paper's A/0 … A/5."""

    sizes: tuple[int, ...] = (512, 4096, 16_384, 32_768, 65_536, 131_072)
    """Values of sae.n_features."""
    l1_coefficients: tuple[float, ...] = (0.004,)
    """Values of sae.l1_coefficient, for architectures with an L1 penalty."""
    seeds: tuple[int, ...] = (0,)
    """Values of seed."""
    sparsities: tuple[float, ...] = ()
    """Values of the key that decides how many features are active (k, l0_coefficient, target_l0 or l1_coefficient),
    instead of l1_coefficients; (): those, or without an L1 penalty the single value in sae."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        for name in ("sizes", "l1_coefficients", "seeds", "sparsities"):
            values = getattr(self, name)
            if not values and name != "sparsities":
                raise BadInput(f"sweep.{name} is empty: at least one value is needed")
            twice = [v for v in values if values.count(v) > 1]
            if twice:
                raise BadInput(f"sweep.{name} has {twice[0]} more than once")
        unusable = [v for v in self.sparsities if not (math.isfinite(v) and v > 0)]
        if unusable:
            raise BadInput(f"sweep.sparsities has {unusable[0]}: expected numbers above 0")
        for seed in self.seeds:
            check_seed(seed, "sweep.seeds")


@dataclasses.dataclass(frozen=True)
class DryRunConfig:
    """What --plan assumes about the speed of a device."""

    mfu: float = 0.0
    """Share of the matmul peak that is reached; 0: some steps are measured instead."""
    peak_tflops: float = 0.0
    """Matmul peak of one device, in TFLOP/s; 0: it is measured."""


@dataclasses.dataclass(frozen=True)
class SweepRunConfig(SaeRunConfig):
    """The settings that all members share, as for one dictionary, and the grid in which they differ: values of `sweep`
    replace sae.n_features, the sparsity coefficient and seed. `seed` (or `data_seed`) decides the order of the rows for
    all members."""

    sweep: SweepConfig = SweepConfig()
    """The grid."""
    plan: DryRunConfig = DryRunConfig()
    """--plan: the time to expect."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        super().check()
        self.sweep.check()
        for member in self.members().values():
            member.check()

    def members(self) -> dict[str, SaeRunConfig]:
        """name -> the configuration with which `train_sae` would train the same dictionary, small ones first."""
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(SaeRunConfig)}
        found: dict[str, SaeRunConfig] = {}
        key = self.sae.sparsity_key
        letter = "l" if key == "l1_coefficient" else key
        numbers = distinct(self.values())
        for size in sorted(self.sweep.sizes):
            for value, number in zip(self.values(), numbers, strict=True):
                for seed in self.sweep.seeds:
                    changed: dict[str, Any] = {"n_features": size, key: value}
                    sae = dataclasses.replace(self.sae, **changed)
                    own = {"sae": sae, "seed": seed, "data_seed": self.order_seed}
                    found[f"f{size}_{letter}{number}_s{seed}"] = SaeRunConfig(**{**shared, **own})
        return found

    def values(self) -> tuple[float, ...]:
        """The values of the key that decides how many features are active."""
        key, given = self.sae.sparsity_key, self.sweep.sparsities
        if key == "k":
            return tuple(int(k) if k == int(k) else k for k in given) or (self.sae.sparsity,)
        return given or (self.sweep.l1_coefficients if key == "l1_coefficient" else (self.sae.sparsity,))

    def groups(self) -> list[dict[str, SaeRunConfig]]:
        """name -> configuration of the members that one program computes. They have the same size, and differ only in
        numbers that are arguments of the program."""
        found: dict[tuple[int, float | None], dict[str, SaeRunConfig]] = {}
        for name, member in self.members().items():
            traced = self.sae.sparsity_key in member.sae.hyper()
            found.setdefault((member.sae.n_features, None if traced else member.sae.sparsity), {})[name] = member
        return list(found.values())


@stage
def sweep(workdir: str | pathlib.Path, config: SweepRunConfig) -> dict[str, Any]:
    """Trains the untrained members, evaluates all, writes the table and the plots, and returns the summary."""
    require_matplotlib()
    config.check()
    begin = time.perf_counter()
    config = adopted(config, workdir, config.seed)
    source = open_source(config.source_request())
    check_split(source.transformer, config.evaluate)
    mesh = trainer.open_mesh(config.train, sorted(config.sweep.sizes), source.width)
    own = dataclasses.replace(config, plan=DryRunConfig())
    with RunDir(workdir, "sweep", identity(own), source.parents, train_sae.defaults(config)) as rundir:
        return rundir.once(lambda: _train_members(rundir.path, config, source, mesh, begin))


def _train_members(
    path: pathlib.Path, config: SweepRunConfig, source: ActivationSource, mesh: Mesh, begin: float
) -> dict[str, Any]:
    """Trains and evaluates all members, each in its own run directory, and returns the summary of the sweep."""
    with contextlib.ExitStack() as stack:
        rundirs = {
            name: stack.enter_context(
                RunDir(path / MEMBERS / name, "train_sae", identity(member), source.parents, train_sae.defaults(member))
            )
            for name, member in config.members().items()
        }
        groups = [
            {name: SaeMember(member.seed, member.sae, rundirs[name]) for name, member in group.items()}
            for group in config.groups()
        ]
        # Read before training: later only the first process knows whether a summary was written.
        summaries = {name: rundir.summary for name, rundir in rundirs.items() if rundir.finished}
        ensembles, result, evaluator = _train(groups, config, source, mesh)
        seconds = time.perf_counter() - begin
        rows = []
        for group, ensemble, state, frozen in zip(groups, ensembles, result.states, result.frozen, strict=True):
            for i, (name, member) in enumerate(group.items()):
                rundir = rundirs[name]
                if name not in summaries:
                    alone = member_of(state, i, ensemble.ensemble)
                    own = (member.config, ensemble.sae, alone, result, evaluator, config.train, seconds, frozen[i])
                    summaries[name] = rundir.finish(train_sae.summarize(rundir.path, *own))
                rows.append(row(name, member, summaries[name]))
    return _write_table(path, rows, result, config.train, begin)


def _train(
    groups: list[dict[str, SaeMember]], config: SweepRunConfig, source: ActivationSource, mesh: Mesh
) -> tuple[list[SaeEnsemble], FitResult, Evaluator]:
    """Trains all groups of members on the same batches."""
    train, resample = config.train, config.resample.resolve(config.train)
    saes = [build_shared(group.values(), train, source) for group in groups]
    rundirs = [m.rundir for group in groups for m in group.values() if m.rundir is not None]
    checked = all((r.path / "input.json").exists() for r in rundirs)
    stream, statistics = trainer.prepare(source, saes[0].parts, config.sae.input_scale, mesh, checked=checked)
    for rundir in rundirs:
        trainer.write_input_record(rundir, statistics, source)
    ensembles = [
        trainer.make_ensemble(sae, list(group.values()), statistics, mesh, train, resample)
        for sae, group in zip(saes, groups, strict=True)
    ]
    result = trainer.train_ensembles(ensembles, stream, train, resample, f"{len(rundirs)} dictionaries")
    return ensembles, result, Evaluator(source, statistics.scale, mesh, config.evaluate)


def build_shared(members: Iterable[SaeMember], train: TrainConfig, source: ActivationSource) -> SparseAutoencoder:
    """The module of members that one program computes."""
    first = next(iter(members))
    return sae_lib.build(first.config, source.width, train.dtype(), source.widths)


def row(name: str, member: SaeMember, summary: dict[str, Any]) -> dict[str, Any]:
    """A member's line of the table."""
    config = member.config
    own = {"name": name, "n_features": config.n_features, config.sparsity_key: config.sparsity}
    return {**own, "seed": member.seed, **{key: summary.get(key) for key in COLUMNS}}


def _write_table(
    path: pathlib.Path, rows: list[dict[str, Any]], result: FitResult, train: TrainConfig, begin: float
) -> dict[str, Any]:
    """Writes the table and the plots of all members, and returns the summary of the sweep."""
    if first_process():
        files = pareto.write_sweep(path, rows)
        print(pareto.table(rows))
        print("\n" + "\n".join(str(f) for f in files))
    members_rows = result.steps * train.batch_size * len(rows)
    return {
        "members": rows,
        "diverged": [r["name"] for r in rows if r["diverged_at_step"] is not None],
        "rows_trained": train.steps * train.batch_size,
        "member_rows_per_second": members_rows / max(result.seconds, 1e-9),
        "resumed_from_step": train.steps - result.steps,
        "checkpoint_stall_seconds": result.mean_stall,
        "wall_seconds": time.perf_counter() - begin,
    }


@stage
def dry_run(workdir: str | pathlib.Path, config: SweepRunConfig) -> None:
    """Prints the sweep's memory and time; writes nothing. Without an MFU, trains on a few rows to measure the time."""
    del workdir
    config.check()
    train, source = config.train, open_source(config.source_request())
    mesh = trainer.open_mesh(train, sorted(config.sweep.sizes), source.width)
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit", 0) if device.platform != "cpu" else 0
    source.input.tell()
    groups = [[SaeMember(m.seed, m.sae) for m in group.values()] for group in config.groups()]
    saes = [build_shared(group, train, source) for group in groups]
    step_costs = {
        sae.n_features: trainer.step_cost(sae, group[0].config, train, mesh)
        for sae, group in zip(saes, groups, strict=True)
    }
    basis: cost_table.ShareOfPeak | cost_table.MeasuredSteps
    if config.plan.mfu:
        basis = cost_table.ShareOfPeak(config.plan.mfu, config.plan.peak_tflops)
    else:
        basis = cost_table.MeasuredSteps(measure_steps(saes, groups, train, mesh))
    found = cost_table.estimate(
        [cost_table.PlannedMember(m.config.n_features, m.config.sparsity, m.seed) for group in groups for m in group],
        step_costs,
        train.steps,
        basis,
        steps_per_dispatch=train.steps_per_dispatch,
        element_bytes=source.dtype.itemsize,
        bytes_limit=limit,
        store_rows=source.n_rows,
        together=trainer.vmap_size,
    )
    if first_process():
        print(cost_table.table(found))


@stage
def compare(workdir: str | pathlib.Path, config: SweepRunConfig) -> dict[str, list[dict[str, Any]]]:
    """Writes the table and the figures of all finished sweeps below `workdir` into `workdir`; returns name -> members.

    Raises BadInput when there is none.
    """
    del config
    found = {name: comparison.rows_of(run) for name, run in finished_sweeps(workdir).items()}
    if not found:
        raise BadInput(f"{workdir} holds no finished sweep: expected directories of experiments.sweep in it")
    files = comparison.write_comparison(pathlib.Path(workdir), found)
    print(comparison.table(found))
    print("\n" + "\n".join(str(f) for f in files))
    return found


def finished_sweeps(folder: str | pathlib.Path) -> dict[str, SweepRun]:
    """name -> run of the finished sweeps in a folder."""
    runs = {p.parent.name: load_run(p.parent) for p in sorted(pathlib.Path(folder).glob("*/config.json"))}
    return {name: run for name, run in runs.items() if isinstance(run, SweepRun) and run.summary is not None}
