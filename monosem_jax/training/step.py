"""A training step as a pure function, many of them compiled into one dispatch, for one model or several at once.

Nothing here knows transformer or dictionary: an objective gives gradients. `training.loop` is the loop around it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from monosem_jax.runtime.checkpoint import Retention
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.mesh import Rules, make_mesh, tree_shardings

DTYPES = ("float32", "bfloat16")
SCHEDULES = ("constant", "cosine", "linear")
LEVEL_DECAY = 0.99  # of the running loss that spikes are held against


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a loss is minimised. Steps are optimizer steps.

    The learning rate rises over `warmup_steps`; then `schedule` "constant" keeps it, "cosine" lets it fall to
    `final_fraction` of it, and "linear" does so over the last `decay_fraction` of the steps only. `compute_dtype`
    "auto": bfloat16 on accelerators. `mesh` "data=2,model=4"; "" chooses. `micro_batches`: a device's rows
    are taken in so many parts where memory is short.

    A step whose loss or gradient is not finite is not applied, nor is one whose loss is more than `spike_factor` times
    the running mean (0: all are). After `stop_after` steps in a row that were not finite, training stops.

    Of the checkpoints stay step 0, the newest `keep_checkpoints`, multiples of `keep_every`, and the one at which the
    metric `keep_best` was lowest ("max:NAME": highest). `when_disk_full` "stop", or "continue" without checkpoints and
    log lines until there is room. `wandb`: a project of Weights & Biases.
    """

    steps: int = 1_000_000
    batch_size: int = 8192
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    schedule: str = "constant"
    decay_fraction: float = 0.2
    final_fraction: float = 0.02
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    spike_factor: float = 0.0
    stop_after: int = 10
    compute_dtype: str = "auto"
    steps_per_dispatch: int = 100
    micro_batches: int = 1
    mesh: str = ""
    log_every: int = 1000
    evaluate_every: int = 0
    checkpoint_every: int = 25_000
    keep_checkpoints: int = 2
    keep_every: int = 0
    keep_best: str = ""
    when_disk_full: str = "stop"
    wandb: str = ""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(
            self, "train.", "steps", "batch_size", "steps_per_dispatch", "micro_batches", "stop_after", "log_every",
            "checkpoint_every",
        )  # fmt: skip
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise BadInput(f"train.learning_rate is {self.learning_rate}: a positive number is needed")
        if self.schedule not in SCHEDULES:
            raise BadInput(f"train.schedule is {self.schedule!r}: expected {', '.join(SCHEDULES)}")
        for name in ("decay_fraction", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"train.{name} is {getattr(self, name)}: expected 0 to 1")
        for name in ("clip_norm", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise BadInput(f"train.{name} is {getattr(self, name)}: expected 0 or more")
        if self.spike_factor and not self.spike_factor > 1:
            raise BadInput(f"train.spike_factor is {self.spike_factor}: expected more than 1, or 0 for none")
        self.retention().check()
        if self.when_disk_full not in ("stop", "continue"):
            raise BadInput(f"train.when_disk_full is {self.when_disk_full!r}: expected stop or continue")
        if self.wandb and importlib.util.find_spec("wandb") is None:
            raise BadInput(f"train.wandb is {self.wandb!r}, but it is not installed: pip install 'monosem_jax[wandb]'")
        if self.compute_dtype not in ("auto", *DTYPES):
            raise BadInput(f"train.compute_dtype is {self.compute_dtype!r}: expected auto, {' or '.join(DTYPES)}")
        if not 0 <= self.warmup_steps < self.steps:
            raise BadInput(f"train.warmup_steps is {self.warmup_steps}: expected 0 to steps - 1 = {self.steps - 1}")
        if self.schedule == "linear" and self.warmup_steps > self.decay_begins():
            raise BadInput(
                f"train.warmup_steps is {self.warmup_steps}: the decay begins before, at step {self.decay_begins()}"
            )

    def retention(self) -> Retention:
        """Which checkpoints stay."""
        return Retention(self.keep_checkpoints, self.keep_every, self.keep_best, self.checkpoint_every)

    def decay_begins(self) -> int:
        """The step at which the schedule "linear" begins to fall."""
        return round(self.steps * (1 - self.decay_fraction))

    def open_mesh(self, spec: str = "") -> Mesh:
        """The mesh of this run, or `spec` where it names none; raises BadInput when devices or batch do not fit it."""
        mesh = make_mesh(self.mesh or spec)
        self.check_mesh(mesh)
        return mesh

    def check_mesh(self, mesh: Mesh) -> None:
        """Raises BadInput when the batch cannot be divided as this mesh asks for."""
        shards = mesh.shape["data"]
        if self.batch_size % shards:
            raise BadInput(f"train.batch_size {self.batch_size} is not divisible by the {shards} data shards")
        if self.batch_size % (shards * self.micro_batches):
            raise BadInput(
                f"train.micro_batches {self.micro_batches} does not divide the {self.batch_size // shards} rows that a "
                f"device has of a batch of {self.batch_size}"
            )

    def dtype(self) -> Any:
        """The dtype of matmul operands."""
        if self.compute_dtype == "auto":
            return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        return jnp.dtype(self.compute_dtype)


@flax.struct.dataclass
class State:
    """Everything that changes: what is here is all that a checkpoint needs.

    `stats` are running statistics that the objective returns, `hyper` scalars that may differ between stacked members,
    `guard` what is known of steps that were not applied, `key` the run's random key, folded with the step where it is
    used. Stacked, every array but `step` has a leading axis S of members.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    stats: Any
    hyper: Any
    guard: dict[str, jax.Array]
    key: jax.Array

    @classmethod
    def create(cls, params: Any, tx: optax.GradientTransformation, *, stats: Any, hyper: Any, key: jax.Array) -> State:
        zero = jnp.zeros((), jnp.int32)
        guard = {"skipped": zero, "in_a_row": zero, "frozen_at": zero - 1, "level": jnp.zeros(())}
        return cls(zero, params, tx.init(params), stats, hyper, guard, key)


# (state, batch) -> (gradients, new stats, metrics); metrics are sums over the batch and hold "loss" and "count".
Objective = Callable[[State, Any], tuple[Any, Any, dict[str, jax.Array]]]


def make_step(
    objective: Objective, tx: optax.GradientTransformation, config: TrainConfig
) -> Callable[[State, Any], tuple[State, dict]]:
    """One optimizer step as a pure function (state, batch) -> (state, metrics); TrainConfig says what is not applied.

    Metrics of a step that is not applied are zero, but "skipped" is 1 then.
    """

    def step(state: State, batch: Any) -> tuple[State, dict]:
        grads, stats, metrics = objective(state, batch)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)))
        applied, guard = _judge(state, metrics["loss"] / metrics["count"], norm, config)
        updates, opt_state = tx.update(grads, state.opt_state, state.params, applied=applied)
        params = jax.tree.map(lambda p, u: p + jnp.where(applied, u, 0), state.params, updates)
        # Arrays of the optimizer are Adam's, which has seen to them.
        keep = lambda new, old: jnp.where(applied, new, old)  # noqa: E731
        opt_state = jax.tree.map(lambda new, old: new if new.ndim else keep(new, old), opt_state, state.opt_state)
        stats = jax.tree.map(keep, stats, state.stats)
        metrics = {**metrics, "grad_norm": norm * metrics["count"]}  # a mean over steps, once divided by all counts
        metrics = jax.tree.map(lambda m: jnp.where(applied, m, 0), metrics)
        metrics["skipped"] = (~applied).astype(jnp.float32)
        state = state.replace(step=state.step + 1, params=params, opt_state=opt_state, stats=stats, guard=guard)
        return state, metrics

    return step


def _judge(state: State, loss: jax.Array, norm: jax.Array, config: TrainConfig) -> tuple[jax.Array, dict]:
    """Whether a step with this loss and norm of the gradient is applied, and the guard after it."""
    guard, frozen = state.guard, state.guard["frozen_at"] >= 0
    # The norm sums the squares, so while it is finite Adam's second moments are too.
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    level, usual = guard["level"], loss
    applied = finite & ~frozen
    if config.spike_factor:
        most = config.spike_factor * level
        applied &= (loss <= most) | (level == 0)
        usual = jnp.minimum(loss, most)  # a lasting change is accepted in the end
    level = jnp.where(level == 0, loss, LEVEL_DECAY * level + (1 - LEVEL_DECAY) * usual)
    in_a_row = jnp.where(finite, 0, guard["in_a_row"] + 1)
    now = (in_a_row >= config.stop_after) & ~frozen
    return applied, {
        "skipped": guard["skipped"] + ~applied,
        "in_a_row": jnp.where(frozen, guard["in_a_row"], in_a_row),
        "frozen_at": jnp.where(now, state.step + 1, guard["frozen_at"]),
        "level": jnp.where(finite & ~frozen, level, guard["level"]),
    }


def make_dispatch(objective: Objective, tx: optax.GradientTransformation, config: TrainConfig) -> Callable:
    """K steps as a pure function (state, batches [K,B,...]) -> (state, metrics summed over the K steps).

    The metric "frozen_at" is no sum: the step at which the guard stopped training, -1 if it did not.
    """
    step = make_step(objective, tx, config)

    def dispatch(state: State, batches: Any) -> tuple[State, dict]:
        state, metrics = jax.lax.scan(step, state, batches)
        metrics = jax.tree.map(lambda m: m.sum(axis=0), metrics)
        return state, {**metrics, "frozen_at": state.guard["frozen_at"]}

    return dispatch


def over_members(function: Callable, together: int) -> Callable:
    """`function(state, shared, *own)` for stacked members: each has its part of the state and of `own`, and all see
    the same `shared`. What it returns gets a leading axis S too, but for the step of a State.

    So many members are computed `together`, and one such lot after the other; 0: there are no members but one alone.
    """
    if not together:
        return function

    def lifted(state: State, shared: Any, *own: Any) -> Any:
        def one(member):
            return function(member[0].replace(step=state.step), shared, *member[1:])

        members = (state.replace(step=None), *own)  # the step is the same for all, so that conditions on it stay such
        # One at a time is a loop, in which conditions stay such; together, both of their branches are computed.
        found = jax.lax.map(one, members, batch_size=together if together > 1 else None)
        is_state = lambda x: isinstance(x, State)  # noqa: E731
        return jax.tree.map(lambda x: x.replace(step=x.step[0]) if is_state(x) else x, found, is_leaf=is_state)

    return lifted


def create_state(initial: Callable[..., State], rules: Rules, mesh: Mesh, *own: Any) -> State:
    """The initial state, made where its shards lie: no device ever holds more than its part.

    With arrays `own` [S,...] it is that of stacked members, each made by `initial` from its part of them.
    """
    make = initial
    if own:

        def make(*own):
            state = jax.vmap(initial)(*own)
            return state.replace(step=state.step[0])

    shapes = jax.eval_shape(make, *own)
    return jax.jit(make, out_shardings=tree_shardings(shapes, rules, mesh, stacked=bool(own)))(*own)
