"""A browser of features over records made by hand: 48 features in three chunks, neurons, control, random, and text that
tries to do harm."""

from __future__ import annotations

import gzip
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis import records_io
from monosem_jax.analysis.records import (
    Ablation,
    Example,
    Explanation,
    Feature,
    Histogram,
    Interval,
    LogitSummary,
    Neighbour,
    ProxyScore,
    Sample,
    Score,
    Source,
    Sources,
    TokenInContext,
    TopToken,
)
from monosem_jax.report.browser.material import DictionaryMaterial
from monosem_jax.report.browser.overview import overview
from monosem_jax.report.browser.site import write_site

CHUNK = 16  # so that 48 features make three chunks
SIZES = {"features": 48, "neurons": 12, "control": 6, "random": 8}
WIDTH = 16  # of dictionary vectors
TOKENS = 10_000  # on which the sets were measured
LABELS, PROXIES = ("arabic", "chinese", "code", "prose"), ("arabic", "chinese")
ARABIC, CHINESE, DEAD, DENSE, HOSTILE, BARE = 3, 5, 7, 8, 9, 10  # features of their kind

TEXTS = {
    "arabic": [
        *("ما", " من", " له", " المعر", "ّف", " ال", "مك", "تبة", "ن\\xd8"),
        *("\\xb8", "ام", " ", "5", ".", "\n", " في"),
    ],
    "chinese": [
        *("每年", "棒球", "\n", "  ", "-", "金", "\\xe6\\x89", "\\x8b", "手套", "。"),
        *("如果", "\\xf0\\x9f", "\\x98", "\\x80"),
    ],
    "code": [
        *("def", " check", "(self", "):", "\n", "    ", "return", " <b>", " &"),
        *("amp", ";", " \"'", "\t", "x", " =="),
    ],
    "prose": [" The", " court", " shall", " not", " be", " bound", " by", " any", " such", " agreement", ",", " nor"],
}
ATTACKS = (
    "<script>window.attacked=1</script>",
    "<img src=x onerror='window.attacked=1'>",
    "javascript:window.attacked=1",
    "</script><svg onload=window.attacked=1>",
    "{{7*7}}${7*7}<%=7*7%>",
    '"); window.attacked=1; ("',
    "\u202eright to left\u202c",
    "\u2066isolated",
    "nul \x00 bell \x07",
    "w" * 100_000,
)
LONE = "lone surrogate"  # becomes one in the file of records: the writer of records refuses it
VOCABULARY = ["<bos>", *dict.fromkeys(t for texts in TEXTS.values() for t in texts), *ATTACKS]


def vectors() -> np.ndarray:
    """The dictionary vectors [F, M]."""
    return np.random.default_rng(3).normal(size=(SIZES["features"], WIDTH)).astype(np.float32)


def example(rng: np.random.Generator, label: str, largest: float, n: int, *, whole: bool = False) -> Example:
    """A window of `n` tokens that fires with at most `largest`, with everything measured if it is `whole`."""
    text, begin = TEXTS[label], int(rng.integers(len(TEXTS[label])))
    tokens = [text[(begin + i) % len(text)] for i in range(n)]
    peak = n * 2 // 3
    fires = np.where(rng.random(n) < 0.3, rng.random(n) * largest * 0.8, 0)
    fires[peak] = largest
    at = int(rng.integers(peak, 200))
    sources = Sources(
        activation=largest,
        bias=-0.1,
        direct=round(0.2 * largest, 4),
        attention=round(0.8 * largest + 0.1, 4),
        tokens=(
            Source(at, tokens[peak], round(0.2 * largest, 4), round(0.5 * largest, 4), 3),
            Source(at - 1, tokens[peak - 1], 0.0, round(0.4 * largest, 4), 0),
            Source(max(at - peak - 2, 0), "far", 0.0, -0.05, 1),
        ),
    )
    return Example(
        context=int(rng.integers(900)),
        position=at,
        peak=peak,
        tokens=tuple(tokens),
        activations=tuple(round(float(a), 4) for a in fires),
        origin=f"package-{label} 1.{rng.integers(99)}: usr/share/doc/{label}/file.txt#7",
        label=label,
        token_ids=tuple(VOCABULARY.index(t) for t in tokens),
        loss_effects=tuple(round(float(x), 4) for x in rng.normal(size=n) * 0.1) if whole else (),
        sources=sources if whole else None,
    )


