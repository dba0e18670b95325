"""The fast encoder gives the ids of Hugging Face's tokenizers, and where it does not, those encode."""

import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import doc, new_work
from tokenizers import Tokenizer, models, pre_tokenizers

from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.core.uri import SAMPLE
from aurora_m.tokens import encoder as encoders
from aurora_m.tokens.encoder import Encoder
from aurora_m.tokens.shards import Shards, shard
from aurora_m.tokens.tokenizer import train_tokenizer

PIECES = st.sampled_from(
    ["<|endoftext|>", "<fim_middle>", "päivä ", "हिन्दी ", "日本語。", "tiếng Việt", "\n\n", "  ", "def f(x):\n"]
)
TEXTS = st.lists(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join)), max_size=6)
SHARED = Path(__file__).parents[3] / "shared/data/tokenizers"


@lru_cache(maxsize=1)
def trained() -> Path:
    """A folder with a tokenizer for the five languages."""
    folder = Path(tempfile.mkdtemp())
    texts = [path.read_text() for path in sorted((SAMPLE / "texts").glob("*.jsonl"))]
    write_docs(folder / "docs", [doc(str(number), text[:20_000]) for number, text in enumerate(texts)])
    work = new_work(folder)
    train_tokenizer(work, docs={"all": Artifact(folder / "docs", "", {})}, vocab=900)
    return work.out


@lru_cache(maxsize=1)
def encoder() -> Encoder:
    return Encoder(trained())


def same(encoder: Encoder, texts: list[str]) -> None:
    (ids, bounds), (slow, slow_bounds) = encoder.encode(texts), encoder.encode_slowly(texts)
    assert (ids.tolist(), bounds.tolist()) == (slow.tolist(), slow_bounds.tolist())


@given(TEXTS)
@settings(max_examples=200)
def test_equal_on_any_text(texts: list[str]) -> None:
    same(encoder(), texts)


def real() -> Iterator[str]:
    yield from sorted(path.parent.name for path in SHARED.glob("*/tokenizer.json"))


@pytest.mark.skipif(not SHARED.exists(), reason="no tokenizers of other models beside the repository")
@pytest.mark.parametrize("name", real())
def test_equal_with_tokenizers_of_other_models(name: str) -> None:
    texts = [line for path in sorted((SAMPLE / "texts").glob("*.jsonl")) for line in path.read_text().splitlines()[:20]]
    same(Encoder(SHARED / name), [*texts, "a <|endoftext|> b", "", "\u0301x \r\n"])


def test_what_differs_is_encoded_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_docs(tmp_path / "docs", [doc("a", "yksi kaksi"), doc("b", "kolme")])
    wrong = Encoder.encode

    def off_by_one(self: Encoder, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        ids, bounds = wrong(self, texts)
        return ids + 1, bounds

    monkeypatch.setattr(encoders.Encoder, "encode", off_by_one)
    work = new_work(tmp_path)
    facts = shard(work, docs=Artifact(tmp_path / "docs", "", {}), tokenizer=Artifact(trained(), "", {}))
    assert facts.slow_shards == 1
    reference = Tokenizer.from_file(str(trained() / "tokenizer.json"))
    ids = Shards(work.out, facts.dtype).read(0, facts.tokens).tolist()
    assert ids[: len(reference.encode("yksi kaksi").ids)] == reference.encode("yksi kaksi").ids


def test_a_tokenizer_that_the_fast_encoder_does_not_know(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "yksi": 1, "kaksi": 2, "kolme": 3, "?": 4}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    write_docs(tmp_path / "docs", [doc("a", "kaksi yksi kolme")])
    work = new_work(tmp_path)
    facts = shard(work, docs=Artifact(tmp_path / "docs", "", {}), tokenizer=Artifact(tmp_path, "", {}))
    assert facts.slow_shards == 1
    assert Shards(work.out, facts.dtype).read(0, 4).tolist() == [2, 1, 3, 0]
