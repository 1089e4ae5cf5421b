"""The browser of an analysis is built where it is missing, and opened."""

import json
import pathlib
import shutil
import socket
import threading
import urllib.error
import urllib.request
import webbrowser

import pytest

import monosem_jax as mj
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages import browse as stage
from monosem_jax.stages.browse import BrowseConfig, browse, find_page


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The addresses that a web browser was asked for, on a machine with a screen."""
    found: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda url: found.append(url) or True)
    return found


@pytest.fixture
def analysis(small_analysis, tmp_path) -> pathlib.Path:
    """A copy beside which reports may be written."""
    shutil.copytree(small_analysis, tmp_path / "runs" / "analysis")
    for name in ("sae", "transformer"):
        (tmp_path / "runs" / name).symlink_to(small_analysis.parent / name)
    return tmp_path / "runs" / "analysis"


def test_an_analysis_opens_its_browser_which_is_built_once(analysis, opened):
    page = mj.load_analysis(analysis).browse()
    assert page == analysis.with_name("analysis_report") / "index.html" and page.is_file()
    before = page.stat().st_mtime_ns
    assert mj.load_analysis(analysis).browse() == page and page.stat().st_mtime_ns == before
    assert mj.load_report(page.parent).browse() == page
    assert opened == [page.as_uri()] * 3


def test_a_report_that_lies_beside_the_analysis_is_taken(analysis, opened):
    made = analysis.with_name("report")
    mj.report(made, mj.ReportRunConfig(analysis=str(analysis)))
    (analysis.parent / "broken").mkdir()
    (analysis.parent / "broken" / "config.json").write_text("{")
    assert mj.load_analysis(analysis).browse() == made / "index.html"
    (made / "summary.json").unlink()  # unfinished
    assert mj.load_analysis(analysis).browse() == analysis.with_name("analysis_report") / "index.html"


def test_a_quickstart_opens_its_report_or_else_its_analysis(analysis, opened):
    record = json.loads((analysis / "config.json").read_text())
    (analysis.parent / "config.json").write_text(json.dumps({**record, "experiment": "quickstart", "parents": {}}))
    quickstart = mj.load_quickstart(analysis.parent)
    assert quickstart.browse() == analysis.with_name("analysis_report") / "index.html"
    mj.report(analysis.with_name("report"), mj.ReportRunConfig(analysis=str(analysis)))
    assert mj.load_quickstart(analysis.parent).browse() == analysis.with_name("report") / "index.html"
    shutil.rmtree(analysis.with_name("report"))
    shutil.rmtree(analysis)
    with pytest.raises(BadInput, match="'analysis' does not exist"):
        mj.load_quickstart(analysis.parent).browse()


def test_the_folder_can_be_chosen(analysis, tmp_path, opened, capsys):
    page = browse(analysis, BrowseConfig(folder=str(tmp_path / "mine")))
    assert page == tmp_path / "mine" / "index.html" and opened == [page.as_uri()]
    assert str(page) in capsys.readouterr().out.splitlines()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("precious")
    with pytest.raises(BadInput, match="other"):
        mj.load_analysis(analysis).browse(tmp_path / "other")


def test_without_a_screen_it_is_said_how_to_serve(analysis, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(stage.sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("a text browser would take the terminal"))
    page = mj.load_analysis(analysis).browse()
    assert f"experiments.browse --workdir={page.parent} --port=8000" in capsys.readouterr().out


def test_other_runs_are_refused(analysis, opened):
    for name in ("sae", "transformer"):
        with pytest.raises(BadInput, match="expected one of report, analyze, quickstart or suite"):
            browse(analysis.parent / name, BrowseConfig())
    page = mj.load_analysis(analysis).browse()
    with pytest.raises(BadInput, match="a folder is for the report of an analysis"):
        find_page(mj.load_report(page.parent), analysis.parent / "x")
    (page.parent / "summary.json").unlink()
    with pytest.raises(BadInput, match="is an unfinished report"):
        browse(page.parent, BrowseConfig())
    (analysis / "summary.json").unlink()
    with pytest.raises(BadInput, match="is an unfinished run of analyze"):
        browse(analysis, BrowseConfig())
    with pytest.raises(BadInput, match="--port is 65536: expected 1 to 65535"):
        browse(analysis, BrowseConfig(port=65536))


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, b""


def test_a_port_serves_the_folder_to_this_machine_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("the page")
    (tmp_path / "secret").write_text("secret")
    servers = []

    class Kept(stage.http.server.ThreadingHTTPServer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            servers.append(self)

    monkeypatch.setattr(stage.http.server, "ThreadingHTTPServer", Kept)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"--port {port} cannot be used"):
            stage.serve(tmp_path / "site", port)
    thread = threading.Thread(target=stage.serve, args=(tmp_path / "site", 0))
    thread.start()
    while not servers or not servers[-1].server_port:
        pass
    host, port = servers[-1].server_address[:2]
    try:
        assert host == "127.0.0.1"
        assert get(f"http://127.0.0.1:{port}/") == (200, b"the page")
        assert get(f"http://127.0.0.1:{port}/../secret")[0] == get(f"http://127.0.0.1:{port}/%2e%2e/secret")[0] == 404
    finally:
        servers[-1].shutdown()
        thread.join()
    said = capsys.readouterr()
    assert "ssh -N -L" in said.out and said.err == ""


def test_the_flags_become_the_configuration(tmp_path):
    from experiments import browse as program
    from experiments.entry import read

    tokens = [f"--workdir={tmp_path}", "--port=8000", f"--folder={tmp_path / 'x'}"]
    function, (workdir, config) = read(program.EXPERIMENT, tokens)
    assert function is browse and workdir == str(tmp_path)
    assert config == BrowseConfig(str(tmp_path / "x"), 8000)
    assert json.dumps(program.__doc__)
