"""What a graph looks like as text."""

from __future__ import annotations

from monosem_jax.analysis.autointerp.graph_text import LINES, written
from monosem_jax.analysis.autointerp.token_graph import ANY, TokenGraph

STRINGS = [f"t{i}" for i in range(60)]


def text(*patterns: tuple[tuple[int, ...], float], originals=()) -> list[str]:
    graph = TokenGraph()
    for source, (pattern, level) in enumerate(patterns):
        graph.add(pattern, level, source)
    return written(graph, originals or {p[1:] for p, _ in patterns}, STRINGS).split("\n")


def test_contexts_stand_before_the_tokens_that_fire_after_them_the_strongest_first():
    assert text(((1,), 3), ((2,), 7), ((4, 5), 9), ((6, 5), 8), ((7, ANY, 8), 2)) == [
        '"t5" → "t4" 9.0 | "t6" 8.0',
        '"t2" 7.0 | "t1" 3.0',
        '"t8" * → "t7" 2.0',
    ]


def test_runs_of_any_are_counted_and_any_token_may_fire():
    assert text(((ANY, ANY, ANY, ANY, 9), 4)) == ['"t9" *3 → * 4.0']


def test_replaced_tokens_stand_beside_the_original():
    found = text(((1, 2, 3), 9), ((1, 2, 4), 6), ((1, 5, 3), 5), ((1, 6, 7), 1), originals={(2, 3)})
    assert found == ['"t3"/"t4" "t2"/"t5" → "t1" 9.0', '"t7" "t6" → "t1" 1.0']
    many = text(*(((1, i), 9 - i / 10) for i in range(10, 17)), originals={(10,)})
    assert many == ['"t10"/"t11"/"t12"/"t13"/… → "t1" 8.0']


def test_long_lists_and_contexts_are_cut_and_say_so():
    many = text(*(((i,), 9) for i in range(1, 13)))
    assert len(many) == 1 and many[0].endswith('"t8" 9.0 | 4 more')
    far = text(((1, *range(2, 12)), 9))
    assert far == ['… "t7" "t6" "t5" "t4" "t3" "t2" → "t1" 9.0']
    lines = text(*(((1, 2 + i, 20 + i), 5) for i in range(LINES + 3)))
    assert len(lines) == LINES + 1 and lines[-1] == "and 3 contexts more"


def test_what_never_fires_is_not_shown():
    assert text(((1, 2), 0), ((3,), 1)) == ['"t3" 1.0']


def test_control_characters_and_quotes_are_written_as_json():
    graph = TokenGraph()
    graph.add((0,), 5, 0)
    assert written(graph, {()}, ['a"\n\u0000é']) == '"a\\"\\n\\u0000é" 5.0'
