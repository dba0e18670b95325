"""Rules expand to clauses of real columns, each language its own, and keep clean text in every language."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from aurora_m.core.errors import DataError, RecipeError
from aurora_m.data.columns import SIGNALS, schema
from aurora_m.data.measure.signals import MEASURES, measures
from aurora_m.data.select import rules

LANGUAGES = ("en", "fi", "hi", "ja", "vi")
NAMES = {"gopher_quality", "gopher_repetition", "c4", "fineweb", "refinedweb", "stopwords", "flagged"}
SAMPLE = Path(rules.__file__).parents[2] / "sample" / "texts"


def test_thresholds_are_of_columns_and_within_clean_text() -> None:
    assert set(rules.table()) == NAMES
    for clauses in rules.table().values():
        for clause, numbers in clauses.items():
            name, sign = clause.split()
            assert name in MEASURES
            assert set(numbers) <= {*LANGUAGES, "default"}
            for lang, number in numbers.items():
                assert len(number) == (1 if lang == "default" else 2)
                if lang not in ("en", "default"):  # English has the published numbers
                    loss = number[1] if sign == ">=" else 100 - number[1]
                    assert loss <= 1.05, (clause, lang)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_rule_is_a_condition(lang: str) -> None:
    empty = pl.from_arrow(schema(SIGNALS).empty_table())
    assert isinstance(empty, pl.DataFrame)
    condition = rules.expand(" AND ".join(sorted(NAMES)), lang)
    assert empty.select(pl.sql_expr(condition).alias("kept")).schema["kept"] == pl.Boolean


def test_expanding() -> None:
    flagged = "flagged_words <= 0.01"
    assert rules.expand("flagged", "en") == flagged
    assert (
        rules.expand("words > 9 AND flagged AND contaminated_items = 0", "fi")
        == f"words > 9 AND {flagged} AND contaminated_items = 0"
    )
    assert rules.expand("NOT flagged AND lang_id = 'flagged'", "en") == f"NOT ({flagged}) AND lang_id = 'flagged'"
    assert rules.expand("flagged OR words > 9", "en") == f"({flagged}) OR words > 9"
    assert rules.expand("c4 AND (flagged OR words > 9)", "en").startswith(" AND ".join(rules.thresholds("c4", "en")))
    assert rules.expand("words > 9", "en") == "words > 9"
    assert rules.expand("flagged_words < 1", "en") == "flagged_words < 1"


def test_each_language_has_its_own_numbers() -> None:
    assert rules.expand("gopher_quality", "en").startswith("words >= 50 AND words <= 100000 AND mean_word_chars >= 3")
    assert rules.expand("gopher_quality", "ja").startswith("words >= 108 AND words <= 216000 AND mean_word_chars >= 1")
    assert rules.expand("gopher_repetition", "de") == " AND ".join(
        f"{clause} {numbers['default'][0]:g}" for clause, numbers in rules.table()["gopher_repetition"].items()
    )


def test_a_rule_without_thresholds_for_a_language() -> None:
    with pytest.raises(RecipeError, match="the rule `stopwords` has no thresholds for `de`") as caught:
        rules.expand("words > 1 AND stopwords", "de")
    assert caught.value.hint == "leave it out for this language; it has `en`, `fi`, `hi`, `ja`, `vi`"


def removed(lang: str, by: str, rule: str) -> set[str]:
    """The ids of the sample's texts in a language that a rule, as it is for another, removes."""
    rows = [json.loads(line) for line in (SAMPLE / f"{lang}.jsonl").read_text("utf-8").splitlines()]
    columns = measures(pa.chunked_array([pa.array([row["text"] for row in rows], pa.large_string())]), lang)
    frame = pl.DataFrame({name: np.asarray(column) for name, column in columns.items()})
    kept = frame.select(pl.sql_expr(rules.expand(rule, by)).alias("kept"))["kept"]
    return {row["id"] for row, keep in zip(rows, kept, strict=True) if not keep}


@pytest.mark.parametrize("lang", ["fi", "hi", "ja", "vi"])
def test_clean_text_stays_and_noise_goes(lang: str) -> None:
    gone = set().union(*(removed(lang, lang, rule) for rule in NAMES))
    assert all("-noise-" in name for name in gone)
    assert len(gone) >= 3


def test_clean_english_stays_but_for_dialogues_that_the_published_numbers_remove() -> None:
    gone = set().union(*(removed("en", "en", rule) for rule in NAMES))
    assert all("-noise-" in name or "-dialogue-" in name for name in gone)
    assert removed("en", "en", "gopher_repetition") == {"en-noise-009"}


def test_the_english_numbers_would_remove_clean_japanese() -> None:
    assert len(removed("ja", "en", "gopher_quality")) > 80


def test_calibrate_prints_where_thresholds_stand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "clean.jsonl"
    file.write_text("".join(json.dumps({"text": "sana ja " * n}) + "\n" for n in range(10, 30)))
    rules.main(["calibrate", str(file), "--lang", "fi"])
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "20 texts, fi"
    words = next(line.split() for line in out if "words >=" in line)
    assert words[1:5] == ["words", ">=", "36", "40.00"]  # 10 to 17 times two words are fewer than 36
    assert float(words[9]) == 39  # the median of 20, 22 ... 58
    assert len(out) == 2 + sum(len(clauses) for clauses in rules.table().values())
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(DataError, match="there is no text"):
        rules.main(["calibrate", str(empty), "--lang", "fi"])
