"""Run directories: ownership, locking, logging, and no half-written file after a crash."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from monosem_jax.runtime import workdir
from monosem_jax.runtime.config import field, moved
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json, write_json
from monosem_jax.runtime.workdir import RunDir, parent, resolve_parent

CONFIG = {"seed": 0, "train": {"steps": 10, "sizes": (1, 2), "rate": 1e-3}}


def open_run(path: pathlib.Path, config=CONFIG, parents=None, experiment="train") -> RunDir:
    return RunDir(path, experiment, config, parents or {})


def begin(path: pathlib.Path, **kwargs) -> pathlib.Path:
    """A run directory that was opened once and given back."""
    open_run(path, **kwargs).close()
    return path


def refusal(path: pathlib.Path, **kwargs) -> str:
    with pytest.raises(BadInput) as e:
        open_run(path, **kwargs)
    assert len(str(e.value).splitlines()) == 1
    return str(e.value)


def logged(path: pathlib.Path) -> list[dict]:
    """The lines of metrics.jsonl, read by the letter of the JSON standard."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_config_json_holds_experiment_configuration_parents_and_versions(tmp_path):
    record = read_json(begin(tmp_path / "a" / "run") / "config.json")
    assert record["experiment"] == "train" and record["parents"] == {}
    assert record["config"] == {"seed": 0, "train": {"steps": 10, "sizes": [1, 2], "rate": 1e-3}}
    assert {"monosem_jax", "jax", "numpy"} <= record["versions"].keys() and "git" in record


def test_the_same_configuration_takes_a_directory_up_again(tmp_path):
    before = (begin(tmp_path / "run") / "config.json").read_bytes()
    assert (begin(tmp_path / "run") / "config.json").read_bytes() == before


def test_a_run_is_finished_when_its_summary_is_there(tmp_path):
    with open_run(tmp_path / "run") as run:
        assert not run.finished
        assert run.finish({"loss": 1.5}) == {"loss": 1.5}
        assert run.finished
    with open_run(tmp_path / "run") as again:
        assert again.finished and again.summary == {"loss": 1.5}


@pytest.mark.parametrize(
    "config, difference",
    [
        ({**CONFIG, "seed": 1}, "config.seed: 0 -> 1"),
        ({**CONFIG, "train": {**CONFIG["train"], "steps": 20}}, "config.train.steps: 10 -> 20"),
        ({**CONFIG, "train": {**CONFIG["train"], "sizes": (1, 3)}}, "config.train.sizes: [1, 2] -> [1, 3]"),
        ({"seed": 0}, "config.train: "),
        ({**CONFIG, "new": "x"}, "config.new: None -> 'x'"),
    ],
)
def test_another_configuration_is_refused_with_the_difference(tmp_path, config, difference):
    line = refusal(begin(tmp_path / "run"), config=config)
    assert "belongs to another configuration" in line and difference in line


@dataclasses.dataclass(frozen=True)
class Devices:
    mesh: str = ""


@dataclasses.dataclass(frozen=True)
class Config:
    mesh: str = field("", identity=False)
    kept: Devices = field(Devices(), identity=False)
    speed: Devices = Devices()


@pytest.mark.parametrize("change", [{"mesh": "data=2"}, {"kept": Devices("data=2")}])
def test_a_field_that_is_declared_to_be_no_part_of_the_identity_may_change(tmp_path, change):
    begin(tmp_path / "run", config=Config())
    before = (tmp_path / "run" / "config.json").read_bytes()
    begin(tmp_path / "run", config=Config(**change))
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_field_of_the_same_name_elsewhere_may_not(tmp_path):
    line = refusal(begin(tmp_path / "run", config=Config()), config=Config(speed=Devices("data=2")))
    assert "config.speed.mesh: '' -> 'data=2'" in line
    assert "config.mesh" in refusal(begin(tmp_path / "plain", config={"mesh": ""}), config={"mesh": "data=2"})


@pytest.mark.parametrize(("rate", "resumed"), [("1", True), ("2", False)])
def test_a_directory_with_old_keys_is_compared_under_their_new_names(tmp_path, rate, resumed):
    @moved("config", {"rate": "speed.mesh"})
    @dataclasses.dataclass(frozen=True)
    class Now:
        speed: Devices = Devices()

    path = begin(tmp_path / "run", config={"rate": "1"})
    if resumed:
        begin(path, config=Now(Devices(rate)))
    else:
        assert "config.speed.mesh: '1' -> '2'" in refusal(path, config=Now(Devices(rate)))


