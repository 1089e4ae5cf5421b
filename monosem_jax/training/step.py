"""A training step as a pure function, and a dispatch that compiles many steps, for one model or several stacked ones.

This module does not depend on transformers or dictionaries: an objective supplies gradients. `training.loop` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from monosem_jax.runtime.mesh import Rules, tree_shardings
from monosem_jax.training.config import GuardConfig, TrainConfig
from monosem_jax.training.metrics import Last, Mean, Metrics, Sum, applied_only, over_steps
from monosem_jax.training.optimizer import learning_rate

LEVEL_DECAY = 0.99  # decay of the running loss to which spikes are compared


class State(flax.struct.PyTreeNode):
    """Everything that changes in training: the content of a checkpoint.

    `stats` are running statistics that the objective returns, `hyper` scalars that may differ between stacked members,
    `guard` counts the steps that were not applied, `key` is the run's random key; users of it fold in the step. With
    stacked members every array except `step` has a leading axis S of members.
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


class BatchResult(NamedTuple):
    """The result of an objective for one batch.

    `grads` are the gradients of the mean loss, `stats` the statistics after the step, `loss` is the loss that the guard
    checks, and `metrics` are additional metrics to log.
    """

    grads: Any
    stats: Any
    loss: Mean
    metrics: Metrics


Objective = Callable[["State", Any], BatchResult]  # (state, batch) -> its result


class DispatchResult(NamedTuple):
    """The result of a dispatch in addition to the state: metrics merged over its steps, the step at which the guard
    stopped training (-1: it did not), and, with several processes, the largest signal number of all of them. For S
    stacked members metrics and `frozen_at` are arrays [S]."""

    metrics: Metrics
    frozen_at: jax.Array
    signal: jax.Array | None = None


def make_step(
    objective: Objective, tx: optax.GradientTransformationExtraArgs, guard: GuardConfig, rate: optax.Schedule
) -> Callable[[State, Any], tuple[State, Metrics]]:
    """One optimizer step as a pure function (state, batch) -> (state, metrics); `guard` decides if it is applied.

    Args:
      rate: the learning rate that `tx` uses, as a function of the number of steps applied before; it is only logged.
    """

    def step(state: State, batch: Any) -> tuple[State, Metrics]:
        grads, stats, loss, metrics = objective(state, batch)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)))
        applied, guarded = _judge(state, loss.total / loss.count, norm, guard)
        updates, opt_state = tx.update(grads, state.opt_state, state.params, applied=applied)
        params = jax.tree.map(lambda p, u: p + jnp.where(applied, u, 0), state.params, updates)

        def keep(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(applied, new, old)

        # Arrays of the optimizer state belong to Adam, whose update already handles `applied`.
        opt_state = jax.tree.map(lambda new, old: new if new.ndim else keep(new, old), opt_state, state.opt_state)
        stats = jax.tree.map(keep, stats, state.stats)
        own: Metrics = {
            "loss": loss,
            "grad_norm": Mean.of(norm, loss.count),
            "learning_rate": Last.of(rate(state.step - state.guard["skipped"])),
        }
        metrics = applied_only({**metrics, **own}, applied)
        metrics["skipped"] = Sum((~applied).astype(jnp.float32))
        state = state.replace(step=state.step + 1, params=params, opt_state=opt_state, stats=stats, guard=guarded)
        return state, metrics

    return step


def _judge(state: State, loss: jax.Array, norm: jax.Array, config: GuardConfig) -> tuple[jax.Array, dict]:
    """(whether a step with this mean loss and this gradient norm is applied, the guard after it)."""
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


def make_dispatch(
    objective: Objective, tx: optax.GradientTransformationExtraArgs, config: TrainConfig
) -> Callable[[State, Any], tuple[State, DispatchResult]]:
    """K steps as a pure function (state, batches [K,B,...]) -> (state, result)."""
    step = make_step(objective, tx, config.guard, learning_rate(config))

    def dispatch(state: State, batches: Any) -> tuple[State, DispatchResult]:
        state, metrics = jax.lax.scan(step, state, batches)
        return state, DispatchResult(over_steps(metrics), state.guard["frozen_at"])

    return dispatch


def over_members(function: Callable, together: int) -> Callable:
    """`function(state, shared, *own)` for stacked members: each has its own part of the state and of `own`, and all use
    the same `shared`. Its results have a leading axis S too, except the step of a State.

    Args:
      together: the number of members computed at a time; 0: a single model, which is not stacked.
    """
    if not together:
        return function

    def lifted(state: State, shared: Any, *own: Any) -> Any:
        def one(member):
            return function(member[0].replace(step=state.step), shared, *member[1:])

        members = (
            state.replace(step=None),
            *own,
        )  # all share the step, so that lax.cond on it computes one branch only
        # One member at a time is a loop, in which lax.cond computes one branch; vmap would compute both.
        found = jax.lax.map(one, members, batch_size=together if together > 1 else None)

        def is_state(x: Any) -> bool:
            return isinstance(x, State)

        return jax.tree.map(lambda x: x.replace(step=x.step[0]) if is_state(x) else x, found, is_leaf=is_state)

    return lifted


def create_state(initial: Callable[..., State], rules: Rules, mesh: Mesh, *own: Any) -> State:
    """The initial state, created as shards on their devices: a device never holds more than its shard.

    With arrays `own` [S,...] it is the state of stacked members; `initial` makes each member from its part of `own`.
    """
    make = initial
    if own:

        def make(*own):
            state = jax.vmap(initial)(*own)
            return state.replace(step=state.step[0])

    shapes = jax.eval_shape(make, *own)
    return jax.jit(make, out_shardings=tree_shardings(shapes, rules, mesh, stacked=bool(own)))(*own)
