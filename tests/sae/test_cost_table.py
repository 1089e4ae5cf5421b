"""Plans, against sums over members written out, and tables read back."""

from __future__ import annotations

import datetime
import re

import jax
import jax.numpy as jnp
import pytest

from monosem_jax.runtime import peak_flops
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.peak_flops import matmul_peak
from monosem_jax.sae import cost_table as plan
from monosem_jax.sae.cost_model import StepCost
from monosem_jax.sae.cost_table import MeasuredSteps, PlannedMember, ShareOfPeak, duration, estimate, table
from tests.cases import cases

SIZES = (512, 4096, 1024)


def step_cost(n: int, data: int = 2, model: int = 4, compute_bytes: int = 2) -> StepCost:
    """A step of a dictionary with n features on 256 rows of width 64, by its formulas."""
    whole, part = (2 * 64 * f + f + 64 for f in (n, n // model))
    flops = 10 * 256 * 64 * n // (data * model)
    return StepCost(data, model, n, 64, 256, compute_bytes, 1, whole, part, 64, flops)


COSTS = {size: step_cost(size) for size in SIZES}
MEMBERS = [PlannedMember(size, l1, seed) for size in SIZES for l1 in (0.004, 0.008) for seed in (0, 1)][:-1]
MEASURED = MeasuredSteps({512: 0.001, 4096: 0.02, 1024: 0.003})
UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


def number(text: str) -> float:
    """The number that a cell shows, "1.07 GB" or "1,024"."""
    value, prefix = re.fullmatch(r"([\d.,]+)(?: ([kMGTPE]?)(?:B|FLOP))?", text).groups()
    return float(value.replace(",", "")) * UNITS[prefix or ""]


def cells(text: str) -> list[list[str]]:
    """The lines of the table down to the empty one, cut where the header's words end; checks that all are as long."""
    lines = text.split("\n\n")[0].split("\n")
    assert len({len(line) for line in lines}) == 1
    ends = [m.end() for m in re.finditer(r"\S+(?: \S+)*", lines[0])]
    return [[line[a:b].strip() for a, b in zip([0, *ends], ends, strict=False)] for line in lines]


def words(text: str) -> dict[str, str]:
    """What is said below the table, by its first word."""
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in text.split("\n\n")[1].split("\n")}


def test_totals_are_sums_over_members():
    costs = estimate(MEMBERS, COSTS, 1000, MEASURED, steps_per_dispatch=10)
    assert costs.n_members == 11
    assert costs.parameters == sum(2 * 64 * n + n + 64 for n, _, _ in MEMBERS)
    assert costs.flops == sum(1000 * 10 * 256 * 64 * n for n, _, _ in MEMBERS)
    each = [COSTS[n] for n, _, _ in MEMBERS]
    assert costs.state_bytes == sum(x.state_bytes for x in each)
    assert costs.seconds == pytest.approx(1 + 20 + 3)


def test_in_a_step_the_group_that_needs_most_counts_with_all_members_that_are_computed_at_a_time():
    def step(n):
        return COSTS[n].gradient_bytes + COSTS[n].activation_bytes

    costs = estimate(MEMBERS, COSTS, 1000, MEASURED)
    assert costs.step_bytes == 4 * step(4096)
    two = estimate(MEMBERS, COSTS, 1000, MEASURED, together=lambda features: 2)
    assert two.step_bytes == 2 * step(4096)
    by_size = estimate(MEMBERS, COSTS, 1000, MEASURED, together={128: 4, 1024: 1, 256: 99}.get)
    assert by_size.step_bytes == max(4 * step(512), 1 * step(4096), 3 * step(1024)) == step(4096)


def test_memory_is_states_a_step_and_the_rows_of_two_dispatches():
    costs = estimate(MEMBERS, COSTS, 1000, MEASURED, steps_per_dispatch=10, element_bytes=4)
    assert costs.row_bytes == 2 * 10 * 128 * 64 * 4
    assert costs.device_bytes == costs.state_bytes + costs.step_bytes + costs.row_bytes


def test_rows_are_read_once_for_all_members():
    for members in (MEMBERS, MEMBERS[:1]):
        costs = estimate(members, COSTS, 1000, MEASURED, element_bytes=2)
        assert costs.rows == 1000 * 256
        assert costs.bytes_read == 1000 * 256 * 64 * 2


def test_time_from_an_mfu_is_that_of_the_flops_of_every_device():
    costs = estimate(MEMBERS, COSTS, 1000, ShareOfPeak(0.25, 2.0))
    assert costs.seconds == pytest.approx(costs.flops / (8 * 0.25 * 2e12))
    wide = next(g for g in costs.groups if g.step.n_features == 4096)
    assert wide.seconds == pytest.approx(4 * 1000 * 10 * 256 * 64 * 4096 / (8 * 0.25 * 2e12))


@pytest.mark.parametrize(("compute_bytes", "dtype"), [(2, jnp.bfloat16), (4, jnp.float32)])
def test_the_peak_is_measured_only_where_an_mfu_comes_without_one(monkeypatch, compute_bytes, dtype):
    asked = []
    monkeypatch.setattr(plan, "matmul_peak", lambda d: asked.append(d) or 3.0)
    costs = {size: step_cost(size, compute_bytes=compute_bytes) for size in SIZES}
    estimate(MEMBERS, costs, 1, MEASURED)
    given = estimate(MEMBERS, costs, 1, ShareOfPeak(0.5, 3.0))
    assert asked == []
    assert estimate(MEMBERS, costs, 1, ShareOfPeak(0.5)).seconds == given.seconds
    assert asked == [dtype]


def test_the_table_has_a_line_for_every_member_and_their_sums():
    costs = estimate(MEMBERS, COSTS, 1_000_000, MEASURED)
    header, *lines, total = cells(table(costs))
    assert header == ["features", "L1", "seed", "parameters", "state", "in a step", "FLOP", "time"]
    assert [(int(number(x[0])), float(x[1]), int(x[2])) for x in lines] == MEMBERS
    assert total[0] == "all" and total[5] == ""
    for column in (3, 4, 6):
        assert number(total[column]) == pytest.approx(sum(number(x[column]) for x in lines), rel=0.005)
    for line, (n, _, _) in zip(lines, MEMBERS, strict=True):
        cost = COSTS[n]
        shown = [2 * 64 * n + n + 64, cost.state_bytes, cost.gradient_bytes + cost.activation_bytes]
        assert [number(x) for x in line[3:6]] == [pytest.approx(x, rel=0.005) for x in shown]
        assert number(line[6]) == pytest.approx(1e6 * 10 * 256 * 64 * n, rel=0.005)


def test_members_of_a_group_share_their_time():
    lines = cells(table(estimate(MEMBERS, COSTS, 1_000_000, MEASURED)))
    times = [line[-1] for line in lines[1:]]
    assert times == ["16m 40s", *'"""', "5h 33m 20s", *'"""', "50m 00s", *'""', "6h 40m 00s"]


def test_members_of_one_size_are_one_group_wherever_they_stand():
    mixed = [MEMBERS[i] for i in (4, 0, 5, 1)]
    costs = estimate(mixed, COSTS, 10, MEASURED)
    assert [g.members for g in costs.groups] == [tuple(MEMBERS[4:6]), tuple(MEMBERS[:2])]
    assert costs.seconds == pytest.approx(0.2 + 0.01)


def test_one_member_on_one_device():
    costs = {512: step_cost(512, 1, 1, 4)}
    text = table(estimate([PlannedMember(512, 0.0, 7)], costs, 100, MeasuredSteps({512: 0.01})))
    _, line, total = cells(text)
    assert line == ["512", "0", "7", "66,112", "795 kB", "1.97 MB", "8.39 GFLOP", "1.0s"]
    assert total[3:] == ["66,112", "795 kB", "", "8.39 GFLOP", "1.0s"]
    assert words(text) == {
        "mesh": "data=1,model=1",
        "rows": "100 batches of 256 = 25,600",
        "bytes": "3.28 MB, read",
        "time": "1.0s, from measured steps",
        "memory": "about 2.83 MB on each device: states 795 kB, in a step about 1.97 MB, rows 65.5 kB",
    }


def test_what_is_common_is_said_once():
    costs = estimate(MEMBERS, COSTS, 10_000, ShareOfPeak(0.4, 0.31), store_rows=2_000_000)
    said = words(table(costs))
    assert said["rows"] == "10,000 batches of 256 = 2,560,000; the store has 2,000,000"
    assert said["bytes"] == "328 MB, read once for all 11"
    assert said["time"] == f"{duration(costs.seconds)}, from 40 % of 0.31 TFLOP/s on each device"
    assert said["mesh"] == "data=2,model=4"


def test_what_does_not_fit_is_said():
    def planned(limit):
        return estimate(MEMBERS, COSTS, 10, MEASURED, bytes_limit=limit)

    need = planned(0).device_bytes
    assert planned(0).fits and planned(need).fits and not planned(need - 1).fits
    assert "NOT FIT" not in table(planned(0)) + table(planned(need))
    assert "; a device has" not in table(planned(0))
    assert re.search(r"; a device has 1 kB: DOES NOT FIT \(more model shards, ", table(planned(1000)))
    assert "; a device has 16 GB" in table(planned(16 * 10**9))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"members": []}, "at least one member"),
        ({"steps": 0}, "steps is 0: at least 1"),
        ({"steps_per_dispatch": 0}, "steps_per_dispatch is 0: at least 1"),
        ({"time": MeasuredSteps({512: 1.0, 4096: 1.0})}, r"seconds_per_step\[1024\] is 0: expected a number above 0"),
        ({"time": ShareOfPeak(0.0)}, "mfu is 0.0: expected a number above 0, at most 1"),
        ({"time": ShareOfPeak(1.1)}, "mfu is 1.1: expected a number above 0, at most 1"),
        ({"time": ShareOfPeak(-0.1)}, "mfu is -0.1"),
        ({"time": ShareOfPeak(float("nan"))}, "mfu is nan"),
        ({"time": ShareOfPeak(1.0, float("inf"))}, "peak_tflops is inf"),
        ({"time": ShareOfPeak(1.0, -1.0)}, "peak_tflops is -1.0: expected a number above 0$"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    given = {"members": MEMBERS, "step_costs": COSTS, "steps": 10, "time": MEASURED, **change}
    with pytest.raises(BadInput, match=said):
        estimate(**given)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0, "0.0s"), (0.04, "0.0s"), (4.21, "4.2s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m 00s")),
        *((61, "1m 01s"), (3599.6, "1h 00m 00s"), (86_399.6, "1d 00h 00m 00s"), (90_061, "1d 01h 01m 01s")),
        *((100 * 86_400 + 5, "100d 00h 00m 05s"),),
    ],
)
def test_times_are_days_hours_minutes_and_seconds(seconds, said):
    assert duration(seconds) == said


