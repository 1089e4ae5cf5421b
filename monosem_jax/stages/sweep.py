"""A grid of dictionaries {sizes} x {L1 coefficients} x {seeds}, trained together from one read of the activations."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from monosem_jax.activations.sources import ActivationSource, open_source
from monosem_jax.load import load_run
from monosem_jax.report import comparison, pareto
from monosem_jax.report.plots import require_matplotlib
from monosem_jax.runtime.config import check_seed
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.rng import stream
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.sae import cost_table as costs
from monosem_jax.sae import trainer as dictionaries
from monosem_jax.sae.cost_model import StepCost
from monosem_jax.sae.run import SweepRun
from monosem_jax.stages import train_sae
from monosem_jax.stages.train_sae import SaeRunConfig, identity, summarize
from monosem_jax.training.ensemble import member_of
from monosem_jax.training.loop import FitResult

MEMBERS = "members"
MEASURED_FLOPS = 2e11  # about a second on two CPU cores
COLUMNS = (
    "l0", "mse", "variance_explained", "loss_recovered_zero", "loss_recovered_mean", "dead", "ultralow",
    "diverged_at_step",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """The grid. The defaults are the paper's A/0 … A/5. `sparsities` are values of the key that decides how many
    features of the architecture are active, and stand for `l1_coefficients` where that is another one: k,
    l0_coefficient or target_l0; () is the one that it has."""

    sizes: tuple[int, ...] = (512, 4096, 16_384, 32_768, 65_536, 131_072)
    l1_coefficients: tuple[float, ...] = (0.004,)
    seeds: tuple[int, ...] = (0,)
    sparsities: tuple[float, ...] = ()

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
    """For --plan: the share of the matmul peak that is reached (0: some steps are measured instead), and this peak in
    TFLOP/s of one device (0: it is measured)."""

    mfu: float = 0.0
    peak_tflops: float = 0.0


@dataclasses.dataclass(frozen=True)
class SweepRunConfig(SaeRunConfig):
    """What the members share, as for one dictionary, and in what they differ: values of `sweep` stand for
    sae.n_features, sae.l1_coefficient and seed. `seed` (or `data_seed`) decides the order of the rows, for all
    members."""

    sweep: SweepConfig = SweepConfig()
    plan: DryRunConfig = DryRunConfig()

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        super().check()
        self.sweep.check()
        for member in self.members().values():
            member.check()

    def members(self) -> dict[str, SaeRunConfig]:
        """name -> the configuration with which `train_sae` would train the same dictionary, small ones first."""
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(SaeRunConfig)}
        found, key = {}, self.sae.sparsity_key
        letter = "l" if key == "l1_coefficient" else key
        for size in sorted(self.sweep.sizes):
            for value in self.values():
                for seed in self.sweep.seeds:
                    sae = dataclasses.replace(self.sae, n_features=size, **{key: value})
                    own = {"sae": sae, "seed": seed, "data_seed": self.order_seed}
                    found[f"f{size}_{letter}{value:g}_s{seed}"] = SaeRunConfig(**{**shared, **own})
        return found

    def values(self) -> tuple[float, ...]:
        """Those of the key that decides how many features are active."""
        key, given = self.sae.sparsity_key, self.sweep.sparsities
        if key == "k":
            return tuple(int(k) if k == int(k) else k for k in given) or (self.sae.k,)
        return given or (self.sweep.l1_coefficients if key == "l1_coefficient" else (self.sae.sparsity,))

    def groups(self) -> dict[tuple, dict[str, SaeRunConfig]]:
        """Members that one program computes: they are of one size, and differ in numbers that it is given."""
        found: dict[tuple, dict[str, SaeRunConfig]] = {}
        for name, member in self.members().items():
            traced = self.sae.sparsity_key in member.sae.TRACED
            found.setdefault((member.sae.n_features, None if traced else member.sae.sparsity), {})[name] = member
        return found


def sweep(workdir: str | pathlib.Path, config: SweepRunConfig) -> dict[str, Any]:
    """Trains what is not trained yet, evaluates every member, writes the table and the plots, returns the summary."""
    require_matplotlib()
    config.check()
    begin = time.perf_counter()
    source = open_source(config)
    mesh = open_mesh(config, source)
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
        checked = all((r.path / "input.json").exists() for r in rundirs.values())
        material = dictionaries.prepare(config, source, mesh, checked=checked)
        for rundir in rundirs.values():
            dictionaries.write_input_record(rundir, material)
        groups = [
            dictionaries.make_ensemble(list(members.values()), [rundirs[name] for name in members], material)
            for members in config.groups().values()
        ]
        result = dictionaries.train(groups, config, material, f"{len(rundirs)} dictionaries")
        trained_seconds = time.perf_counter() - begin
        rows = []
        trained = zip(config.groups().values(), groups, result.states, result.frozen, strict=True)
        for members, (group, _), state, frozen in trained:
            for i, (name, member) in enumerate(members.items()):
                rundir = rundirs[name]
                summary = rundir.summary if rundir.finished else rundir.finish(
                    summarize(
                        rundir.path, member, member_of(state, i, group), result, material, trained_seconds, frozen[i]
                    )
                )  # fmt: skip
                rows.append(row(name, member, summary))
    return _write_table(path, rows, result, config, begin)


def row(name: str, member: SaeRunConfig, summary: dict[str, Any]) -> dict[str, Any]:
    """A member's line of the table."""
    own = {"name": name, "n_features": member.sae.n_features, member.sae.sparsity_key: member.sae.sparsity}
    return {**own, "seed": member.seed, **{key: summary.get(key) for key in COLUMNS}}


