"""What features cause: their ablation on their top examples, and the model steered with the best of each proxy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from monosem_jax.analysis.effects.ablation import Ablations, ablate
from monosem_jax.analysis.effects.direct import direct_test, logit_effects
from monosem_jax.analysis.effects.steering import Steered, SteeringConfig, SteeringText, pinned_samples, steer_beside
from monosem_jax.analysis.examples import TOP
from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.proxies.chosen import Proxies, held
from monosem_jax.analysis.subjects import Subject
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.rng import stream

ABLATED_CONTEXTS = 4  # top contexts in which a feature is ablated, to compare logit weights with what that changes


@dataclasses.dataclass(frozen=True)
class EffectsConfig:
    """How many features are ablated and steered with."""

    ablated: int = 200
    """Features of each set whose top examples are run again without them, those that are best for a label first, then
    others at random; 0: none."""
    direct: int = 32
    """Features whose logit weights are compared with what happens when they are held at their maximum; 0: none."""
    pinned: int = 32
    """Features with a text in their records that the model writes when they are held at their maximum; 0: none."""
    steered: tuple[str, ...] = ("hebrew", "dna", "base64")
    """Proxies whose best feature, best neuron, and random directions the model is steered with."""
    steering: SteeringConfig = SteeringConfig()
    """How."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        for name in ("ablated", "direct", "pinned"):
            if getattr(self, name) < 0:
                raise BadInput(f"config.effects.{name} is {getattr(self, name)}: expected a number, or 0 for none")
        self.steering.check()


def causes(study: Study, config: EffectsConfig) -> None:
    """Ablations in records; tables of ablation, of logit weights against measured changes, and of steering."""
    table: dict[str, Any] = {}
    if config.ablated:
        table["ablation"] = {s.name: _ablate(study, s, config) for s in study.subjects}
        table["forward_passes"] = sum(row["forward_passes"] for row in table["ablation"].values())
    if config.direct:
        table["direct"] = {s.name: _direct(study, s, config) for s in study.subjects if s.name != "random"}
    if config.pinned:
        _pin(study, config)
    table["steering"] = [row for name in config.steered for row in _steer(study, name, config)]
    study.tables["effects"] = table


def _pin(study: Study, config: EffectsConfig) -> None:
    """Texts with features of the dictionary held at their maximum, for their records."""
    features = study.features
    chosen = _sample(study, features, config.pinned)
    once = dataclasses.replace(config.steering, strengths=(1.0,), samples=1)
    with progress(len(chosen), "sample with features held", "texts") as bar:
        found = pinned_samples(
            features.features, chosen, features.heldout.maximum[chosen], study.text.tokenizer, once, advance=bar.update
        )
    study.evidence[features.name].samples |= found


def _sample(study: Study, subject: Subject, n: int) -> np.ndarray:
    """Features that fire: the best of labels, then others at random, in ascending order."""
    alive = np.flatnonzero(subject.heldout.fired > 0)
    best = [i for i in study.evidence[subject.name].categories if subject.heldout.fired[i] > 0]
    order = stream("analyze.effects", study.seed).permutation(alive).tolist()
    return np.sort(np.asarray(list(dict.fromkeys([*best, *order]))[:n], np.int64))


def _ablate(study: Study, subject: Subject, config: EffectsConfig) -> dict[str, Any]:
    chosen = _sample(study, subject, config.ablated)
    contexts = subject.heldout.top_context[chosen, : study.n_examples]
    with progress(int(np.sum(contexts >= 0)), f"ablate {subject.name}", "pairs") as bar:
        found = ablate(subject.features, study.heldout.tokens, chosen, contexts, advance=bar.update)
    evidence = study.evidence[subject.name]
    for i in chosen.tolist():
        if len(found.rows(i)):
            evidence.ablations[i] = found.record(i)
            places = subject.heldout.top_context[i, : study.n_examples], subject.heldout.top_position[i]
            evidence.loss_effects[i] = _around(found, i, *places)
    records = list(evidence.ablations.values())
    return {
        "features": len(records),
        "median_loss_change_firing": _median([r.loss_change_firing for r in records]),
        "median_loss_change_elsewhere": _median([r.loss_change_elsewhere for r in records]),
        "forward_passes": found.forward_passes,
    }


