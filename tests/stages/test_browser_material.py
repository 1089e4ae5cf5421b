"""Which sets of a comparison have their records in the browser, and where."""

from monosem_jax.stages.browser_material import sets_shown


def a_set(name, role, model="m", site="s"):
    return {"name": name, "role": role, "model": model, "site": site, "run": f"/elsewhere/{name}"}


def test_sets_are_found_by_the_hashes_of_their_runs():
    table = [
        a_set("one", "dictionary"), a_set("two", "dictionary", "n"), a_set("three", "dictionary"),
        a_set("shuffled", "control", "c"), a_set("neurons", "neurons"), a_set("neurons of two", "neurons", "n"),
        a_set("neurons of shuffled", "neurons", "c"), a_set("crosscoder", "crosscoder"),
    ]  # fmt: skip
    parents = {"run0": "a", "run1": "b", "run2": "d", "control0": "c", "crosscoder0": "x"}
    found = sets_shown(
        table,
        {name: {"sha256": value, "path": "/moved"} for name, value in parents.items()},
        {"d": ("third", "features"), "b": ("second", "features"), "c": ("third", "control"), "x": ("x", "features")},
        {"third"},
    )
    assert [(s["name"], s["dictionary"], s["set"]) for s in found] == [
        ("one", None, "features"),
        ("two", "second", "features"),
        ("three", "third", "features"),
        ("shuffled", "third", "control"),
        ("neurons", "third", "neurons"),
        ("neurons of two", None, "neurons"),
        ("neurons of shuffled", None, "neurons"),
        ("crosscoder", None, "features"),
    ]
    assert "dictionary" not in table[0]


def test_a_comparison_whose_parents_are_unknown_has_no_records_here():
    assert [s["dictionary"] for s in sets_shown([a_set("one", "dictionary")], {}, {"": ("x", "features")}, {"x"})] == [
        None
    ]