def _write_table(
    path: pathlib.Path, rows: list[dict], result: FitResult, config: SweepRunConfig, begin: float
) -> dict[str, Any]:
    if first_process():
        files = pareto.write_sweep(path, rows)
        print(pareto.table(rows))
        print("\n" + "\n".join(str(f) for f in files))
    members_rows = result.steps * config.train.batch_size * len(rows)
    return {
        "members": rows,
        "diverged": [r["name"] for r in rows if r["diverged_at_step"] is not None],
        "rows_trained": config.train.steps * config.train.batch_size,
        "member_rows_per_second": members_rows / max(result.seconds, 1e-9),
        "resumed_from_step": config.train.steps - result.steps,
        "checkpoint_stall_seconds": result.mean_stall,
        "wall_seconds": time.perf_counter() - begin,
    }


def open_mesh(config: SweepRunConfig, source: ActivationSource) -> Mesh:
    """The mesh of all members; what it must divide is checked for each size, and it is chosen for the largest."""
    meshes = [dictionaries.open_mesh(config, source, size) for size in sorted(config.sweep.sizes)]
    for size in config.sweep.sizes:
        if size % meshes[-1].shape["model"]:
            raise BadInput(f"sweep.sizes: {size} is not divisible by the {meshes[-1].shape['model']} model shards")
    return meshes[-1]


def dry_run(workdir: str | pathlib.Path, config: SweepRunConfig) -> None:
    """Prints what the sweep would take; writes nothing. Without an MFU it trains on a few rows to measure the time."""
    del workdir
    config.check()
    source = open_source(config)
    mesh = open_mesh(config, source)
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit", 0) if device.platform != "cpu" else 0
    shape = StepCost(
        mesh.shape["data"], mesh.shape["model"], min(config.sweep.sizes), source.width, config.train.batch_size,
        jnp.dtype(config.train.dtype()).itemsize, config.train.micro_batches,
    )  # fmt: skip
    members = [costs.Member(m.sae.n_features, m.sae.sparsity, m.seed) for m in config.members().values()]
    given = {"mfu": config.plan.mfu, "peak_tflops": config.plan.peak_tflops}
    time_of = given if config.plan.mfu else {"seconds_per_step": measure(config, source, mesh)}
    found = costs.estimate(
        members, shape, config.train.steps, **time_of, steps_per_dispatch=config.train.steps_per_dispatch,
        element_bytes=source.itemsize(config), bytes_limit=limit, store_rows=source.rows.n_rows if source.rows else 0,
        together=dictionaries.vmap_size,
    )  # fmt: skip
    if first_process():
        print(costs.table(found))


def compare(workdir: str | pathlib.Path, config: SweepRunConfig) -> dict[str, list[dict[str, Any]]]:
    """Writes the table and the figures of all finished sweeps below `workdir` into it; returns name -> members.

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


def measure(config: SweepRunConfig, source: ActivationSource, mesh: Mesh) -> dict[int, float]:
    """Seconds of one step of all members of each size, from one on few random rows, as long as a second allows."""
    found = {}
    for (size, _), members in config.groups().items():
        shards = mesh.shape["data"] * config.train.micro_batches
        afford = int(MEASURED_FLOPS / (10 * size * source.width * len(members)))
        rows = min(config.train.batch_size, max(afford // shards, 1) * shards)
        small = dataclasses.replace(config.train, batch_size=rows)
        configs = [dataclasses.replace(m, train=small) for m in members.values()]
        material = dictionaries.TrainingInputs.unseen(configs[0], source.width, mesh, source.widths, source)
        group, _ = dictionaries.make_ensemble(configs, [], material)
        block = np.maximum(stream("sweep.measure", 0).normal(size=(1, rows, source.width)), 0).astype(np.float32)
        block = dictionaries.device_put_sharded(block, mesh, jax.P(None, "data"))
        dispatch = group.compile(small)
        state, _ = jax.block_until_ready(dispatch(group.state, block))
        begin = time.perf_counter()
        jax.block_until_ready(dispatch(state, block))
        found[size] = found.get(size, 0.0) + (time.perf_counter() - begin) * config.train.batch_size / rows
    return found
