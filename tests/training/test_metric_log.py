"""Sums of metrics and their log lines, also when a resuming process continues in the middle of a line."""

from __future__ import annotations

import contextlib
import pathlib

import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training import metric_log as metrics
from monosem_jax.training.metric_log import MetricsLog
from monosem_jax.training.metrics import Last, Mean, Metrics, Sum
from tests.small_loop import lines


@contextlib.contextmanager
def log(path: pathlib.Path, every: int = 10, step: int = 0):
    """A log as a process would open it at a step."""
    with RunDir(path, "metrics", {}, {}) as run:
        yield MetricsLog(run, every, step)


def taken(loss: float, count: float = 4, skipped: float = 0, rate: float = 0.5) -> Metrics:
    """The metrics of a dispatch."""
    means = {"loss": Mean(loss * count, count), "l0": Mean(7.0 * count, count)}
    return {**means, "learning_rate": Last(rate, float(count > 0)), "skipped": Sum(skipped)}


def line(step: int, loss: float | None, skipped: float = 0, rate: float | None = 0.5) -> dict:
    """A line of the log, with the numbers as they are there."""
    approx = {name: value if value is None else pytest.approx(value) for name, value in (("loss", loss), ("l0", 7))}
    if loss is None:
        approx["l0"] = None
    return {"step": step, **approx, "learning_rate": rate, "skipped": skipped}


def test_a_line_has_the_means_the_sums_and_the_last_values_of_all_that_was_taken(tmp_path):
    with log(tmp_path) as found:
        found.take(4, taken(2.0, 4, rate=0.1))
        found.take(8, taken(5.0, 8, rate=0.2))
        assert not (tmp_path / "metrics.jsonl").exists()
        found.take(12, taken(1.0, 4, skipped=3, rate=0.3))
        found.take(20, taken(9.0, 4))
    assert lines(tmp_path) == [line(12, (8 + 40 + 4) / 16, skipped=3, rate=0.3), line(20, 9)]


def test_the_last_value_is_that_of_the_last_dispatch_in_which_a_step_was_applied(tmp_path):
    with log(tmp_path) as found:
        found.take(4, taken(2.0, 4, rate=0.1))
        found.take(10, taken(0.0, 0, skipped=6, rate=0.0))
    assert lines(tmp_path) == [line(10, 2, skipped=6, rate=0.1)]


@pytest.mark.parametrize(
    ("ends", "written"), [((9, 10, 19, 20), [10, 20]), ((7, 14, 21, 28), [14, 21]), ((25, 29, 31), [25, 31])]
)
def test_a_line_is_written_whenever_a_multiple_was_reached_or_passed(tmp_path, ends, written):
    with log(tmp_path) as found:
        for step in ends:
            found.take(step, taken(1.0))
    assert [x["step"] for x in lines(tmp_path)] == written


def test_a_line_without_any_step_that_was_applied_has_no_loss(tmp_path):
    with log(tmp_path) as found:
        found.take(10, taken(0.0, 0, skipped=10))
    assert lines(tmp_path) == [line(10, None, skipped=10, rate=None)]


def test_numbers_of_a_report_come_after_what_was_taken_before(tmp_path):
    with log(tmp_path) as found:
        found.take(4, taken(2.0))
        found.add(4, {"silent": 3.0})
        found.take(8, taken(4.0))
        found.flush()
        found.flush()
    assert [(x["step"], x.get("loss"), x.get("silent")) for x in lines(tmp_path)] == [
        (4, 2, None), (4, None, 3), (8, 4, None),
    ]  # fmt: skip


def test_a_line_that_was_begun_by_a_flush_counts_from_there(tmp_path):
    with log(tmp_path) as found:
        for step in (4, 12, 16):
            found.take(step, taken(1.0))
            if step == 12:
                found.add(12, {"silent": 1.0})
        found.take(20, taken(1.0))
    assert [x["step"] for x in lines(tmp_path) if "loss" in x] == [12, 20]


def test_what_the_progress_line_says_is_the_newest_loss_and_the_numbers_after_it(tmp_path):
    with log(tmp_path) as found:
        assert found.shown == {}
        found.take(10, taken(2.0))
        found.add(10, {"silent": 123456.0})
        assert found.shown == {"loss": "2", "silent": "1.235e+05"}
        found.take(20, taken(0.123456))
        assert found.shown == {"loss": "0.1235"}


