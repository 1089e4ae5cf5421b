"""A browser of two dictionaries with a comparison made by hand; names and tokens in it try to do harm."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from monosem_jax.report.browser.material import ComparisonMaterial
from monosem_jax.report.browser.site import write_site
from tests.report.browser.made import ATTACKS, SIZES, material

LARGE = SIZES["features"]  # features of the dictionary "sae"
SMALL = 24  # of the dictionary "first", which has records of more
ELSEWHERE = "elsewhere " + ATTACKS[0]  # a set without records, in a hostile name
SETS = ("sae", "first", ELSEWHERE, "neurons")
NUMBERS = {"sae": LARGE, "first": SMALL, ELSEWHERE: LARGE, "neurons": SIZES["neurons"]}
COUNTS = [0] * 20 + list(range(20))


def comparison() -> ComparisonMaterial:
    """The comparison of "sae" with "first", with a set whose records are not there, and with neurons."""
    shown = {"sae": ("sae", "features"), "first": ("first", "features"), "neurons": ("sae", "neurons")}
    sets = [
        {
            "name": name, "role": "neurons" if name == "neurons" else "dictionary", "model": "ab" * 32, "seed": 0,
            "architecture": "relu", "site": "0/mlp_acts", "n_features": NUMBERS[name], "run": "/somewhere/" + name,
            "dictionary": shown.get(name, (None,))[0], "set": shown.get(name, (None, "features"))[1],
        }
        for name in SETS
    ]  # fmt: skip
    tables = {
        "universality": [row for other in SETS[1:] for row in (_row("sae", other), _row(other, "sae"))],
        "stability": {"of": "sae", "seeds": [ELSEWHERE], "above": 0.7, "stable": 0.5, "median": 0.7, "features": LARGE},
        "splitting": _splitting(),
        "map": {
            "sets": ["first", "sae"], "sizes": [SMALL, LARGE], "clusters": 4, "unclustered": 5, "median_cluster": 3.0,
            "clusters_of_several_sizes": 3, "joins": [], "rule": {"neighbours": 15, "plane_min_dist": 0.05},
        },
        "automata": {"sae": _automata()},
        "motifs": _motifs(),
        "gaps": [{"kind": "tokens", "reason": "few " + ATTACKS[1]}],
    }  # fmt: skip
    arrays = _arrays()
    return ComparisonMaterial(sets, tables, arrays.get, {"compared_tokens": 50_000})


def _row(a: str, b: str) -> dict[str, Any]:
    return {
        "a": a, "b": b, "role_a": "dictionary", "role_b": "neurons" if b == "neurons" else "dictionary",
        "kind": "dictionaries of one model", "tokens": 50_000, "exact": True, "error": 0.0, "features": NUMBERS[a],
        "alive": NUMBERS[a] - 1, "median": 0.625, "interval": [0.6, 0.65], "own_median": 0.25, "counts": COUNTS,
        "quantiles": [0.1, 0.2, 0.4, 0.625, 0.8, 0.9, 0.95], "one_to_one_median": 0.5, "one_to_one_same": 0.4,
    }  # fmt: skip


def _splitting() -> dict[str, Any]:
    quantiles = [0.1, 0.2, 0.5, 0.7, 0.9]
    side = {"children": [1, 2, 3, 4], "parents": [0, 1, 0, 0], "similarity": quantiles, "chance": quantiles}
    side |= {"child_to_parent": quantiles, "matched": [0.01] * 5}
    step = {
        "parents": "first", "children": "sae", "considered": [SMALL, LARGE], "edges": 60, "all": side, "best": side,
        "merges": 3, "cover": {"share": quantiles}, "siblings": None,
    }  # fmt: skip
    family = {"roots": SMALL, "with_two": 7, "largest_component_share": 0.9}
    feature = {"set": "first", "feature": 5, "tokens": [[ATTACKS[0], 0.5], ["a\u202e", 0.1]], "label": ATTACKS[1]}
    return {
        "sets": ["first", "sae"], "sizes": [SMALL, LARGE], "steps": [step], "same_size": [],
        "rule": {"threshold": 0.4, "least_firings": 10},
        "families": {"implied_least": 0.5, "all": family, "best": family, "implied": family},
        "told": [{"why": "label", "label_of": ATTACKS[4], "correlation": 0.5, "level": 0, "feature": feature}],
    }  # fmt: skip


def _automata() -> dict[str, Any]:
    nodes = [
        {"feature": n, "density": 0.01, "tokens": [[t, 0.5], ["x", 0.2]], "logits": [[ATTACKS[3], 1.0]], "label": ""}
        for n, t in ((3, " من"), (9, ATTACKS[0]))
    ]
    check = {"held": 0.25, "unheld": 0.0, "random": 0.01, "difference": 0.25, "low": 0.1, "high": 0.4}
    edges = [
        {"source": a, "target": b, "weight": 0.5, "token": ATTACKS[5], "lift": 3.0, "lift_apart": None,
         "check": {**check, "confirmed": a == 3}}
        for a, b in ((3, 9), (9, 3))
    ]  # fmt: skip
    followed = {
        "prompt": ATTACKS[1], "held_tokens": 1, "pieces": [["a", ATTACKS[0], "b"]], "fires": [[[0], [1], []]],
        "running": [1.0, 1.0, 0.0], "plain_running": [0.0, 0.0, 0.0],
    }  # fmt: skip
    pair = {
        "kind": "pair", "nodes": nodes, "edges": edges, "score": 0.5, "expected": 0.1, "false_share": 0.05,
        "confirmed": False, "followed": followed,
    }  # fmt: skip
    loop = {**pair, "kind": "loop", "nodes": nodes[:1], "confirmed": True, "followed": None}
    loop["edges"] = [{**edges[0], "target": 3}]
    kind = {"kind": "pair", "looked_at": 50, "found": 5, "least": 0.1, "expected": 0.5, "deviations": 6.0}
    return {
        "set": "sae", "n_features": LARGE, "edges": 100, "kinds": [kind], "automata": [pair, loop], "confirmed": 1,
        "checked_edges": 3, "confirmed_edges": 2, "random_checked": 9, "random_confirmed": 0, "crossed_checked": 8,
        "crossed_confirmed": 1, "agreement": None,
    }  # fmt: skip


def _motifs() -> dict[str, Any]:
    member = {"share_of_firings": 0.9, "share_of_occurrences": 0.5, "label": ATTACKS[0], "label_auc": 0.9}
    trigram = {"feature": 4, "first": ATTACKS[0], "second": "-", "third": "19", "documents": 6}
    trigram |= {"share": 0.6, "rate": 0.5, "rate_elsewhere": 0.1, "followed": 0.3}
    return {
        "set": "sae", "one_token": {"0.9": 3}, "told_apart": 2, "told_apart_shuffled": 0,
        "families": [{"token": ATTACKS[2], "features": [[3, member], [5, member]], "labels": [ATTACKS[1]]}],
        "trigrams": [trigram], "trigram_candidates": 1, "trigrams_shuffled": 0,
        "memorised": [{"feature": 6, "share": 0.9, "firings": 30, "documents": 4, "text": ATTACKS[0]}],
        "memorised_shuffled": 0,
    }  # fmt: skip


def _arrays() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    matches = {}
    for a, b in (pair for other in SETS[1:] for pair in (("sae", other), (other, "sae"))):
        n, m = NUMBERS[a], NUMBERS[b]
        matches[f"{a}|{b}|feature"] = np.where(np.arange(n) == 7, -1, np.arange(n) % m).astype(np.int32)
        matches[f"{a}|{b}|correlation"] = np.where(np.arange(n) == 7, np.nan, 0.9 - np.arange(n) / 100)
    child = np.arange(LARGE)
    figures = ("similarity", "chance", "cosine", "child_to_parent", "matched", "parent_to_child", "mass")
    edges = {"step0_parent": child % SMALL, "step0_child": child, "step0_best": np.ones(LARGE, bool)}
    edges |= {f"step0_{name}": rng.uniform(0.4, 1, LARGE) for name in figures}
    number = np.concatenate([np.arange(SMALL), np.arange(LARGE)])
    angle = number / LARGE * 6
    n = len(number)
    plane = {
        "set": np.repeat([0, 1], [SMALL, LARGE]), "feature": number, "cluster": number % 5 - 1,
        "plane": np.stack([np.cos(angle), np.sin(angle)], 1) * np.repeat([1, 2], [SMALL, LARGE])[:, None],
        "order": np.arange(n)[::-1].copy(),
    }  # fmt: skip
    return {
        "matches": matches, "splitting_edges": edges, "map": plane, "stability": {"stability": rng.uniform(size=LARGE)},
    }  # fmt: skip


def write_compared(folder: pathlib.Path, records: pathlib.Path, *, compared: bool = True) -> None:
    """Writes the browser of both dictionaries, and their comparison unless `compared` is false, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    both = [material(records / id, id) for id in ("sae", "first")]
    write_site(folder, "Two dictionaries", "0", both, comparison() if compared else None)
