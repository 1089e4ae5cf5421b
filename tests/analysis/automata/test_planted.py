"""A planted two-state automaton is found and confirmed, and nothing in a shuffled model."""

import dataclasses
import json

import numpy as np
import pytest

from monosem_jax.analysis.automata.entry import find_automata
from monosem_jax.runtime.errors import BadInput
from tests import planted
from tests.analysis.automata.material import CONFIG, LOOP, A, B, features, material


@pytest.fixture(scope="module")
def found():
    return find_automata(features(), material(features()), CONFIG)


def test_what_was_planted_is_found_and_confirmed(found):
    confirmed = {(a.kind, tuple(n.feature for n in a.nodes)) for a in found.automata if a.confirmed}
    assert confirmed == {("pair", (A, B)), ("loop", (LOOP,))}
    assert found.confirmed == 2 and found.random_confirmed == 0 and found.crossed_confirmed == 0
    assert found.random_checked > 5


def test_an_edge_says_what_carries_it_and_what_holding_does(found):
    pair = next(a for a in found.automata if a.kind == "pair")
    there, back = pair.edges
    assert (there.source, there.target, there.token) == (A, B, planted.WORDS[planted.SINGLES[1]])
    assert (back.source, back.target, back.token) == (B, A, planted.WORDS[planted.SINGLES[0]])
    for edge in pair.edges:
        # With p = 0.022 of every single without any feature, e^4 p / (1 - p + e^4 p) = 0.56 of the first tokens, and
        # 0.36 of those after the target's own, where the target raises the source's token as much: 0.46 of three.
        assert edge.check.held == pytest.approx(0.46, abs=0.12)
        assert edge.check.unheld < 0.1 and edge.check.low > 0.15 and edge.check.above_random_low > 0.15


def test_the_automaton_let_loose_goes_on_in_turns(found):
    pair = next(a for a in found.automata if a.kind == "pair")
    followed = pair.followed
    fires = followed.fires
    assert len(fires) == CONFIG.walk_texts and len(fires[0]) == CONFIG.held_tokens + CONFIG.walk_tokens
    for text, pieces in zip(fires, followed.pieces, strict=True):
        for now, token in zip(text, pieces, strict=True):
            assert now == tuple(i for i, single in enumerate(planted.SINGLES[:2]) if token == planted.WORDS[single])
    assert np.mean(followed.running) > np.mean(followed.plain_running)


def test_a_shuffled_model_has_none():
    of = planted.control().features
    found = find_automata(of, material(of), dataclasses.replace(CONFIG, largest_false_share=1.0))
    assert found.confirmed == 0


def test_the_table_is_json(found):
    table = json.loads(json.dumps(found.table()))
    assert table["confirmed"] == 2 and table["automata"][0]["edges"][0]["check"]["confirmed"] is True


def test_impossible_requests_are_refused():
    given = material(features())
    for config, change, message in (
        (dataclasses.replace(CONFIG, prompts=4), {}, "prompts is 4"),
        (dataclasses.replace(CONFIG, alike=0.0), {}, "alike is 0.0"),
        (dataclasses.replace(CONFIG, prompts=500), {}, "expected 500"),
        (CONFIG, {"gain": float("nan")}, "the gain is nan"),
        (CONFIG, {"training": np.zeros((3, 8), np.int32)}, "no tokens but BOS"),
    ):
        with pytest.raises(BadInput, match=message):
            find_automata(features(), dataclasses.replace(given, **change), config)
