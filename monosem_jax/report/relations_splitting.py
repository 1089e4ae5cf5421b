"""Feature splitting and the map of dictionary vectors, as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from monosem_jax.report.markdown import cell, percent, table
from monosem_jax.report.text import lone_token_text, token_text, visible

Row = Mapping[str, Any]
MEDIAN = 2  # of the quantiles in the tables

STEPS = (
    "A feature of the larger dictionary is a child of one of the smaller when the masked cosine similarity of their "
    "activations is above {threshold:g}; its best parent is the one with the largest. Features below a density of "
    "{ultralow:g}, or with fewer than {least_firings} firings in this text, are omitted. Children: how many features "
    "have 0, 1, 2, and 3 or more, along all edges and by best parents. Merges: features with several parents. Same by "
    "cosine: the share of children whose best parent also has the largest cosine of the dictionary vectors. A "
    "row of two dictionaries of one size, if there is one, shows what is there without splitting."
)
REFINEMENT = (
    "Medians over children and their best parents. Child to parent: the share of the child's tokens on which the "
    "parent fires, and the same of features as dense as the parent that are no parents of the child; parent to child "
    "the other way. Mass: the share of the parent's Σ f² where the child fires. Chance: the similarity of two features "
    "that fire independently."
)
COVER = (
    "Medians over parents. Covered: the share of the parent's tokens on which one of its children fires, and of its "
    "activation there. Within: the share of the children's tokens on which the parent fires. Together: the share of "
    "the children's tokens on which two or more of them fire. Apart: the Jensen-Shannon divergence in bits (0 to 1) of "
    "the tokens, and of the document labels, of two children of a parent, beside children of different parents."
)
FAMILIES = (
    "A family is a feature of the smallest dictionary with its descendants. By all edges a family reaches most of the "
    "larger dictionaries, so it says little. By best parents every feature lies in one family at most; the last rule "
    "also asks that the parent fires on at least {share} of the child's tokens, and the summary counts families by it. "
    "A dictionary that is n times as large has n times as many features to give to its families, so only their spread "
    "and the refinement tell splitting from that."
)
TOLD = "`feature (firings)`: tokens with their shares of the firings; the label of documents with its lift."
MAP = (
    "UMAP of the dictionary vectors of features that fire (cosine, {neighbours} neighbours, min_dist "
    "{plane_min_dist:g}); HDBSCAN (min_cluster_size {min_cluster_size}) on a UMAP of {cluster_dimensions} dimensions. "
    "Together: the share of children in the cluster of their best parent; exchanged: of the same features paired at "
    "random."
)


def section(tables: Mapping[str, Any]) -> str:
    """The tables `splitting` and `map`."""
    parts = [*_splitting(tables.get("splitting")), *_map(tables.get("map"))]
    return "\n".join(part for part in parts if part)


def _splitting(found: Row | None) -> Iterator[str]:
    if not found:
        return
    rows, both = found["steps"], [*found["steps"], *found["same_size"]]
    share = percent(found["families"]["implied_least"])
    yield table("Splitting: parents and children", *_columns(both, _edge_columns), STEPS.format(**found["rule"]))
    yield table("Splitting: do children refine their parents", *_columns(both, _refinement_columns), REFINEMENT)
    yield table("Splitting: how children share out a parent", *_columns(rows, _cover_columns), COVER)
    yield _families(found["families"], found["sizes"], FAMILIES.format(share=share))
    yield _told(found["told"])


def _columns(rows: Sequence[Row], of: Any) -> tuple[list[str], list[list[Any]]]:
    """The header and the rows of a table, from a function that gives the cells of a row by their columns."""
    cells = [{"from": row["parents"], "to": row["children"], **of(row)} for row in rows]
    return list(cells[0]) if cells else [], [list(c.values()) for c in cells]


def _edge_columns(row: Row) -> Row:
    return {
        "features": " → ".join(map(str, row["considered"])),
        "omitted": " → ".join(map(str, row["omitted"])),
        "edges": row["edges"],
        "children": _counts(row["all"]["children"]),
        "children by best parent": _counts(row["best"]["children"]),
        "parents": _counts(row["all"]["parents"]),
        "merges": row["merges"],
        "same by cosine": percent(row["cosine_same_best"]),
    }


def _refinement_columns(row: Row) -> Row:
    best = row["best"]
    return {
        "similarity": _median(best["similarity"]),
        "chance": _median(best["chance"]),
        "cosine": _median(best["cosine"]),
        "child to parent": _median(best["child_to_parent"]),
        "of others": _median(best["matched"]),
        "at least half": percent(row["implied"]["0.5"]),
        "at least 90 %": percent(row["implied"]["0.9"]),
        "parent to child": _median(best["parent_to_child"]),
        "mass": _median(best["mass"]),
    }


def _cover_columns(row: Row) -> Row:
    siblings = row["siblings"] or {}
    found = {
        "covered": _median(row["cover"]["share"]),
        "activation": _median(row["cover"]["mass"]),
        "within": _median(row["cover"]["within"]),
        "together": _median(row["cover"]["together"]),
    }
    for name in ("tokens", "labels"):
        found |= {
            f"{name} apart": _median(siblings.get(name)),
            f"{name} of others": _median(siblings.get(f"{name}_of_others")),
        }
    return found


def _median(quantiles: Sequence[float] | None) -> float | None:
    return quantiles[MEDIAN] if quantiles else None


def _counts(n: Sequence[int]) -> str:
    return " / ".join(map(str, n))


def _families(found: Row, sizes: Sequence[int], note: str) -> str:
    names = {"all": "all edges", "best": "best parents", "implied": "best parents that fire too"}
    header = ["rule", "families", "two or more", "never smaller", "ended", "largest component"]
    header += [f"median at {n}" for n in sizes[1:]] + [f"90 % at {n}" for n in sizes[1:]]
    rows = []
    for key, name in names.items():
        row, medians = found[key], found[key]["quantiles"][1:]
        figures = [row[k] for k in ("roots", "with_two", "monotone", "ended")]
        component = percent(row.get("largest_component_share"))
        rows.append([name, *figures, component, *map(_median, medians), *(q and q[-1] for q in medians)])
    return table("Splitting: families", header, rows, note)


def _told(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    parts = [f"## Splitting: families told\n\n{TOLD}\n"]
    for row in rows:
        if row["why"] == "label":
            title = f"Documents of {_escaped(row['label_of'])} (correlation {cell(row['correlation'])})"
        else:
            title = f"A clear split of {cell(row['feature']['set'])} (score {cell(row['score'])})"
        parts.append(f"### {title}\n\n" + "\n".join(_lines(row["feature"], 0)) + "\n")
    return "\n".join(parts)


def _lines(row: Row, depth: int) -> Iterator[str]:
    """A feature, an example, and its children, as a nested list."""
    tokens = ", ".join(f"{_escaped(lone_token_text(text))} {percent(share)}" for text, share in row["tokens"])
    label = f"; {_escaped(row['label'])} ×{row['label_lift']:.1f}" if row["label"] and row["label_lift"] else ""
    edge = row.get("edge")
    about = f"; similarity {cell(edge['similarity'])}, in the parent {percent(edge['child_to_parent'])}" if edge else ""
    more = ""
    if row.get("share") is not None and row.get("n_children"):
        more = f"; {row['n_children']} children fire on {percent(row['share'])} of its tokens"
    indent = "  " * depth
    yield f"{indent}- {cell(row['set'])} {row['feature']} ({row['fired']}): {tokens}{label}{about}{more}"
    for example in row["examples"][:1]:
        yield f"{indent}  - {_example(example)}"
    for child in row.get("children") or []:
        yield from _lines(child, depth + 1)


def _example(example: Row) -> str:
    """The window with the token on which the feature fires most in brackets."""
    texts = [_escaped(token_text(t)) for t in example["tokens"]]
    peak = example["peak"]
    return f"{''.join(texts[:peak])}**[{texts[peak]}]**{''.join(texts[peak + 1 :])}"


def _escaped(text: str) -> str:
    """Text of a corpus as Markdown shows it, whatever it holds."""
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", html.escape(visible(text), quote=False))


def _map(found: Row | None) -> Iterator[str]:
    if not found:
        return
    keys = ("features", "clusters", "clusters_of_several_sizes", "unclustered", "median_cluster")
    header = ["features", "clusters", "of several sizes", "in none", "median size"]
    yield table("Map: clusters", header, [[found[key] for key in keys]], MAP.format(**found["rule"]))
    rows = [
        [r["parents"], r["children"], r["pairs"], percent(r["clustered"]), percent(r["together"]), _share(r)]
        for r in found["joins"]
    ]
    yield table("Map: parents and children", ["from", "to", "pairs", "both in one", "together", "exchanged"], rows)


def _share(row: Row) -> str | None:
    return None if row["shuffled"] is None else f"{100 * row['shuffled']:.2g} %"
