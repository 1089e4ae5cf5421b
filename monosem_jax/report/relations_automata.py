"""The automata and motifs of a dictionary as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monosem_jax.report.markdown import percent, table
from monosem_jax.report.text import lone_token_text

TOKENS = 4  # of a feature that are shown


def automata(tables: Mapping[str, Any]) -> str:
    """What there is of each kind beside chance, the automata with their checks, and texts of those let loose."""
    parts = []
    for name, found in (tables.get("automata") or {}).items():
        parts += [_kinds(name, found), _list(name, found["automata"]), _texts(name, found["automata"])]
    return "\n".join(part for part in parts if part)


def _kinds(name: str, found: Mapping[str, Any]) -> str:
    rows = [[k["kind"], k["looked_at"], k["found"], k["least"], k["expected"], k["deviations"]] for k in found["kinds"]]
    note = (
        f"{found['edges']:,} edges between {found['n_features']:,} features. Expected: automata of at least that score "
        "in a graph whose edges are shuffled. Checked by holding the source of an edge at its maximum: "
        f"{found['confirmed_edges']} of {found['checked_edges']} edges are confirmed, and "
        f"{found['random_confirmed']} of {found['random_checked']} from random features to the same targets, "
        f"{found['crossed_confirmed']} of {found['crossed_checked']} that cross from one automaton to another."
    )
    header = ["kind", "looked at", "beyond chance", "lowest score, nats", "expected", "standard deviations"]
    return table(f"Automata of {name}", header, rows, note)


def shown(tokens: Sequence[Sequence[Any]], n: int = TOKENS) -> str:
    """The first tokens of a list of [token, number], outside any context."""
    return " ".join(lone_token_text(str(t[0])) for t in tokens[:n])


def _list(name: str, found: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for a in found:
        nodes = "; ".join(f"{n['feature']}: {shown(n['tokens'])} → {shown(n['logits'])}" for n in a["nodes"])
        steps = "; ".join(
            f"{e['source']}→{e['target']} {percent(e['check']['held'])} ({percent(e['check']['unheld'])}, "
            f"at least {e['check']['low']:+.2f})"
            for e in a["edges"]
        )
        rows.append([a["kind"], nodes, a["score"], a["false_share"], steps, "yes" if a["confirmed"] else "no"])
    note = (
        "A feature: tokens on which it fires → tokens that it raises. A step: share of the sampled tokens on which the "
        "target fires while the source is held (while nothing is, lower end of the difference's 99 % interval)."
    )
    header = ["kind", "features", "score", "share by chance", "steps", "confirmed"]
    return table(f"Automata of {name}, checked", header, rows, note)


def _texts(name: str, found: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for a in found:
        followed = a["followed"]
        if followed:
            held = followed["held_tokens"]
            after, plain = (followed[key][held:] for key in ("running", "plain_running"))
            running = [percent(sum(x) / max(len(x), 1)) for x in (after, plain)]
            nodes = " ".join(str(n["feature"]) for n in a["nodes"])
            rows.append([a["kind"], nodes, followed["texts"][0], *running])
    note = (
        "After the prompt, the first feature is held for a few tokens and released. Share of the later tokens on "
        "which some feature of the automaton fires, and when nothing was ever held."
    )
    return table(
        f"Automata of {name} let loose", ["kind", "features", "text", "after release", "never held"], rows, note
    )


def motifs(tables: Mapping[str, Any]) -> str:
    """Families, trigrams and memorised passages, with what shuffled text gives."""
    found = tables.get("motifs")
    if not found:
        return ""
    counts = [
        *(
            [f"at least {percent(float(share))} of the firings on one token", n, None]
            for share, n in found["one_token"].items()
        ),
        ["of those, told apart by a label (shuffled labels)", found["told_apart"], found["told_apart_shuffled"]],
        ["on one pair of tokens (shuffled firings)", found["trigram_candidates"], found["trigrams_shuffled"]],
        ["on one pair, and raises the token that follows", len(found["trigrams"]), None],
        ["in one repeated passage (shuffled firings)", len(found["memorised"]), found["memorised_shuffled"]],
    ]
    families = [
        [lone_token_text(f["token"]), len(f["features"]), ", ".join(f["labels"]),
         "; ".join(f"{i}: {percent(r['share_of_occurrences'])}" for i, r in f["features"][:6])]
        for f in found["families"]
    ]  # fmt: skip
    trigrams = [
        [t["feature"], *(lone_token_text(t[k]) for k in ("first", "second", "third")), percent(t["share"]),
         percent(t["rate"]), percent(t["rate_elsewhere"]), percent(t["followed"]), t["documents"]]
        for t in found["trigrams"]
    ]  # fmt: skip
    memorised = [
        [m["feature"], percent(m["share"]), m["firings"], m["documents"], m["text"]] for m in found["memorised"]
    ]
    parts = [
        table(f"Motifs of {found['set']}", ["features", "number", "by chance"], counts),
        table("Families of one token", ["token", "features", "labels", "share of the token's occurrences"], families),
        table(
            "Trigrams",
            ["feature", "first", "second", "raises", "firings on the pair", "fires on the pair",
             "on the second alone", "pair followed by it", "documents"],
            trigrams,
        ),
        table("Memorised passages", ["feature", "firings in the passage", "firings", "documents", "text"], memorised),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)
