"""What is left out of a quick look is there, and leaves something of every package."""

from __future__ import annotations

import pathlib

from tests.conftest import TESTS, slow_tests


def test_every_line_names_a_file_or_a_test_that_there_is():
    for line in slow_tests():
        file, _, test = line.partition("::")
        assert (TESTS / file).is_file(), line
        assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8") or not test, line


def test_every_package_has_a_file_that_is_not_slow():
    root = TESTS.parent
    packages = {p.name for p in (root / "monosem_jax").iterdir() if (p / "__init__.py").exists()}
    quick = {p.relative_to(TESTS) for p in TESTS.rglob("test_*.py")} - {pathlib.Path(line) for line in slow_tests()}
    assert packages | {"experiments", "launch"} <= {p.parts[0] for p in quick}
