"""Features held at growing values: what the model writes then, how much of it a proxy recognises, and the cost in loss.

A strength is in units of the feature's largest activation, as in the paper, which pins features at their maximum after
the prompt PROMPT. The paper does not say on which tokens; here it is every token but BOS (positions="generated": those
after the prompt only). Strength 0 ablates; what the model writes when nothing is held stands beside it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int
from tokenizers import Tokenizer

from monosem_jax.analysis.effects.hold import PAIRS, Floats, Ints, hold
from monosem_jax.analysis.effects.sampling import POSITIONS, ROWS, sample
from monosem_jax.analysis.feature_sets import FeatureSet, Projections
from monosem_jax.analysis.records import Sample
from monosem_jax.runtime.arguments import check_shape, whole_number
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.rng import stream

PROMPT = "1,2,3,4,5,6,7,8,9,10"


class Proxy(Protocol):
    """What a text is recognised by."""

    @property
    def name(self) -> str: ...

    def holds(self, token_ids: Int[np.ndarray, "n T"]) -> Bool[np.ndarray, "n T"]:
        """On which tokens of each text it holds."""
        ...


@dataclasses.dataclass(frozen=True)
class SteeringConfig:
    """How texts are sampled, and on how much held-out text the cost is measured."""

    prompt: str = PROMPT
    """How each text begins."""
    strengths: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    """Values at which a feature is held, in units of its largest activation."""
    samples: int = 16
    """Texts for each strength."""
    new_tokens: int = 60
    """Tokens sampled after the prompt."""
    positions: str = "all"
    """all: held on every token but BOS; generated: on those after the prompt."""
    temperature: float = 1.0
    """Of sampling."""
    contexts: int = 32
    """Held-out contexts on which the change of the loss is measured."""
    seed: int = 0
    """Decides the random numbers of sampling, the same for every strength, and the contexts."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(self, "steering.", "samples", "new_tokens", "contexts")
        if not self.strengths or not all(math.isfinite(s) for s in self.strengths):
            raise BadInput(f"steering.strengths is {self.strengths}: expected one or more finite numbers")
        if self.positions not in POSITIONS:
            raise BadInput(f"steering.positions is {self.positions!r}: expected {' or '.join(POSITIONS)}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise BadInput(f"steering.temperature is {self.temperature}: expected a positive number")


@dataclasses.dataclass(frozen=True)
class SteeringText:
    """The `tokenizer` of a model, and held-out contexts [C,T] on which the cost is measured."""

    tokenizer: Tokenizer
    heldout: np.ndarray


@dataclasses.dataclass(frozen=True)
class Steered:
    """A feature of a set held at `values` [n], which are `strengths` [n] times its `maximum`.

    `share` [n]: of the sampled tokens, on how many the proxy holds, and `share_unsteered` when nothing is held (NaN
    without a proxy); each is over `tokens` sampled tokens. `share_by_text` [n,s]: of each text. `loss_change` [n]: by
    how much the loss on held-out text rises, in nats per token, over `heldout_tokens`. `shift` [n]: the mean norm of
    what is added to the activations there. `texts` [n+1,s,S+N]: what was sampled, last when nothing is held.
    """

    set: str
    feature: int
    maximum: float
    prompt: str
    n_prompt: int
    strengths: np.ndarray
    values: np.ndarray
    share: np.ndarray
    share_by_text: np.ndarray
    share_unsteered: float
    tokens: int
    loss_change: np.ndarray
    heldout_tokens: int
    shift: np.ndarray
    texts: np.ndarray

    def records(self, tokenizer: Tokenizer, n: int = 1) -> tuple[Sample, ...]:
        """The first `n` texts of every strength, as records hold them."""
        return tuple(
            Sample(self.prompt, float(s), round(float(v), 5), tokenizer.decode(text[self.n_prompt :].tolist()))
            for s, v, texts in zip(self.strengths, self.values, self.texts, strict=False)
            for text in texts[:n]
        )


def steer(
    of: FeatureSet,
    feature: int,
    maximum: float,
    text: SteeringText,
    config: SteeringConfig = SteeringConfig(),
    *,
    proxy: Proxy | None = None,
    rows: int = ROWS,
    pairs: int = PAIRS,
    advance: Callable[[int], Any] = lambda n: None,
) -> Steered:
    """Holds one feature at every strength: samples texts, and measures the cost on held-out text.

    Args:
      maximum: the feature's largest activation, the unit of strengths.
      rows, pairs: texts, and held-out contexts, that are computed together.
      advance: called with the number of texts done; there are samples · (strengths + 1).

    Raises BadInput on an impossible configuration, a feature that never fires (which has no unit), a prompt that leaves
    too little room, and a proxy whose answer does not fit.
    """
    config.check()
    feature = whole_number(f"steer {of.name}: feature {feature!r}", feature, 0, of.n_features - 1)
    if not (math.isfinite(maximum) and maximum > 0):
        raise BadInput(f"steer: feature {feature} of {of.name} has the maximum {maximum}: expected one that fires")
    prompt = _prompt(of, text.tokenizer, config)
    strengths = np.asarray(config.strengths, np.float64)
    values = np.append(strengths * maximum, np.nan)
    n = config.samples
    texts = sample(
        of, prompt, [feature] * (len(values) * n), np.repeat(values, n), config.new_tokens,
        samples=np.tile(np.arange(n), len(values)), positions=config.positions, temperature=config.temperature,
        seed=config.seed, batch=rows, advance=advance,
    ).reshape(len(values), n, -1)  # fmt: skip
    share = np.full((len(values), n), np.nan)
    if proxy is not None:
        share = _holds(proxy, texts.reshape(len(values) * n, -1))[:, len(prompt) :].mean(axis=1).reshape(len(values), n)
    loss, shift, counted = _cost(of, feature, values[:-1], text.heldout, config, pairs)
    return Steered(
        of.name, feature, float(maximum), config.prompt, len(prompt), strengths, values[:-1],
        share[:-1].mean(axis=1), share[:-1], float(share[-1].mean()), n * config.new_tokens,
        loss, counted, shift, texts,
    )  # fmt: skip


def pinned_samples(
    of: FeatureSet,
    features: Ints,
    maxima: Floats,
    tokenizer: Tokenizer,
    config: SteeringConfig = SteeringConfig(strengths=(1.0,), samples=1),
    *,
    rows: int = ROWS,
    advance: Callable[[int], Any] = lambda n: None,
) -> dict[int, tuple[Sample, ...]]:
    """For each feature the texts that the model writes when it is held at every strength, all features together.

    `maxima` [n] are the features' largest activations; one that never fires has no text. `rows` texts are sampled
    together, and `advance` is called with the number of texts done. Raises BadInput like `steer`.
    """
    config.check()
    features, maxima = np.asarray(features), np.asarray(maxima, np.float64)
    check_shape("pinned_samples: maxima", maxima.shape, len(features))
    chosen = [(int(i), float(m)) for i, m in zip(features, maxima, strict=True) if math.isfinite(m) and m > 0]
    cases = [(i, s, s * m, n) for i, m in chosen for s in config.strengths for n in range(config.samples)]
    prompt = _prompt(of, tokenizer, config)
    texts = sample(
        of, prompt, [c[0] for c in cases], [c[2] for c in cases], config.new_tokens, samples=[c[3] for c in cases],
        positions=config.positions, temperature=config.temperature, seed=config.seed, batch=rows, advance=advance,
    )  # fmt: skip
    found: dict[int, tuple[Sample, ...]] = {}
    for (i, strength, value, _), text in zip(cases, texts, strict=True):
        written = tokenizer.decode(text[len(prompt) :].tolist())
        found[i] = (*found.get(i, ()), Sample(config.prompt, float(strength), round(value, 5), written))
    return found


def _prompt(of: FeatureSet, tokenizer: Tokenizer, config: SteeringConfig) -> np.ndarray:
    """The token ids of the prompt, BOS first."""
    ids = tokenizer.encode(config.prompt, add_special_tokens=False).ids
    return np.asarray([of.tapped.bos, *ids], np.int32)


def _holds(proxy: Proxy, tokens: np.ndarray) -> np.ndarray:
    """[n,T] where the proxy holds; raises BadInput where it fails or answers something else."""
    try:
        found = np.asarray(proxy.holds(tokens))
    except Exception as e:  # a user's function
        raise BadInput(f"steer: the proxy {proxy.name} fails on sampled text: {type(e).__name__}: {e}") from None
    if found.shape != tokens.shape:
        raise BadInput(f"steer: the proxy {proxy.name} gives {list(found.shape)}: expected {list(tokens.shape)}")
    return found.astype(bool)


def _cost(
    of: FeatureSet, feature: int, values: np.ndarray, heldout: np.ndarray, config: SteeringConfig, pairs: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """(change of the loss per token [n], mean norm of the shift [n], tokens) of values [n] on held-out contexts."""
    pick = stream("effects.contexts", config.seed).permutation(len(heldout))[: config.contexts]
    tokens, v, c = np.asarray(heldout)[np.sort(pick)], len(values), len(pick)
    found = hold(of, tokens, np.tile(np.arange(c), v), [feature] * (v * c), np.repeat(values, c), batch=pairs)
    loss = found.loss_change.astype(np.float64).reshape(v, -1).mean(axis=1)
    real = tokens != of.tapped.bos
    away = np.abs(values[:, None, None] - found.activation.reshape(v, c, -1).astype(np.float64))
    norm = float(np.linalg.norm(of.effect_directions[feature]))
    return loss, (away * real).sum(axis=(1, 2)) / max(int(real.sum()), 1) * norm, tokens[:, 1:].size


def random_beside(of: FeatureSet, feature: int, n: int = 4, *, seed: int = 0) -> FeatureSet:
    """`n` directions, uniform on the sphere, of the norm that a feature's has at the site of its effect, as a set whose
    features never fire: holding one at a value adds that value times the direction to every token."""
    site, _ = of.effect_site
    target = of.effect_directions[feature]
    d = stream("effects.random", seed, feature).normal(size=(n, len(target)))
    d *= np.linalg.norm(target) / np.linalg.norm(d, axis=1, keepdims=True)
    tapped = dataclasses.replace(of.tapped, site=site)
    encoder = Projections(jnp.asarray(d, jnp.float32), jnp.full(n, jnp.inf), 0, len(target))
    return FeatureSet("random", tapped, encoder, d.astype(np.float32))


def steer_beside(
    of: FeatureSet,
    feature: int,
    maximum: float,
    text: SteeringText,
    config: SteeringConfig = SteeringConfig(),
    *,
    proxy: Proxy | None = None,
    neuron: tuple[FeatureSet, int, float] | None = None,
    n_random: int = 2,
    **more: Any,
) -> list[Steered]:
    """`steer` of a feature, of a neuron (set, number, largest activation) in units of its own maximum, and of random
    directions of equal norm at the feature's values."""
    cases = [(of, feature, maximum), *([neuron] if neuron else [])]
    beside = random_beside(of, feature, n_random, seed=config.seed) if n_random else None
    cases += [(beside, i, maximum) for i in range(n_random)] if beside else []
    return [steer(each, i, largest, text, config, proxy=proxy, **more) for each, i, largest in cases]