def test_lines_of_later_steps_are_dropped_when_the_log_is_opened(tmp_path):
    with log(tmp_path) as found:
        for step in (10, 20, 30):
            found.take(step, taken(step))
    with log(tmp_path, step=20) as found:
        found.take(30, taken(5.0))
    assert [(x["step"], x["loss"]) for x in lines(tmp_path)] == [(10, 10), (20, 20), (30, 5)]


def begun(path: pathlib.Path, *, suspended: bool) -> None:
    """A process that ends at step 17, in the midst of the line of step 20."""
    with log(path) as found:
        found.take(10, taken(1.0))
        found.take(14, taken(2.0, 4, skipped=1))
        found.take(17, taken(3.0))
        if suspended:
            found.suspend()


def test_an_unfinished_line_is_taken_up_by_the_process_that_resumes(tmp_path):
    begun(tmp_path, suspended=True)
    with log(tmp_path, step=17) as found:
        found.take(20, taken(7.0))
    assert lines(tmp_path)[1] == line(20, 4, skipped=1)


def test_an_unfinished_line_that_lasts_for_longer_counts_from_where_it_began(tmp_path):
    """A line was due at 20; the process that took it up ends at 23 and wrote it."""
    begun(tmp_path, suspended=True)
    with log(tmp_path, step=17) as found:
        found.take(23, taken(7.0))
        found.take(30, taken(7.0))
    assert [x["step"] for x in lines(tmp_path)] == [10, 23, 30]


@pytest.mark.parametrize(("suspended", "step"), [(True, 14), (True, 20), (False, 17)])
def test_an_unfinished_line_of_another_step_is_not_taken_up(tmp_path, suspended, step):
    begun(tmp_path, suspended=suspended)
    with log(tmp_path, step=step) as found:
        found.take(30, taken(7.0))
    assert lines(tmp_path)[1] == line(30, 7)


def test_an_unfinished_line_of_an_earlier_version_is_continued(tmp_path):
    """It had sums, one count for all of them, and no learning rate."""
    begun(tmp_path, suspended=False)
    sums = {"loss": 20.0, "l0": 56.0, "count": 8.0, "skipped": 1.0}
    write_json(tmp_path / ".unfinished.json", {"step": 17, "since": 10, "sums": sums})
    with log(tmp_path, step=17) as found:
        found.take(20, taken(7.0))
    assert lines(tmp_path)[1] == line(20, 4, skipped=1)


def test_an_earlier_version_may_have_left_nothing_unfinished(tmp_path):
    begun(tmp_path, suspended=False)
    write_json(tmp_path / ".unfinished.json", {"step": 17, "since": 10, "sums": {}})
    with log(tmp_path, step=17) as found:
        found.take(20, taken(7.0))
    assert lines(tmp_path)[1] == line(20, 7)


@pytest.mark.parametrize(
    "damage",
    [
        {}, {"metrics": None}, {"metrics": [1]}, {"metrics": {"loss": 3}}, {"metrics": {"loss": ["mode", 1.0]}},
        {"metrics": {"loss": ["mean", 1.0]}}, {"metrics": {"loss": ["sum", "x"]}}, {"metrics": {"loss": [[], 1.0]}},
        {"metrics": {}, "since": "x"}, {"sums": {"loss": 1.0}}, {"sums": {"loss": None, "count": 1.0, "skipped": 0.0}},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_unfinished_line_is_refused_in_one_line(tmp_path, damage):
    with RunDir(tmp_path, "metrics", {}, {}) as run:
        write_json(tmp_path / ".unfinished.json", {"step": 5, "since": 0, **damage})
        with pytest.raises(BadInput, match=r"\.unfinished\.json") as e:
            MetricsLog(run, 10, 5)
    assert len(str(e.value).splitlines()) == 1


def test_only_the_first_process_keeps_an_unfinished_line(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "first_process", lambda: False)
    begun(tmp_path, suspended=True)
    assert not (tmp_path / ".unfinished.json").exists()