def test_another_experiment_is_refused(tmp_path):
    assert "experiment: 'train' -> 'harvest'" in refusal(begin(tmp_path / "run"), experiment="harvest")


def test_a_refused_directory_is_free_for_the_configuration_it_belongs_to(tmp_path):
    refusal(begin(tmp_path / "run"), config={})
    begin(tmp_path / "run")


def test_parents_are_compared_by_hash_and_not_by_path(tmp_path):
    begin(tmp_path / "run", parents={"source": {"path": "here", "sha256": "abc"}})
    begin(tmp_path / "run", parents={"source": {"path": "there", "sha256": "abc"}})
    line = refusal(tmp_path / "run", parents={"source": {"path": "here", "sha256": "xyz"}})
    assert "parents.source: 'abc' -> 'xyz'" in line


def make_pair(root: pathlib.Path, content: str = "{}") -> tuple[pathlib.Path, pathlib.Path]:
    """A finished directory, and a run that was made from it."""
    source, path = root / "source", root / "deep" / "run"
    source.mkdir(parents=True)
    (source / "summary.json").write_text(content)
    return source, begin(path, parents={"source": parent(source, "summary.json")})


def resolved(path: pathlib.Path) -> pathlib.Path:
    return resolve_parent(path, read_json(path / "config.json")["parents"]["source"]).resolve()


def test_a_parent_is_found_where_it_was(tmp_path):
    source, path = make_pair(tmp_path / "a")
    shutil.move(path, tmp_path / "elsewhere")
    assert resolved(tmp_path / "elsewhere") == source


def test_a_parent_is_found_beside_the_run_when_both_were_moved(tmp_path):
    make_pair(tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert resolved(tmp_path / "b" / "deep" / "run") == tmp_path / "b" / "source"


def test_another_directory_in_the_place_of_a_parent_is_not_taken_for_it(tmp_path):
    source, path = make_pair(tmp_path / "a", '{"loss": 1}')
    make_pair(tmp_path / "b", '{"loss": 2}')
    copy = shutil.copytree(path, tmp_path / "b" / "deep" / "copy")
    assert resolved(copy) == source


def test_a_parent_that_is_gone_is_named(tmp_path):
    source, path = make_pair(tmp_path / "a")
    shutil.rmtree(source)
    with pytest.raises(BadInput, match="source, which does not exist any more"):
        resolved(path)


def test_an_unfinished_directory_is_no_parent(tmp_path):
    with pytest.raises(BadInput, match=r"holds no summary\.json: expected a finished directory of the stage before"):
        parent(tmp_path, "summary.json")


def test_a_directory_of_other_things_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    assert "not empty and not a run directory: it holds thesis.tex" in refusal(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "name", ["train.log", "slurm-123.out", "slurm-12_3.out", "nohup.out", "job.err", "job.o4711", "job.e4711"]
)
def test_the_log_of_the_job_itself_is_no_part_of_the_run(tmp_path, name):
    path = tmp_path / "run"
    path.mkdir()
    (path / name).write_text("started\n")
    with pytest.raises(BadInput, match="mistake"), open_run(path):
        raise BadInput("mistake")
    assert not (path / "config.json").exists()  # nothing was done: another configuration may have the directory
    begin(path, config={"seed": 1})
    assert (path / name).read_text() == "started\n"


@pytest.mark.parametrize("name", ["notes.txt", "log", "output", "sub/train.log", "train.log.gz", "data.outer"])
def test_other_files_are_not_taken_for_logs(tmp_path, name):
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert "is not empty" in refusal(tmp_path / "run")


def test_a_directory_in_use_is_refused(tmp_path):
    with open_run(tmp_path / "run"):
        assert "is in use by another run" in refusal(tmp_path / "run")
    begin(tmp_path / "run")


def test_a_directory_in_use_by_another_process_is_refused(tmp_path):
    program = "import sys; from monosem_jax.runtime.workdir import RunDir; RunDir(sys.argv[1], 'train', {}, {})"
    with open_run(tmp_path / "run", config={}):
        done = subprocess.run([sys.executable, "-c", program, tmp_path / "run"], capture_output=True, text=True)
    assert done.returncode and "is in use by another run" in done.stderr


@pytest.mark.parametrize("tail", ["", "run", "deep/run"])
def test_a_path_that_cannot_be_written_is_refused(tmp_path, tail):
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in refusal(tmp_path / "file" / tail)


@pytest.mark.parametrize("content", ["", '{"experiment": "tra', "\xff"])
def test_a_damaged_config_json_is_refused(tmp_path, content):
    (begin(tmp_path / "run") / "config.json").write_text(content, encoding="latin-1")
    assert "config.json is not valid JSON" in refusal(tmp_path / "run")


def test_a_crash_while_a_file_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"old": 1})

    def crash(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr("monosem_jax.runtime.files.os.fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        write_json(tmp_path / "a.json", {"new": 2})
    assert read_json(tmp_path / "a.json") == {"old": 1}


NAN, INF = float("nan"), float("inf")


def test_no_number_that_is_not_finite_reaches_a_json_file(tmp_path, capsys):
    value = {
        "a": NAN,
        "b": {"c": [1.5, INF], "d": (np.float64(-INF), np.float32(2))[:1]},
        "e": 1,
        "f": None,
        "a.b": 2.0,
    }
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"a": None, "b": {"c": [1.5, None], "d": [None]}, "e": 1, "f": None, "a.b": 2.0}
    err = capsys.readouterr().err
    assert err.endswith("a was nan, b.c.1 was inf, b.d.0 was -inf\n") and err.startswith("note: ") and "a.json" in err
    write_json(tmp_path / "a.json", {"many": [NAN] * 20})
    assert capsys.readouterr().err.endswith("many.7 was nan and 12 more\n")


def test_a_summary_says_what_is_not_finite(tmp_path, capsys):
    with open_run(tmp_path / "run") as run:
        found = run.once(lambda: {"mse": INF, "l0": 3.0, "parts": {"x": NAN}})
    assert found == read_json(tmp_path / "run" / "summary.json")
    assert found == {"mse": None, "l0": 3.0, "parts": {"x": None}, "not_finite": {"mse": "inf", "parts.x": "nan"}}
    assert "mse is inf, parts.x is nan: null in the summary of " in capsys.readouterr().err


@pytest.mark.parametrize("number", [NAN, INF, -INF])
def test_a_configuration_that_is_not_finite_is_refused(tmp_path, number):
    line = refusal(tmp_path / "run", config={"train": {"rate": number}})
    assert line == f"config.train.rate is {number}: expected a finite number" and not (tmp_path / "run").exists()


def test_a_value_that_is_not_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError, match="JSON"):
        write_json(tmp_path / "a.json", {"new": object()})
    assert read_json(tmp_path / "a.json") == {"old": 1}


