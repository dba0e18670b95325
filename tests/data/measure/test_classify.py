"""Classifiers learn what tells sources apart, the same for any shards and workers; registers are balanced by shares."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.errors import DataError
from aurora_m.core.files import shard_name
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import DOCS, read_all, shards, write_table
from aurora_m.data.measure.classify import classify, keep_rates, subsample, train_classifier, train_registers

CLEAN = {
    "en": "the river history of this town begins in the century when people settled near water and built houses",
    "fi": "kaupungin historia alkaa vuosisadalta jolloin ihmiset asettuivat joen varrelle ja rakensivat taloja",
    "hi": "इस नगर का इतिहास उस सदी से आरम्भ होता है जब लोग नदी के किनारे बसे और घर बनाए",
    "ja": "この町の 歴史は 川の 近くに 人々が 住み始めた 時代から 始まる 家を 建てた",
    "vi": "lịch sử của thị trấn này bắt đầu từ thế kỷ khi người dân định cư gần sông và dựng nhà",
}
SPAM = {
    "en": "buy cheap now click here best price discount login menu share cart free offer",
    "fi": "osta halvalla nyt klikkaa tästä paras hinta alennus kirjaudu valikko jaa ostoskori tarjous",
    "hi": "अभी सस्ता खरीदें यहाँ क्लिक करें छूट लॉगिन मेनू शेयर कार्ट मुफ्त ऑफर",
    "ja": "今すぐ 激安 購入 クリック 割引 ログイン メニュー 送料無料 カート お得",
    "vi": "mua ngay giá rẻ bấm vào đây giảm giá đăng nhập thực đơn chia sẻ giỏ hàng miễn phí",
}

Make = Callable[..., Artifact]


def written(words: str, count: int, seed: int) -> list[str]:
    """Texts of these words in any order."""
    draw = random.Random(seed)
    return ["".join(f"{word} " for word in draw.choices(words.split(), k=draw.randint(8, 30))) for _ in range(count)]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write texts, with a register each, as a docs artifact of some shards."""

    def made(name: str, texts: list[str], registers: list[str] | None = None, count: int = 1) -> Artifact:
        rows = [
            {
                "id": f"{name}{i}",
                "text": text,
                "source": name,
                "lang": "en",
                "meta": json.dumps({"register": registers[i]} if registers else {}),
            }
            for i, text in enumerate(texts)
        ]
        folder = tmp_path / f"{name}-{count}"
        for shard in range(count):
            part = rows[len(rows) * shard // count : len(rows) * (shard + 1) // count]
            table = pa.Table.from_pylist(part, schema=DOCS)
            write_table(folder / "docs" / shard_name(shard, count, "parquet"), table)
        return Artifact(folder, "0" * 64, {})

    return made


@pytest.mark.parametrize("lang", CLEAN)
def test_a_quality_model_tells_good_from_bad(new_work: Callable[[], Work], make: Make, lang: str) -> None:
    good, bad = make("good", written(CLEAN[lang], 120, 1)), make("bad", written(SPAM[lang], 150, 2))
    work = new_work()
    facts = train_classifier(work, positive={"good": good}, negative={"bad": bad}, seed=3, max_docs=10**6)
    assert facts.auc
    assert facts.accuracy
    assert facts.docs["positive"] + facts.held["positive"] == 120
    assert 10 <= facts.held["positive"] <= 40
    assert facts.auc.value > 0.99
    assert facts.auc.low < facts.auc.value <= facts.auc.high <= 1
    assert facts.auc.n == min(facts.held.values())
    assert facts.accuracy.value > 0.95
    fresh = make("fresh", written(CLEAN[lang], 40, 4) + written(SPAM[lang], 40, 5) + [""])
    out = new_work()
    about = classify(out, docs=fresh, models={"quality": Artifact(work.out, "0" * 64, {})})
    rows = read_all(out.out, "classes").to_pylist()
    assert [list(row) for row in rows] == [["id", "quality"]] * 81
    assert min(row["quality"] for row in rows[:40]) > 0.5 > max(row["quality"] for row in rows[40:80])
    assert 0 < rows[80]["quality"] < 1
    assert about.docs == 81
    assert about.mean == {"quality": pytest.approx(sum(row["quality"] for row in rows) / 81, abs=1e-6)}


def test_shards_workers_and_the_order_of_sources_change_nothing(new_work: Callable[[], Work], make: Make) -> None:
    results = []
    for count, workers in ((1, 1), (5, 2)):
        sides = [
            {name: make(name, written(words["en"], 60, seed), count=count) for seed, name in enumerate(names)}
            for names, words in ((("a", "b"), CLEAN), (("c", "d"), SPAM))
        ]
        if count > 1:
            sides = [dict(reversed(side.items())) for side in sides]
        works = [new_work() for _ in range(2)]
        train, apply = (replace(work, runtime=replace(work.runtime, workers=workers)) for work in works)
        facts = train_classifier(train, positive=sides[0], negative=sides[1], seed=1, max_docs=90)
        docs = sides[0]["a"]
        found = classify(apply, docs=docs, models={"quality": Artifact(train.out, "0" * 64, {})})
        assert [path.name for path in shards(apply.out, "classes")] == [path.name for path in shards(docs.path)]
        files = {path.name: path.read_bytes() for path in sorted(train.out.iterdir())}
        results.append((files, facts, found, read_all(apply.out, "classes").to_pylist()))
    assert results[0] == results[1]
    assert sum(results[0][1].docs.values()) + sum(results[0][1].held.values()) == pytest.approx(180, abs=40)


def test_registers_are_learned_from_meta(new_work: Callable[[], Work], make: Make) -> None:
    texts = [text for lang in ("en", "fi", "vi") for text in written(CLEAN[lang], 60, 1)]
    registers = ["news"] * 60 + ["law"] * 60 + ["song"] * 51 + ["rare"] * 9
    docs = make("web", texts, registers)
    train, apply = new_work(), new_work()
    facts = train_registers(train, docs={"web": docs}, field="register", seed=1, max_docs=10**6)
    assert sorted(facts.docs) == ["law", "news", "song"]
    assert facts.accuracy
    assert facts.accuracy.value > 0.9
    assert facts.auc is None
    model = Artifact(train.out, "0" * 64, {})
    classify(apply, docs=docs, models={"register": model})
    rows = read_all(apply.out, "classes").to_pylist()
    assert list(rows[0]) == ["id", "register", "register_prob"]
    assert sum(row["register"] == truth for row, truth in zip(rows[:171], registers[:171], strict=True)) > 160
    assert min(row["register_prob"] for row in rows) >= 1 / 3

    keep = new_work()
    classes = Artifact(apply.out, "0" * 64, {})
    given: Any = {"docs": docs, "classes": classes, "model": model, "column": "register", "seed": 7}
    about = subsample(keep, **given, shares={"news": 0.2})
    kept = read_all(keep.out, "subsample").to_pylist()
    assert list(kept[0]) == ["id", "register_keep"]
    assert about.docs_kept == sum(row["register_keep"] for row in kept)
    assert all(k["register_keep"] for k, row in zip(kept, rows, strict=True) if row["register"] != "news")
    size = {i: len(text.encode()) for i, text in enumerate(texts) if kept[i]["register_keep"]}
    news = sum(value for i, value in size.items() if rows[i]["register"] == "news")
    assert news / sum(size.values()) == pytest.approx(0.2, abs=0.08)
    less = new_work()
    subsample(less, **given, shares={"news": 0.1})
    fewer = {row["id"] for row in read_all(less.out, "subsample").to_pylist() if row["register_keep"]}
    assert fewer < {row["id"] for row in kept if row["register_keep"]}
    with pytest.raises(DataError, match="the model knows no label `newz`") as error:
        subsample(less, **given, shares={"newz": 0.1})
    assert (error.value.at, error.value.hint) == ("register.register.shares", "did you mean `news`?")


SIZES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**9), min_size=1)


