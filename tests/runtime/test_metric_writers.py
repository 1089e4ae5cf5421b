"""A run's metrics: the same numbers in every output, each once, even if processes were killed."""

from __future__ import annotations

import builtins
import importlib.machinery
import json
import math
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from monosem_jax.runtime import metric_writers as logs
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.metric_writers import MetricWriters, read_metrics
from monosem_jax.training.config import LoggingConfig, TrainConfig
from monosem_jax.training.loop import Report
from tests import small_loop as toy

ROOT = pathlib.Path(__file__).parents[2]
NORM = Report(10, lambda state: {"norm": np.linalg.norm(np.asarray(state.params["w"]))})


def events(path: pathlib.Path):
    """The events of all files, in the order in which TensorBoard reads them."""
    for file in sorted((path / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (len(data),)
            if len(data) < 16 + length:
                break  # a full disk cut the last record of this file short, which TensorBoard leaves out
            body = data[12 : 12 + length]
            crcs = struct.unpack("<I", data[8:12]) + struct.unpack("<I", data[12 + length : 16 + length])
            assert crcs == (masked_crc32c(data[:8]), masked_crc32c(body))
            yield event_pb2.Event.FromString(body)
            data = data[16 + length :]


def shown(path: pathlib.Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of the scalars that TensorBoard shows."""
    found = []
    for event in events(path):
        if event.HasField("session_log"):
            assert event.session_log.status == event_pb2.SessionLog.START
            found = [scalar for scalar in found if scalar[0] < event.step]
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found


def told(path: pathlib.Path) -> list[tuple[int, str, float]]:
    """The same, as metrics.jsonl has it."""
    return [
        (step, name, float(np.float32(value)))
        for step, values in read_metrics(path)
        for name, value in values.items()
        if value is not None
    ]


def test_event_files_and_lines_have_the_same_scalars(tmp_path):
    toy.train(tmp_path, steps=30, reports=[NORM])
    assert {name for _, name, _ in told(tmp_path)} == {"loss", "grad_norm", "learning_rate", "skipped", "norm"}
    assert shown(tmp_path) == told(tmp_path)
    first = next(events(tmp_path))
    assert first.file_version == "brain.Event:2" and abs(first.wall_time - time.time()) < 600
    times = [json.loads(line)["time"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {event.wall_time for event in events(tmp_path) if event.summary.value} == set(times)


def test_what_is_not_finite_is_null_in_lines_and_left_out_of_events(tmp_path):
    written = MetricWriters(tmp_path)
    written.write(3, {"loss": math.nan, "l0": math.inf, "skipped": 1.0})
    written.close()
    assert read_metrics(tmp_path) == [(3, {"loss": None, "l0": None, "skipped": 1.0})]
    assert shown(tmp_path) == [(3, "skipped", 1.0)]


def test_every_line_and_event_is_on_the_disk_when_write_returns(tmp_path):
    written = MetricWriters(tmp_path)
    for step in (1, 2):
        written.write(step, {"loss": step})
        assert [s for s, _ in read_metrics(tmp_path)] == [s for s, _, _ in shown(tmp_path)] == [*range(1, step + 1)]
    written.close()


def test_a_run_that_logs_nothing_makes_no_files(tmp_path):
    written = MetricWriters(tmp_path)
    written.rewind(0)
    written.flush()
    written.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [0, 10, 14, 15, 100])
def test_resumes_within_a_second_keep_all_event_files_and_forget_what_is_done_again(tmp_path, step):
    for value in (1.0, 2.0, 3.0):
        written = MetricWriters(tmp_path)
        written.rewind(step)
        for s in (5, 10, 15):
            if value == 1.0 or s > step:
                written.write(s, {"loss": value})
        written.close()
    files = sorted((tmp_path / "tensorboard").iterdir())
    assert len(files) == (1 if step == 100 else 3 if step < 15 else 1)
    assert shown(tmp_path) == told(tmp_path) == [(s, "loss", 3.0 if s > step else 1.0) for s in (5, 10, 15)]


def test_event_files_are_read_in_the_order_in_which_they_were_made(tmp_path, monkeypatch):
    for pid, now, value in ((100, 1e9, 1.0), (99, 1e9, 2.0), (98, 5.0, 3.0)):  # the clock was put back
        monkeypatch.setattr(logs.os, "getpid", lambda pid=pid: pid)
        monkeypatch.setattr(logs.time, "time", lambda now=now: now)
        written = MetricWriters(tmp_path)
        written.rewind(0)
        written.write(1, {"loss": value})
        written.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 3
    assert shown(tmp_path) == [(1, "loss", 3.0)]


def test_lines_that_were_cut_short_are_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "time": 2, "a": 3}\nnull\n{"a": 1}\n{"step": 2, "time": 3, "a"'
    )
    assert read_metrics(tmp_path) == [(1, {"a": 3})]
    assert read_metrics(tmp_path / "nowhere") == []


KILLED = """
import os, pathlib, signal, sys, time
from monosem_jax.runtime.checkpoint import Checkpoints
from tests import small_loop as toy
from tests.runtime.test_metric_writers import NORM

path, moment = pathlib.Path(sys.argv[1]), sys.argv[2]
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
complete = Checkpoints._complete

def killed(self, step, *args):
    complete(self, step, *args)
    if step == 20:
        kill()

def later():
    while not (path / "checkpoints" / "20").exists():
        time.sleep(0.01)
    kill()

if moment == "checkpoint":
    Checkpoints._complete = killed
toy.train(path, steps=40, reports=[NORM, toy.act_at(29, later, every=29)])
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed")
    toy.train(path, steps=40, reports=[NORM, toy.act_at(29, lambda: None, every=29)])
    return path


@pytest.mark.parametrize("moment", ["checkpoint", "later"])
def test_a_process_that_is_killed_leaves_neither_gap_nor_overlap(undisturbed, tmp_path, moment):
    program = [sys.executable, "-c", KILLED, tmp_path, moment]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    assert subprocess.run(program, cwd=ROOT, env=environment, timeout=120).returncode == -signal.SIGKILL
    before = told(tmp_path)
    assert before and before == told(undisturbed)[: len(before)] == shown(tmp_path)[: len(before)]
    assert before[-1][0] >= 20
    toy.train(tmp_path, steps=40, reports=[NORM, toy.act_at(29, lambda: None, every=29)])
    assert toy.lines(tmp_path) == toy.lines(undisturbed)
    assert shown(tmp_path) == told(tmp_path) == told(undisturbed)


class Wandb(types.ModuleType):
    """Takes the place of wandb; `runs` are those that were begun."""

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.runs: list[Wandb.Run] = []

    def init(self, **arguments):
        self.runs.append(Wandb.Run(arguments))
        return self.runs[-1]

    class Run:
        def __init__(self, arguments):
            self.arguments, self.lines, self.finished = arguments, [], False

        def log(self, metrics, *, step):
            assert not self.finished
            self.lines.append((step, metrics))

        def finish(self):
            self.finished = True


@pytest.fixture
def wandb(monkeypatch) -> Wandb:
    fake = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def sent(wandb: Wandb) -> list[tuple[int, dict]]:
    return [line for run in wandb.runs for line in run.lines]


def test_weights_and_biases_get_the_configuration_and_every_line(wandb, tmp_path):
    toy.train(tmp_path / "mine", steps=30, reports=[NORM], wandb="dictionaries")
    (run,) = wandb.runs
    identity = run.arguments.pop("id")
    assert len(identity) == 8 and run.arguments == {
        "project": "dictionaries", "name": "mine", "dir": str(tmp_path / "mine"), "resume": "allow", "config": {},
        "reinit": "create_new",
    }  # fmt: skip
    assert run.finished and run.lines == read_metrics(tmp_path / "mine")
    assert json.loads((tmp_path / "mine" / ".wandb.json").read_text()) == {"id": identity, "step": 30}


def test_weights_and_biases_get_the_configuration_of_the_run(wandb, tmp_path):
    from monosem_jax.runtime.workdir import RunDir

    with RunDir(tmp_path, "toy", {"seed": 5}, {}) as run:
        run.log_with(wandb="p")
    assert wandb.runs[0].arguments["config"] == {"seed": 5}


@pytest.mark.parametrize("step", [16, 26])
def test_a_resumed_run_is_the_same_one_there_and_sends_no_step_twice(wandb, tmp_path, step):
    """It goes on from step 10 or 20; lines after that were sent already."""
    crashing = Report(step, lambda state: {} if "resumed" in happened else happened.append("crash") or toy.crash())
    happened = []
    with pytest.raises(toy.Crash):
        toy.train(tmp_path, steps=40, reports=[NORM, crashing], wandb="p")
    happened.append("resumed")
    toy.train(tmp_path, steps=40, reports=[NORM, crashing], wandb="p")
    first, second = wandb.runs
    assert first.arguments["id"] == second.arguments["id"] and first.finished and second.finished
    assert first.lines and all(s > first.lines[-1][0] for s, _ in second.lines)
    numbers = lambda lines: [line for line in lines if line[1]]  # noqa: E731
    assert numbers(sent(wandb)) == numbers(read_metrics(tmp_path))


def test_members_of_a_group_have_a_run_each(wandb, tmp_path):
    toy.train(tmp_path, steps=10, members=[[(7, 0.1), (8, 0.1)]], wandb="p")
    a, b = wandb.runs
    assert a.arguments["id"] != b.arguments["id"] and a.lines != b.lines
    assert [run.arguments["name"] for run in (a, b)] == ["0", "1"]


def test_a_damaged_note_of_the_run_there_begins_a_new_one(wandb, tmp_path):
    (tmp_path / ".wandb.json").write_text("")
    MetricWriters(tmp_path, wandb="p").close()
    assert len(wandb.runs[0].arguments["id"]) == 8


def test_a_crash_while_the_run_there_is_noted_leaves_the_old_note(wandb, tmp_path, monkeypatch):
    written = MetricWriters(tmp_path, wandb="p")
    written.write(1, {"loss": 1.0})
    note = (tmp_path / ".wandb.json").read_text()

    def fsync(handle):
        os.ftruncate(handle, 5)
        raise toy.Crash

    monkeypatch.setattr("monosem_jax.runtime.files.os.fsync", fsync)
    with pytest.raises(toy.Crash):
        written.write(2, {"loss": 1.0})
    assert (tmp_path / ".wandb.json").read_text() == note


def test_weights_and_biases_are_asked_for_only_where_they_are_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput) as e:
        TrainConfig(logging=LoggingConfig(wandb="mine")).check()
    assert str(e.value) == "train.logging.wandb is 'mine', but it is not installed: pip install 'monosem_jax[wandb]'"


def test_weights_and_biases_are_not_imported_unasked(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    opened = builtins.__import__

    def refuse(name, *args, **kwargs):
        assert name != "wandb"
        return opened(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    toy.train(tmp_path, steps=10)
    assert not (tmp_path / ".wandb.json").exists()
