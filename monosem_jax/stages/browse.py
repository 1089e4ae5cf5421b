"""Opening the browser of features of an analysis: it is built where it is missing."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import os
import pathlib
import socket
import sys
import webbrowser

from monosem_jax.analysis.run import AnalyzeRun
from monosem_jax.load import QuickstartRun, ReportRun, SuiteRun, load_report, load_run
from monosem_jax.runtime.config import field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.loaded_run import LoadedRun
from monosem_jax.runtime.locations import Place, local_path
from monosem_jax.stages.report import ReportRunConfig, report

HOST = "127.0.0.1"  # nobody else can reach it
SUFFIX = "_report"  # of the folder beside an analysis
PAGE = "index.html"


@dataclasses.dataclass(frozen=True)
class BrowseConfig:
    """Where the browser of an analysis is built, and how it is opened."""

    folder: str = field("", place=Place(flag="--folder"))
    """The folder of the browser; empty: a finished report of the analysis that lies beside it, or ANALYSIS_report."""
    port: int = field(0, at_least=0)
    """The port of this machine on which the browser is served; 0: the files are opened from disk."""

    def check(self) -> None:
        """Raises BadInput on an impossible port."""
        if self.port > 65535:
            raise BadInput(f"--port is {self.port}: expected 1 to 65535")


@stage
def browse(workdir: str | pathlib.Path, config: BrowseConfig) -> pathlib.Path:
    """Opens the browser of a report or an analysis and returns its page; with a port, serves it until it is stopped."""
    config.check()
    page = find_page(load_run(workdir), config.folder or None)
    print(page, flush=True)
    if config.port:
        serve(page.parent, config.port)
    else:
        _open(page)
    return page


def open_browser(run: LoadedRun, folder: str | pathlib.Path | None = None) -> pathlib.Path:
    """Opens the browser of an analysis or a report from disk and returns its page. Raises BadInput like `find_page`."""
    page = find_page(run, folder)
    _open(page)
    return page


def find_page(run: LoadedRun, folder: str | pathlib.Path | None = None) -> pathlib.Path:
    """The page of a report, or of the report of an analysis: in `folder` if it is given, else in one beside the
    analysis. A report that is missing is built. Of a quickstart it is that of its report or its analysis.

    Raises BadInput on an unfinished run and on one of another kind, and on a folder with other content.
    """
    if isinstance(run, QuickstartRun):
        made = run.stages.get("report")
        run = made if made is not None and made.summary is not None and folder is None else run.stages["analysis"]
    if isinstance(run, SuiteRun):
        if not (run.path / "report" / "config.json").exists():
            raise BadInput(f"{run.path} has no browser: run experiments.suite again with --analyses")
        run = load_report(run.path / "report")
    if isinstance(run, ReportRun):
        if folder is not None:
            raise BadInput(f"{run.path} is a report: a folder is for the report of an analysis")
        if run.summary is None or not run.page.is_file():
            raise BadInput(f"{run.path} is an unfinished report: run experiments.report again")
        return run.page
    if not isinstance(run, AnalyzeRun):
        raise BadInput(f"{run.path} is a run of {run.experiment}: expected one of report, analyze, quickstart or suite")
    if run.summary is None:
        raise BadInput(f"{run.path} is an unfinished run of analyze: expected a finished one")
    if folder is not None:
        place = pathlib.Path(local_path(folder, "the folder"))
    else:
        if (found := _beside(run.path)) is not None:
            return found
        place = run.path.with_name(run.path.name + SUFFIX)
    report(place, ReportRunConfig(analysis=str(run.path)))
    return place / PAGE


def serve(folder: pathlib.Path, port: int) -> None:
    """Serves a folder on a port of this machine until Ctrl-C, and says how to reach it from another one."""
    handler = functools.partial(_Quiet, directory=str(folder))
    try:
        server = http.server.ThreadingHTTPServer((HOST, port), handler)
    except OSError as e:
        raise BadInput(f"--port {port} cannot be used: {e.strerror}") from None
    with server:
        print(f"http://{HOST}:{port}/ until Ctrl-C. From another machine:\n"
              f"  ssh -N -L {port}:{HOST}:{port} {socket.gethostname()}\n"
              f"and open http://localhost:{port}/ there.", flush=True)  # fmt: skip
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a page asks for many files."""


def _beside(analysis: pathlib.Path) -> pathlib.Path | None:
    """The page of a finished report of the analysis that lies beside it; the one with the fewest analyses."""
    found: list[tuple[int, pathlib.Path]] = []
    for file in sorted(analysis.parent.glob("*/config.json")):
        try:
            run = load_run(file.parent)
            if not isinstance(run, ReportRun) or run.summary is None or not run.page.is_file():
                continue
            names = [name for name in run.record["parents"] if name.startswith("analysis")]
            if analysis in [run.parent(name) for name in names]:
                found.append((len(names), run.page))
        except BadInput:  # another run that is damaged, or whose parents are gone
            continue
    return min(found)[1] if found else None


def _open(page: pathlib.Path) -> None:
    """Shows a page in a web browser; without a screen it says what to do instead."""
    screen = sys.platform in ("darwin", "win32") or any(os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY"))
    if not screen or not webbrowser.open(page.as_uri()):
        print("note: no web browser can be opened here: open the page yourself, or use "
              f"python -m experiments.browse --workdir={page.parent} --port=8000", flush=True)  # fmt: skip