@given(SIZES, st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 1.0)))
def test_rates_keep_every_share_and_nothing_is_given_away(sizes: dict[str, int], shares: dict[str, float]) -> None:
    if set(sizes) <= set(shares) and sum(shares[label] for label in sizes) <= 1 + 1e-6:
        return
    rates = keep_rates(sizes, shares, "register")
    kept = {label: sizes[label] * rates[label] for label in sizes}
    for label, rate in rates.items():
        share = kept[label] / sum(kept.values())
        assert 0 < rate <= 1 + 1e-9
        assert share <= shares.get(label, 1) * (1 + 1e-6)
        assert rate == 1 or share == pytest.approx(shares[label])  # what is cut is cut to its share, not below


def test_rates_by_hand() -> None:
    assert keep_rates({"a": 90, "b": 10}, {"a": 0.5}, "x") == {"a": pytest.approx(1 / 9), "b": 1.0}
    assert keep_rates({"a": 90, "b": 10}, {"a": 0.5, "b": 0.5}, "x") == {"a": pytest.approx(1 / 9), "b": 1.0}
    assert keep_rates({"a": 90, "b": 10}, {"a": 0.95}, "x") == {"a": 1.0, "b": 1.0}
    with pytest.raises(DataError) as error:
        keep_rates({"a": 90, "b": 10}, {"a": 0.4, "b": 0.4}, "register")
    assert str(error.value) == (
        "error: no document would stay\n  at: shares of `register`\n\n"
        "hint: leave a label out, or let the shares sum to 1 and more"
    )


def test_too_little_to_learn_from(work: Work, make: Make) -> None:
    good, few = make("good", written(CLEAN["en"], 30, 1)), make("few", ["one", "two"])
    with pytest.raises(DataError) as error:
        train_classifier(work, positive={"few": few}, negative={"good": good}, seed=1, max_docs=100)
    assert str(error.value).startswith("error: 2 positive documents are too few to learn from\n")
    with pytest.raises(DataError) as error:
        train_registers(work, docs={"good": good}, field="genre", seed=1, max_docs=100)
    assert str(error.value) == (
        "error: there are not two labels with 10 documents or more in `genre` of the documents' meta\n"
        "  at: good\n\nhint: name a field that holds a register or genre"
    )
