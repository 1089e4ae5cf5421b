"""Every location that a user gives: what is refused in one line, and what it is otherwise."""

import dataclasses
import json
import os
import pathlib

import pytest

import monosem_jax as mj
from experiments.entry import read
from monosem_jax.runtime.config import field, identity_of
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import ANYWHERE, Place, is_url, local_path, located, separated
from monosem_jax.runtime.workdir import RunDir, parent, resolve_parent

SOURCE = Place(words=("online",), remote=True, tensor=True, several=True)
URLS = [
    "s3://bucket/run", "S3://bucket/run", "s3:/bucket/run", "GS:/bucket/run", "gs://bucket", "file:///tmp/x",
    "file:/tmp/x", " s3://bucket", "no://where", "memory://x", '{"driver": "memory"}', "https://host/x",
]  # fmt: skip
LOCAL = {
    "a": "a", "./a": "a", "a/": "a", "a/../b": "b", "C:/a": "C:/a", "a:b": "a:b", "runs:/x": "runs:/x",
    "link/../b": "far/b", "link": "far/inner", "~": "home", "~/x": "home/x", "not/there/../yet": "not/yet",
    "a b": "a b", "a%20b": "a%20b", "ü\n": "ü\n",
}  # fmt: skip
IMPOSSIBLE = {
    "": "expected a path", "  ": "expected a path", "a\0b": "a path has no NUL bytes",
    "r\udce9": "expected a path in UTF-8",
    "loop": "Too many levels of symbolic links", "loop/x": "Too many levels of symbolic links",
    "dangling": r"dangling is a link to /.*/gone, which does not exist", "dangling/x": "is a link to",
    "~nobody-of-that-name/x": "there is no home directory ~nobody-of-that-name here", "x" * 300: "File name too long",
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with links, and a home."""
    for folder in ("a", "b", "far/b", "far/inner", "home"):
        (tmp_path / folder).mkdir(parents=True)
    for name, target in {"link": "far/inner", "loop": "loop", "dangling": "gone"}.items():
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_no_path_on_this_machine(here, url):
    assert is_url(url)
    with pytest.raises(BadInput) as e:
        local_path(url, "--workdir")
    assert str(e.value) == f"--workdir is {url}: expected a path on this machine" and not list(here.glob("*:"))


@pytest.mark.parametrize("text", LOCAL)
@pytest.mark.parametrize("kind", [str, pathlib.Path, os.fsencode])
def test_a_path_is_absolute_and_as_the_kernel_reads_it(here, text, kind):
    found = local_path(kind(text), "x")
    assert found == here / LOCAL[text] and local_path(found, "x") == found


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_what_is_no_path_is_refused_in_one_line(here, text):
    with pytest.raises(BadInput, match=IMPOSSIBLE[text]) as e:
        local_path(text, "--workdir")
    assert str(e.value).startswith("--workdir is ") and len(str(e.value).splitlines()) == 1 and str(e.value).encode()


def test_a_file_may_be_called_like_a_home(here):
    assert local_path("./~x", "x") == here / "~x"


@pytest.mark.parametrize("value", [None, 3, ["a"]])
def test_what_is_not_even_text_is_refused(value):
    with pytest.raises(BadInput, match="expected a path"):
        local_path(value, "x")


def test_a_working_directory_that_is_gone_is_named(here):
    (here / "cwd").mkdir()
    os.chdir(here / "cwd")
    (here / "cwd").rmdir()
    assert local_path(here / "a", "x") == here / "a"
    with pytest.raises(BadInput, match="the working directory does not exist any more"):
        local_path("a", "x")
    os.chdir(here)


@pytest.mark.skipif(os.getuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered_is_named(here):
    (here / "a").chmod(0)
    with pytest.raises(BadInput, match="Permission denied"):
        local_path("a/x", "x")
    (here / "a").chmod(0o700)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("online", "online"),
        ("./online", "{}/online"),
        ("a.npy, b.npy", "{}/a.npy,{}/b.npy"),
        ("~/a,link/../b", "{}/home/a,{}/far/b"),
        ("w.safetensors:x/y", "{}/w.safetensors:x/y"),
        ("S3://Bucket/x,gs://b/y", "s3://Bucket/x,gs://b/y"),
        ("file://{}/link/../x%20y", "{}/far/x y"),
        ("FILE://localhost{}/a", "{}/a"),
        ("file:{}/a", "{}/a"),
        ('{"driver": "memory", "path": "x,y/"}', '{"driver": "memory", "path": "x,y/"}'),
        ('{"driver":\n "file", "path": "link/../x"}', '{"driver": "file", "path": "{}/far/x/"}'),
    ],
)
def test_a_source_may_be_more_than_a_path(here, given, found):
    given, found = given.replace("{}", str(here)), found.replace("{}", str(here))
    assert SOURCE.locate(given, "config.source") == found == SOURCE.locate(found, "config.source") == SOURCE.same(given)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("a.npy,", "config.source is 'a.npy,': expected a path before and after every comma"),
        (",a.npy", "config.source is ',a.npy': expected a path before and after every comma"),
        ("s3:/bucket/x", r"config.source is s3:/bucket/x: expected .* two slashes \(s3://bucket/x\)"),
        ("file://host/x", "config.source is file://host/x: expected file:/// and an absolute path"),
        ("file://~/x", "expected file:/// and an absolute path"),
        ("a.npy,b\0", "config.source is 'a.npy,b.x00': a path has no NUL bytes"),
    ],
)
def test_what_no_source_can_be_is_refused(here, given, line):
    with pytest.raises(BadInput, match=line):
        SOURCE.locate(given, "config.source")


def test_a_comma_in_the_name_of_a_file_that_exists_separates_nothing(here):
    for name in ("a,b.npy", "c.npy"):
        (here / "a" / name).touch()
    os.chdir(here / "a")
    assert separated("a,b.npy") == ["a,b.npy"] and separated("a,b.npy,c.npy,d") == ["a,b.npy", "c.npy", "d"]
    (here / "x,y").mkdir()
    (here / "x,y" / "c.npy").touch()
    os.chdir(here / "x,y")
    found = SOURCE.locate("c.npy,c.npy", "x")
    assert separated(found) == [f"{here}/x,y/c.npy"] * 2


@dataclasses.dataclass(frozen=True)
class Inner:
    corpus: str = field("embedded", place=Place(words=("embedded",)))
    names: str = "s3://not/a/path"


@dataclasses.dataclass(frozen=True)
class Config:
    run: str = field("", place=Place())
    output: str = field("", place=Place(flag="--output"))
    inner: Inner = Inner()


def test_every_path_of_a_configuration_is_located_and_nothing_else(here):
    assert located(Config()) is not None and located(Config()) == Config()
    found = located(Config("link", inner=Inner("~/x")))
    assert found == Config(str(here / "far/inner"), inner=Inner(str(here / "home/x")))
    for config, name in (
        (Config("s3://b"), "config.run"),
        (Config(output="s3://b"), "--output"),
        (Config(inner=Inner("s3://b")), "config.inner.corpus"),
    ):
        with pytest.raises(BadInput, match=f"^{name} is s3://b: expected a path on this machine"):
            located(config)


def test_a_stage_begins_with_its_paths(here):
    @stage
    def begin(workdir, config: Config):
        return workdir, config.run

    assert begin("link/../b", Config("a")) == (here / "far" / "b", str(here / "a"))
    with pytest.raises(BadInput, match=r"^--workdir is s3:/b: "):
        begin(pathlib.Path("s3://b"), Config())


def test_paths_are_compared_as_they_would_be_given_now(here):
    old, new = {"run": f"{here}/link", "inner": {"corpus": "link/../b"}}, {"run": f"{here}/far/inner"}
    assert identity_of(Config, old)["run"] == identity_of(Config, new)["run"]
    assert identity_of(Config, old)["inner"] == {"corpus": str(here / "far/b")}
    assert identity_of(Config, {"run": "loop"}) == {"run": "loop"}  # recorded by whom it may be


STAGES = {
    "train_sae": lambda w: mj.train_sae(w, mj.SaeRunConfig(source="synthetic")),
    "harvest": lambda w: mj.harvest(w, mj.HarvestRunConfig()),
    "evaluate": lambda w: mj.evaluate(w, mj.EvaluateRunConfig()),
    "inspect": lambda w: mj.inspect(w, mj.InspectConfig()),
    "export": lambda w: mj.export(w, mj.ExportConfig()),
    "train_transformer": lambda w: mj.train_transformer(w, mj.TransformerRunConfig()),
    "analyze": lambda w: mj.analyze(w, mj.AnalyzeRunConfig()),
    "compare": lambda w: mj.compare(w, mj.CompareRunConfig()),
    "report": lambda w: mj.report(w, mj.ReportRunConfig()),
    "sweep": lambda w: mj.sweep(w, mj.SweepRunConfig(source="synthetic")),
    "quickstart": lambda w: mj.quickstart(w, mj.QuickstartConfig()),
    "suite": lambda w: mj.suite(w, mj.SuiteConfig()),
    "load_run": mj.load_run,
    "load_sae": mj.load_sae,
    "RunDir": lambda w: RunDir(w, "toy", {}, {}),
}


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_and_no_loader_takes_a_url_for_a_folder(here, name):
    before = sorted(here.iterdir())
    for url in ("s3://bucket/run", "gs:/bucket/run"):
        with pytest.raises(BadInput, match=f"(--workdir|path) is {url}: expected a path on this machine"):
            STAGES[name](url)
    with pytest.raises(BadInput, match="expected a path in UTF-8"):
        STAGES[name]("r\udce9")
    assert sorted(here.iterdir()) == before


KEYS = {
    "evaluate": ["--config.run="],
    "analyze": ["--config.run="],
    "compare": ["--config.runs="],
    "report": ["--config.analysis="],
    "harvest": ["--config.model_text="],
    "suite": ["--config.model_text="],
    "train_sae": ["--config.source=x.npy", "--config.model_text="],
    "import_model": ["--config.text.corpus="],
    "train_transformer": ["--config.text.corpus="],
    "quickstart": ["--corpus="],
    "export": ["--format=saelens", "--output="],
}


@pytest.mark.parametrize("program", KEYS)
def test_no_key_that_is_a_path_takes_a_url(here, program):
    import importlib

    *others, key = KEYS[program]
    experiment = importlib.import_module(f"experiments.{program}").EXPERIMENT
    function, arguments = read(experiment, ["--workdir=w", *others, f"{key}s3://bucket/x"])
    with pytest.raises(BadInput, match=r"s3://bucket/x: expected a path on this machine"):
        function(*arguments)
    assert not (here / "w").exists() and not list(here.glob("s3:*"))


def test_a_parent_is_found_through_links_and_is_the_one_by_its_hash(here):
    for side in ("one", "two"):
        (here / side / "sae").mkdir(parents=True)
        (here / side / "sae" / "summary.json").write_text(json.dumps(side))
    with RunDir("one/ev", "evaluate", {}, {"run": parent("one/sae", "summary.json")}) as run:
        assert run.path == here / "one" / "ev"
    record = json.loads((here / "one/ev/config.json").read_text())["parents"]["run"]
    assert record["path"] == str(here / "one/sae") and record["relative"] == "../sae"
    (here / "two/ev").symlink_to("../one/ev")
    assert resolve_parent(here / "two/ev", record) == here / "one/sae"  # as text it would be two/sae
    (here / "moved").mkdir()
    for name in ("sae", "ev"):
        (here / "one" / name).rename(here / "moved" / name)
    assert resolve_parent(local_path("two/../moved/ev", "x"), record) == here / "moved/sae"


def test_a_run_stays_the_same_after_a_change_of_directory(here):
    RunDir("a/run", "report", {}, {}).close()
    run = mj.load_run("a/run")
    os.chdir("/")
    assert run.summary is None and run.path == here / "a/run"


def test_a_run_in_a_linked_directory_lies_where_the_link_leads(here):
    (here / "runs").symlink_to("far")
    RunDir("runs/r", "toy", {}, {}).close()
    RunDir(here / "far/r", "toy", {}, {}).close()  # the same
    for name in ("loop", "dangling"):
        with pytest.raises(BadInput):
            RunDir(name, "toy", {}, {})
    (here / "file").touch()
    with pytest.raises(BadInput, match=r"cannot be written: (File exists|Not a directory)"):
        RunDir("file", "toy", {}, {})
    assert ANYWHERE.locate("runs/r", "x") == str(here / "far/r")