def _histogram(edges: np.ndarray, fired: np.ndarray) -> Histogram:
    counts, _ = np.histogram(fired, edges)
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)))


def _explained(number: int, label: str, hostile: bool) -> tuple[tuple[Explanation, ...], tuple[Score, ...]]:
    text = " ".join(ATTACKS[:-1]) if hostile else f"text of the kind {label}"
    explanations = (
        Explanation("token_set", text, 5, "tokens"),
        Explanation("ngram_graph", f"{label} graph", 9, "edges"),
    )
    scores = (
        Score("token_set", "simulation", round(0.3 + number / 100, 3), 0.4, 0.02, 400),
        Score("token_set", "detection", 0.8, 0.79, 0.5, 53),
        Score("ngram_graph", "simulation", 0.25, 0.2, 0.0, 400),
        Score("ngram_graph", "logits", None, None, None, 0, "the judge has no logits"),
    )
    return explanations, scores


def feature(number: int, name: str = "features") -> Feature:
    """One record: the same every time."""
    rng = np.random.default_rng([number, list(SIZES).index(name)])
    label = {ARABIC: "arabic", CHINESE: "chinese"}.get(number, list(TEXTS)[number % 4])
    logits = tuple((str(t), round(0.9 - i / 20, 4)) for i, t in enumerate(rng.permutation(TEXTS[label])[:10]))
    below = tuple((str(t), round(-0.8 + i / 20, 4)) for i, t in enumerate(rng.permutation(TEXTS["prose"])[:10]))
    if number == DEAD:
        return Feature(number, 0.0, 0.0, None, None, logits, below, (), name)
    largest = round(2 + number / 10, 2)
    if number == BARE:  # as format 1 had it
        one = example(rng, label, largest, 12)
        return Feature(number, 0.001, largest, None, None, logits, below, (one,), name)
    density = 0.23 if number == DENSE else 0.0004 * (number + 1)
    fired = max(int(density * TOKENS), 1)
    values = np.clip(rng.gamma(1.5, largest / 6, fired), 1e-3, largest)
    values[0] = largest
    hostile = number == HOSTILE and name == "features"
    shown = [example(rng, label, round(largest * (1 - i / 50), 4), 120 if i == 1 else 30, whole=True) for i in range(6)]
    if hostile:
        shown[0] = _hostile(shown[0])
    edges = np.linspace(0, largest, 41)
    lows = largest * np.arange(11, -1, -1) / 12
    intervals = tuple(
        Interval(float(low), float(low + largest / 12), int(np.sum((values > low) & (values <= low + largest / 12))),
                 tuple(example(rng, label, round(float(low + largest / 24), 4), 9) for _ in range(3)))
        for low in lows
    )  # fmt: skip
    explanations, scores = _explained(number, label, hostile) if number < 24 else ((), ())
    proxies = tuple(_proxy(p, p == label) for p in PROXIES) if number in (ARABIC, CHINESE) else ()
    texts = list(dict.fromkeys(TEXTS[label]))[:5]
    samples = Sample("1,2,3", 1.0, largest, ", 4, 5"), Sample("1,2,3", -1.0, -largest, " and")
    return Feature(
        feature=number,
        density=density,
        largest=largest,
        label=label if number in (ARABIC, CHINESE) else None,
        label_correlation=0.77 if number in (ARABIC, CHINESE) else None,
        top_logits=logits,
        bottom_logits=below,
        examples=tuple(shown),
        set=name,
        fired=fired,
        mean=float(values.mean()),
        nearest_label=label,
        nearest_label_correlation=round(0.2 + number / 100, 3),
        log_histogram=_histogram(np.geomspace(1e-3, largest, 29), values),
        linear_histogram=_histogram(edges, values),
        intervals=intervals,
        random=tuple(example(rng, list(TEXTS)[i], 0.0, 9) for i in range(4)),
        top_tokens=tuple(TopToken(VOCABULARY.index(t), t, 9 - i, 0.3 / (i + 1), 0.9, 1.5) for i, t in enumerate(texts)),
        token_in_context=TokenInContext(3, " له", 0.95, 0.6, 40, "arabic", 0.97) if number == ARABIC else None,
        proxies=proxies,
        logits=LogitSummary(3921, 0.227, 0.617, 3.679),
        neighbours=(
            Neighbour("features", (number + 1) % SIZES["features"], 0.71, 0.9),
            Neighbour("features", (number + 20) % SIZES["features"], 0.4, None),
            Neighbour("neurons", number % SIZES["neurons"], 0.35, 0.2),
        ),
        explanations=explanations,
        scores=scores,
        ablation=Ablation(0.0093, 0.0, 671, 336),
        samples=samples if number < 4 else (),
        stability=0.83 if number % 2 else None,
    )


