"""Numbers and tables as people read them."""

import datetime
import re

import numpy as np
import pytest

from monosem_jax.runtime.formatting import distinct, duration, quantity, share, text_table


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *((0, "0 B"), (1, "1 B"), (999, "999 B"), (999.4, "999 B"), (999.5, "1 kB"), (1049, "1.05 kB")),
        *((99.94, "99.9 B"), (99.96, "100 B"), (999_499, "999 kB"), (999_500, "1 MB"), (671_088_640, "671 MB")),
        *((1.07e9, "1.07 GB"), (2.5e12, "2.5 TB"), (2.1e16, "21 PB"), (5.5e18, "5.5 EB"), (1.5e22, "15000 EB")),
    ],
)
def test_quantities_have_three_digits(value, said):
    assert quantity(value, "B") == said


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


def test_no_second_is_lost_in_a_time():
    names = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    for seconds in range(10, 400_000, 7919):
        parts = {unit: int(n) for n, unit in re.findall(r"(\d+)([dhms])", duration(seconds))}
        given = datetime.timedelta(**{names[u]: n for u, n in parts.items()}).total_seconds()
        assert given == seconds, duration(seconds)
        assert parts.get("h", 0) < 24 and parts.get("m", 0) < 60 and parts["s"] < 60


def test_tiny_shares_are_given_per_million():
    assert [share(x) for x in (0.0, 0.0188, 1e-4, 5.9e-6)] == ["0 %", "1.88 %", "0.01 %", "5.9 per million"]


def test_the_columns_of_a_table_are_aligned():
    rows = [("name", "n", "note"), ("a", "1,000", ""), ("longer", "7", "*")]
    assert text_table(rows, left=(0, 2)) == ["name        n  note", "a       1,000", "longer      7  *"]
    assert text_table(rows)[2] == "longer      7     *"


def test_values_that_round_to_one_text_get_the_digits_that_tell_them_apart():
    assert distinct([1, 0.5, 1e-5, 1234567, 1234568, 1234567.5]) == [
        "1", "0.5", "1e-05", "1234567", "1234568", "1234567.5"
    ]  # fmt: skip
    third = 1 / 3
    close = [third, np.nextafter(third, 0), np.nextafter(third, 1), 0.333333]
    found = distinct(close)
    assert len(set(found)) == 4 and found[3] == "0.333333"


@pytest.mark.parametrize("seed", range(20))
def test_distinct_values_always_have_distinct_texts(seed):
    rng = np.random.default_rng(seed)
    values = list({float(v) for v in np.round(1 + rng.integers(0, 40, 30) * 10.0 ** -rng.integers(4, 15, 30), 16)})
    found = distinct(values)
    assert len(set(found)) == len(values)
    alone = [v for v in values if [f"{w:g}" for w in values].count(f"{v:g}") == 1]
    assert all(f"{v:g}" in found for v in alone)
