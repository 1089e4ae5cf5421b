"""The launcher with processes that do not use JAX, and experiments that run as two processes."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from launch.local import parse
from monosem_jax.runtime.signals import NOTICE

ROOT = pathlib.Path(__file__).parents[2]
# Unbuffered, the first process would write its lines in two pieces, with those of others between them.
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu", "MONOSEM_HEARTBEAT_SECONDS": "", "PYTHONUNBUFFERED": ""}
VARIABLES = "MONOSEM_NUM_PROCESSES+MONOSEM_PROCESS_ID+JAX_NUM_CPU_DEVICES"
BOUND = 60  # seconds that nothing here may take, however busy the machine is
STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Kills the launchers of a test that failed, and with them their processes."""
    yield
    while STARTED:
        STARTED.pop().kill()


def start(n: int, *command: str, options: tuple = (), **variables: str) -> subprocess.Popen:
    """The launcher with `n` processes, in a process group of its own."""
    launcher = subprocess.Popen(
        [sys.executable, "-m", "launch.local", f"--processes={n}", *options, "--", *command], text=True, cwd=ROOT,
        env={**ENVIRONMENT, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        process_group=0,
    )  # fmt: skip
    STARTED.append(launcher)
    return launcher


def end(launcher: subprocess.Popen) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a launcher, which ends in time."""
    out, err = launcher.communicate(timeout=BOUND)
    return launcher.returncode, out, err


def plain(n: int, *actions: str, grace: float = 10) -> tuple[int, str, str]:
    return end(start(n, "tests.launch.plain", *actions, options=(f"--grace={grace}",)))


def worker(
    tmp_path: pathlib.Path, what: str, *options: str, who: int = 1, **variables: str
) -> tuple[int, str, str]:  # fmt: skip
    """Two processes of an experiment that does `what`."""
    flags = (f"--workdir={tmp_path}", f"--config.what={what}", f"--config.who={who}")
    return end(start(2, "tests.launch.worker", *flags, options=options, **variables))


def said(tmp_path: pathlib.Path) -> list[str]:
    """The lines of process 0, then those of process 1; on the terminal Gloo writes too, also into lines."""
    return [x for i in range(2) for x in (tmp_path / f"said-{i}.txt").read_text(encoding="utf-8").splitlines()]


def alive(pid: int) -> bool:
    try:
        return "zombie" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# The launcher alone


def test_each_process_is_told_who_it_is_and_the_lines_of_all_but_the_first_are_numbered():
    launcher = start(3, "tests.launch.plain", f"all:show:{VARIABLES}", options=("--devices_per_process=2",))
    code, out, err = end(launcher)
    assert code == 0
    assert sorted(out.splitlines()) == ["3 0 2 no input", "[1] 3 1 2 no input", "[2] 3 2 2 no input"]
    assert sorted(err.splitlines()) == ["[1] error 1", "[2] error 2", "error 0"]


def test_all_are_given_one_coordinator_on_the_loopback_interface_and_their_devices_are_left_alone():
    names = "MONOSEM_COORDINATOR+JAX_NUM_CPU_DEVICES"
    _, out, _ = end(start(2, "tests.launch.plain", f"all:show:{names}", JAX_NUM_CPU_DEVICES="5"))
    first, second = sorted(out.splitlines())
    assert re.fullmatch(r"127\.0\.0\.1:\d{4,5} 5 no input", first) and second == f"[1] {first}"


def test_all_but_the_first_write_at_once_so_that_a_killed_one_has_told_all():
    assert plain(2, "1:write:told", "1:kill:9")[1] == "[1] told\n"
    assert sorted(plain(2, "all:show:PYTHONUNBUFFERED")[1].splitlines()) == [" no input", "[1] 1 no input"]


def test_a_last_line_without_an_end_is_passed_on_and_empty_lines_are_kept():
    _, out, _ = plain(2, "1:write:a||b")
    assert out == "[1] a\n[1] \n[1] b\n"


def test_more_output_than_a_pipe_holds_reaches_a_slow_reader_to_the_last_line():
    launcher = start(2, "tests.launch.plain", "1:fill:100")
    time.sleep(2)  # the process has ended, and the launcher still has a part of its lines
    assert end(launcher)[:2] == (0, ("[1] " + "x" * 1000 + "\n") * 100)


def test_a_reader_that_goes_away_holds_up_no_process():
    launcher = start(2, "tests.launch.plain", "1:fill:5000", "1:exit:5")
    launcher.stdout.close()
    assert launcher.wait(BOUND) == 5


def test_the_exit_code_is_that_of_the_process_that_failed_first():
    code, _, err = plain(3, "0:sleep:1", "0:exit:4", "1:exit:3", "2:sleep:0.5")
    assert code == 3 and "process 1 ended with exit code 3" in err


def test_a_process_that_ended_because_another_did_does_not_give_the_exit_code():
    code, _, err = plain(3, "0:exit:69", "1:sleep:0.5", "1:exit:3", "2:exit:69")
    assert code == 3 and "process 1 ended with exit code 3" in err
    code, _, err = plain(2, "0:exit:69", "1:exit:69")
    assert code == 69 and "exit code 69" not in err


def test_when_one_is_lost_all_are_started_again_as_often_as_allowed():
    launcher = start(2, "tests.launch.plain", "all:write:begun", "1:kill:9", options=("--grace=1", "--restarts=2"))
    code, out, err = end(launcher)
    assert code == 137 and out.count("begun") >= 3
    assert re.findall(r"started again \((\d) restarts are left\)", err) == ["1", "0"]


@pytest.mark.parametrize("actions", [("1:exit:2",), ()])
def test_a_good_end_and_a_mistake_are_not_repeated(actions):
    code, _, err = end(start(2, "tests.launch.plain", "0:write:x", *actions, options=("--restarts=2",)))
    assert code == (2 if actions else 0) and "started again" not in err


def test_what_a_signal_has_ended_is_not_started_again():
    launcher = start(2, "tests.launch.plain", "all:signals:", options=("--restarts=2",))
    assert all("ready" in launcher.stdout.readline() for _ in range(2))
    launcher.send_signal(signal.SIGTERM)
    code, out, err = end(launcher)
    assert code == 75 and "ready" not in out and "started again" not in err


def test_a_process_that_a_signal_ended_counts_as_128_and_the_signal():
    assert plain(2, "1:kill:9")[0] == 137


def test_the_others_may_end_by_themselves_when_one_fails():
    code, out, _ = plain(2, "1:exit:3", "0:sleep:1", "0:write:done")
    assert (code, out) == (3, "done")


def test_those_that_do_not_end_by_themselves_are_terminated_and_then_killed():
    before = time.monotonic()
    code, out, _ = plain(3, "0:sleep:60", "1:sleep:0.5", "1:exit:3", "2:stubborn:", "2:sleep:60", "2:sleep:60", grace=1)
    assert (code, out) == (3, "[2] no\n")
    assert 2.4 < time.monotonic() - before < 15


def test_no_one_is_hurried_as_long_as_none_has_failed():
    assert plain(2, "0:sleep:1", "0:write:done", grace=0.1)[:2] == (0, "done")


@pytest.mark.parametrize("number", NOTICE)
def test_a_signal_reaches_every_process_once_even_if_the_terminal_sends_it_to_the_whole_group(number):
    launcher = start(3, "tests.launch.plain", "all:signals:")
    ready = [launcher.stdout.readline() for _ in range(3)]
    assert all("ready" in line and "own session" in line for line in ready)
    os.killpg(launcher.pid, number)
    code, out, _ = end(launcher)
    assert code == 75
    assert sorted(out.splitlines()) == sorted(f"{prefix}seen {number.name}" for prefix in ("", "[1] ", "[2] "))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has gone")
def test_no_process_outlives_a_launcher_that_was_killed():
    launcher = start(2, "tests.launch.plain", "all:signals:")
    pids = [int(launcher.stdout.readline().split()[-3]) for _ in range(2)]
    launcher.kill()
    launcher.communicate(timeout=BOUND)
    until = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, pids))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes=2"], "a module is expected"),
        (["--processes=2", "--", "--workdir=x"], "a module is expected"),
        (["--processes=0", "--", "m"], "--processes is at least 1"),
        (["--processes=2", "--devices_per_process=-1", "--", "m"], "--devices_per_process and --restarts at least 0"),
        (["--processes=2", "--restarts=-1", "--", "m"], "--devices_per_process and --restarts at least 0"),
        (["--processes=two", "--", "m"], "invalid int value: 'two'"),
        (["--", "m"], "--processes"),
        (["--processes=2", "m"], "unrecognized arguments: m"),
    ],
)
def test_a_mistake_in_the_command_line_is_refused(capsys, arguments, message):
    with pytest.raises(SystemExit) as e:
        parse(arguments)
    assert e.value.code == 2 and message in capsys.readouterr().err


def test_what_follows_the_first_two_dashes_belongs_to_the_module():
    assert parse(["--processes=2", "--", "m", "--processes=3", "--", "x"])[1] == ["m", "--processes=3", "--", "x"]


def test_an_experiment_may_be_named_without_its_folder():
    for name in ("train_sae", "experiments.train_sae"):
        assert parse(["--processes=2", "--", name, "--plan"])[1] == ["experiments.train_sae", "--plan"]
    assert parse(["--processes=2", "--", "timeit"])[1] == ["timeit"]


# Experiments as two processes


def test_two_processes_compute_together_and_end_well(tmp_path):
    code, out, err = worker(tmp_path, "sum", "--devices_per_process=2")
    assert code == 0, err
    assert said(tmp_path) == ["0 of 2: sum 4, first True", "1 of 2: sum 4, first False"]
    assert re.search(r"^\[1\] ", out, re.M)  # whose line it is


def test_nobody_passes_a_barrier_before_all_have_come(tmp_path):
    code, _, err = worker(tmp_path, "barrier")
    assert code == 0, err
    lines = said(tmp_path)
    before, after = ([float(x.split()[1]) for x in lines if x.startswith(word)] for word in ("before", "after"))
    assert len(before) == len(after) == 2 and min(after) > max(before) > min(before) + 0.5


def test_a_process_that_comes_too_late_to_a_barrier_is_an_error(tmp_path):
    code, _, err = worker(tmp_path, "late")
    assert code == 1 and "Barrier timed out. Id: too early" in err


def test_a_mistake_that_all_find_is_told_by_all_and_by_nothing_else(tmp_path):
    before = time.monotonic()
    code, _, err = worker(tmp_path, "mistake")
    found = [line for line in err.splitlines() if not line.startswith("launch.local: process")]
    assert code == 2 and sorted(found) == ["[1] error: [process 1] found by 1", "error: [process 0] found by 0"]
    assert time.monotonic() - before < 30


@pytest.mark.parametrize(
    ("what", "expected", "message"),
    [("lonely mistake", 2, "error: [process 1] found by 1"), ("lonely error", 1, "[1] RuntimeError: broken")],
)
def test_a_process_that_fails_alone_leaves_without_waiting_for_the_others(tmp_path, what, expected, message):
    before = time.monotonic()
    code, _, err = worker(tmp_path, what, "--grace=1")
    assert code == expected and message in err
    assert f"error: [process 0] process 1 is gone (it ended with exit code {expected})" in err
    assert time.monotonic() - before < 40


LOST = r"error: \[process \d\] process {} is gone \({}\): the last checkpoint is on disk, the same command resumes$"


@pytest.mark.parametrize("what", ["killed in a collective", "killed before a barrier", "killed while others compute"])
@pytest.mark.parametrize("who", [0, 1])
def test_the_others_end_at_once_with_a_line_that_names_the_process_that_was_killed(tmp_path, what, who):
    before = time.monotonic()
    code, _, err = worker(tmp_path, what, "--grace=50", who=who)
    assert code == 137 and time.monotonic() - before < 30
    assert len(re.findall(LOST.format(who, "its connection was closed"), err, re.M)) == 1
    # JAX may log that it cannot reach the coordinator, but it must not come to abort the process.
    assert not re.search(r"@ +0x|Traceback|Fatal Python error|terminate called", err)


@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_is_silent_counts_as_dead_after_the_heartbeat(tmp_path, who):
    code, _, err = worker(tmp_path, "stopped", "--grace=1", who=who, MONOSEM_HEARTBEAT_SECONDS="3")
    assert code == 137 and re.search(LOST.format(who, "it has been silent for 3 s"), err, re.M)


def start_until(tmp_path: pathlib.Path, what: str) -> subprocess.Popen:
    """Two processes, of which the second has come to `what`."""
    launcher = start(2, "tests.launch.worker", f"--workdir={tmp_path}", f"--config.what={what}")
    for line in launcher.stdout:
        if what in line:
            return launcher
    raise AssertionError(launcher.stderr.read())


def test_a_signal_stops_all_processes(tmp_path):
    launcher = start_until(tmp_path, "signal")
    launcher.send_signal(signal.SIGTERM)
    code, _, err = end(launcher)
    assert code == 75
    assert re.search(r"^\[process 0\] stopped", err, re.M) and "[1] [process 1] stopped" in err


def test_a_signal_stops_a_process_in_a_barrier_to_which_the_other_does_not_come(tmp_path):
    launcher = start_until(tmp_path, "far barrier")
    time.sleep(1)
    launcher.send_signal(signal.SIGTERM)
    code, out, err = end(launcher)
    assert code == 75 and re.search(r"^\[process 0\] stopped", err, re.M)
    assert "came at last" not in out
