"""A forked program behaves like one started with `python -m`."""

from __future__ import annotations

import subprocess

import pytest

from tests.experiments.tiny import environment, run, server, start


def both(name: str, *flags: str) -> list[tuple[int, str, str]]:
    process = start(name, *flags)
    out, err = process.communicate()
    done = run(name, *flags)
    return [(process.returncode, out, err), (done.returncode, done.stdout, done.stderr)]


@pytest.mark.parametrize("flags", [("--help",), ("--wrkdir=x",), ("--workdir=/no/such/place",)], ids=str)
def test_output_and_exit_code_are_those_of_a_program_that_is_started(flags):
    started, forked = both("inspect", *flags)
    assert started == forked and started[0] in (0, 1, 2) and started[1] + started[2]


def test_programs_do_not_see_each_other(tmp_path):
    first, second = (run("inspect", f"--workdir={tmp_path}/{name}") for name in "ab")
    assert first.returncode == second.returncode == 2
    assert f"{tmp_path}/a is not" in first.stderr and f"{tmp_path}/b is not" in second.stderr


def test_a_program_sees_its_environment(monkeypatch):
    monkeypatch.setenv("MONOSEM_COORDINATOR", "nowhere")
    assert "MONOSEM_COORDINATOR is 'nowhere': expected host:port" in run("inspect", "--workdir=/no/such/place").stderr
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES_OF_NOBODY", "1")
    assert not server().serves(environment())


def test_a_program_that_takes_too_long_is_killed_and_the_next_one_is_run():
    with pytest.raises(subprocess.TimeoutExpired):
        server().run("timeit", ("-n1", "-r1", "import time; time.sleep(60)"), environment(), 0.5)
    assert server().run("timeit", ("-n1", "-r1", "pass"), environment(), 60).returncode == 0
