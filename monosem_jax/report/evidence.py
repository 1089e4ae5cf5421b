"""The tables of an analysis as Markdown, with the paper's numbers beside: what goes into a table of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monosem_jax.report.markdown import percent, table

# "Towards Monosemanticity": A/1, 4,096 features of 512 neurons, on The Pile.
PAPER_PEARSON = {"arabic": 0.74, "dna": 0.80, "base64": 0.38, "hebrew": 0.55}
HEALTH = {
    "n_features": "features",
    "l0": "L0",
    "l0_share_above_1pct": "share of L0 by density > 1 %",
    "l0_share_above_10pct": "by > 10 %",
    "median_density": "median density",
    "dead": "dead",
    "twins": "twins",
}
MEANS = {
    "probe_k1": "probe, k = 1",
    "probe_k5": "probe, k = 5",
    "fms_1": "FMS@1",
    "fms_5": "FMS@5",
    "fms_1_shuffled": "FMS@1, shuffled classes",
}


def markdown(tables: Mapping[str, Any]) -> str:
    """The tables that there are, by the names of `AnalyzeRun.table`, as one Markdown text."""
    parts = [
        _health(tables.get("health") or {}),
        _proxies(tables.get("proxies") or {}),
        _sets("Concepts on held-out rows", (tables.get("probes") or {}).get("means") or {}, MEANS),
        _judges(tables.get("judges") or []),
        _logits(tables.get("logits") or []),
        _effects(tables.get("effects") or {}),
        _sources(tables.get("sources") or {}),
        _gaps(tables.get("gaps") or []),
    ]
    return "\n".join(part for part in parts if part)


def _sets(title: str, rows: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """One column per set."""
    body = [[label, *(row.get(key) for row in rows.values())] for key, label in names.items()]
    return table(title, ["", *rows], body if rows else [])


def _health(rows: Mapping[str, Mapping[str, Any]]) -> str:
    decades = {name: row.get("density_decades") or {} for name, row in rows.items()}
    every = list(dict.fromkeys(key for found in decades.values() for key in found))
    text = _sets("Health", rows, HEALTH)
    spectrum = [
        [f"density up to {key}" if key != "dead" else "dead", *(d.get(key) for d in decades.values())] for key in every
    ]
    return text + ("\n" + table("Density spectrum", ["", *rows], spectrum) if spectrum else "")


def _proxies(found: Mapping[str, Any]) -> str:
    rows = []
    for row in found.get("rows") or []:
        for best in row["best"]:
            score = best["score"]
            known = [s for s in score["specificity"] if s is not None]
            rows.append([
                row["proxy"], row["positive"], best["set"], best["feature"], score["pearson"],
                PAPER_PEARSON.get(row["proxy"]) if best["set"] == "features" else None,
                percent(known[0] if known else None), percent(score["specificity_top"]),
                percent(score["specificity_all"]), percent(score["sensitivity"]),
            ])  # fmt: skip
    header = ["proxy", "tokens", "set", "feature", "Pearson", "paper", "specificity, lowest interval", "highest", "all",
              "sensitivity"]  # fmt: skip
    note = (
        "The best feature of every set, chosen on training text, measured on held-out text. Paper: Arabic from 25 % "
        "when barely active to 98 % above 5, 81 % of all firings."
    )
    return table("Features against proxies", header, rows, note)


def _judges(rows: Sequence[Mapping[str, Any]]) -> str:
    body = [
        [row["judge"], row["set"], s["kind"], s["n"], s["mean"], s["median"], s["shuffled_mean"]]
        for row in rows
        for s in row["summaries"]
        if s["group"] == "all" and s["n"]
    ]
    note = "Paper (Claude 2): logit task 74 % of features, 58 % of neurons, 50 % of the random transformer."
    header = ["judge", "set", "score", "features", "mean", "median", "another feature's explanation"]
    return table("Automated interpretability", header, body, note)


def _logits(rows: Sequence[Mapping[str, Any]]) -> str:
    keys = ["set", "features", "median_deviation", "median_skewness", "median_kurtosis", "second_mode"]
    header = ["set", "features", "deviation", "skewness", "kurtosis", "share with a second mode"]
    return table("Logit weights (medians)", header, [[row.get(k) for k in keys] for row in rows])


def _effects(found: Mapping[str, Any]) -> str:
    ablation, direct = found.get("ablation") or {}, found.get("direct") or {}
    names = list(dict.fromkeys([*ablation, *direct]))
    rows = [
        [
            name,
            ablation.get(name, {}).get("features"),
            ablation.get(name, {}).get("median_loss_change_firing"),
            ablation.get(name, {}).get("median_loss_change_elsewhere"),
            direct.get(name, {}).get("median_correlation"),
        ]
        for name in names
    ]
    header = ["set", "features", "loss change where it fires, nats", "elsewhere", "logit weights : measured change"]
    passes = f"{found['forward_passes']:,} forward passes." if found.get("forward_passes") else ""
    return table("Ablation (medians)", header, rows, passes) + "\n" + _steering(found.get("steering") or [])


def _steering(curves: Sequence[Mapping[str, Any]]) -> str:
    """A row per curve, a column per strength: share of the sampled tokens that are of the proxy, and the loss."""
    strengths = list(dict.fromkeys(s for curve in curves for s in curve["strengths"]))
    rows = []
    for curve in curves:
        cells = {
            s: f"{percent(share)} ({loss:+.2f})"
            for s, share, loss in zip(curve["strengths"], curve["share"], curve["loss_change"], strict=True)
        }
        name = f"{curve['set']} {curve['feature']}"
        rows.append([curve["proxy"], name, percent(curve["share_unsteered"]), *(cells.get(s) for s in strengths)])
    note = (
        "Held at a strength in units of the feature's largest activation; random directions have the feature's norm. "
        "Share of the sampled tokens on which the proxy holds, and the change of the loss on held-out text in nats."
    )
    return table("Steering", ["proxy", "", "not steered", *(f"{s:g}" for s in strengths)], rows, note)


def _sources(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One column per set: features by their main cause, and shares in percent."""
    if not rows:
        return ""
    first = next(iter(rows.values()))
    body: list[list[Any]] = [["features", *(row["features"] for row in rows.values())]]
    for cause in first["main_cause"]:
        body.append([f"mostly caused by: {cause}", *(row["main_cause"].get(cause) for row in rows.values())])
    for cause in first["share_of_activation"]:
        body.append(
            [
                f"share of the activation: {cause}",
                *(percent(row["share_of_activation"].get(cause)) for row in rows.values()),
            ]
        )
    for part in ("direct", "attention"):
        body.append(
            [
                f"share of the size of all paths: {part}",
                *(percent(row["share_of_size"][part]) for row in rows.values()),
            ]
        )
    for distance in first["share_of_size"]["by_distance"]:
        body.append(
            [
                f"of it, attention to: {distance}",
                *(percent(row["share_of_size"]["by_distance"].get(distance)) for row in rows.values()),
            ]
        )
    for head in range(len(first["share_of_size"]["by_head"])):
        body.append([f"of it, head {head}", *(percent(row["share_of_size"]["by_head"][head]) for row in rows.values())])
    note = (
        "The activation of each feature on its top examples as an exact sum over tokens, with attention patterns, "
        "LayerNorm's scales and gates held. Shares are medians over features; those of the activation may be negative."
    )
    return table("Sources of features", ["", *rows], body, note)


def _gaps(rows: Sequence[Mapping[str, str]]) -> str:
    return table("Not measured", ["what", "why"], [[row["kind"], row["reason"]] for row in rows])