@cases("seconds", range(10, 400_000, 7919))
def test_no_second_is_lost_in_a_time(seconds):
    parts = {unit: int(n) for n, unit in re.findall(r"(\d+)([dhms])", duration(seconds))}
    names = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    assert datetime.timedelta(**{names[u]: n for u, n in parts.items()}).total_seconds() == seconds
    assert parts.get("h", 0) < 24 and parts.get("m", 0) < 60 and parts["s"] < 60


class Machine:
    """A device that multiplies at a known rate, and the clock on its wall."""

    def __init__(self, monkeypatch, rates: dict[int, float], latency: float = 0.0):
        self.now, self.rates, self.latency, self.calls = 100.0, rates, latency, []
        monkeypatch.setattr(peak_flops, "_products", self.products)
        monkeypatch.setattr(peak_flops.time, "perf_counter", lambda: self.now)

    def products(self, n, dtype):
        def run(repeats):
            self.calls.append((n, repeats))
            self.now += self.latency + repeats * 2 * n**3 / self.rates[n]

        return run


def test_the_peak_is_the_fastest_size(monkeypatch):
    Machine(monkeypatch, {512: 1e14, 1024: 3e14, 2048: 6e14, 4096: 7e14, 8192: 6.5e14, 16_384: 6e14})
    assert matmul_peak(jnp.bfloat16) == pytest.approx(700)


