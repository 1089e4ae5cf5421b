"""Drills with few repetitions: nothing is lost, and a drill notices a loss."""

from __future__ import annotations

import functools
import json
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from launch import drill
from launch.drills import damage, ground, kills, processes, signals
from launch.drills.ground import Ground, Outcome, same


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Ground:
    return Ground(tmp_path_factory.mktemp("drill"), length=0.3)


def held(path: pathlib.Path) -> str:
    """What has been logged in the runs of a name."""
    return "".join(p.read_text() for p in path.parent.glob(f"{path.name}-*/metrics.jsonl"))


def assert_held(outcome: Outcome, tried: int) -> None:
    assert outcome.lost == 0, outcome.faults
    assert outcome.tried >= tried


@pytest.mark.drill
def test_runs_that_are_killed_while_they_write_checkpoints_end_with_the_same_bits(field):
    outcome = kills.kill_while_writing(field, "dictionary", 2)
    assert_held(outcome, 1)
    assert outcome.notes["kills"] == 2


@pytest.mark.drill
def test_a_second_interrupt_is_obeyed_at_once(field):
    outcome = signals.interrupt_twice(field, "dictionary", 1)
    assert_held(outcome, 3)
    assert outcome.notes["double Ctrl-C"] == 1


@pytest.mark.drill
def test_checkpoints_that_lack_a_file_or_a_part_of_one_or_have_a_wrong_bit_are_found(field):
    outcome = damage.damaged_checkpoint(field, "dictionary", 3)
    assert_held(outcome, 6)
    assert (outcome.notes["missing"], outcome.notes["truncated"], outcome.notes["flipped"]) == (1, 1, 1)


@pytest.mark.drill
def test_a_job_that_loses_its_coordinator_ends_and_resumes(field):
    outcome = processes.lose_one(field, 2, 0)
    assert_held(outcome, 4)
    assert outcome.notes["seconds until the survivors ended"] < 10


@pytest.mark.drill
def test_a_signal_to_one_process_stops_both_at_the_same_step(field):
    assert_held(processes.stop_one(field, 2, 1), 2)
    assert "loss" in (logged := held(field.root / "stopped-1-of-2")) and "signal" not in logged


@pytest.mark.drill
def test_a_job_goes_on_with_another_number_of_processes(field):
    outcome = processes.elastic(field, (2, 1, 2))
    assert_held(outcome, 5)
    assert outcome.notes["resumed from step"] >= 100


# That drills would notice


@pytest.fixture(scope="module")
def twins(field) -> tuple[pathlib.Path, pathlib.Path]:
    """A finished run, and a copy of it."""
    path, _ = field.reference("dictionary")
    return path, shutil.copytree(path, field.root / "twin")


@pytest.fixture
def altered(twins, tmp_path) -> pathlib.Path:
    return shutil.copytree(twins[1], tmp_path / "altered")


def change(file: pathlib.Path, key: str, value) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))


def test_equal_runs_are_the_same_whatever_the_clock_said(twins, altered):
    assert same(*twins) == ""
    for key in ("wall_seconds", "rows_per_second", "resumed_from_step", "checkpoint_stall_seconds"):
        change(altered / "summary.json", key, 12345)
    assert same(twins[0], altered) == ""


def test_a_run_that_is_not_finished_is_not_the_same(twins, altered):
    (altered / "summary.json").unlink()
    assert same(twins[0], altered) == same(altered, twins[0]) == f"{altered} is not finished"


def test_another_figure_or_log_line_is_noticed(twins, altered):
    change(altered / "summary.json", "mse", 0.5)
    assert same(twins[0], altered).endswith("differ in their summary")
    shutil.copy(twins[0] / "summary.json", altered / "summary.json")
    log = (altered / "metrics.jsonl").read_text().splitlines(keepends=True)
    for lines in (log[:-1], [*log, log[-1]]):
        (altered / "metrics.jsonl").write_text("".join(lines))
        assert same(twins[0], altered).endswith("differ in their metrics")


def test_another_step_is_noticed_as_another_state(twins, altered):
    newest = ground.steps(altered)[-1]
    shutil.rmtree(altered / "checkpoints" / str(newest))
    assert "differ in [" in same(twins[0], altered)


@pytest.mark.drill
def test_runs_that_end_otherwise_are_counted_as_lost(field, monkeypatch):
    """The launcher trains with another seed when it is asked to go on."""
    start = Ground.start
    seeds = functools.partial(start, field)

    def another(self, kind, workdir, *flags, **options):
        return seeds(kind, workdir, *flags, "--config.seed=1", **options)

    field.reference("dictionary")
    monkeypatch.setattr(Ground, "start", another)
    outcome = signals.interrupt_twice(field, "dictionary", 1)
    assert outcome.lost == 1 and "differ in" in outcome.faults[0]


