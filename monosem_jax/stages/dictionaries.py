"""What the training of one dictionary and of a sweep share: rows, groups of members, figures at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax import sae as sae_lib
from monosem_jax.errors import BadInput
from monosem_jax.evaluate import evaluate_rows
from monosem_jax.fit import FitResult, Group, Report, fit
from monosem_jax.layout import choose
from monosem_jax.objective import dictionary_objective, dictionary_optimizer
from monosem_jax.resample import Resampler, make_resampling
from monosem_jax.run import Run, write_json
from monosem_jax.sae.median import geometric_median
from monosem_jax.sharding import fetch, first_process, put, tree_shardings
from monosem_jax.stages.evaluate import on_heldout
from monosem_jax.stages.sources import Source, check_finite, input_scale
from monosem_jax.synthetic import recovery
from monosem_jax.train import State, TrainConfig, create

MEDIAN_ROWS = 32_768
FEATURES_TOGETHER = 16_384  # on a device


@dataclasses.dataclass
class Material:
    """Rows to train on, and what was found out about them before: the scale that they are multiplied by (each of the
    `parts` that they consist of by its own), and the geometric median [M] and the variance [M] of what results."""

    source: Source
    mesh: Mesh
    stream: Any
    scale: Any
    median: jax.Array
    variance: Any = None
    parts: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        return self.median.shape[0]

    @classmethod
    def unseen(cls, config: Any, width: int, mesh: Mesh, widths: tuple[int, ...] = (), source: Any = None) -> Material:
        """Of rows of which only the width is known, for programs that are only compiled or timed."""
        parts = sae_lib.build(config.sae, width, jnp.float32, widths).parts
        scale = 1.0 if len(parts) == 1 else [1.0] * len(parts)
        return cls(source, mesh, None, scale, np.zeros(width, np.float32), np.ones(width), parts)


def open_mesh(config: Any, source: Source, n_features: int) -> Mesh:
    """The configured mesh, or the one with the least traffic between devices."""
    train = config.train
    if train.mesh:
        mesh = train.open_mesh()
    else:
        data, model = choose(jax.device_count(), n_features, source.width, train.batch_size)
        mesh = train.open_mesh(f"data={data},model={model}")
    if n_features % mesh.shape["model"]:
        raise BadInput(f"sae.n_features {n_features} is not divisible by the {mesh.shape['model']} model shards")
    return mesh


def prepare(config: Any, source: Source, mesh: Mesh, *, checked: bool) -> Material:
    """Opens the stream of a `train_sae.SaeRunConfig` and looks at its first rows. `checked`: an array was already read
    through once for numbers that are not finite. Raises BadInput when rows are not."""
    if source.unchecked and not checked:
        check_finite(source.rows, config.source)
    stream = source.stream(config, mesh)
    sample = stream.sample(MEDIAN_ROWS).astype(np.float32)
    bad = np.count_nonzero(~np.isfinite(sample).all(axis=1))
    if bad:
        how = f" in online.dtype {config.online.dtype}" if source.rows is None else ""
        raise BadInput(f"{config.source}: {bad} of the first {len(sample)} rows are not finite{how}")
    parts = sae_lib.build(config.sae, source.width, jnp.float32, source.widths).parts
    scale = input_scale(config.sae.input_scale, source, sample, parts)
    sample *= np.repeat(np.float32(scale), parts) if len(parts) > 1 else scale
    divided = PartitionSpec("data") if len(sample) % mesh.shape["data"] == 0 else PartitionSpec()
    median = jax.jit(geometric_median, out_shardings=NamedSharding(mesh, PartitionSpec()))
    variance = np.var(sample, axis=0, dtype=np.float64)
    return Material(source, mesh, stream, scale, median(put(sample, mesh, divided)), variance, parts)


def note_input(run: Run, material: Material) -> None:
    """Writes what `load_run` must know of the rows."""
    if first_process():
        record = {"input_scale": material.scale, "site": material.source.site, "width": material.width}
        if len(material.parts) > 1:
            record["widths"] = list(material.parts)
        write_json(run.path / "input.json", record)


def make_group(configs: Sequence[Any], runs: Sequence[Run], material: Material) -> tuple[Group, Resampler]:
    """Members that differ in seed and in what `sae.hyper()` says only, at their beginning, and what resamples them."""
    first, mesh, rules = configs[0], material.mesh, sae_lib.RULES
    sae = sae_lib.build(first.sae, material.width, first.train.dtype(), material.parts)
    tx = dictionary_optimizer(first.train, sae)
    seeds = jnp.asarray([c.seed for c in configs], jnp.uint32)
    hyper = {name: jnp.asarray([getattr(c.sae, name) for c in configs], jnp.float32) for name in first.sae.hyper()}
    own = (seeds, hyper)

    def initial(seed, hyper):
        return initial_state(sae, tx, material, seed, hyper)

    together = members_together(first.sae.n_features // mesh.shape["model"]) if len(configs) > 1 else 0
    if together:
        state = create(initial, rules, mesh, *own)
    else:
        state = create(lambda: initial(*jax.tree.map(lambda x: x[0], own)), rules, mesh)
    group = Group(state, make_objective(first, sae, mesh), tx, runs, rules, mesh, together)
    _, window = first.resample.resolve(first.train)
    return group, Resampler(sae, mesh, rules, window=window, method=first.resample.method, together=together)


def members_together(features_per_device: int) -> int:
    """How many members are worth computing at a time: narrow ones leave an accelerator idle, wide ones fill its memory,
    and a CPU gains nothing from it and loses the ways around what is zero."""
    return 1 if jax.default_backend() == "cpu" else max(FEATURES_TOGETHER // features_per_device, 1)


def make_objective(config: Any, sae: Any, mesh: Mesh) -> Any:
    """The objective of a `train_sae.SaeRunConfig`."""
    return dictionary_objective(
        sae, mesh, sparse=config.sae.sparse, l1_warmup=config.sae.warmup_steps(config.train.steps),
        micro_batches=config.train.micro_batches,
    )  # fmt: skip


def initial_state(sae: Any, tx: Any, material: Material, seed: Any, hyper: dict[str, Any]) -> State:
    """Parameters as the architecture begins, the decoder bias at the geometric median of (scaled) activations where it
    says so."""
    init_key, key = jax.random.split(jax.random.key(seed))
    params = sae.initial(init_key)
    if sae.AT_MEDIAN:
        params = {**params, "b_dec": sae.wanted(jnp.asarray(material.median, jnp.float32))}
    hyper = {name: jnp.float32(value) for name, value in hyper.items()}
    hyper["input_scale"] = jnp.asarray(material.scale, jnp.float32)
    if sae.ERROR == "variance":
        hyper["variance"] = jnp.mean(sae.wanted(jnp.asarray(material.variance, jnp.float32)))
    return State.create(params, tx, stats=sae.initial_stats(), hyper=hyper, key=key)


def train(groups: Sequence[tuple[Group, Resampler]], config: Any, material: Material, description: str) -> FitResult:
    """Trains all groups on the same batches, resampling as the configuration says."""
    steps, _ = config.resample.resolve(config.train)
    resampling = make_resampling([r for _, r in groups], steps, config.resample.n_inputs, config.train)
    return fit(
        [group for group, _ in groups],
        config=config.train,
        batches=material.stream,
        transforms=[resampling] if steps else [],
        reports=[Report(config.train.evaluate_every, _silent(config.train))],
        description=description,
    )


def _silent(train: TrainConfig):
    """The report on features that have not fired for as long as between two reports."""
    count = jax.jit(lambda s: jnp.sum(s.step - s.stats["last_fired"] >= train.evaluate_every, axis=-1))
    return lambda state: {"silent": fetch(count(state))}


def figures(config: Any, state: State, material: Material) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics and densities of a trained member, on held-out text or on the rows kept back; its dictionary stays on
    the devices as it was trained."""
    source, mesh = material.source, material.mesh
    sae = sae_lib.build(config.sae, material.width, jnp.float32, material.parts)

    def published(params, stats):
        return sae.fold(sae.publish(params, stats), material.scale)

    shardings = tree_shardings(jax.eval_shape(published, state.params, state.stats), sae_lib.RULES, mesh)
    params = jax.jit(published, out_shardings=shardings)(state.params, state.stats)
    if source.transformer is None:
        return evaluate_rows(sae, params, source.heldout, mesh=mesh)
    return on_heldout(source.transformer, sae, params, source.site, config.evaluate, mesh)


def finish(
    run: Run, config: Any, state: State, result: FitResult, material: Material, seconds: float,
    frozen_at: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluates a member and writes the last files of its run directory; returns its summary."""
    metrics, density = figures(config, state, material)
    if material.source.truth is not None:
        metrics |= recovery(material.source.truth, fetch(state.params["W_dec"]))
    if first_process():
        np.save(run.path / "density.npy", density)
    size = config.train.batch_size
    summary = {
        **metrics,
        config.sae.sparsity_key: config.sae.sparsity,
        "rows_trained": config.train.steps * size,
        "rows_per_second": result.steps * size / max(result.seconds, 1e-9),
        "steps_skipped": int(state.guard["skipped"]),
        "resumed_from_step": config.train.steps - result.steps,
        "checkpoint_stall_seconds": result.mean_stall,
        "wall_seconds": seconds,
    }
    if frozen_at is not None:
        summary["diverged_at_step"] = frozen_at
    return run.finish(summary)
