"""Numbers and tables as people read them."""

import datetime
import re

import pytest

from monosem_jax.runtime.formatting import duration, quantity, share, text_table


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
