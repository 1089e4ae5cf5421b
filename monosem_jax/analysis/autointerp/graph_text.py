"""A graph of token patterns as text for people."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Sequence

from monosem_jax.analysis.autointerp.token_graph import ANY, TokenGraph

LINES = 12
TOKENS = 8  # in a line
ALTERNATIVES = 3  # for a token of a context
CONTEXT = 6  # tokens of a context, those nearest to the token that fires
Context = tuple[int, ...]  # tokens before one that fires, nearest first


def written(graph: TokenGraph, originals: Collection[Context], strings: Sequence[str]) -> str:
    """A line for each context, from left to right: the tokens that fire there with their mean activations, strongest
    first. * stands for any token, *3 for three of them, a/b for a or b.

    `originals` are the contexts found in the examples. One that differs from an original in a single token is shown
    with it, as an alternative.
    """
    tokens: dict[Context, dict[int, float]] = defaultdict(dict)
    for pattern, node in graph.patterns():
        tokens[pattern[1:]][pattern[0]] = node.whole.value
    alternatives: dict[Context, dict[int, list[int]]] = {c: {} for c in tokens if c in originals}
    for context in [c for c in tokens if c not in originals]:
        near = _nearest(context, alternatives)
        if near is None:
            alternatives[context] = {}
        else:
            original, place = near
            alternatives[original].setdefault(place, []).append(context[place])
    lines = []
    for context, others in alternatives.items():
        found = sorted(tokens[context].items(), key=lambda one: (-one[1], one[0]))
        shown = " | ".join(f"{shown_token(strings, t)} {level:.1f}" for t, level in found[:TOKENS])
        more = f" | {len(found) - TOKENS} more" if len(found) > TOKENS else ""
        before = _context(context, others, strings)
        lines.append((sum(tokens[context].values()), f"{before} → {shown}{more}" if before else f"{shown}{more}"))
    lines.sort(key=lambda line: (-line[0], line[1]))
    left = [f"and {len(lines) - LINES} contexts more"] if len(lines) > LINES else []
    return "\n".join([line for total, line in lines[:LINES] if total > 0] + left)


def _nearest(context: Context, originals: Collection[Context]) -> tuple[Context, int] | None:
    """(an original that differs in one token, where), or None."""
    for original in originals:
        if len(original) == len(context):
            different = [i for i, (a, b) in enumerate(zip(original, context, strict=True)) if a != b]
            if len(different) == 1:
                return original, different[0]
    return None


def _context(context: Context, others: dict[int, list[int]], strings: Sequence[str]) -> str:
    parts = []
    for any_, run in itertools.groupby(enumerate(context), key=lambda one: one[1] == ANY):
        places = list(run)
        if any_:
            parts.append("*" if len(places) == 1 else f"*{len(places)}")
            continue
        for i, token in places:
            names = [quoted(strings, t) for t in (token, *others.get(i, [])[:ALTERNATIVES])]
            more = "/…" if len(others.get(i, [])) > ALTERNATIVES else ""
            parts.append("/".join(names) + more)
    shown = parts[:CONTEXT]
    return " ".join([*(["…"] if len(parts) > CONTEXT else []), *reversed(shown)])


def shown_token(strings: Sequence[str], token: int) -> str:
    """A token in a pattern; * is any."""
    return "*" if token == ANY else quoted(strings, token)


def quoted(strings: Sequence[str], token: int) -> str:
    """The text of a token in quotation marks, with control characters as JSON writes them."""
    return json.dumps(strings[token], ensure_ascii=False)
