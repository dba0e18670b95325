"""Fertility: numbers that can be counted by hand, and those of the sample's sentences."""

from pathlib import Path

import pytest
from tiny import doc, new_work, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers

from aurora_m.core.errors import DataError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_json
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.core.uri import local_files, pin_files
from aurora_m.tokens import fertility
from aurora_m.tokens import sample as samples
from aurora_m.tokens.fertility import FILE, PARALLEL, against, measured, words
from aurora_m.tokens.sample import sample

PIN = pin_files(local_files(PARALLEL, Path()))
LANGS = ("en", "fi", "hi", "ja", "vi")


def by_bytes(folder: Path, merges: list[tuple[str, str]]) -> Artifact:
    """A tokenizer of single bytes and what some merges make of them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return Artifact(folder, "", {})


def tokenizer_of(artifact: Artifact) -> Tokenizer:
    return Tokenizer.from_file(str(artifact.path / "tokenizer.json"))


@pytest.mark.parametrize(
    ("text", "lang", "count"),
    [("yksi  kaksi\nkolme", "fi", 3), ("吾輩は 猫\nである", "ja", 7), ("", "fi", 0), (" ", "ja", 0), ("ก ข", "th", 2)],
)
def test_words(text: str, lang: str, count: int) -> None:
    assert words(text, lang) == count


def test_measured_by_hand(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(by_bytes(tmp_path / "t", [("a", "a"), ("Ġ", "aa")]))
    assert to_json(measured(tokenizer, ["aa aa", "aaa b"], "fi")) == {
        **{"lang": "fi", "docs": 2, "bytes": 10, "words": 4, "tokens": 6},  # aa Ġaa, and aa a Ġ b
        **{"tokens_a_word": 1.5, "tokens_a_doc": 3.0, "bytes_a_token": 1.6667},
    }
    assert measured(tokenizer, ["日本"], "ja").tokens_a_word == 3.0  # three bytes a character
    empty = measured(tokenizer, [], "fi")
    assert (empty.tokens_a_word, empty.tokens_a_doc, empty.bytes_a_token) == (0.0, 0.0, 0.0)


def test_against_english_by_hand(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(by_bytes(tmp_path / "t", [("t", "h"), ("th", "e")]))
    rows = [{"id": "1", "en": "the", "fi": "se"}, {"id": "2", "en": "a", "fi": "yö"}]
    assert to_json(against(tokenizer, rows)) == {
        "en": {"tokens": 2, "against_english": 1.0},
        "fi": {"tokens": 5, "against_english": 2.5},
    }


def test_a_language_that_cannot_be_spelled_has_no_cost(tmp_path: Path) -> None:
    vocab = {token: n for n, token in enumerate(["<unk>", *sorted({*"the cat"})])}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", fuse_unk=True))
    rows = [{"id": "1", "en": "the cat", "hi": "बिल्ली", "fi": "hate"}]
    assert to_json(against(tokenizer, rows)) == {
        "en": {"tokens": 7, "against_english": 1.0},
        "fi": {"tokens": 4, "against_english": 0.5714},
    }
    assert against(tokenizer, [{"id": "1", "en": "बिल्ली", "fi": "hate"}]) == {}
    assert measured(tokenizer, ["the cat", "caté"], "en").unspelled == pytest.approx(2 / 12, abs=1e-6)
    assert measured(tokenizer, ["the cat"], "en").unspelled is None


def test_the_step(tmp_path: Path) -> None:
    write_docs(tmp_path / "fi", [doc("a", "yksi kaksi"), doc("b", "kolme")])
    write_docs(tmp_path / "empty", [])
    docs = {name: Artifact(tmp_path / name, "", {}) for name in ("fi", "empty")}
    tokenizers = {
        "base": by_bytes(tmp_path / "t1", []),
        "extended": by_bytes(tmp_path / "t2", [("k", "s"), ("ks", "i")]),
    }
    work = new_work(tmp_path / "work")
    langs = {"fi": "fi", "empty": "hi"}
    facts = fertility.fertility(work, tokenizers=tokenizers, docs=docs, langs=langs, pin=PIN)
    assert facts.base.tokens_a_word == {"fi": 5.0, "empty": 0.0}
    assert facts.extended
    assert facts.extended.tokens_a_word == {"fi": 3.6667, "empty": 0.0}
    written = read_json(work.out / FILE)
    assert written["base"]["sources"]["fi"] == {
        **{"lang": "fi", "docs": 2, "bytes": 15, "words": 3, "tokens": 15},
        **{"tokens_a_word": 5.0, "tokens_a_doc": 7.5, "bytes_a_token": 1.0},
    }
    rows = {lang: about["against_english"] for lang, about in written["base"]["parallel"].items()}
    assert facts.base.against_english == rows
    assert [*rows] == [*LANGS]


def test_bytes_of_the_same_sentences(tmp_path: Path) -> None:
    """By single bytes the sample shows what scripts cost: three bytes a character of Hindi and Japanese."""
    tokenizer = tokenizer_of(by_bytes(tmp_path / "t", []))
    rows = fertility.read_jsonl(next(iter(local_files(PARALLEL, Path()).values())))
    assert len(rows) == 24
    assert all(row[lang].strip() for row in rows for lang in LANGS)
    found = against(tokenizer, rows)
    for lang in LANGS:
        num_bytes = sum(len(row[lang].encode()) for row in rows)
        assert found[lang].tokens == num_bytes
    cost = {lang: found[lang].against_english for lang in LANGS}
    assert cost["en"] == 1.0
    assert cost["fi"] == pytest.approx(1.0, abs=0.2)
    assert cost["vi"] == pytest.approx(1.2, abs=0.2)
    assert cost["hi"] == pytest.approx(2.4, abs=0.4)
    assert cost["ja"] == pytest.approx(1.2, abs=0.4)


def test_a_tokenizer_of_english_costs_others_more(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tiny_tokenizer(tmp_path))
    rows = fertility.read_jsonl(next(iter(local_files(PARALLEL, Path()).values())))
    costs = {lang: about.against_english for lang, about in against(tokenizer, rows).items()}
    assert costs["en"] == 1.0
    assert all(costs[lang] > 1.1 for lang in ("fi", "hi", "ja", "vi"))


def test_a_sample_is_spread_over_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SAMPLE_BYTES", 40)
    monkeypatch.setattr(samples, "SAMPLE_SHARDS", 2)
    for shard in range(4):
        write_docs(tmp_path / "part", [doc(f"{shard}-{n}", f"{shard}{n}" * 6) for n in range(5)])
        (tmp_path / "all/docs").mkdir(parents=True, exist_ok=True)
        path = next((tmp_path / "part/docs").glob("*.parquet"))
        path.rename(tmp_path / f"all/docs/0000{shard}-of-00004.parquet")
    assert [text[:2] for text in sample(tmp_path / "all")] == ["00", "01", "20", "21"]  # 12 bytes each, of 20 a shard


def test_sentences_that_changed_after_the_pin(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="files changed while the run was on its way"):
        fertility.fertility(new_work(tmp_path / "work"), tokenizers={}, docs={}, langs={}, pin="0" * 64)
