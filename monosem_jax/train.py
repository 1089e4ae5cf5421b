"""The training loop: a pure step compiled many at a time, transforms between steps, reports between dispatches.

The loop knows neither transformer nor dictionary: it is given a loss. Order of things, a contract:
  1. reports on the state before the dispatch (evaluation; checkpoint, step 0 included)
  2. the next block of batches [K,B,...], prefetched to the device
  3. one dispatch: transforms that are due, then K steps
  4. the metrics of the dispatch before are fetched and logged
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.checkpoint import Checkpoints
from monosem_jax.errors import BadInput, Stopped
from monosem_jax.metrics import MetricsLog
from monosem_jax.run import Run, progress
from monosem_jax.sharding import Rules, make_mesh, tree_shardings
from monosem_jax.signals import stop_flag

DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a loss is minimised. Steps are optimizer steps; `learning_rate` is constant after `warmup_steps` unless
    `schedule` is "cosine", which ends at `final_fraction` of it. `compute_dtype` "auto": bfloat16 on accelerators."""

    steps: int = 1_000_000
    batch_size: int = 8192
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    schedule: str = "constant"
    final_fraction: float = 0.02
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    compute_dtype: str = "auto"
    steps_per_dispatch: int = 100
    mesh: str = ""
    log_every: int = 1000
    evaluate_every: int = 0
    checkpoint_every: int = 25_000
    keep_checkpoints: int = 2

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        for name in ("steps", "batch_size", "steps_per_dispatch", "log_every", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise BadInput(f"train.{name} is {getattr(self, name)}: at least 1 is needed")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise BadInput(f"train.learning_rate is {self.learning_rate}: a positive number is needed")
        if self.schedule not in ("constant", "cosine"):
            raise BadInput(f"train.schedule is {self.schedule!r}: expected constant or cosine")
        if self.compute_dtype not in ("auto", *DTYPES):
            raise BadInput(f"train.compute_dtype is {self.compute_dtype!r}: expected auto, {' or '.join(DTYPES)}")
        if not 0 <= self.warmup_steps < self.steps:
            raise BadInput(f"train.warmup_steps is {self.warmup_steps}: expected 0 to steps - 1 = {self.steps - 1}")

    def open_mesh(self) -> Mesh:
        """The mesh of this run; raises BadInput when devices or batch size do not fit it."""
        mesh = make_mesh(self.mesh)
        if self.batch_size % mesh.shape["data"]:
            raise BadInput(
                f"train.batch_size {self.batch_size} is not divisible by the {mesh.shape['data']} data shards"
            )
        return mesh

    def dtype(self) -> Any:
        """The dtype of matmul operands."""
        if self.compute_dtype == "auto":
            return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        return jnp.dtype(self.compute_dtype)


@flax.struct.dataclass
class State:
    """Everything that changes: what is here is all that a checkpoint needs.

    `stats` are running statistics that the loss returns, `hyper` scalars that may differ between stacked runs, `key`
    the run's random key, folded with the step where it is used.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    stats: Any
    hyper: Any
    key: jax.Array

    @classmethod
    def create(cls, params: Any, tx: optax.GradientTransformation, *, stats: Any, hyper: Any, key: jax.Array) -> State:
        return cls(jnp.zeros((), jnp.int32), params, tx.init(params), stats, hyper, key)


# (state, batch) -> (loss, (new stats, metrics)); metrics are sums over the batch and hold their own "count".
Loss = Callable[[State, Any], tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]]
# (state, batches [K,B,...] about to be trained on) -> state; decides on the device whether it is due.
Transform = Callable[[State, Any], State]


@dataclasses.dataclass(frozen=True)
class Report:
    """Numbers to be logged every `every` steps, of the state as it is then."""

    every: int
    numbers: Callable[[State], dict[str, float]]


def optimizer(
    config: TrainConfig,
    *,
    before: Sequence[optax.GradientTransformation] = (),
    after: Sequence[optax.GradientTransformation] = (),
) -> optax.GradientTransformation:
    """Adam(W) with the configured schedule; `before` sees raw gradients, `after` the finished update (constraints)."""
    lr = config.learning_rate
    if config.schedule == "cosine":
        schedule = optax.warmup_cosine_decay_schedule(
            0.0 if config.warmup_steps else lr, lr, config.warmup_steps, config.steps, lr * config.final_fraction
        )
    elif config.warmup_steps:
        schedule = optax.linear_schedule(0.0, lr, config.warmup_steps)
    else:
        schedule = optax.constant_schedule(lr)
    links = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    links += [*before, optax.scale_by_adam(config.b1, config.b2, config.eps)]
    if config.weight_decay:
        matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)  # noqa: E731
        links.append(optax.add_decayed_weights(config.weight_decay, mask=matrices))
    return optax.chain(*links, optax.scale_by_learning_rate(schedule), *after)


def make_step(loss: Loss, tx: optax.GradientTransformation) -> Callable[[State, Any], tuple[State, dict]]:
    """One optimizer step as a pure function (state, batch) -> (state, metrics)."""

    def step(state: State, batch: Any) -> tuple[State, dict]:
        def of_params(params):
            return loss(state.replace(params=params), batch)

        grads, (stats, metrics) = jax.grad(of_params, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state, stats=stats), metrics

    return step


def make_dispatch(loss: Loss, tx: optax.GradientTransformation, transforms: Sequence[Transform] = ()) -> Callable:
    """K steps as a pure function (state, batches [K,B,...]) -> (state, metrics summed over the K steps)."""
    step = make_step(loss, tx)

    def dispatch(state: State, batches: Any) -> tuple[State, dict]:
        for transform in transforms:
            state = transform(state, batches)
        state, metrics = jax.lax.scan(step, state, batches)
        return state, jax.tree.map(lambda m: m.sum(axis=0), metrics)

    return dispatch


def create(initial: Callable[[], State], rules: Rules, mesh: Mesh) -> State:
    """The initial state, made where its shards lie: no device ever holds more than its part."""
    return jax.jit(initial, out_shardings=tree_shardings(jax.eval_shape(initial), rules, mesh))()


@dataclasses.dataclass
class FitResult:
    """The final state, and what it took in this process: steps and seconds do not count earlier, interrupted runs."""

    state: State
    steps: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where dispatches begin and what is due there: a function of the step alone, so that a resumed run follows it."""

    config: TrainConfig
    boundaries: tuple[int, ...]
    every: tuple[int, ...]

    def span(self, step: int) -> int:
        """The number of steps of the dispatch that begins at `step`. One that begins with a transform is not cut short
        by a report: the transform may need all of its batches."""
        ends = [step + self.config.steps_per_dispatch, self.config.steps, *(b for b in self.boundaries if b > step)]
        if step not in self.boundaries:
            ends += [(step // n + 1) * n for n in (self.config.checkpoint_every, *self.every) if n]
        return min(ends) - step

    def passed(self, n: int, previous: int, step: int) -> bool:
        """Whether the dispatch from `previous` to `step` reached or crossed a multiple of n; 0 counts at the start."""
        return bool(n) and (step == 0 or step // n > previous // n)


def fit(
    state: State,
    *,
    config: TrainConfig,
    loss: Loss,
    tx: optax.GradientTransformation,
    batches: Callable[[int, int], Any],
    run: Run,
    rules: Rules,
    mesh: Mesh,
    transforms: Sequence[Transform] = (),
    boundaries: Sequence[int] = (),
    reports: Sequence[Report] = (),
    unit: str = "rows",
    unit_per_batch: int = 0,
    description: str = "training",
) -> FitResult:
    """Trains from the newest checkpoint of `run`, or from `state`, to `config.steps`.

    Args:
      batches: (start, n) -> batches start … start+n-1 as one device array [n,B,...]; a pure function, so that a data
        position is the step number.
      boundaries: steps at which a dispatch must begin, so that transforms due there see the state.

    Raises Stopped after a signal (the state is checkpointed), BadInput when the loss stops being finite.
    """
    outputs = (tree_shardings(state, rules, mesh), NamedSharding(mesh, PartitionSpec()))
    dispatch = jax.jit(make_dispatch(loss, tx, transforms), donate_argnums=0, out_shardings=outputs)
    plan = Plan(config, tuple(boundaries), tuple(r.every for r in reports))
    prefetcher = ThreadPoolExecutor(1, "prefetch")
    checkpoints = Checkpoints(run.path / "checkpoints", keep=config.keep_checkpoints)
    try:
        found = checkpoints.restore_latest(state.params, _rest(state))
        if found is not None:
            state = state.replace(params=found[1], **found[2])
        first = previous = step = int(state.step)
        log = MetricsLog(run, config.log_every, step)
        per_batch = unit_per_batch or config.batch_size
        shown = progress(config.steps * per_batch, description, unit, initial=step * per_batch)
        with stop_flag() as stop, shown as bar:
            ahead = prefetcher.submit(batches, step, plan.span(step)) if step < config.steps else None
            begin = time.perf_counter()
            while True:
                for report in reports:
                    if step > first and plan.passed(report.every, previous, step):
                        log.add(step, report.numbers(state))
                if plan.passed(config.checkpoint_every, previous, step) or step == config.steps:
                    log.flush()  # a checkpoint promises that everything before it is logged
                elif stop.requested:
                    log.suspend()
                if plan.passed(config.checkpoint_every, previous, step) or step == config.steps or stop.requested:
                    checkpoints.save(step, state.params, _rest(state))
                if step == config.steps:
                    break
                stop.check()
                n, block = plan.span(step), ahead.result()
                if step + n < config.steps:
                    ahead = prefetcher.submit(batches, step + n, plan.span(step + n))
                state, metrics = dispatch(state, block)
                del block
                previous, step = step, step + n
                bar.update(n * per_batch)
                bar.set_postfix(log.step(step, metrics), refresh=False)
        jax.block_until_ready(state)
        return FitResult(state, step - first, time.perf_counter() - begin)
    except Stopped as e:
        raise Stopped(f"{e}: step {step} of {config.steps} is saved in {run.path}; the same command resumes") from None
    finally:
        checkpoints.close()
        prefetcher.shutdown(cancel_futures=True)


def _rest(state: State) -> dict[str, Any]:
    return {f.name: getattr(state, f.name) for f in dataclasses.fields(state) if f.name != "params"}
