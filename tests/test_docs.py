"""The documentation is right: its Python code runs, its commands are accepted, its links and lists are correct."""

from __future__ import annotations

import gzip
import itertools
import json
import linecache
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable, Iterator

import pytest

from tests import keys_reference
from tests.experiments.tiny import ANALYZE, SAE, overrides, quickstart_flags, run, small_corpus

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = sorted((ROOT / "experiments" / "results").glob("*.md"))
GUIDES = [ROOT / "README.md", *(ROOT / f / "README.md" for f in ("experiments", "launch", "monosem_jax"))]
PAGES = [*GUIDES, *RESULTS, ROOT / "BUILD_NOTES.md"]
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
# What a set-up command may begin with besides python -m.
TOOLS = ("ruff", ".", "pip", "python3", "mypy", "monosem")


def name(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: pathlib.Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [body for found, body in BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def commands(page: pathlib.Path) -> Iterator[list[str]]:
    """The words of every command in shell blocks; `&&` separates commands, "…" stands for what is left out."""
    for body in blocks(page, "sh"):
        for line in body.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = [w for w in lexer if w != "…"]
            for joined, part in itertools.groupby(words, lambda w: w == "&&"):
                if not joined:
                    yield list(part)


def own_commands(page: pathlib.Path) -> list[list[str]]:
    """[module, flags …] of the commands that run a module of this repository, by python or by monosem."""
    found = []
    for words in commands(page):
        bare = list(itertools.dropwhile(lambda w: re.fullmatch(r"[A-Z_]+=\S*", w), words))
        if bare[0] == "monosem":
            module = [f"launch.{bare[2]}", *bare[3:]] if bare[1] == "launch" else [f"experiments.{bare[1]}", *bare[2:]]
            bare = ["python", "-m", *module]
        if bare[:2] == ["python", "-m"] and bare[2].split(".")[0] in ("experiments", "launch"):
            found.append(bare[2:])
    return found


def slug(heading: str) -> str:
    """The anchor that a heading has on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> pathlib.Path:
    """A folder with runs/ as the guides call them, made by a tiny quickstart and a tiny sweep."""
    folder = tmp_path_factory.mktemp("docs")
    corpus = small_corpus(folder / "docs.jsonl")
    whole = folder / "runs" / "quickstart"
    done = run("quickstart", f"--workdir={whole}", f"--corpus={corpus}", *quickstart_flags())
    assert done.returncode == 0, done.stderr
    grid = {k: v for k, v in SAE.items() if k != "sae.n_features"}
    sizes = ("--config.sweep.sizes=(32,64)", f"--config.source={whole}/store", f"--workdir={folder}/runs/sizes")
    done = run("sweep", *sizes, *overrides(grid))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def session(runs, monkeypatch) -> Callable[[str, str], None]:
    """A function that runs code, named for messages, as one Python session in the folder of `runs`."""
    module = types.ModuleType("documented_session")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(runs)

    def perform(code: str, where: str) -> None:
        lines = (len(code), None, code.splitlines(keepends=True), where)
        monkeypatch.setitem(linecache.cache, where, lines)  # a failure shows the line
        exec(compile(code, where, "exec", dont_inherit=True), vars(module))

    return perform


@pytest.fixture
def tables():
    """What a page adds to the tables of architectures, models and sources is taken out again."""
    from monosem_jax.activations.sources import SOURCES
    from monosem_jax.models import MODELS
    from monosem_jax.sae.architectures import ARCHITECTURES

    found = (SOURCES, MODELS, ARCHITECTURES)
    before = [dict(table) for table in found]
    yield
    for table, entries in zip(found, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_python_blocks_run(page, session, tables):
    """The blocks of a page follow one another in one session."""
    found = blocks(page, "python")
    assert found or page.parent.name == "launch"
    for number, body in enumerate(found, 1):
        session(body, f"{name(page)}, Python block {number}")


def test_python_blocks_are_short():
    for page in GUIDES:
        for body in blocks(page, "python"):
            assert len(body.splitlines()) <= 30, f"{name(page)}: {body[:60]!r} … is too long for an example"


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_notebooks_run_and_hold_no_output(notebook, session):
    book = json.loads(notebook.read_text(encoding="utf-8"))
    assert (book["nbformat"], len({c["id"] for c in book["cells"]})) == (4, len(book["cells"]))
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            session("".join(cell["source"]), f"{name(notebook)}, {cell['id']}")


def test_commands_are_accepted():
    """Every module, flag, key, value and configuration file in a command is one that there is."""
    found = [(name(page), command) for page in PAGES for command in own_commands(page)]
    assert len(found) > 60
    done = subprocess.run(
        [sys.executable, "-m", "tests.command_check"],
        input=json.dumps([command for _, command in found]),
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    said = zip(found, json.loads(done.stdout), strict=True)
    assert not [f"{page}: {' '.join(command)}: {what}" for (page, command), what in said if what]


@pytest.mark.slow
def test_commands_on_a_finished_dictionary_do_what_they_say(runs):
    """The README's commands after training, and the guide's first ones to inspect and to export, really run."""
    shutil.copytree(runs / "runs" / "quickstart" / "sae", runs / "runs" / "a1")
    tiny = {"experiments.analyze": overrides(ANALYZE)}
    found = [c for c in own_commands(GUIDES[0]) if c[0].split(".")[1] in ("evaluate", "analyze", "report")]
    guide = own_commands(GUIDES[1])
    found += [next(c for c in guide if c[0] == f"experiments.{name}") for name in ("inspect", "export")]
    assert len(found) == 5
    for module, *flags in found:
        here = [re.sub(r"=(?=(runs|out)/)", f"={runs}/", flag) for flag in flags]
        done = run(module.split(".")[1], *here, *tiny.get(module, []))
        assert done.returncode == 0, f"{module} {' '.join(flags)}: {done.stderr}"
    assert (runs / "runs" / "a1_report" / "index.html").exists() and (runs / "out" / "a1" / "cfg.json").exists()


def test_a_wrong_command_is_not_accepted():
    wrong = {
        "unknown flag --nosuch": ["experiments.train_sae", "--workdir=x", "--config.source=s", "--nosuch=1"],
        "l1_coefficient": ["experiments.train_sae", "--workdir=x", "--config.source=s", "--config.sae.l1_coefficent=1"],
        "sae.k is 0": [
            "experiments.train_sae",
            "--workdir=x",
            "--config=topk",
            "--config.source=s",
            "--config.sae.k=0",
        ],
        "nosuch": ["experiments.train_sae", "--workdir=x", "--config=nosuch", "--config.source=s"],
        "experiments.nosuch": ["experiments.nosuch", "--workdir=x"],
        "--process": ["launch.local", "--process=2", "--nosuch=1", "--", "experiments.harvest", "--workdir=x"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.command_check"],
        input=json.dumps(list(wrong.values())),
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    for word, said in zip(wrong, json.loads(done.stdout), strict=True):
        assert word in said, said


def test_other_commands_are_known_tools_and_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for page in PAGES:
        for words in commands(page):
            bare = [w for w in words if not re.fullmatch(r"[A-Z_]+=\S*", w)]
            assert bare[:2] == ["python", "-m"] or bare[0] in TOOLS, f"{name(page)}: {' '.join(words)}"
        for extras in re.findall(r"'\.\[([\w,]+)\]'", page.read_text(encoding="utf-8")):
            assert set(extras.split(",")) <= project["optional-dependencies"].keys(), f"{name(page)}: [{extras}]"


def test_environment_variables_are_those_that_the_code_reads():
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "monosem_jax").rglob("*.py"))
    known = set(re.findall(r"MONOSEM_\w+", code))
    for page in PAGES:
        assert set(re.findall(r"MONOSEM_\w+", page.read_text(encoding="utf-8"))) <= known, name(page)
    assert known == set(re.findall(r"MONOSEM_\w+", (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")))


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), f"{name(page)}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
                assert anchor in map(slug, headings), f"{name(page)}: {target}"


def test_the_list_of_keys_is_that_of_the_classes():
    text = keys_reference.README.read_text(encoding="utf-8")
    assert keys_reference.written(text) == text, "run: python -m tests.keys_reference"
    listed = text.split(keys_reference.BEGIN)[1].split(keys_reference.END)[0]
    assert not re.findall(r"^\| (`[\w.]+`) \|.*\| \|$", listed, re.M), "keys without a meaning"


def test_lists_of_the_guide_are_complete():
    from experiments import config_files
    from monosem_jax.models.base import SITES
    from monosem_jax.runtime.command import find
    from monosem_jax.sae.architectures import ARCHITECTURES

    text = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)\.N` \|", text, re.M) == list(SITES)
    listed = text.partition("### Which architecture")[2].partition("###")[0]
    assert re.findall(r"^\| `(\w+)` \|", listed, re.M) == list(ARCHITECTURES)
    programs = {n.removeprefix("experiments.") for n in find(ROOT) if n.startswith("experiments.")}
    listed = text.partition("## Every experiment")[2].partition("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", listed, re.M)) == programs
    for page in PAGES:
        for file in re.findall(r"experiments/configs/([a-z]\w*)\.py", page.read_text(encoding="utf-8")):
            assert file in config_files.shipped(), f"{name(page)}: {file}"


def test_a_page_about_code_names_classes_and_files_that_there_are():
    """Paths in the guide to the code, and in the module docstrings that send their reader to a page."""
    text = GUIDES[3].read_text(encoding="utf-8")
    for path in re.findall(r"`((?:sae|models|activations|analysis|training|runtime|stages|report)/[\w/.]+)`", text):
        assert (ROOT / "monosem_jax" / path).exists(), path
    for path in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
    for file in (p for package in ("monosem_jax", "experiments", "launch") for p in (ROOT / package).rglob("*.py")):
        for path in re.findall(r"\bexperiments/results/\w+\.md", file.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{name(file)}: {path}"
        assert "BUILD_NOTES" not in file.read_text(encoding="utf-8"), name(file)


@pytest.mark.slow
def test_records_are_described_key_by_key(runs):
    """Every file and every key that a run leaves is in the guide, and every key of the guide's tables is there."""
    text = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    section = text.partition("### The records of an analysis")[2].partition("\n## ")[0]
    described = set(
        itertools.chain(*(re.findall(r"`(\w+)`", row.split("|")[1]) for row in section.splitlines() if "|" in row))
    )
    analysis = runs / "runs" / "quickstart" / "analysis"
    chunk = json.loads(gzip.decompress(next((analysis / "records" / "features").glob("0*.json.gz")).read_bytes()))
    categories = json.loads((analysis / "categories.json").read_text())
    assert described == {*chunk[0], *categories[0]}
    example = next(r["examples"][0] for r in chunk if r["examples"])
    assert not [key for key in example if f"`{key}`" not in section]
    manifest = json.loads((runs / "runs" / "quickstart" / "store" / "store.json").read_text())
    assert not [key for key in manifest if not re.search(rf"\b{key.removesuffix('_sha256')}\b", text)]
    scale = json.loads((runs / "runs" / "quickstart" / "sae" / "input.json").read_text())
    assert not [key for key in scale if f"`{key}`" not in text]


@pytest.mark.slow
def test_metrics_are_in_the_glossary(runs):
    text = (ROOT / "monosem_jax" / "README.md").read_text(encoding="utf-8")
    glossary = text.partition("## Glossary")[2].partition("\n## ")[0]
    run_dir = runs / "runs" / "quickstart" / "sae"
    summary = json.loads((run_dir / "summary.json").read_text())
    logged = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[0])
    plain = {"n_features", "ultralow_note", "rows_trained", "resumed_from_step", "wall_seconds", "step", "time", "loss"}
    plain |= {"l1_coefficient"}
    assert not [key for key in {*summary, *logged} - plain if f"`{key}`" not in glossary]


def test_the_readme_is_short_and_says_how_to_cite():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "```bibtex" in text and "Apache-2.0" in text


def test_the_test_command_is_where_the_build_reads_it():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    at = lines.index("<!-- tests -->")
    assert lines[at + 1] == "```sh" and "pytest" in lines[at + 2] and lines[at + 3] == "```"


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=name)
def test_no_page_knows_the_machine_it_was_written_on(page):
    text = page.read_text(encoding="utf-8")
    hosts = r"--(extra-)?index.url|\.internal\b"
    assert not re.search(hosts + r"|(?<![\w.])/(work|tmp|home|root|mnt|Users)/", text)


def test_decisions_are_short_wrapped_and_in_order():
    lines = (ROOT / "BUILD_NOTES.md").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 100 and not line.startswith("|")]
    heads = [
        (i, int(m[1])) for i, line in enumerate(lines) if (m := re.match(r"## (\d+) · \d{4}-\d\d-\d\d · \S", line))
    ]
    numbers = [n for _, n in heads]
    assert numbers == list(range(len(numbers), 0, -1))
    ends = [*(i for i, _ in heads[1:]), lines.index("# What did not work")]
    for (start, number), end in zip(heads, ends, strict=True):
        body = lines[start + 1 : end]
        assert len(body) <= 50, f"decision {number} is longer than a screen"
        assert re.search(r"\*\*(Decided|Because)\*\*|^Superseded by", "\n".join(body), re.M), number


def test_tables_are_dated():
    for page in RESULTS:
        text = page.read_text(encoding="utf-8")
        assert re.search(r"Date: \d{4}-\d\d-\d\d", text) and "Machine: " in text and "python -m " in text, name(page)
