"""Mixtures: shares of bytes, documents and tokens against values by hand, and the cap on epochs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import RecipeError
from aurora_m.core.files import read_json
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.tokens.mixture import FILE, mix, token_shares

SIZES: dict[str, Facts] = {  # the same bytes of Hindi are 5.3 times the tokens
    "en": {"tokens": 10_001, "docs": 40, "bytes": 40_000},
    "hi": {"tokens": 53_001, "docs": 10, "bytes": 40_000},
}
SHARES = {"en": 0.75, "hi": 0.25}


def mixed(work: Work, sizes: dict[str, Facts] = SIZES, **changes: Any) -> Facts:
    given: dict[str, Any] = {
        "shards": {name: Artifact(work.out, "", facts) for name, facts in sizes.items()},
        "name": "cap",
        "shares": SHARES,
        "unit": "tokens",
        "tokens": 10_000,
        "row_tokens": 100,
        "max_epochs": 4.0,
        "fim": {},
    }
    return mix(work, **{**given, **changes})


@pytest.mark.parametrize(
    ("unit", "en", "hi"),
    [
        ("tokens", 0.75, 0.25),
        ("bytes", 0.75 * 10_001, 0.25 * 53_001),
        ("documents", 0.75 * 10_001 / 40, 0.25 * 53_001 / 10),
    ],
)
def test_units_by_hand(unit: str, en: float, hi: float) -> None:
    found = token_shares(SHARES, unit, SIZES)
    assert found == pytest.approx({"en": en / (en + hi), "hi": hi / (en + hi)}, rel=1e-12)


@given(st.floats(0.01, 0.99), st.sampled_from(["bytes", "documents", "tokens"]))
def test_shares_of_the_unit_come_out_as_declared(share: float, unit: str) -> None:
    found = token_shares({"en": share, "hi": 1 - share}, unit, SIZES)
    key = {"documents": "docs"}.get(unit, unit)
    read = {name: found[name] / int(str(SIZES[name]["tokens"])) * int(str(SIZES[name][key])) for name in found}
    assert sum(found.values()) == pytest.approx(1)
    assert read["en"] / sum(read.values()) == pytest.approx(share)


def test_facts_and_file(work: Work) -> None:
    facts = mixed(work, fim={"hi": 0.3})
    assert read_json(work.out / FILE) == facts
    assert facts == {
        "rows": 100,
        "row_tokens": 100,
        "unit": "tokens",
        "sources": {
            "en": {"share": 0.75, "token_share": 0.75, "rows": 75, "rows_an_epoch": 100, "epochs": 0.75, "fim": 0.0},
            "hi": {"share": 0.25, "token_share": 0.25, "rows": 25, "rows_an_epoch": 530, "epochs": 0.0472, "fim": 0.3},
        },
    }


def test_a_row_needs_the_token_after_it(work: Work) -> None:
    sizes: dict[str, Facts] = {"en": {"tokens": 200, "docs": 1, "bytes": 1}}
    facts: Any = mixed(work, sizes, shares={"en": 1.0}, tokens=400)
    assert facts["sources"]["en"]["rows_an_epoch"] == 1
    assert facts["sources"]["en"]["epochs"] == 4.0  # at the cap, which is allowed


def test_too_many_epochs(work: Work) -> None:
    with pytest.raises(RecipeError) as caught:
        mixed(work, tokens=90_000, max_epochs=6.5)
    assert str(caught.value) == (
        "error: source `en` would be read 6.8 times, more than 6.5\n  at: mixture.cap\n\n"
        "hint: lower its weight or the budget, add text to the source, or raise `max_epochs`"
    )
    assert not (work.out / FILE).exists()


@pytest.mark.parametrize("tokens", [0, 1, 100])
def test_a_source_shorter_than_one_row(work: Work, tokens: int) -> None:
    sizes: dict[str, Facts] = {**SIZES, "hi": {"tokens": tokens, "docs": 1, "bytes": tokens}}
    with pytest.raises(RecipeError) as caught:
        mixed(work, sizes, unit="bytes")
    assert caught.value.what == "source `hi` is shorter than one row"
