"""The tables and drawings of automata: what they say, and that hostile tokens stay text."""

import dataclasses

from monosem_jax.report.automata_figures import automaton_figure
from monosem_jax.report.figures import drawn_token, write_figure
from monosem_jax.report.relations_automata import automata, motifs


def node(i: int, token: str) -> dict:
    return {"feature": i, "density": 0.1, "maximum": 2.0, "tokens": [[token, 0.5]], "logits": [["b|c", 1.0]],
            "label": ""}  # fmt: skip


def edge(i: int, j: int, confirmed: bool) -> dict:
    check = {"held": 0.4, "unheld": 0.02, "low": 0.21, "confirmed": confirmed}
    return {"source": i, "target": j, "token": "$x^2$", "check": check}


FOLLOWED = {"held_tokens": 1, "texts": ["a | b"], "running": [1.0, 0.5, 0.0], "plain_running": [0.0, 0.0, 0.0]}
PAIR = {"kind": "pair", "nodes": [node(3, " a\n"), node(5, "<b>")], "edges": [edge(3, 5, True), edge(5, 3, False)],
        "score": 0.5, "false_share": 0.05, "confirmed": False, "followed": FOLLOWED}  # fmt: skip
LOOP = {**PAIR, "kind": "loop", "nodes": [node(7, "z")], "edges": [edge(7, 7, True)], "confirmed": True}
FOUND = {
    "edges": 1200, "n_features": 40, "confirmed_edges": 2, "checked_edges": 3, "random_confirmed": 0,
    "random_checked": 8, "crossed_confirmed": 1, "crossed_checked": 5, "automata": [PAIR, LOOP],
    "kinds": [{"kind": "pair", "looked_at": 9, "found": 2, "least": 0.3, "expected": 0.1, "deviations": 4.0}],
}  # fmt: skip


def test_the_tables_say_what_was_found_beside_chance():
    text = automata({"automata": {"features": FOUND}})
    assert "| pair | 9 | 2 | 0.3 | 0.1 | 4 |" in text
    assert "2 of 3 edges are confirmed, and 0 of 8 from random features" in text and "1 of 5 that cross" in text
    assert "3→5 40 % (2 %, at least +0.21)" in text
    assert "| pair | 3 5 | a \\| b | 25 % | 0 % |" in text, "the shares after release"
    assert "b\\|c" in text and automata({}) == ""


def test_motifs_have_a_table_each():
    record = {"share_of_occurrences": 0.25}
    text = motifs({"motifs": {
        "set": "features", "one_token": {"0.9": 1, "0.5": 3}, "told_apart": 2, "told_apart_shuffled": 0,
        "trigram_candidates": 1,
        "trigrams_shuffled": 0, "memorised_shuffled": 0,
        "families": [{"token": " the", "features": [[1, record], [4, record]], "labels": ["law"]}],
        "trigrams": [{"feature": 2, "first": "COVID", "second": "-", "third": "19", "share": 0.9, "rate": 0.8,
                      "rate_elsewhere": 0.1, "followed": 0.7, "documents": 12}],
        "memorised": [{"feature": 9, "share": 1.0, "firings": 30, "documents": 4, "text": "WITHOUT\nANY"}],
    }})  # fmt: skip
    assert "90 % of the firings on one token | 1 |" in text and "(shuffled labels) | 2 | 0 |" in text
    assert "| ␣the | 2 | law | 1: 25 %; 4: 25 % |" in text
    assert "| 2 | COVID | - | 19 | 90 % | 80 % | 10 % | 70 % | 12 |" in text and "WITHOUT↵ANY" in text
    assert motifs({}) == ""


def test_a_drawing_has_every_feature_and_step(tmp_path):
    for automaton, texts in ((PAIR, ("3", "5", "$x^2$  40 %", "<b>")), (LOOP, ("7", "z", "confirmed"))):
        figure = automaton_figure(automaton)
        found = [t.get_text() for t in figure.axes[0].texts] + [figure.axes[0].get_title()]
        assert all(any(text in f for f in found) for text in texts)
        assert len([p for p in figure.axes[0].patches]) == len(automaton["nodes"]) + len(automaton["edges"])
        files = write_figure(tmp_path, automaton["kind"], lambda automaton=automaton: automaton_figure(automaton))
        assert all(file.stat().st_size > 1000 for file in files)


def test_the_fields_are_those_of_the_records():
    from monosem_jax.analysis.automata.causal import Check
    from monosem_jax.analysis.automata.result import Automata, Automaton, Edge, Followed, Node

    for kind, given in ((Automaton, PAIR), (Node, node(1, "a")), (Edge, edge(1, 2, True)), (Followed, FOLLOWED),
                        (Automata, FOUND), (Check, edge(1, 2, True)["check"])):  # fmt: skip
        assert set(given) <= {f.name for f in dataclasses.fields(kind)}


def test_characters_without_a_glyph_are_escaped_in_figures():
    assert drawn_token(" a수\n") == "␣a\\uc218↵"
