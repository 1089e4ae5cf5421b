"""The finite-state automata of a dictionary, and of its control."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from monosem_jax.analysis.automata.config import AutomataConfig
from monosem_jax.analysis.automata.entry import Material, find_automata
from monosem_jax.analysis.effects.direct import direct_test
from monosem_jax.analysis.effects.sampling import sample
from monosem_jax.analysis.effects.steering import PROMPT
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.logit_weights import logit_weights, usual_tokens
from monosem_jax.analysis.relations.base import Compared, Relation, Relations, no_pairs
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream

GAIN_FEATURES, GAIN_CONTEXTS = 12, 8  # of which the median gives the gain


def automata(study: Relations, config: AutomataConfig) -> None:
    """The automata of the first dictionary, and of the first control beside it; the summary has the number of those of
    the dictionary that are confirmed."""
    chosen = [study.sets[i] for role in ("dictionary", "control") for i in study.of_role(role)[:1]]
    tables: dict[str, Any] = {}
    for each in chosen:
        try:
            found = find_automata(
                each.features, material(study, each, config), config, batch=study.batch, seed=study.seed,
                say=functools.partial(_say, each.name),
            )  # fmt: skip
        except BadInput as e:
            study.gap(f"automata of {each.name}", str(e))
            continue
        tables[each.name] = found.table()
        if each.role == "dictionary":
            study.summary["automata"] = found.confirmed
    study.tables["automata"] = tables


def _say(name: str, line: str) -> None:
    print(f"automata of {name}: {line}", flush=True)


def material(study: Relations, each: Compared, config: AutomataConfig) -> Material:
    """What a search needs, from a sample of training text and the held-out text."""
    training = _some(study.text.tokens("train"), config.training_contexts, study.seed)
    heldout = _some(study.heldout.tokens, config.heldout_contexts, study.seed)
    vocab_size = each.features.tapped.model.config.vocab_size
    tokens = usual_tokens(np.bincount(training.ravel(), minlength=vocab_size), [study.text.bos])
    features = each.features.on_device
    tokenizer = study.text.tokenizer
    prompt = [study.text.bos, *tokenizer.encode(PROMPT, add_special_tokens=False).ids]
    return Material(
        training=training,
        heldout=heldout,
        tokens=tokens,
        weights=functools.partial(_weights, features, tokens),
        gain=_gain(features, heldout, tokens),
        sampler=functools.partial(sample, features, seed=study.seed),
        prompt=np.asarray(prompt, np.int32),
        strings=study.heldout.strings,
        decode=tokenizer.decode,
    )


def _some(tokens: np.ndarray, n: int, seed: int) -> np.ndarray:
    """At most `n` contexts drawn at random, in their order."""
    pick = stream("automata.contexts", seed).permutation(len(tokens))[:n]
    return np.asarray(tokens[np.sort(pick)], np.int32)


def _weights(features: FeatureSet, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
    site, columns = features.effect_site
    return logit_weights(features.tapped, site, features.directions[rows][:, columns], tokens)


def _gain(features: FeatureSet, heldout: np.ndarray, tokens: np.ndarray) -> float:
    """How much a logit rises per unit of weight and activation: the median over a few features that fire."""
    contexts = heldout[:GAIN_CONTEXTS]
    largest = features.activations(contexts).max(axis=(0, 1))
    fires = np.flatnonzero(largest > 0)
    if not len(fires):
        raise BadInput(f"no feature of {features.name} fires in {len(contexts)} contexts: expected some")
    some = fires[np.linspace(0, len(fires) - 1, min(GAIN_FEATURES, len(fires))).astype(int)]
    slopes = direct_test(features, contexts, some, largest[some], _weights(features, tokens, some), tokens).slope
    return float(np.median(slopes[np.isfinite(slopes)])) if np.isfinite(slopes).any() else float("nan")


AUTOMATA = Relation(needs=no_pairs, find=automata)
