"""The curve: what is written is read again, another format is refused, and what follows from it is right."""

import json
from pathlib import Path

import pytest

from aurora_m.core.errors import StoreError
from aurora_m.train.curve import FILE, Curve, Entry, EvalPoint, Rewind, Skip

POINT = EvalPoint({"en": 2.2}, {"en": 0.1}, ("en",), 0.1)
STEPS: list[Entry | Skip] = [
    Entry(10, 3.0, 0.1, 1.5, {"a": (6.0, 2.0), "b": (1.0, 4.0)}, {"kl": 0.5}),
    Entry(20, 9.0, 0.1, 2.5, {"a": (6.0, 2.0)}, spike="loss", rows=(10, 19), eval_point=POINT),
    Skip(30, 0.1, "not finite", (20, 29), "loss nan, gradient norm nan"),
    Skip(40, 0.1, "passed over", (30, 39), eval_point=EvalPoint({"en": 2.0})),
]


def curve() -> Curve:
    return Curve(EvalPoint({"en": 2.0}), [*STEPS], Rewind((4,), 1))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    curve().write(tmp_path)
    assert Curve.read(tmp_path) == curve()
    head, *lines = map(json.loads, (tmp_path / FILE).read_text().splitlines())
    assert head == {"format": 2, "tokens": 0, "measure": {"en": 2.0}, "passed_over": [4], "rewinds": 1}
    assert list(lines[1]) == [
        *("tokens", "loss", "lr", "norm", "by_source", "spike", "rows"),
        *("measure", "old_rise", "over_budget", "raised"),
    ]
    assert list(lines[2]) == ["tokens", "lr", "skipped", "rows", "found"]


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"tokens": 0, "measure": {"en": 2.0}}\n')
    with pytest.raises(StoreError) as caught:
        Curve.read(tmp_path)
    assert caught.value.what == "this curve has format 1, and this version of Aurora reads 2"
    assert (caught.value.at, caught.value.hint) == (
        str(tmp_path / FILE),
        "run the recipe again, or choose another `--store`",
    )


def test_what_follows_from_it() -> None:
    found = curve()
    assert (found.done, found.tokens, found.skipped) == (4, 40, [3, 4])
    assert found.targets() == {"a": 4.0, "b": 4.0}
    assert found.raises(5) == [(10, 0.1)]
    assert [tokens for tokens, _ in found.eval_points()] == [0, 20, 40]
    assert found.last == EvalPoint({"en": 2.0})
    found.go_back(Curve(found.start, STEPS[:1]), Rewind((2,), 2))
    assert (found.done, found.raises(5), found.last, found.rewind.count) == (1, [], None, 2)
    found.add(STEPS[1])
    assert (found.raises(5), found.last) == ([(10, 0.1)], POINT)
