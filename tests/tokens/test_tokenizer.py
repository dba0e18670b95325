"""Tokenizers: trained the same each time, lossless, and never fooled by a mark's name in a text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import doc, new_work, tiny_tokenizer
from tokenizers import Tokenizer, models

from aurora_m.core.ends import Ends, Mark, ends_of
from aurora_m.core.errors import RecipeError
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.tokens.tokenizer import (
    SPECIAL,
    TokenizerFacts,
    fim_ids,
    open_tokenizer,
    take_tokenizer,
    train_tokenizer,
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A trained tokenizer, opened."""
    return open_tokenizer(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")).path)


@given(st.text(max_size=60))
def test_every_text_comes_back(encoder: Tokenizer, text: str) -> None:
    ids = encoder.encode(text, add_special_tokens=False).ids
    assert encoder.decode(ids, skip_special_tokens=False) == text
    assert min(ids, default=4) >= 4


def test_marks_come_first_and_digits_stand_alone(encoder: Tokenizer) -> None:
    assert [encoder.token_to_id(name) for name in SPECIAL] == [0, 1, 2, 3]
    assert fim_ids(encoder) == (1, 2, 3)
    assert encoder.encode("2024").tokens == ["2", "0", "2", "4"]
    assert len(encoder.encode("the cat").ids) < len("the cat")


def test_the_name_of_a_mark_in_a_text_is_text(encoder: Tokenizer) -> None:
    text = "".join(SPECIAL)
    for ids in (encoder.encode(text).ids, encoder.encode_batch_fast([text], add_special_tokens=False)[0].ids):
        assert not {0, 1, 2, 3} & set(ids)
        assert encoder.decode(ids) == text


def test_training_is_a_pure_function(tmp_path: Path) -> None:
    docs = {}
    for name, text in {"b": "yö on pitkä " * 5, "a": "the cat sat " * 5}.items():
        write_docs(tmp_path / name, [doc(name, text)])
        docs[name] = Artifact(tmp_path / name, "", {})
    works = [new_work(tmp_path / f"work{number}") for number in range(2)]
    facts = [
        train_tokenizer(work, docs=given, vocab=270)
        for work, given in zip(works, (docs, dict(reversed(docs.items()))), strict=True)
    ]
    assert facts == [TokenizerFacts(270)] * 2
    one, two = ((work.out / "tokenizer.json").read_bytes() for work in works)
    assert one == two


def test_a_vocabulary_without_room_for_all_bytes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        train_tokenizer(new_work(tmp_path), docs={}, vocab=259)
    assert (caught.value.what, caught.value.at, caught.value.hint) == (
        "a vocabulary of 259 has no room for all bytes",
        "base.scratch.vocab",
        "write at least 260",
    )


def test_taken_from_a_model_byte_for_byte(tmp_path: Path) -> None:
    model = tiny_tokenizer(tmp_path)
    work = new_work(tmp_path / "take")
    assert take_tokenizer(work, model=model, docs={}) == TokenizerFacts(280)
    assert (work.out / "tokenizer.json").read_bytes() == (model.path / "tokenizer.json").read_bytes()
    assert ends_of(work.out) == ends_of(model.path) == Ends(Mark(0, "<|endoftext|>", "Aurora's own"))


def test_it_neither_cuts_nor_pads(tmp_path: Path) -> None:
    folder = tiny_tokenizer(tmp_path).path
    cutting = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cutting.enable_truncation(2)
    cutting.enable_padding(length=9)
    cutting.save(str(folder / "tokenizer.json"))
    assert len(cutting.encode("1234").ids) == 9
    assert open_tokenizer(folder).encode("1234").tokens == ["1", "2", "3", "4"]


def test_two_marks_are_no_infilling() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_special_tokens(["<fim_prefix>", "<fim_suffix>"])
    assert fim_ids(tokenizer) is None
