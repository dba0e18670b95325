"""Units: exact one way, readable the other."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.units import format_count, format_duration, format_size, parse_count

COUNT = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
SIZE = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@given(st.integers(0, 10**18), st.sampled_from(sorted(COUNT)), st.sampled_from(["", " ", "  "]))
def test_counts_are_exact(number: int, unit: str, space: str) -> None:
    assert parse_count(f"{number}{space}{unit}") == number * COUNT[unit]


@given(st.integers(0, 10**6), st.integers(0, 10**6 - 1))
def test_fractions_are_exact(whole: int, millionths: int) -> None:
    assert parse_count(f"{whole}.{millionths:06d}M") == whole * 10**6 + millionths


def test_no_float_on_the_way() -> None:
    assert parse_count("9007199254740993") == 2**53 + 1
    assert parse_count("4.2M") == 4_200_000
    assert parse_count("0.3B") == 300_000_000


@given(st.integers(0, 10**18))
def test_a_written_count_reads_back_to_three_figures(count: int) -> None:
    text = format_count(count)
    value = parse_count(text.replace(",", ""))
    assert value == count if count < 10**6 else abs(value - count) <= count / 199
    assert sum(c.isdigit() for c in text) <= 7


@given(st.integers(0, 2**60))
def test_a_written_size_reads_back_to_three_figures(num_bytes: int) -> None:
    number, unit = format_size(num_bytes).replace(",", "").split(" ")
    assert abs(float(number) * SIZE[unit] - num_bytes) <= num_bytes / 199


@given(st.text(max_size=12))
def test_text_gives_a_count_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_count(text) >= 0
        return
    with pytest.raises(ValueError, match=re.escape(f"`{text}` is not a ")):
        parse_count(text)


@pytest.mark.parametrize(
    "text", ["", "B", "-1", "1e3", "1,000", "1_000", "3 b", "3 GiB", "٣", "1.", ".5", "inf", "0x10"]
)
def test_wrong_counts(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a count: write 377B, 4\.2M, 20K or a plain integer"):
        parse_count(text)


@pytest.mark.parametrize("text", ["2.5", "1.0005K"])
def test_parts_of_one_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"`{text}` is not a whole count"):
        parse_count(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"), (1234, "1,234"), (999_999, "999,999"), (10**6, "1M"), (4_194_304, "4.19M"),
        (999_600_000, "1,000M"), (377_487_360_000, "377B"), (10**15, "1,000T"), (12.4, "12"),
    ],
)  # fmt: skip
def test_counts_for_people(count: float, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1023 * 2**10, "1,023 KiB"), (2**20 - 1, "1,024 KiB"),
        (184 * 2**30, "184 GiB"), (1.5 * 2**40, "1.5 TiB"), (2**50, "1,024 TiB"),
    ],
)  # fmt: skip
def test_sizes_for_people(num_bytes: float, text: str) -> None:
    assert format_size(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"), (4.21, "4.2s"), (59.94, "59.9s"), (59.96, "1m00s"), (187, "3m07s"), (3599.6, "1h00m"),
        (7260, "2h01m"), (86399.9, "1d00h"), (8 * 86400 + 3 * 3600, "8d03h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
