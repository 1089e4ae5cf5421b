"""A stop that all processes agree on: with one process, with simulated signals of several, and with two processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from monosem_jax.runtime.checkpoint import checkpoint_steps
from monosem_jax.runtime.errors import Stopped
from monosem_jax.runtime.processes import all_agree, barrier_next
from monosem_jax.runtime.signals import NOTICE, SignalFlag
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training import loop as fit
from monosem_jax.training.ensemble import EnsembleTrainer
from monosem_jax.training.preemption import PreemptionSync, preemption_sync
from tests import small_loop as toy
from tests.conftest import mesh_of
from tests.experiments.tiny import ROOT, environment
from tests.small_loop import Batches, act_at, assert_same

CONFIG = toy.config_of()
MEMBERS = [(7, 0.1), (8, 0.2)]


@pytest.fixture
def several(monkeypatch):
    """Everything that asks whether this process is alone is told that it is not."""
    make = PreemptionSync.__init__

    def init(self, own, mesh):
        with monkeypatch.context() as patch:
            patch.setattr(jax, "process_count", lambda: 2)
            make(self, own, mesh)

    monkeypatch.setattr(PreemptionSync, "__init__", init)


def flag(name: str = "") -> SignalFlag:
    found = SignalFlag()
    found.requested = name
    return found


# One process


@pytest.mark.parametrize("number", NOTICE)
def test_alone_a_signal_is_a_request_at_once_and_nothing_is_told(number, capfd):
    before = signal.getsignal(number)
    with preemption_sync(mesh_of(1, 1)) as stop:
        assert stop.signals() is None and stop.requested == ""
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.signals() is None and stop.requested == number.name
        with pytest.raises(Stopped, match=f"^{number.name}$"):
            stop.check()
    assert signal.getsignal(number) is before
    assert f"{number.name}: stopping at the next commit" in capfd.readouterr().err


def test_alone_what_comes_back_with_metrics_is_of_no_interest():
    stop = PreemptionSync(flag(), mesh_of(1, 1))
    stop.heard(15)
    assert stop.requested == ""


def test_one_process_agrees_with_itself_and_waits_for_nobody():
    assert all_agree(True) is True and all_agree(False) is False
    barrier_next("nobody else")


# One of several, whose others are simulated


@pytest.mark.parametrize(("name", "number"), [("", 0), *((s.name, s.value) for s in NOTICE)])
def test_every_device_has_the_number_of_its_process(several, any_mesh8, name, number):
    signals = PreemptionSync(flag(name), any_mesh8).signals()
    assert signals.dtype == jnp.int32 and np.array_equal(signals, np.full(8, number))
    assert {s.data.shape for s in signals.addressable_shards} == {(1,)}


def test_a_signal_is_a_request_only_when_it_came_back(several, mesh8):
    stop = PreemptionSync(flag("SIGTERM"), mesh8)
    assert stop.requested == ""
    stop.heard(0)
    stop.check()
    for number in NOTICE:
        stop.heard(number.value)
        assert stop.requested == number.name
        with pytest.raises(Stopped, match=f"^{number.name}$"):
            stop.check()


def test_the_signal_of_another_is_a_request_too(several, mesh8):
    stop = PreemptionSync(flag(), mesh8)
    stop.heard(2)
    assert stop.requested == "SIGINT" and stop.signals().sum() == 0


def on_devices(*numbers: int) -> jax.Array:
    """A number on each of the devices of the mesh."""
    sharding = NamedSharding(mesh_of(len(numbers), 1), PartitionSpec(("data", "model")))
    return jax.device_put(np.asarray(numbers, np.int32), sharding)


def toy_group(members, devices: int = 1) -> fit.Ensemble:
    made = toy.group(CONFIG, [], members)
    if devices == 1:
        return made
    mesh = mesh_of(devices, 1)
    state = jax.device_put(made.state, NamedSharding(mesh, PartitionSpec()))
    return fit.Ensemble(state, made.objective, made.tx, [], made.rules, mesh, made.together)


def block(group: fit.Ensemble, n: int = 3) -> jax.Array:
    return jax.device_put(Batches()(0, n), NamedSharding(group.mesh, PartitionSpec()))


@pytest.mark.parametrize("members", [MEMBERS[:1], MEMBERS], ids=["alone", "stacked"])
@pytest.mark.parametrize("numbers", [(0,) * 8, (0, 0, 15, 0, 2, 0, 0, 0), (2,) * 8, (0,) * 7 + (15,)])
def test_the_largest_number_comes_back_and_the_steps_are_the_same(members, numbers):
    plain, told = toy_group(members, 8), toy_group(members, 8)
    expected, without = fit.Ensemble.compile(plain, CONFIG)(plain.state, block(plain))
    found, result = fit.Ensemble.compile(told, CONFIG)(told.state, block(told), on_devices(*numbers))
    assert result.signal.shape == () and int(result.signal) == max(numbers)
    assert result.signal.sharding.is_fully_replicated
    assert without.signal is None and result.metrics.keys() == without.metrics.keys()
    assert_same(found, expected)


@pytest.mark.parametrize("members", [MEMBERS[:1], MEMBERS], ids=["alone", "stacked"])
def test_the_number_is_known_one_dispatch_later_stays_and_is_not_logged(tmp_path, members):
    runs = [RunDir(tmp_path / str(i), "toy", {}, {}) for i in range(len(members))]
    made = toy.group(CONFIG, runs, members)
    plain = fit.Ensemble(made.state, made.objective, made.tx, runs, made.rules, made.mesh, made.together)
    trained = EnsembleTrainer(plain, CONFIG)
    trained.open_logs(0)
    known = []
    for i, number in enumerate((0, 15, 2, 0)):
        trained.dispatch(3 * i + 3, Batches()(3 * i, 3), on_devices(number))
        known.append(trained.signal)
    trained.fetch()
    for log in trained.logs:
        log.flush()
    trained.close()
    for run in runs:
        run.close()
    assert known == [0, 0, 15, 15] and trained.signal == 15
    for run in runs:
        assert toy.lines(run.path) and not [line for line in toy.lines(run.path) if "signal" in line]


def test_a_training_that_tells_signals_stops_one_dispatch_later_and_resumes_to_the_same_bits(tmp_path, several):
    shape = {"steps": 30, "checkpoint_every": 20}
    quiet, noisy = ({"reports": [act_at(10, act)], **shape} for act in (lambda: None, toy.terminate))
    whole = toy.train(tmp_path / "whole", **quiet)
    with pytest.raises(Stopped, match=r"^SIGTERM: step 12 of 30 is saved in .*stopped; the same command resumes$"):
        toy.train(tmp_path / "stopped", **noisy)
    assert checkpoint_steps(tmp_path / "stopped" / "checkpoints")[-1] == 12
    again = toy.train(tmp_path / "stopped", **quiet)
    assert again.steps == 18
    assert_same(again.states[0], whole.states[0])
    assert toy.lines(tmp_path / "stopped") == toy.lines(tmp_path / "whole")
    assert not [line for line in toy.lines(tmp_path / "whole") if "signal" in line]


# Two processes


def two(tmp_path, what: str) -> str:
    """What two processes say, one after the other."""
    flags = (f"--workdir={tmp_path}", f"--config.what={what}", "--config.who=1")
    command = [sys.executable, "-m", "launch.local", "--processes=2", "--", "tests.launch.worker", *flags]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return "".join((tmp_path / f"said-{i}.txt").read_text(encoding="utf-8") for i in range(2))


def test_two_processes_agree_where_both_say_yes(tmp_path):
    found = re.findall(r"agreed(.*)", two(tmp_path, "agreed"))
    assert found == [" True False False False True"] * 2


def test_two_processes_meet_each_time(tmp_path):
    found = two(tmp_path, "meeting")
    for name in ("first", "second"):
        before, after = (
            [float(x) for x in re.findall(rf"{word} {name} ([\d.]+)", found)] for word in ("before", "after")
        )
        assert len(before) == len(after) == 2 and min(after) > max(before) > min(before) + 0.5


def test_a_signal_to_one_stops_both_at_the_same_step(tmp_path):
    found = re.findall(r"(SIG\w+) at (\d+)", two(tmp_path, "common stop"))
    assert len(found) == 2 and found[0] == found[1] and found[0][0] == "SIGTERM" and 8 < int(found[0][1]) < 1000