def _hostile(one: Example) -> Example:
    tokens = (*ATTACKS, *one.tokens[len(ATTACKS) :])
    changed = {**one.__dict__, "tokens": tokens, "origin": ATTACKS[0] + ATTACKS[6], "label": LONE}
    return Example(**changed)


def _proxy(name: str, holds: bool) -> ProxyScore:
    shares = tuple(None if i == 10 else round((0.4 + i * 0.05) * (1 if holds else 0.02), 3) for i in range(12))
    form = "positive part" if holds else "sign"
    return ProxyScore(name, form, 0.83 if holds else 0.01, shares, (137, 51, 40, 30, 22, 20, 15, 12, 9, 6, 1, 4),
                      1.0, 0.89 if holds else 0.01, 0.98 if holds else 0.02, 0.85 if holds else 0.01, 1030)  # fmt: skip


def histograms(features: Sequence[int]) -> list[dict[str, Any]]:
    """Histograms of the logit weights of features."""
    return [{"low": -0.8, "high": 1.0, "counts": [1, 20, 3000, 800 + i, 100]} for i in features]


def write_records(folder: pathlib.Path) -> None:
    """Writes the records of every set into `folder`, in chunks of CHUNK."""
    usual, records_io.CHUNK = records_io.CHUNK, CHUNK
    try:
        sets = {}
        for name, n in SIZES.items():
            writer = records_io.RecordWriter(folder, name, LABELS, PROXIES)
            for number in range(n):
                writer.add(feature(number, name))
            sets[name] = writer.close(n, TOKENS)
        records_io.write_header(folder, sets, LABELS, PROXIES, VOCABULARY)
    finally:
        records_io.CHUNK = usual
    chunk = folder / "features" / "00000.json.gz"
    text = json.dumps(json.loads(gzip.decompress(chunk.read_bytes()))).replace(LONE, "\\ud800 label")
    chunk.write_bytes(gzip.compress(text.encode("ascii")))


def material(folder: pathlib.Path, id: str = "sae") -> DictionaryMaterial:
    """The dictionary whose records are written into `folder`."""
    write_records(folder)
    density = np.asarray([feature(i).density for i in range(SIZES["features"])])
    shown = overview(
        dictionary={"l0": 31.4, "n_features": SIZES["features"], "dead": 1, "evaluated_tokens": TOKENS},
        transformer={"heldout_loss": 4.1203, "parameters": 1_234_567},
        evidence={"median_density": 0.004, "scanned_tokens": TOKENS},
        dictionary_metrics=[{"step": 1000 * i, "loss": 5.0 / (i + 1), "mse": 0.5, "l0": 40.0} for i in range(5)],
        transformer_metrics=[{"step": 1000 * i, "loss": 9.0 / (i + 1)} for i in range(5)],
        resample_steps=[2000],
        density=density,
        density_tokens=TOKENS,
        categories=[],
        tables={},
    )
    return DictionaryMaterial(
        id=id,
        name=id,
        run={"dictionary": id, "dictionary sha256": "ab12" * 16, "site": "0/mlp_acts", "seed": 3},
        site="0/mlp_acts",
        n_features=SIZES["features"],
        records=records_io.Records(folder),
        records_folder=folder,
        overview=shown,
        vectors=vectors(),
        logits=histograms,
        absent={"rating": "the analysis made no rating material (kind rating)"},
    )


def write_browser(folder: pathlib.Path, records: pathlib.Path) -> None:
    """Writes records into `records` and the browser over them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_site(folder, "Features of a dictionary", "0", [material(records)])
