"""What the overview of a dictionary shows, as one JSON value of a few dozen KB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.report.browser.curves import curves, rounded
from monosem_jax.runtime.rng import stream

EDGES = np.arange(-80, 1) / 10  # log10 of densities: tenths of a decade
HEALTH = ("n_features", "l0", "l0_share_above_1pct", "l0_share_above_10pct", "dead", "twins", "median_density")
PROBES = ("concepts", "probe_k1", "probe_k5", "fms_1", "fms_1_shuffled")
SCORE = ("pearson", "specificity_top", "specificity_all", "sensitivity")
JUDGED = ("kind", "group", "n", "mean", "median", "shuffled_mean")
FIGURES = (  # of a dictionary, for the table and the front of all dictionaries of a browser
    *("l0", "loss_recovered_zero", "loss_recovered_mean", "mse", "variance_explained", "dead", "ultralow"),
    *("l0_share_above_1pct", "l1_coefficient", "k", "l0_coefficient", "target_l0", "rows_trained"),
)
EVIDENCE = ("twins", "fms_1", "probe_k1", "judge_score", "stability")
STARTS = 6  # features of a list of features to start with


def overview(
    *,
    dictionary: Mapping[str, Any],
    transformer: Mapping[str, Any] | None,
    evidence: Mapping[str, Any],
    dictionary_metrics: Sequence[Mapping[str, Any]],
    transformer_metrics: Sequence[Mapping[str, Any]],
    resample_steps: Sequence[int],
    density: np.ndarray,
    density_tokens: int,
    categories: Sequence[Mapping[str, Any]],
    tables: Mapping[str, Any],
    start: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`dictionary`, `transformer` and `evidence` are summaries of runs; the metrics are the lines of their logs;
    `density` [F] is over `density_tokens` held-out tokens; `tables` are those of the analysis by name; `start` is what
    `starts` found."""
    return {
        "dictionary": dict(dictionary),
        "transformer": None if transformer is None else dict(transformer),
        "evidence": {k: v for k, v in evidence.items() if k not in ("proxies", "seconds")},
        "curves": {"dictionary": curves(dictionary_metrics), "transformer": curves(transformer_metrics)},
        "resample_steps": list(resample_steps),
        "density": spectrum(density),
        "density_tokens": density_tokens,
        "categories": list(categories),
        "gaps": tables.get("gaps") or [],
        "proxies": _proxies(tables.get("proxies") or {}),
        "health": {name: _only(row, HEALTH) for name, row in (tables.get("health") or {}).items()},
        "probes": {n: _only(row, PROBES) for n, row in ((tables.get("probes") or {}).get("means") or {}).items()},
        "judges": [
            {
                "set": row["set"],
                "judge": row["judge"],
                "single_token_share": row.get("single_token_share"),
                "summaries": [_only(s, JUDGED) for s in row["summaries"] if s.get("n")],
            }
            for row in tables.get("judges") or []
        ],
        "start": dict(start or {}),
    }


def figures(dictionary: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a dictionary that stand in the manifest, so that all can be compared without their overviews."""
    return _only(dictionary, FIGURES) | _only(evidence, EVIDENCE)


def spectrum(density: np.ndarray) -> dict[str, Any]:
    """Features by log10 of their density, in bins of a tenth of a decade: `counts`, and in `l0` the share of L0 that
    the features of each bin carry. L0 is the sum of all densities. `dead` never fired; densities below the first edge
    are in the first bin."""
    density = np.asarray(density, np.float64)
    fires = density[density > 0]
    log = np.clip(np.log10(fires), EDGES[0], EDGES[-1])
    counts, _ = np.histogram(log, EDGES)
    carried, _ = np.histogram(log, EDGES, weights=fires)
    total = float(fires.sum())
    return {
        "edges": EDGES.tolist(),
        "counts": counts.tolist(),
        "l0": rounded(carried / total) if total else [0.0] * len(counts),
        "dead": int(np.sum(density == 0)),
        "n": len(density),
    }


def starts(columns: Mapping[str, Sequence[Any]], strings: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Features to start with: `explained`, those with the best score of the judge; `dense`, the densest; `drawn`, some
    that fire, drawn blindly. Each with up to three tokens on which it fires most often. `columns` is the index of the
    set of features, `strings` the vocabulary."""
    rows = np.flatnonzero(np.asarray(columns["density"], np.float64) > 0)

    def listed(order: Sequence[int], value: str) -> list[dict[str, Any]]:
        return [
            {
                "feature": columns["feature"][i],
                "value": columns[value][i],
                "tokens": [strings[t] for t in columns["tokens"][i] if 0 <= t < len(strings)],
            }
            for i in order[:STARTS]
        ]

    scored = [i for i in rows.tolist() if columns["score"][i] is not None]
    found = {
        "explained": listed(sorted(scored, key=lambda i: -columns["score"][i]), "score"),
        "dense": listed(sorted(rows.tolist(), key=lambda i: -columns["density"][i]), "density"),
        "drawn": listed(stream("browser.start").permutation(rows).tolist(), "density"),
    }
    return {name: some for name, some in found.items() if some}


def _proxies(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each proxy the best feature of every set."""
    return [
        {
            "proxy": row["proxy"],
            "about": row.get("about", ""),
            "positive": row["positive"],
            "best": [
                {"set": b["set"], "feature": b["feature"], **_only(b["score"], SCORE), "lowest": _lowest(b["score"])}
                for b in row["best"]
            ],
        }
        for row in found.get("rows") or []
    ]


def _lowest(score: Mapping[str, Any]) -> float | None:
    """The specificity where the feature is barely active."""
    known = [s for s in score.get("specificity") or [] if s is not None]
    return known[0] if known else None


def _only(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: row[key] for key in keys if row.get(key) is not None}