def test_the_peak_takes_about_a_second_on_fast_and_slow_machines(monkeypatch):
    for rate in (1e9, 1e11, 3e12, 1e15):
        machine = Machine(monkeypatch, dict.fromkeys(peak_flops.SIZES, rate))
        assert matmul_peak(jnp.float32) == pytest.approx(rate / 1e12)
        assert 0.3 < machine.now - 100 < 1.5
    assert [n for n, _ in machine.calls if n == peak_flops.SIZES[-1]]  # the fastest machine reaches the largest size


def test_the_time_to_start_a_product_is_spread_over_many(monkeypatch):
    machine = Machine(monkeypatch, dict.fromkeys(peak_flops.SIZES, 1e12), latency=1e-3)
    assert matmul_peak(jnp.float32) > 0.95
    assert max(repeats for _, repeats in machine.calls) > 10


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_peak_of_this_machine_is_a_rate(dtype):
    assert 1e-4 < matmul_peak(dtype, seconds=0.05) < 1e4


def test_what_is_measured_is_as_precise_as_training(monkeypatch):
    asked = []
    real = jnp.matmul
    monkeypatch.setattr(plan.jnp, "matmul", lambda a, b, **how: asked.append((a.dtype, how)) or real(a, b, **how))
    matmul_peak(jnp.bfloat16, seconds=1e-6)
    how = {"precision": jax.lax.Precision.HIGHEST, "preferred_element_type": jnp.float32}
    assert asked == [(jnp.bfloat16, how)]
