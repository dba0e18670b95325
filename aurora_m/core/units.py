"""Counts, sizes and durations as people write them: "377B", "80 GiB", "3 h"."""

import re

_COUNT = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SIZE = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def parse_count(text: str) -> int:
    """Turn "377B", "4.2M" or "2048" into an integer, exactly. ValueError if it is none."""
    number = _NUMBER.fullmatch(text.strip())
    if not number or number[2] not in _COUNT:
        raise ValueError(f"`{text}` is not a count: write 377B, 4.2M, 20K or a plain integer")
    whole, _, fraction = number[1].partition(".")
    tenths: int = 10 ** len(fraction)
    value, rest = divmod(int(whole + fraction) * _COUNT[number[2]], tenths)
    if rest:
        raise ValueError(f"`{text}` is not a whole count")
    return value


def format_count(count: float) -> str:
    """Write a count, exact below a million and in three or four figures above: `1,234`, `377B`."""
    for unit in ("T", "B", "M"):
        if abs(count) >= _COUNT[unit]:
            return f"{_figures(count / _COUNT[unit])}{unit}"
    return f"{count:,.0f}"


def _figures(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def format_size(num_bytes: float) -> str:
    """Write bytes with a binary unit: `184 GiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if num_bytes >= _SIZE[unit]:
            return f"{_figures(num_bytes / _SIZE[unit])} {unit}"
    return f"{num_bytes:.0f} B"


def format_duration(seconds: float) -> str:
    """Write seconds in the two largest units: `8d03h`, `3m07s`, `4.2s`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d{h:02d}h"
    return f"{h}h{m:02d}m" if h else f"{m}m{s:02d}s"
