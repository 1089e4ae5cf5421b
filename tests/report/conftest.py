"""Made-up analysis records for the tests of the report."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis.records import Category, Example, Feature
from monosem_jax.report.records import Records

TEXTS = {
    "arabic": [
        "ما",
        " من",
        " له",
        " المعرّف",
        " ”",
        "%",
        "(",
        "key",
        ")",
        "s",
        "“",
        ".",
        " لربّما",
        "\n",
        " حُذف",
        " أساسًا",
    ],
    "hebrew": [
        "הוס",
        "פת",
        " תגית",
        " שמ",
        "צביעה",
        " על",
        " 25",
        "%",
        " git",
        " הזה",
        "?",
        "\n",
        " למחוק",
        " את",
        "כל",
    ],
    "chinese": [
        "每年",
        "棒球",
        "\n",
        "  ",
        "-",
        " ",
        "金",
        "\\xe6\\x89",
        "手套",
        "。",
        "如果",
        "你是",
        "騎",
        "一百",
        "球",
    ],
    "dna": [">S", "000", "44", "\n", "ACG", "TTAG", "GC", "CATG", "AAAA", "TTG", "GACC", "CGT", "A", "GGT", "TACCA"],
    "base64": [
        "MII",
        "EkjCCA",
        "3qgAw",
        "IBAgIQ",
        "CgFBQg",
        "AAAV",
        "OFc",
        "2oL",
        "heyn",
        "CDAN",
        "Bgkq",
        "hkiG",
        "==",
    ],
    "code": [
        "def",
        " check",
        "(self",
        "):",
        "\n",
        "    ",
        "return",
        " <b>",
        " &",
        "amp",
        ";",
        " \"'",
        "\t",
        "x",
        " ==",
        " 1",
    ],
    "prose": [
        " The",
        " court",
        " shall",
        " not",
        " be",
        " bound",
        " by",
        " any",
        " such",
        " agreement",
        ",",
        " nor",
        " any",
    ],
}

DICTIONARY = {
    "loss_recovered_zero": 0.9431,
    "loss_recovered_mean": 0.9123,
    "ce_intact": 4.1203,
    "ce_zero_ablation": 5.2214,
    "ce_mean_ablation": 4.8701,
    "ce_reconstructed": 4.1829,
    "l0": 31.4,
    "mse": 0.00213,
    "variance_explained": 0.871,
    "n_features": 4096,
    "dead": 123,
    "ultralow": None,
    "ultralow_note": "524288 tokens are too few to tell densities below 1e-6: 10000000 needed",
    "dense": 77,
    "evaluated_tokens": 524288,
    "rows_trained": 819_200_000,
    "rows_per_second": 512345.6,
    "wall_seconds": 1830.2,
    "l1_coefficient": 0.004,
}


def make_example(rng: np.random.Generator, label: str, n_tokens: int) -> Example:
    tokens = [str(t) for t in rng.choice(TEXTS[label], n_tokens)]
    activations = np.round(rng.gamma(1.0, 2.0, n_tokens) * (rng.random(n_tokens) < 0.3), 5)
    peak = n_tokens * 2 // 3
    activations[peak] = activations.max() + rng.random() + 0.1
    origin = f"package-{label} 1.{rng.integers(99)}: usr/share/doc/{label}/{'sub/' * int(rng.integers(1, 8))}file.txt#7"
    context = int(rng.integers(5000))
    return Example(context, peak, peak, tuple(tokens), tuple(float(a) for a in activations), origin, label)


def make_feature(rng: np.random.Generator, number: int, best: bool, n_examples: int, n_tokens: int) -> Feature:
    label = list(TEXTS)[number % len(TEXTS)]
    examples = tuple(make_example(rng, label, n_tokens) for _ in range(n_examples))
    logits = tuple((str(t), round(float(rng.random()), 4)) for t in rng.choice(TEXTS[label], 10))
    return Feature(
        feature=number,
        density=float(10 ** rng.uniform(-6, -1)),
        largest=max((max(e.activations) for e in examples), default=0.0),
        label=label if best else None,
        label_correlation=0.7 if best else None,
        top_logits=logits,
        bottom_logits=tuple((t, -v) for t, v in logits),
        examples=examples,
    )


def make_metrics(rng: np.random.Generator, n: int) -> tuple[list[dict], list[dict]]:
    transformer, dictionary = [], []
    for i in range(1, n + 1):
        step, fall = i * 1000, np.exp(-i / n * 6) + 0.02 * rng.random()
        transformer.append({"step": step, "time": 1.0 * i, "loss": 4.0 + 5 * fall})
        terms = {"loss": 0.1 + fall, "mse": 0.02 + 0.5 * fall, "l1": 9 + 30 * fall, "l0": 30 + 400 * fall}
        dictionary.append({"step": step, "time": 1.0 * i, **terms})
        if i % 5 == 0:
            transformer.append({"step": step, "time": 1.0 * i, "heldout_loss": 4.2 + 5 * fall})
            dictionary.append({"step": step, "time": 1.0 * i, "silent": float(int(900 * fall))})
    return transformer, dictionary


def make_records(n_features: int = 3, n_examples: int = 2, n_tokens: int = 12, n_steps: int = 20) -> Records:
    """Records of that size, the same every time."""
    rng = np.random.default_rng(7)
    transformer_metrics, dictionary_metrics = make_metrics(rng, n_steps)
    density = 10 ** rng.normal(-3.5, 1.1, 4096).clip(-7, -0.5) * (rng.random(4096) > 0.03)
    categories = [
        Category(label, 3210 + i, i, feature_correlation=0.9 - i / 9, neuron=40 + i, neuron_correlation=0.5 - i / 50)
        for i, label in enumerate(TEXTS)
    ]
    return Records(
        title="Dictionary of 4,096 features",
        dictionary=DICTIONARY,
        transformer={
            "heldout_loss": 4.1203, "bigram_loss": 5.3312, "heldout_tokens": 520192, "parameters": 1_234_567,
            "tokens_trained": 200_000_000, "tokens_per_second": 812345.0, "wall_seconds": 44.2,
        },
        transformer_metrics=transformer_metrics,
        dictionary_metrics=dictionary_metrics,
        resample_steps=[n_steps * 1000 * k // 8 for k in (1, 2, 3, 4)],
        density=density,
        density_tokens=524288,
        categories=categories,
        features=[make_feature(rng, i, i < len(TEXTS), n_examples, n_tokens) for i in range(n_features)],
    )  # fmt: skip


@pytest.fixture
def records() -> Records:
    """A small page's records."""
    return make_records()


@pytest.fixture
def changed(records: Records):
    """The function that gives the small records with some fields replaced."""
    return lambda **fields: dataclasses.replace(records, **fields)


@pytest.fixture(scope="session")
def many_records() -> Records:
    """As many as a real page has."""
    return make_records(n_features=60, n_examples=8, n_tokens=33)
