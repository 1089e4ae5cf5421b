"""The figure of universality."""

import numpy as np
import pytest

from monosem_jax.report.universality_figures import _curves, write_universality

pytest.importorskip("matplotlib")


def row(a, b, role_a="dictionary", role_b="dictionary", alive=10, at=30):
    counts = [0] * 40
    counts[at] = alive
    return {"a": a, "b": b, "role_a": role_a, "role_b": role_b, "alive": alive, "counts": counts, "median": 0.5}


ROWS = [
    row("a", "b"), row("b", "a"), row("a", "control", role_b="control"), row("a", "dead", alive=0),
    row("n", "m", "neurons", "neurons"), row("m", "n", "neurons", "neurons"), row("c", "d", "control", "control"),
]  # fmt: skip


def test_the_first_set_and_neurons_are_drawn_once():
    assert [c.label for c in _curves(ROWS)] == ["a in b", "a in control", "n in m"]


def test_equal_tables_give_equal_files(tmp_path):
    files = write_universality(tmp_path, ROWS)
    assert [f.name for f in files] == ["universality.png", "universality.svg"]
    before = [f.read_bytes() for f in files]
    assert [f.read_bytes() for f in write_universality(tmp_path, ROWS)] == before
    assert "a in control: 0.50" in files[1].read_text() and np.all([len(b) > 1000 for b in before])
    assert write_universality(tmp_path, []) == [] and write_universality(tmp_path, [row("a", "b", alive=0)]) == []
