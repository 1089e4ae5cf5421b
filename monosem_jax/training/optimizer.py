"""Adam(W) with the configured schedule and optional constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from monosem_jax.training.config import TrainConfig


def optimizer(
    config: TrainConfig,
    *,
    before: Sequence[optax.GradientTransformation] = (),
    after: Sequence[optax.GradientTransformation] = (),
) -> optax.GradientTransformationExtraArgs:
    """Adam(W) with the configured schedule; `before` sees raw gradients, `after` the finished update (constraints)."""
    own = config.optimizer
    links: list[optax.GradientTransformation] = []
    if own.clip_norm:
        links.append(optax.clip_by_global_norm(own.clip_norm))
    links += [*before, scale_by_adam(own.b1, own.b2, own.eps)]
    if own.weight_decay:
        links.append(optax.add_decayed_weights(own.weight_decay, mask=_matrices))
    return optax.chain(*links, optax.scale_by_learning_rate(learning_rate(config)), *after)


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformationExtraArgs:
    """Optax's transformation of the same name, with an argument `applied` of its update: if false, its state is kept.

    Selecting between the old and the new state after the update would make Adam three times as slow on CPUs.
    """

    def update(updates, state, params=None, *, applied=True, **_):
        def moment(decay, old, g):
            return jnp.where(applied, decay * old + (1 - decay) * g, old)

        mu = jax.tree.map(lambda m, g: moment(b1, m, g), state.mu, updates)
        nu = jax.tree.map(lambda v, g: moment(b2, v, jnp.square(g)), state.nu, updates)
        count = state.count + 1
        c1, c2 = 1 - b1**count, 1 - b2**count
        steps = jax.tree.map(lambda m, v: (m / c1) / (jnp.sqrt(v / c2) + eps), mu, nu)
        return steps, optax.ScaleByAdamState(jnp.where(applied, count, state.count), mu, nu)

    return optax.GradientTransformationExtraArgs(optax.scale_by_adam(b1, b2, eps).init, update)


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """The learning rate as a function of the number of steps applied."""
    lr, steps, schedule = config.learning_rate, config.steps, config.schedule
    warmup, final = schedule.warmup_steps, config.learning_rate * schedule.final_fraction
    if schedule.kind == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0 if warmup else lr, lr, warmup, steps, final)
    rise = optax.linear_schedule(0.0, lr, warmup) if warmup else optax.constant_schedule(lr)
    if schedule.kind == "constant":
        return rise
    begin = config.decay_begins()
    fall = optax.linear_schedule(lr, final, steps - begin)
    return optax.join_schedules([rise, fall], [begin])
