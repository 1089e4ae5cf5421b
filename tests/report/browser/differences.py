"""How far the page's engine is from Python on a trained dictionary: `python -m tests.report.browser.differences RUN`.

Eight held-out contexts in Node: features, logits, logits with the strongest feature pinned at its maximum, and losses,
beside Python with the weights as they are stored in the files, and with the true ones.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

import monosem_jax as mj
from monosem_jax.analysis.effects.hold import hold
from monosem_jax.models.base import token_losses
from monosem_jax.report.browser.model import write_model
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.stages.browser_model import served_model
from tests.report.browser import engine
from tests.report.browser.models import feature_set, from_stored

CONTEXTS = 8


def main(path: str) -> None:
    """Prints the sizes of the files and a line for each quantity."""
    run = mj.load_sae(path)
    with tempfile.TemporaryDirectory() as folder:
        size = write_model(pathlib.Path(folder), "d/model", served_model(run))
        question = engine.load_question(pathlib.Path(folder), "d/model")
    tapped, published = run.transformer.tapped(run.site), PublishedSAE(run.sae, run.params)
    params, rounded = from_stored(engine.stored(question))
    models = {
        "stored weights": (dataclasses.replace(tapped, params=params), dataclasses.replace(published, params=rounded)),
        "true weights": (tapped, published),
    }
    tokens = np.asarray(run.transformer.text.tokens("heldout")[:CONTEXTS], np.int32)
    feature, largest = strongest(feature_set(*models["true weights"]), tokens)
    page = of_page(question, tokens, feature, largest)
    print(f"{path}: {size:,} bytes; feature {feature} pinned at {largest:.4g}; largest differences")
    for name, (model, dictionary) in models.items():
        found = of_python(model, dictionary, tokens, feature, largest)
        for quantity, values in found.items():
            difference = float(np.abs(page[quantity] - values).max())
            share = "" if quantity == "loss" else f", {difference / float(np.abs(values).max()):.1e} of the largest"
            print(f"{name:<16}{quantity:<9}{difference:.1e}{share}")
        flips = int(((page["features"] > 0) != (found["features"] > 0)).sum())
        print(f"{name:<16}fires in one of the two only: {flips} of {int((found['features'] > 0).sum()):,}")


def strongest(features: Any, tokens: np.ndarray) -> tuple[int, float]:
    """The feature with the largest activation, and that."""
    maxima = np.asarray(features.activations(tokens)).max(axis=(0, 1))
    return int(maxima.argmax()), float(maxima.max())


def of_python(model: Any, dictionary: Any, tokens: np.ndarray, feature: int, value: float) -> dict[str, np.ndarray]:
    """Features [C,T,F], logits and pinned logits [C,T,V], losses [C,T-1]."""
    features = feature_set(model, dictionary)
    logits = np.asarray(model.model.apply({"params": model.params}, tokens))
    every = np.arange(logits.shape[-1])
    held = hold(features, tokens, np.arange(len(tokens)), [feature] * len(tokens), [value] * len(tokens), watch=every)
    return {
        "features": np.asarray(features.activations(tokens)),
        "logits": logits,
        "pinned": logits + held.logit_change,
        "loss": np.asarray(token_losses(logits, tokens)),
    }


def of_page(question: dict[str, Any], tokens: np.ndarray, feature: int, value: float) -> dict[str, np.ndarray]:
    """The same from the engine."""
    pin = {"feature": feature, "mode": "pin", "value": value}
    asked = [{"kind": "numbers", "ids": t.tolist(), "change": c} for c in (None, pin) for t in tokens]
    given = {
        "source": engine.WORKER.read_text(encoding="utf-8"),
        "questions": [engine.outward(q) for q in (question, *asked)],
    }
    answers = [engine.inward(a)["answer"] for a in engine.in_node(given)][1:]
    plain, pinned = answers[: len(tokens)], answers[len(tokens) :]
    logits = np.stack([a["logits"].reshape(tokens.shape[1], -1) for a in plain])
    return {
        "features": np.stack([a["f"].reshape(tokens.shape[1], -1) for a in plain]),
        "logits": logits,
        "pinned": np.stack([a["logits"].reshape(tokens.shape[1], -1) for a in pinned]),
        "loss": np.asarray(token_losses(logits, tokens)),
    }


if __name__ == "__main__":
    main(sys.argv[1])
