"""Training dictionaries: the statistics of their inputs, members stacked in ensembles, the loop around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from monosem_jax.activations.scale import InputScale, input_scale
from monosem_jax.activations.sources.base import ActivationSource, BatchStream
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json, write_json
from monosem_jax.runtime.mesh import device_get_global, device_put_sharded, make_mesh, nearest
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.rng import jax_key
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.sae.architectures import RULES
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.cost_model import PredictedCollective, StepCost, choose_mesh
from monosem_jax.sae.objective import dictionary_objective, dictionary_optimizer
from monosem_jax.sae.ops.geometric_median import geometric_median
from monosem_jax.sae.resample import Resampler, ResampleSchedule, make_resampling
from monosem_jax.sae.step_trace import read_trace
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import Ensemble, FitResult, Report, fit
from monosem_jax.training.step import Objective, State, create_state

SAMPLE_ROWS = 32_768  # rows whose geometric median and variance are taken

FEATURES_TOGETHER = 16_384  # features of stacked members that an accelerator computes at a time


@dataclasses.dataclass(frozen=True)
class InputStatistics:
    """What was found out about the rows before training. Rows [ΣM] consist of `parts` of width M, each multiplied by
    its own number of `scale`; `median` and `variance` [ΣM] are the geometric median and the variance of the result."""

    scale: InputScale
    median: jax.Array | np.ndarray
    variance: np.ndarray
    parts: tuple[int, ...]

    @property
    def width(self) -> int:
        """The numbers in a row."""
        return sum(self.parts)

    @classmethod
    def unseen(cls, parts: tuple[int, ...]) -> InputStatistics:
        """Of rows whose widths alone are known, for programs that are only compiled or timed."""
        scale = 1.0 if len(parts) == 1 else [1.0] * len(parts)
        return cls(scale, np.zeros(sum(parts), np.float32), np.ones(sum(parts)), parts)


class SaeMember(NamedTuple):
    """One dictionary of an ensemble: its seed, its configuration, and the run directory that it is written to."""

    seed: int
    config: SaeConfig
    rundir: RunDir | None = None


class SaeEnsemble(NamedTuple):
    """Members of one program while they are trained, the module that they share, and what resamples them."""

    sae: SparseAutoencoder
    ensemble: Ensemble
    resampler: Resampler


def open_mesh(train: TrainConfig, sizes: Sequence[int], width: int, devices: Sequence[Any] | None = None) -> Mesh:
    """The configured mesh, or the one with the least traffic for the largest of dictionaries with `sizes` features on
    rows of `width`. `devices` are those present by default, and may be described ones.

    Raises BadInput where batch, devices or one of the sizes do not fit the mesh.
    """
    spec = train.mesh
    if not spec:
        n_devices = jax.device_count() if devices is None else len(devices)
        may_leave = devices is None and jax.process_count() == 1
        data, model = choose_mesh(n_devices, max(sizes), width, train.batch_size, may_leave=may_leave)
        spec = f"data={data},model={model}"
    mesh = make_mesh(spec, devices)
    train.check_mesh(mesh)
    shards = mesh.shape["model"]
    for size in sizes:
        if size % shards:
            fitting = nearest(size, lambda n: n % shards == 0)
            raise BadInput(f"sae.n_features {size} is not divisible by the {shards} model shards: take {fitting}")
    return mesh


def prepare(
    source: ActivationSource, parts: tuple[int, ...], scaling: str, mesh: Mesh, *, checked: bool
) -> tuple[BatchStream, InputStatistics]:
    """Opens the training batches and looks at their first rows, which consist of `parts`. `scaling` is a kind of
    `input_scale`; `checked` says that the source was already read through once for numbers that are not finite.

    Raises BadInput where rows are not finite.
    """
    if not checked:
        source.check_finite()
    stream = source.stream(mesh)
    source.input.tell()
    sample = stream.sample(SAMPLE_ROWS).astype(np.float32)
    bad = np.count_nonzero(~np.isfinite(sample).all(axis=1))
    if bad:
        raise BadInput(f"{source.name}: {bad} of the first {len(sample)} rows are not finite")
    scale = input_scale(scaling, sample, parts, mean_square=source.mean_square, mean_norm=source.mean_norm)
    sample *= np.repeat(np.asarray(scale, np.float32), parts)
    _check_squares(source.name, sample)
    divided = PartitionSpec("data") if len(sample) % mesh.shape["data"] == 0 else PartitionSpec()
    median = jax.jit(geometric_median, out_shardings=NamedSharding(mesh, PartitionSpec()))
    variance = np.var(sample, axis=0, dtype=np.float64)
    return stream, InputStatistics(scale, median(device_put_sharded(sample, mesh, divided)), variance, parts)


def _check_squares(name: str, sample: np.ndarray) -> None:
    """Raises BadInput where the squared norm of a (scaled) row [n,ΣM] is beyond float32."""
    with np.errstate(over="ignore"):
        too_large = ~np.isfinite(np.einsum("nM,nM->n", sample, sample))
    if too_large.any():
        raise BadInput(
            f"{name}: the squares of {np.count_nonzero(too_large)} of the first {len(sample)} rows overflow float32 "
            f"(largest value {np.abs(sample).max():.3g}): sae.input_scale=unit_rms scales all rows"
        )


def write_input_record(rundir: RunDir, statistics: InputStatistics, source: ActivationSource) -> None:
    """Writes to input.json what `load_run` must know of the rows, and under "input" what was found out about them; a
    resumed run, which does not read them all again, keeps what it had found."""
    if first_process():
        site, file = source.site, rundir.path / "input.json"
        before = read_json(file, dict).get("input", {}) if file.exists() else {}
        record: dict[str, Any] = {"input_scale": statistics.scale, "site": site, "width": statistics.width}
        if len(statistics.parts) > 1:
            record["widths"] = list(statistics.parts)
        write_json(file, {**record, "input": {**before, **source.input.record()}})


def make_ensemble(
    sae: SparseAutoencoder,
    members: Sequence[SaeMember],
    statistics: InputStatistics,
    mesh: Mesh,
    train: TrainConfig,
    resample: ResampleSchedule,
) -> SaeEnsemble:
    """Members at their initial state. They share the module `sae` and may differ in their seeds and in what
    `SaeConfig.hyper()` names."""
    tx, config = dictionary_optimizer(train, sae), members[0].config
    seeds = jnp.asarray([m.seed for m in members], jnp.uint32)
    hyper = {name: jnp.asarray([getattr(m.config, name) for m in members], jnp.float32) for name in config.hyper()}
    own = (seeds, hyper)

    def initial(seed, hyper):
        return initial_state(sae, tx, statistics, seed, hyper)

    together = vmap_size(config.n_features // mesh.shape["model"]) if len(members) > 1 else 0
    if together:
        state = create_state(initial, RULES, mesh, *own)
    else:
        state = create_state(lambda: initial(*jax.tree.map(lambda x: x[0], own)), RULES, mesh)
    rundirs = [m.rundir for m in members if m.rundir is not None]
    ensemble = Ensemble(state, make_objective(sae, config, train, mesh), tx, rundirs, RULES, mesh, together)
    resampler = Resampler(
        sae,
        mesh,
        RULES,
        window=resample.window,
        method=resample.method,
        restart_adam=resample.restart_adam,
        together=together,
    )
    return SaeEnsemble(sae, ensemble, resampler)


def vmap_size(features_per_device: int) -> int:
    """How many members are worth computing at a time. Narrow ones leave an accelerator idle, wide ones fill its memory.
    A CPU gains nothing from several, and would lose the shortcuts around zeros."""
    return 1 if jax.default_backend() == "cpu" else max(FEATURES_TOGETHER // features_per_device, 1)


def make_objective(sae: SparseAutoencoder, config: SaeConfig, train: TrainConfig, mesh: Mesh) -> Objective:
    """The objective of a dictionary, with its warm-up in steps of this training."""
    return dictionary_objective(
        sae,
        mesh,
        sparse=config.sparse,
        l1_warmup=config.warmup_steps(train.steps),
        micro_batches=train.micro_batches,
        n_steps=train.steps,
    )


def initial_state(
    sae: SparseAutoencoder,
    tx: optax.GradientTransformation,
    statistics: InputStatistics,
    seed: Any,
    hyper: dict[str, Any],
) -> State:
    """Parameters as the architecture begins, the decoder bias at the geometric median of (scaled) activations where
    the architecture asks for it."""
    params = sae.initial(jax_key("sae.init", seed))
    if sae.recipe.b_dec_at_median:
        params = {**params, "b_dec": sae.targets(jnp.asarray(statistics.median, jnp.float32))}
    hyper = {name: jnp.float32(value) for name, value in hyper.items()}
    hyper["input_scale"] = jnp.asarray(statistics.scale, jnp.float32)
    if sae.recipe.error.needs_variance:
        hyper["variance"] = jnp.mean(sae.targets(jnp.asarray(statistics.variance, jnp.float32)))
    return State.create(params, tx, stats=sae.initial_stats(), hyper=hyper, key=jax_key("sae.train", seed))


def train_ensembles(
    ensembles: Sequence[SaeEnsemble],
    stream: BatchStream,
    train: TrainConfig,
    resample: ResampleSchedule,
    description: str,
) -> FitResult:
    """Trains all ensembles on the same batches, and resamples dead features at the scheduled steps."""
    resampling = make_resampling([e.resampler for e in ensembles], resample.steps, resample.n_inputs, train)
    return fit(
        [e.ensemble for e in ensembles],
        config=train,
        batches=stream,
        transforms=[resampling] if resample.steps else [],
        reports=[Report(train.evaluate_every, _silent(train), ("silent",))],
        description=description,
    )


def _silent(train: TrainConfig):
    """The report on features that have not fired since the last report."""
    count = jax.jit(lambda s: jnp.sum(s.step - s.stats["last_fired"] >= train.evaluate_every, axis=-1))
    return lambda state: {"silent": device_get_global(count(state))}


def step_shapes(sae: SparseAutoencoder, config: SaeConfig, train: TrainConfig) -> State:
    """The shapes of the initial state; nothing is computed."""
    tx, statistics = dictionary_optimizer(train, sae), InputStatistics.unseen(sae.parts)
    return jax.eval_shape(lambda: initial_state(sae, tx, statistics, 0, config.hyper()))


def step_cost(sae: SparseAutoencoder, config: SaeConfig, train: TrainConfig, mesh: Mesh) -> StepCost:
    """What a step takes on each device of a mesh that may only be described, read from the traced step. Products count
    as if they did not skip zeros."""
    dense = dataclasses.replace(config, sparse="never")
    state, width = step_shapes(sae, config, train), sum(sae.parts)
    rows = jax.ShapeDtypeStruct((train.batch_size, width), jnp.float32)
    program = jax.make_jaxpr(make_objective(sae, dense, train, mesh))(state, rows)
    data, model = mesh.shape["data"], mesh.shape["model"]
    (width_out,) = state.params["b_dec"].shape
    traced = read_trace(program, train.batch_size // (data * train.micro_batches), width_out)
    return StepCost(
        data=data,
        model=model,
        n_features=config.n_features,
        row_width=width,
        batch_size=train.batch_size,
        compute_bytes=jnp.dtype(sae.dtype).itemsize,
        micro_batches=train.micro_batches,
        all_parameters=_count(state.params),
        parameters=_count(state.params, mesh),
        reconstructed=traced.reconstructions * width_out // train.micro_batches,
        flops=traced.flops,
        collectives=tuple(
            PredictedCollective(axis, mesh.shape[axis], traced.reduced[axis], traced.gathered[axis])
            for axis in ("model", "data")
            if mesh.shape[axis] > 1
        ),
    )


def _count(params: dict[str, Float[Array, "..."]], mesh: Mesh | None = None) -> int:
    """The numbers in parameters; with a mesh, in the part of them that a device holds."""
    shapes = {name: p.shape for name, p in params.items()}
    if mesh is not None:
        shapes = {name: NamedSharding(mesh, RULES[name]).shard_shape(shape) for name, shape in shapes.items()}
    return sum(int(np.prod(shape)) for shape in shapes.values())
