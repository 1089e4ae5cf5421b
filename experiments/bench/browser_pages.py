"""Times a browser of features in a headless Chromium, opened from disk."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import statistics
import time
from typing import Any
from urllib.parse import unquote, urlsplit

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
ROUNDS = 3
# What a reader can use: the figures of the overview; rows of the table.
SHOWN = {"overview": "main h1 ~ *", "features": "main [role=row].line"}
WATCH = """selector => {
  const look = () => {
    if (window.shownAt || !document.querySelector(selector)) return;
    window.shownAt = -1;
    requestAnimationFrame(() => setTimeout(() => {
      window.shownAt = performance.now();
    }));
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true });
}"""
SCROLL = """([frames, step]) => new Promise(done => {
  const times = [];
  scrollTo(0, 0);
  const next = at => {
    times.push(at);
    if (times.length > frames) return done(times);
    scrollBy(0, step);
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""
JUMP = 4000  # pixels per frame: a hundred rows


@dataclasses.dataclass(frozen=True)
class Pages:
    """`first`: page → (seconds until it shows something, bytes asked for until then), medians. `complete`: seconds
    until the whole table is there, `search`: until a word is found. `frames`: way of scrolling → frames per second."""

    first: dict[str, tuple[float, float]]
    complete: float
    search: float
    frames: dict[str, float]


def missing() -> str:
    """What is missing for `measured`, or nothing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return "" if _chromium() else "there is no Chromium on the PATH"


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def measured(site: pathlib.Path, frames: int) -> Pages:
    """Opens pages of the browser in `site` and scrolls its table over so many frames."""
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_chromium(), args=[*ARGUMENTS, *sandbox])
        address = (site.resolve() / "index.html").as_uri()
        first = {page: _first(chromium, f"{address}#/bench/{page}", selector) for page, selector in SHOWN.items()}
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        begin = time.perf_counter()
        page.goto(f"{address}#/bench/features")
        _until(page, "!!sessionStorage.getItem('monosem.order')")
        complete = time.perf_counter() - begin
        rates = {name: _rate(page, frames, step) for name, step in (("scrolling", 120), ("fast scrolling", JUMP))}
        begin = time.perf_counter()
        page.evaluate("sessionStorage.clear(); location.hash = '#/bench/features?q=words+such'")
        _until(page, "!!sessionStorage.getItem('monosem.order')")
        search = time.perf_counter() - begin
        chromium.close()
    return Pages(first, complete, search, rates)


def _until(page: Any, expression: str, seconds: float = 120) -> None:
    end = time.perf_counter() + seconds
    while not page.evaluate(expression):  # the policy of the page forbids Playwright's own way of waiting
        if time.perf_counter() > end:
            raise RuntimeError(f"{expression} did not come about: {page.inner_text('main')[:200]}")
        page.wait_for_timeout(10)


def _first(chromium: Any, address: str, selector: str) -> tuple[float, float]:
    seconds, sizes = [], []
    for _ in range(ROUNDS):
        context = chromium.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        files: set[str] = set()
        page.on("request", lambda request, files=files: files.add(request.url.partition("#")[0]))
        page.add_init_script(f"({WATCH})({selector!r})")
        page.goto(address)
        _until(page, "window.shownAt > 0")
        seconds.append(page.evaluate("window.shownAt") / 1000)
        sizes.append(sum(_size(file) for file in files))
        context.close()
    return statistics.median(seconds), statistics.median(sizes)


def _size(address: str) -> int:
    path = pathlib.Path(unquote(urlsplit(address).path))
    return path.stat().st_size if address.startswith("file:") and path.is_file() else 0


def _rate(page: Any, frames: int, step: int) -> float:
    times = page.evaluate(SCROLL, [frames, step])
    return 1000 * (len(times) - 1) / (times[-1] - times[0])
