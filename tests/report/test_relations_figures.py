"""Which figures a comparison has."""

from monosem_jax.report.relations_figures import _drawings

TOLD = [{"feature": {"feature": 1, "children": [{"feature": 2}]}}, {"feature": {"feature": 3, "children": []}}]
AUTOMATA = {"automata": [{"confirmed": False}, {"confirmed": True}]}


def test_confirmed_automata_of_the_first_set_and_families_with_children_are_drawn():
    tables = {
        "sets": [{"name": "a"}, {"name": "control"}],
        "splitting": {"sizes": [1, 2], "told": TOLD},
        "automata": {"control": {"automata": [{"confirmed": True}]}, "a": AUTOMATA},
        "map": {"sizes": [1, 2]},
    }
    assert list(_drawings(tables, {"map": {}})) == ["children", "family_0", "map", "automaton_1"]
    assert not _drawings({"sets": [{"name": "a"}]}, {})
