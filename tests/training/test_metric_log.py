"""Sums of metrics and what is written of them, also when the process is another one in the midst of a line."""

from __future__ import annotations

import contextlib
import pathlib

import pytest

from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training import metric_log as metrics
from monosem_jax.training.metric_log import MetricsLog
from tests.toy import lines


@contextlib.contextmanager
def log(path: pathlib.Path, every: int = 10, step: int = 0):
    """A log as a process would open it at a step."""
    with RunDir(path, "metrics", {}, {}) as run:
        yield MetricsLog(run, every, step)


def sums(loss: float, count: float = 4, skipped: float = 0) -> dict[str, float]:
    return {"loss": loss * count, "l0": 7.0 * count, "count": count, "skipped": skipped}


def test_a_line_has_the_means_of_all_that_was_taken(tmp_path):
    with log(tmp_path) as found:
        found.take(4, sums(2.0, 4))
        found.take(8, sums(5.0, 8))
        assert not (tmp_path / "metrics.jsonl").exists()
        found.take(12, sums(1.0, 4, skipped=3))
        found.take(20, sums(9.0, 4))
    first = {"step": 12, "loss": pytest.approx((8 + 40 + 4) / 16), "l0": pytest.approx(7), "skipped": 3}
    assert lines(tmp_path) == [first, {"step": 20, "loss": pytest.approx(9), "l0": pytest.approx(7), "skipped": 0}]


@pytest.mark.parametrize(
    ("ends", "written"), [((9, 10, 19, 20), [10, 20]), ((7, 14, 21, 28), [14, 21]), ((25, 29, 31), [25, 31])]
)
def test_a_line_is_written_whenever_a_multiple_was_reached_or_passed(tmp_path, ends, written):
    with log(tmp_path) as found:
        for step in ends:
            found.take(step, sums(1.0))
    assert [line["step"] for line in lines(tmp_path)] == written


def test_a_line_without_any_step_that_was_applied_has_no_loss(tmp_path):
    with log(tmp_path) as found:
        found.take(10, sums(0.0, 0, skipped=10))
    assert lines(tmp_path) == [{"step": 10, "loss": None, "l0": None, "skipped": 10}]


def test_numbers_of_a_report_come_after_what_was_taken_before(tmp_path):
    with log(tmp_path) as found:
        found.take(4, sums(2.0))
        found.add(4, {"silent": 3.0})
        found.take(8, sums(4.0))
        found.flush()
        found.flush()
    assert [(line["step"], line.get("loss"), line.get("silent")) for line in lines(tmp_path)] == [
        (4, 2, None), (4, None, 3), (8, 4, None),
    ]  # fmt: skip


def test_a_line_that_was_begun_by_a_flush_counts_from_there(tmp_path):
    with log(tmp_path) as found:
        for step in (4, 12, 16):
            found.take(step, sums(1.0))
            if step == 12:
                found.add(12, {"silent": 1.0})
        found.take(20, sums(1.0))
    assert [line["step"] for line in lines(tmp_path) if "loss" in line] == [12, 20]


def test_what_the_progress_line_says_is_the_newest_loss_and_the_numbers_after_it(tmp_path):
    with log(tmp_path) as found:
        assert found.shown == {}
        found.take(10, sums(2.0))
        found.add(10, {"silent": 123456.0})
        assert found.shown == {"loss": "2", "silent": "1.235e+05"}
        found.take(20, sums(0.123456))
        assert found.shown == {"loss": "0.1235"}


def test_lines_of_later_steps_are_dropped_when_the_log_is_opened(tmp_path):
    with log(tmp_path) as found:
        for step in (10, 20, 30):
            found.take(step, sums(step))
    with log(tmp_path, step=20) as found:
        found.take(30, sums(5.0))
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(10, 10), (20, 20), (30, 5)]


def begun(path: pathlib.Path, *, suspended: bool) -> None:
    """A process that ends at step 17, in the midst of the line of step 20."""
    with log(path) as found:
        found.take(10, sums(1.0))
        found.take(14, sums(2.0, 4, skipped=1))
        found.take(17, sums(3.0))
        if suspended:
            found.suspend()


def test_an_unfinished_line_is_taken_up_by_the_process_that_resumes(tmp_path):
    begun(tmp_path, suspended=True)
    with log(tmp_path, step=17) as found:
        found.take(20, sums(7.0))
    assert lines(tmp_path)[1] == {"step": 20, "loss": pytest.approx(4), "l0": pytest.approx(7), "skipped": 1}


def test_an_unfinished_line_that_lasts_for_longer_counts_from_where_it_began(tmp_path):
    """A line was due at 20; the process that took it up ends at 23 and wrote it."""
    begun(tmp_path, suspended=True)
    with log(tmp_path, step=17) as found:
        found.take(23, sums(7.0))
        found.take(30, sums(7.0))
    assert [line["step"] for line in lines(tmp_path)] == [10, 23, 30]


@pytest.mark.parametrize(("suspended", "step"), [(True, 14), (True, 20), (False, 17)])
def test_an_unfinished_line_of_another_step_is_not_taken_up(tmp_path, suspended, step):
    begun(tmp_path, suspended=suspended)
    with log(tmp_path, step=step) as found:
        found.take(30, sums(7.0))
    assert lines(tmp_path)[1] == {"step": 30, "loss": pytest.approx(7), "l0": pytest.approx(7), "skipped": 0}


def test_only_the_first_process_keeps_an_unfinished_line(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "first_process", lambda: False)
    begun(tmp_path, suspended=True)
    assert not (tmp_path / ".unfinished.json").exists()
