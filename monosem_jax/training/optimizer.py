"""Adam(W) with the configured schedule, and a place for constraints."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from monosem_jax.training.step import TrainConfig


def optimizer(
    config: TrainConfig,
    *,
    before: Sequence[optax.GradientTransformation] = (),
    after: Sequence[optax.GradientTransformation] = (),
) -> optax.GradientTransformation:
    """Adam(W) with the configured schedule; `before` sees raw gradients, `after` the finished update (constraints)."""
    links = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    links += [*before, scale_by_adam(config.b1, config.b2, config.eps)]
    if config.weight_decay:
        matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)  # noqa: E731
        links.append(optax.add_decayed_weights(config.weight_decay, mask=matrices))
    return optax.chain(*links, optax.scale_by_learning_rate(learning_rate(config)), *after)


def scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformationExtraArgs:
    """Optax's of the same name, which is told whether the step is `applied`; if not, its state stays as it is.

    Choosing between the state before and after it from outside costs XLA on CPUs three times as long for all of Adam.
    """

    def update(grads, state, params=None, *, applied=True, **_):
        def moment(decay, old, g):
            return jnp.where(applied, decay * old + (1 - decay) * g, old)

        mu = jax.tree.map(lambda m, g: moment(b1, m, g), state.mu, grads)
        nu = jax.tree.map(lambda v, g: moment(b2, v, jnp.square(g)), state.nu, grads)
        count = state.count + 1
        c1, c2 = 1 - b1**count, 1 - b2**count
        updates = jax.tree.map(lambda m, v: (m / c1) / (jnp.sqrt(v / c2) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(jnp.where(applied, count, state.count), mu, nu)

    return optax.GradientTransformationExtraArgs(optax.scale_by_adam(b1, b2, eps).init, update)


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """The learning rate as a function of the number of steps applied."""
    lr, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup else lr, lr, warmup, config.steps, lr * config.final_fraction
        )
    rise = optax.linear_schedule(0.0, lr, warmup) if warmup else optax.constant_schedule(lr)
    if config.schedule == "constant":
        return rise
    begin = config.decay_begins()
    fall = optax.linear_schedule(lr, lr * config.final_fraction, config.steps - begin)
    return optax.join_schedules([rise, fall], [begin])
