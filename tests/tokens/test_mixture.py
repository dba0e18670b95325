"""Mixtures: shares of bytes, documents and tokens against values by hand, and the cap on epochs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_json
from aurora_m.core.step import Artifact, Work
from aurora_m.tokens.mixture import FILE, MixtureFacts, achieved, balanced, mix, read_mixture, token_shares
from aurora_m.tokens.shards import ShardFacts


def sized(tokens: int, docs: int, num_bytes: int) -> ShardFacts:
    """The size of a source, of which the files do not count here."""
    return ShardFacts(tokens, docs, num_bytes, 0.0, "uint16", 0)


SIZES = {  # the same bytes of Hindi are 5.3 times the tokens
    "en": sized(10_001, 40, 40_000),
    "hi": sized(53_001, 10, 40_000),
}
SHARES = {"en": 0.75, "hi": 0.25}


def mixed(work: Work, sizes: dict[str, ShardFacts] = SIZES, **changes: Any) -> MixtureFacts:
    given: dict[str, Any] = {
        "shards": {name: Artifact(work.out, "", to_json(facts)) for name, facts in sizes.items()},
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
    read = {name: found[name] / SIZES[name].tokens * getattr(SIZES[name], key) for name in found}
    assert sum(found.values()) == pytest.approx(1)
    assert read["en"] / sum(read.values()) == pytest.approx(share)


def test_facts_and_file(work: Work) -> None:
    facts = mixed(work, fim={"hi": 0.3})
    assert read_json(work.out / FILE) == to_json(facts)
    assert read_mixture(work.out) == facts
    assert to_json(facts) == {
        "rows": 100,
        "row_tokens": 100,
        "unit": "tokens",
        "packing": "concat",
        "sources": {
            "en": {
                **{"share": 0.75, "token_share": 0.75, "row_share": 0.75, "unit_a_token": 1.0, "rows": 75},
                **{"epochs": 0.75, "fim": 0.0, "rows_an_epoch": 100, "cut_docs": 0, "padding": 0.0},
            },
            "hi": {
                **{"share": 0.25, "token_share": 0.25, "row_share": 0.25, "unit_a_token": 1.0, "rows": 25},
                **{"epochs": 0.0472, "fim": 0.3, "rows_an_epoch": 530, "cut_docs": 0, "padding": 0.0},
            },
        },
    }


def test_a_row_needs_the_token_after_it(work: Work) -> None:
    sizes = {"en": sized(200, 1, 1)}
    facts = mixed(work, sizes, shares={"en": 1.0}, tokens=400)
    assert facts.sources["en"].rows_an_epoch == 1
    assert facts.sources["en"].epochs == 4.0  # at the cap, which is allowed


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
    sizes = {**SIZES, "hi": sized(tokens, 1, tokens)}
    with pytest.raises(RecipeError) as caught:
        mixed(work, sizes, unit="bytes")
    assert caught.value.what == "source `hi` is shorter than one row"


def even(sizes: dict[str, float], alpha: float, most: float, budget: float) -> Any:
    """Shares of sources that cost 1 a unit and are read `most` times at most."""
    powers = {name: size**alpha for name, size in sizes.items()}
    return balanced(powers, {name: most * size for name, size in sizes.items()}, dict.fromkeys(sizes, 1.0), budget)


def test_unimax_by_hand() -> None:
    # Algorithm 1 with C = 600 characters and N = 4: of `a` no more than 40; then (600 - 40) / 2 of each of the others.
    sizes = {"c": 1000.0, "a": 10.0, "b": 100.0}
    assert even(sizes, 0, 4, 600) == pytest.approx({"c": 280 / 600, "a": 40 / 600, "b": 280 / 600}, rel=1e-12)
    # C = 1,200: now `b` ends at 400, too, and `c` takes the 760 that are left.
    assert even(sizes, 0, 4, 1200) == pytest.approx({"c": 760 / 1200, "a": 40 / 1200, "b": 400 / 1200}, rel=1e-12)
    assert even(sizes, 0, 4, 30) == pytest.approx(dict.fromkeys(sizes, 1 / 3), rel=1e-12)
    assert even(sizes, 0, 4, 4440) == pytest.approx({name: size / 1110 for name, size in sizes.items()}, rel=1e-12)
    assert even(sizes, 0, 4, 4441) is None


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.7, 1.0])
def test_a_temperature_by_its_formula(alpha: float) -> None:
    sizes = {"en": 300_000.0, "sw": 1_600.0, "ur": 5_700.0}
    p = {name: size / sum(sizes.values()) for name, size in sizes.items()}
    q = {name: p[name] ** alpha / sum(other**alpha for other in p.values()) for name in p}
    assert even(sizes, alpha, 1e9, 1e5) == pytest.approx(q, rel=1e-12)


def test_a_temperature_by_hand() -> None:
    assert even({"a": 100.0, "b": 10_000.0}, 0.5, 99, 1000) == pytest.approx({"a": 1 / 11, "b": 10 / 11})
    # read 0.5 times at most, 50 of `a`, where its part would be 1,000 / 11
    assert even({"a": 100.0, "b": 10_000.0}, 0.5, 0.5, 1000) == pytest.approx({"a": 0.05, "b": 0.95})


SOURCES = st.dictionaries(st.sampled_from("abcdef"), st.floats(1, 1e6), min_size=1)


@given(SOURCES, st.floats(0, 1), st.floats(0.5, 5), st.floats(0.01, 0.99))
def test_what_one_cannot_take_goes_to_the_others_alike(
    sizes: dict[str, float], alpha: float, most: float, filled: float
) -> None:
    budget = filled * most * sum(sizes.values())
    parts = {name: share * budget for name, share in even(sizes, alpha, most, budget).items()}
    assert sum(parts.values()) == pytest.approx(budget)
    free = {name: parts[name] / size**alpha for name, size in sizes.items() if parts[name] < most * size * (1 - 1e-6)}
    assert all(parts[name] <= most * size * (1 + 1e-6) for name, size in sizes.items())
    level = max(free.values(), default=0.0)
    assert list(free.values()) == pytest.approx([level] * len(free), rel=1e-6)
    scarce = {name: parts[name] / sizes[name] ** alpha for name in sizes.keys() - free.keys()}
    assert all(part <= level * (1 + 1e-6) for part in scarce.values()) or not free


def test_a_balanced_mixture_is_read_as_often_as_it_may_be(work: Work) -> None:
    """Bytes in equal parts; `hi`, whose bytes are dear, ends at 2 epochs; replay has its share, and costs its rows."""
    sizes = {"fi": sized(100_001, 40, 400_000), "hi": sized(10_001, 10, 20_000), "en": sized(50_001, 10, 300_000)}
    asked: dict[str, Any] = {"sources": ["fi", "hi"], "shares": {"en": 0.25}, "unit": "bytes", "max_epochs": 2.0}
    facts = mixed(work, sizes, tokens=80_000, **asked)
    found = facts.sources
    assert found["hi"].epochs == 2.0
    assert found["en"].share == 0.25
    assert sum(about.share for about in found.values()) == pytest.approx(1)
    assert sum(about.rows for about in found.values()) == 800
    num_bytes = {name: about.rows * 100 * about.unit_a_token for name, about in found.items()}
    assert num_bytes["en"] / sum(num_bytes.values()) == pytest.approx(0.25, abs=0.002)
    equal = mixed(work, sizes, tokens=8_000, **asked)
    shares = {name: about.share for name, about in equal.sources.items()}
    assert shares == pytest.approx({"fi": 0.375, "hi": 0.375, "en": 0.25})


def test_too_little_to_balance(work: Work) -> None:
    with pytest.raises(RecipeError) as caught:
        mixed(work, shares={}, sources=["en", "hi"], tokens=600_000, max_epochs=6.5)
    assert str(caught.value) == (
        "error: all of its `sources`, read 6.5 times, are less than the budget\n  at: mixture.cap\n\n"
        "hint: lower `tokens`, add text or sources, or raise `max_epochs`"
    )


def test_what_was_achieved_by_hand(work: Work) -> None:
    plan = mixed(work, unit="bytes")
    read = achieved(plan, {"en": 3000.0, "hi": 1000.0})
    en, hi = 3000 * 40_000 / 10_001, 1000 * 40_000 / 53_001
    assert to_json(read) == {
        "en": {"tokens": 3000, "token_share": 0.75, "share": round(en / (en + hi), 6), "epochs": 0.3},
        "hi": {"tokens": 1000, "token_share": 0.25, "share": round(hi / (en + hi), 6), "epochs": round(10 / 530, 4)},
    }
