"""The built front end is what the sources give, and nothing of it reaches out."""

import pathlib
import re
import subprocess

import pytest

import monosem_jax.report.browser as browser

HERE = pathlib.Path(browser.__file__).parent
SOURCES, BUILT = HERE / "front", HERE / "built"


def test_the_build_gives_the_files_that_are_shipped(fresh):
    done = subprocess.run(["npm", "run", "build"], cwd=fresh / "front", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    made = {file.name: file.read_bytes() for file in (fresh / "built").iterdir()}
    shipped = {file.name: file.read_bytes() for file in BUILT.iterdir()}
    assert made.keys() == shipped.keys()
    different = [name for name in made if made[name] != shipped[name]]
    assert not different, f"{different} are older than their sources: run `npm ci && npm run build` in {SOURCES.name}/"


def test_the_sources_have_no_type_errors(fresh):
    done = subprocess.run(["npm", "run", "check"], cwd=fresh / "front", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def test_the_page_may_load_nothing_but_its_own_files():
    page = (BUILT / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data: blob:",
        "worker-src": "blob:",
        "connect-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.index("Content-Security-Policy") < page.index("<link") < page.index("<script")
    assert not re.findall(r"<script(?![^>]*\ssrc=)[^>]*>|\son\w+=|style=|https?:", page)


@pytest.mark.parametrize("call", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval", "Function"])
def test_no_text_can_become_markup_or_code(call):
    """Preact itself can set innerHTML, from one property that no source uses."""
    for file in sorted((SOURCES / "src").rglob("*.ts*")):
        text = file.read_text(encoding="utf-8")
        assert not re.search(rf"\b{re.escape(call)}\s*[(=]", text), file
        assert "dangerouslySetInnerHTML" not in text, file


def test_the_bundle_is_small():
    assert (BUILT / "app.js").stat().st_size + (
        BUILT / "app.css"
    ).stat().st_size < 400_000  # before first paint: < 1 MB


def test_every_library_in_the_bundle_has_its_licence():
    text = (SOURCES / "package.json").read_text(encoding="utf-8")
    for name in re.findall(r'"([^"]+)": "[\d.]+"', text.split('"dependencies"')[1].split("}")[0]):
        assert re.search(
            rf"^{re.escape(name)} [\d.]+ \((MIT|ISC|Apache-2.0|BSD)", (BUILT / "licences.txt").read_text(), re.M
        )


def test_the_lock_file_names_no_host():
    assert "resolved" not in (SOURCES / "package-lock.json").read_text(encoding="utf-8")
