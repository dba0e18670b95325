"""Mutations of what is right: bytes that flip, ends that are cut, and values of JSON in whose place others stand."""

import json
import os
import random
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from aurora_m.core.errors import AuroraError

FAULT = "fault of Aurora"
SEEDS = st.integers(0, 2**32 - 1)
DEEPER = int(os.environ.get("AURORA_FUZZ", "1"))  # times as many examples: AURORA_FUZZ=50 pytest tests/fuzz
Result = TypeVar("Result")

# Raw JSON, so that what `json.dumps` would not write is among it.
VALUES = (
    "null", "true", "false", "0", "-1", "1", "3", "1.5", "-0.0", "1e400", "NaN", "-Infinity",
    str(2**31), str(2**63), str(2**64), "9" * 400, "9" * 5000,
    '""', '" "', '"0"', '"../../etc/passwd"', '"/dev/zero"', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"',
    '"e\\u0301"', '"\\u202e"', '"\\ufeff"', '"\U0001f600"', '"\\u001b[2J"', '"' + "x" * 70_000 + '"',
    "[]", "{}", "[[]]", '{"a": 1}', "[null]", '["x", 1]',
    "[" * 60 + "]" * 60, "[" * 20_000 + "]" * 20_000, '{"a":' * 20_000,
)  # fmt: skip
PIECES = (
    b"",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\xe2\x80\xa8",
)


def examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As many examples, always the same ones."""
    unhealthy = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count * DEEPER, derandomize=True, database=None, suppress_health_check=unhealthy)


def flipped(content: bytes, seed: int) -> bytes:
    """One to four things done to some bytes: a bit flipped, a piece cut off, taken out, doubled or put in."""
    rng, found = random.Random(seed), bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, end = sorted(rng.randrange(len(found) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0 | 1 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 2:
                del found[at:]
            case 3:
                del found[at : min(end, at + 20)]
            case 4:
                found[at:at] = found[at : min(end, at + 40)]
            case _:
                found[at:at] = rng.choice(PIECES)
    return bytes(found)


def exchanged(value: Any, seed: int) -> str:
    """JSON in which one or two values are others, or keys are gone, doubled, or have other names."""
    rng = random.Random(seed)
    places = [*_places(value)]
    chosen = {rng.choice(places): rng.randrange(5) for _ in range(rng.choice((1, 1, 2)))}
    return _written(value, (), chosen, rng)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values stand; of long tables and lists, some."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [at, *(place for key, item in inner[:40] for place in _places(item, (*at, key)))]


def _written(value: Any, at: tuple[Any, ...], chosen: dict[tuple[Any, ...], int], rng: random.Random) -> str:
    if at in chosen and chosen[at] < 3:
        return rng.choice(VALUES)
    if isinstance(value, dict):
        parts = []
        for key, item in value.items():
            deed, text = chosen.get((*at, key)), _written(item, (*at, key), chosen, rng)
            name = rng.choice(("", "x", key.upper(), key + " ")) if deed == 4 else key
            parts += [] if deed == 3 and rng.random() < 0.5 else [f"{json.dumps(name)}: {text}"]
            parts += [f"{json.dumps(key)}: {rng.choice(VALUES)}"] if deed == 3 and rng.random() < 0.5 else []
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_written(item, (*at, i), chosen, rng) for i, item in enumerate(value)) + "]"
    return json.dumps(value)


def tried(call: Callable[[], Result]) -> Result | None:
    """What a call gives; None if it ends in an error of ours, which says what, where and what to do, to anybody."""
    try:
        return call()
    except AuroraError as caught:
        error = caught
    assert error.what
    assert error.at
    assert error.hint
    assert FAULT not in error.hint
    assert len(error.what) < 1000
    return None
