"""The tests' own way of running many cases as one item."""

from __future__ import annotations

import inspect

import pytest

from tests.cases import cases

SEEN = []


@cases("a, b", [(1, 2), (3, 4)])
@cases("c", "xy")
def test_every_case_is_run_with_an_empty_folder_of_its_own(tmp_path, a, b, c):
    assert list(tmp_path.iterdir()) == [] and tmp_path not in SEEN
    (tmp_path / "file").touch()
    SEEN.append((a, b, c))
    assert [(1, 2, "x"), (1, 2, "y"), (3, 4, "x"), (3, 4, "y")][: len(SEEN)] == SEEN


def test_what_fails_says_for_which_case():
    tried = []

    @cases("n", range(5))
    def test(n):
        tried.append(n)
        assert n < 3

    with pytest.raises(AssertionError) as e:
        test()
    assert e.value.__notes__ == ["the case is n = 3"] and tried == [0, 1, 2, 3]
    assert list(inspect.signature(test).parameters) == []


def test_no_case_at_all_is_a_mistake():
    with pytest.raises(AssertionError):
        cases("n", [])(lambda n: None)()
