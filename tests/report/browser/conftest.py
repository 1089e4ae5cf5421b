"""A small browser of features, and a Chromium to open it from disk."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.report.browser.engine import answers, ask  # noqa: F401
from tests.report.browser.made import write_browser

FRONT = pathlib.Path(__file__).parents[3] / "monosem_jax" / "report" / "browser" / "front"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
)


@pytest.fixture(scope="session")
def browser_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The directory of a browser over the records of `made.py`. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("browser")
    write_browser(folder / "site", folder / "records")
    return folder / "site"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running Chromium (a Browser of Playwright), or a skip that says what is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("needs playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium: none of its names is on the PATH")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *sandbox])
        yield started
        started.close()


@pytest.fixture
def visit(chromium: Any, browser_folder: pathlib.Path) -> Iterator[Callable[..., Any]]:
    """visit(route, width=1400, theme="light", folder=the small browser): a page opened from disk at that route.

    The test fails at its end if a page reported an error that it did not expect: what the test names in
    `visit.expected` may occur in the text of one.
    """
    problems: list[str] = []
    opened: list[Any] = []

    def open_page(route: str, width: int = 1400, theme: str = "light", folder: pathlib.Path = browser_folder) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.goto(f"{(folder / 'index.html').as_uri()}{route}")
        return page

    open_page.expected = []  # type: ignore[attr-defined]
    yield open_page
    for context in opened:
        context.close()
    left = [p for p in problems if not any(e in p for e in open_page.expected)]  # type: ignore[attr-defined]
    assert left == []


@pytest.fixture(scope="session")
def serious(chromium: Any) -> Callable[[Any], list[str]]:
    """serious(page): what axe-core finds that is serious or critical, as "rule: element"; a skip without axe-core."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        pytest.skip("needs axe-playwright-python: pip install axe-playwright-python")

    def found(page: Any) -> list[str]:
        violations = Axe().run(page).response["violations"]
        bad = [v for v in violations if v["impact"] in ("serious", "critical")]
        return [f"{v['id']}: {node['html'][:200]}" for v in bad for node in v["nodes"]]

    return found


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a copy of the sources in `front`, its packages fetched, and an empty `built`."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm")
    root = tmp_path_factory.mktemp("sources")
    shutil.copytree(FRONT, root / "front", ignore=shutil.ignore_patterns("node_modules"))
    (root / "built").mkdir()
    fetched = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=root / "front", capture_output=True, text=True, timeout=300
    )
    assert not re.search("EUSAGE|EINTEGRITY|EJSONPARSE", fetched.stderr), fetched.stderr  # mistakes of the lock file
    if fetched.returncode:
        pytest.skip(f"npm cannot fetch the packages: {(fetched.stderr.strip().splitlines() or ['no reason given'])[0]}")
    return root


@pytest.fixture(scope="session")
def module(chromium: Any, fresh: pathlib.Path) -> Iterator[Callable[[str], Any]]:
    """module("tokens.ts"): a page in which that source file of the front end is `it`, for tests of plain functions; a
    skip where its sources cannot be bundled."""
    front = fresh / "front"
    tool = front / "node_modules" / ".bin" / "esbuild"
    pages = []

    def load(name: str) -> Any:
        command = [tool, front / "src" / name, "--bundle", "--format=iife", "--global-name=it", "--charset=utf8"]
        script = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True)
        page = chromium.new_page()
        pages.append(page)
        page.add_script_tag(content=script.stdout)
        return page

    yield load
    for page in pages:
        page.close()
