"""Many small cases in one test: thousands of items take longer to collect and to report than to run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any


def cases(names: str, values: Iterable[Any]) -> Callable[[Callable], Callable]:
    """Like pytest.mark.parametrize, but all values are one item, and what fails says for which of them.

    Every case has an empty `tmp_path` of its own. Other fixtures are made once, so a test that changes them cannot be
    written in this way. `names`: one name, or several with commas, of which each value gives as many.
    """
    each = [name.strip() for name in names.split(",")]
    values = list(values)

    def decorate(test: Callable) -> Callable:
        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            assert values
            for i, value in enumerate(values):
                case = dict(zip(each, value if len(each) > 1 else (value,), strict=True))
                own = {}
                if "tmp_path" in fixtures:
                    own["tmp_path"] = fixtures["tmp_path"] / f"{each[0]}{i}"
                    own["tmp_path"].mkdir()
                try:
                    test(**{**fixtures, **own, **case})
                except BaseException as e:
                    e.add_note(f"the case is {', '.join(f'{k} = {v!r}' for k, v in case.items())}")
                    raise

        signature = inspect.signature(test)
        kept = [p for p in signature.parameters.values() if p.name not in each]
        run.__signature__ = signature.replace(parameters=kept)  # what pytest looks at for the names of fixtures
        return run

    return decorate