def test_a_directory_can_be_taken_up_after_a_crash_at_its_very_beginning(tmp_path, monkeypatch):
    def replace(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(workdir.os, "replace", replace)
        open_run(tmp_path / "run")
    begin(tmp_path / "run")
    assert read_json(tmp_path / "run" / "config.json")["experiment"] == "train"


def write_log(path: pathlib.Path, tail: str = "") -> None:
    with open_run(path) as run:
        for step in (10, 20, 30):
            run.log(step, {"loss": step / 10})
    with open(path / "metrics.jsonl", "a") as f:
        f.write(tail)


def test_metrics_are_one_line_of_json_per_step(tmp_path):
    write_log(tmp_path)
    assert [(m["step"], m["loss"]) for m in logged(tmp_path)] == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert all(m["time"] > 1e9 for m in logged(tmp_path))


@pytest.mark.parametrize("step, kept", [(0, []), (19, [10]), (20, [10, 20]), (99, [10, 20, 30])])
def test_rewinding_drops_later_steps(tmp_path, step, kept):
    write_log(tmp_path)
    with open_run(tmp_path) as run:
        run.rewind(step)
    assert [m["step"] for m in logged(tmp_path)] == kept


@pytest.mark.parametrize("tail", ['{"step": 31, "lo', '{"step"', "{", '{"step": 4', "null\n", '{"loss": 1}\n'])
def test_rewinding_drops_a_line_cut_short_by_a_crash(tmp_path, tail):
    write_log(tmp_path, tail)
    with open_run(tmp_path) as run:
        run.rewind(30)
        run.log(40, {"loss": 4.0})
    assert [m["step"] for m in logged(tmp_path)] == [10, 20, 30, 40]


def test_rewinding_a_run_that_logged_nothing_does_nothing(tmp_path):
    with open_run(tmp_path) as run:
        run.rewind(0)
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_leaves_the_log_valid_json(tmp_path, value):
    with open_run(tmp_path) as run:
        run.log(1, {"loss": value, "l0": 2.0})
    assert logged(tmp_path)[0]["l0"] == 2.0


def test_metrics_also_go_to_tensorboard_event_files(tmp_path):
    write_log(tmp_path)
    (events,) = (tmp_path / "tensorboard").glob("events.out.tfevents.*")
    assert events.read_bytes().count(b"loss") == 3