def test_an_experiment_that_does_not_run_at_all_is_an_error(field):
    with pytest.raises(RuntimeError, match=r"does not even run undisturbed(.|\n)*source is empty"):
        field.reference("plain")


def test_expectations_are_counted():
    outcome = Outcome()
    outcome.expect(True, "a")
    outcome.expect(False, "b")
    assert (outcome.tried, outcome.lost, outcome.faults) == (2, 1, ["b"])


def test_a_byte_is_changed_cut_or_the_file_removed(field, tmp_path):
    for how, sizes in (("flipped", [8]), ("truncated", [4]), ("missing", [])):
        (tmp_path / "x").write_bytes(bytes(8))
        damage._damage(field, tmp_path / "x", how)
        assert [p.stat().st_size for p in tmp_path.iterdir()] == sizes
    (tmp_path / "x").write_bytes(bytes(8))
    damage._damage(field, tmp_path / "x", "flipped")
    assert sum(b.bit_count() for b in (tmp_path / "x").read_bytes()) == 1


# The program


@pytest.fixture
def program(monkeypatch, tmp_path):
    """A function that runs the program with drills that end as it is told: (exit code, drill.json)."""

    def start(*options: str, **outcomes) -> tuple[int, dict]:
        def drills(scale):
            return {name: (lambda field, outcome=outcome: outcome(field)) for name, outcome in outcomes.items()}

        monkeypatch.setattr(drill, "drills", drills)
        code = drill.main([f"--workdir={tmp_path / 'drill'}", *options])
        return code, json.loads((tmp_path / "drill" / "drill.json").read_text())

    return start


def good(field) -> Outcome:
    return Outcome(3, {"kills": 2, "slowest, s": 1.5})


def bad(field) -> Outcome:
    return Outcome(4, {"kills": 1}, ["bits were lost"])


def broken(field) -> Outcome:
    raise RuntimeError("it cannot be done here")


def test_when_nothing_is_lost_the_exit_code_is_0_and_all_is_written_down(program, capsys):
    code, told = program(first=good, second=good)
    assert code == 0 and (told["lost"], told["kills"]) == (0, 4) and told["machine"]
    assert told["drills"]["first"] == {"tried": 3, "notes": {"kills": 2, "slowest, s": 1.5}, "faults": []}
    out = capsys.readouterr().out
    assert "first" in out and "ok          kills 2, slowest, s 1.5" in out
    assert "2 drills, 4 kills at random, 0 lost, " in out


def test_a_fault_is_told_and_ends_in_exit_code_1(program, capsys):
    code, told = program(first=good, second=bad)
    assert code == 1 and told["lost"] == 1 and told["drills"]["second"]["faults"] == ["bits were lost"]
    captured = capsys.readouterr()
    assert "LOST 1 of 4" in captured.out and captured.err == "  bits were lost\n"


def test_a_drill_that_cannot_be_done_counts_as_lost_and_the_others_are_done(program):
    code, told = program(first=broken, second=good)
    assert code == 1 and told["lost"] == 1 and told["drills"]["second"]["tried"] == 3
    assert "it cannot be done here" in told["drills"]["first"]["faults"][0]


def test_only_drills_whose_name_fits_are_done(program, capsys):
    assert program("--only=eco", first=bad, second=good)[0] == 0
    with pytest.raises(SystemExit) as e:
        program("--only=third", first=good)
    assert e.value.code == 2
    assert "--only=third: no drill has that in its name; there are first" in capsys.readouterr().err


def test_every_kind_is_killed_and_stopped_and_repetitions_follow_the_scale():
    few, many = drill.drills(0.01), drill.drills(2)
    assert few.keys() == many.keys() and len(few) >= 20
    for name in ("kill -9 at random: sweep", "SIGTERM or Ctrl-C: harvest", "damaged checkpoint", "Ctrl-C twice"):
        assert few[name].keywords["times"] == 1 < many[name].keywords["times"]
    assert few["coordinator killed, of 4"].keywords == {"processes": 4, "victim": 0}
    assert few["stopped (silent): 1 of 2"].keywords["number"] == signal.SIGSTOP


def test_the_program_is_started_as_a_module(tmp_path):
    command = [sys.executable, "-m", "launch.drill", f"--workdir={tmp_path}", "--only=nothing of that name"]
    done = subprocess.run(command, cwd=ground.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "kill -9 at random: transformer" in done.stderr


def test_an_array_is_made_once_for_all(field):
    before = np.load(field.root / "rows.npy")
    Ground(field.root, length=0.2)
    assert np.array_equal(np.load(field.root / "rows.npy"), before) and before.shape == (40_000, ground.WIDTH)
