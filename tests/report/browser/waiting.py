"""Waiting for a page. Its policy forbids Playwright's own way, `wait_for_function`."""

from __future__ import annotations

import json
from typing import Any

TRIES, PAUSE = 600, 50  # half a minute, in steps of so many milliseconds


def until(page: Any, script: str, arg: Any = None) -> None:
    """Waits until a script, or a function of `arg`, gives true in the page."""
    for _ in range(TRIES):
        if page.evaluate(script, arg):
            return
        page.wait_for_timeout(PAUSE)
    raise AssertionError(f"{script} does not hold at {page.evaluate('location.hash')}")


def order(page: Any) -> list[int]:
    """The features that the table shows, once the page has kept their order."""
    for _ in range(TRIES):
        if kept := page.evaluate("sessionStorage.getItem('monosem.order')"):
            return json.loads(kept)["features"]
        page.wait_for_timeout(PAUSE)
    raise AssertionError(f"no order is kept: {page.inner_text('main')[:500]}")