def _around(found: Ablations, feature: int, contexts: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """[examples,before+1+after] the changes of the loss on the tokens around the peaks of a feature's examples."""
    before, after = TOP
    rows = found.rows(feature)
    of = dict(zip(found.contexts[rows].tolist(), rows.tolist(), strict=True))
    out = []
    for c, p in zip(contexts.tolist(), positions.tolist(), strict=False):
        if c >= 0:
            change = np.concatenate([[0], found.held.loss_change[of[c]]])  # the first token is not predicted
            out.append(np.pad(change, (before, after))[p : p + before + 1 + after])
    return np.asarray(out).reshape(-1, before + 1 + after)


def _direct(study: Study, subject: Subject, config: EffectsConfig) -> dict[str, Any]:
    """Logit weights against measured mean changes of the logits: each feature held at its maximum on every token, and
    ablated in its top contexts (on the tokens on which it fires)."""
    chosen = _sample(study, subject, config.direct)
    site, _ = subject.features.effect_site
    weights = logit_weights(
        subject.features.tapped, site, subject.features.effect_directions[chosen], study.usual_tokens
    )
    pick = stream("analyze.direct", study.seed).permutation(len(study.heldout.tokens))[:8]
    contexts = np.asarray(study.heldout.tokens)[np.sort(pick)]
    found = direct_test(
        subject.features, contexts, chosen, subject.heldout.maximum[chosen], weights, study.usual_tokens
    )
    top = subject.heldout.top_context[chosen, :ABLATED_CONTEXTS]
    ablated = logit_effects(subject.features, study.heldout.tokens, chosen, top, study.usual_tokens)
    return {
        "features": len(chosen),
        "tokens": found.tokens,
        "median_correlation": _median(found.correlation.tolist()),
        "median_correlation_ablated": _median(ablated.correlation(weights).tolist()),
    }


class _Holds:
    """A proxy asked about sampled texts."""

    def __init__(self, name: str, proxies: Proxies):
        self.name, self.proxies = name, proxies

    def holds(self, token_ids: np.ndarray) -> np.ndarray:
        return held(self.proxies[self.name], self.proxies.bytes.block(token_ids)) > 0


def _steer(study: Study, name: str, config: EffectsConfig) -> list[dict[str, Any]]:
    """The best feature and the best neuron for a proxy, and random directions."""
    best = study.summary.get("proxies", {}).get(name)
    if best is None or best["feature"] is None:
        study.gap(f"steering by {name}", "no feature was chosen for this proxy")
        return []
    features, neurons = study.features, study.neurons
    neuron = None
    if best["neuron"] is not None and neurons.heldout.maximum[best["neuron"]] > 0:
        neuron = (neurons.features, best["neuron"], float(neurons.heldout.maximum[best["neuron"]]))
    i = best["feature"]
    if not features.heldout.maximum[i] > 0:
        study.gap(f"steering by {name}", f"feature {i} never fires on the held-out text")
        return []
    text = SteeringText(study.text.tokenizer, study.heldout.tokens)
    maximum = float(features.heldout.maximum[i])
    found = steer_beside(
        features.features, i, maximum, text, config.steering, proxy=_Holds(name, study.proxies), neuron=neuron
    )
    study.evidence[features.name].samples[i] = found[0].records(study.text.tokenizer)
    return [_curve(name, each) for each in found]


def _curve(name: str, found: Steered) -> dict[str, Any]:
    return {
        "proxy": name,
        "set": found.set,
        "feature": found.feature,
        "strengths": found.strengths.tolist(),
        "share": found.share.tolist(),
        "share_unsteered": found.share_unsteered,
        "loss_change": found.loss_change.tolist(),
        "shift": found.shift.tolist(),
        "sampled_tokens": found.tokens,
        "heldout_tokens": found.heldout_tokens,
    }


def _median(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.median(known)) if known else None
