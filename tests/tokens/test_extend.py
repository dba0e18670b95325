"""New tokens: what a slow trainer learns, reached by encoding, with every old id, merge and text as it was."""

import json
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import doc, new_work, tiny_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.tokens.encoder import Encoder
from aurora_m.tokens.extend import (
    ADDED,
    ExtendedFacts,
    check_byte_level,
    check_extended,
    count_pieces,
    extend_tokenizer,
    learn,
    names_of,
    parts,
    with_merges,
)
from aurora_m.tokens.tokenizer import open_tokenizer

ENGLISH = "the cat sat on the mat and the dog ran to the house, 2024\n"
FINNISH = "Yöllä hyvää päivää sanoi pöllö; hyvää yötä, sanoi kissa. Työ tekijäänsä kiittää, pöllö nukkuu päivällä.\n"
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたか見当がつかぬ。猫である吾輩。\n"
OLD, NEW = 285, 60

# --- learning


def slow(pieces: dict[tuple[int, ...], int], names: list[str], limit: int) -> list[tuple[int, int]]:
    """The same, as one would write it down first."""
    words, names, merges = [[*piece] for piece in pieces], [*names], []
    while len(merges) < limit:
        counts: Counter[tuple[int, int]] = Counter()
        for word, weight in zip(words, pieces.values(), strict=True):
            for pair in pairwise(word):
                counts[pair] += weight
        found = [(-n, pair) for pair, n in counts.items() if n >= 2 and names[pair[0]] + names[pair[1]] not in names]
        if not found:
            break
        merges.append(min(found)[1])
        names.append("".join(names[side] for side in merges[-1]))
        for word in words:
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == merges[-1]:
                    word[at : at + 2] = [len(names) - 1]
                at += 1
    return merges


def as_bytes(pieces: dict[tuple[int, ...], int]) -> Counter[bytes]:
    return Counter({np.array(piece, np.uint32).tobytes(): weight for piece, weight in pieces.items()})


PIECES = st.dictionaries(st.lists(st.integers(0, 3), min_size=2, max_size=9).map(tuple), st.integers(1, 4), max_size=9)


@given(PIECES, st.integers(0, 12), st.booleans())
@settings(max_examples=150)
def test_it_learns_what_a_slow_trainer_learns(pieces: dict[tuple[int, ...], int], limit: int, taken: bool) -> None:
    names = ["a", "b", "c", "d", *(["ab", "cc", "aba"] if taken else [])]
    found = [*learn(as_bytes(pieces), names, limit)]
    assert [pair for pair, _ in found] == slow(pieces, names, limit)


def test_runs_of_one_token_are_merged_from_the_left() -> None:
    found = [*learn(as_bytes({(0, 0, 0, 0, 0): 3, (1, 0, 0, 0): 1}), ["a", "b"], 9)]
    assert found == [((0, 0), 7), ((2, 0), 4), ((2, 3), 3)]  # aa aa a and b aa a; then aa aaa and b aaa; then aaaaa


def test_a_pair_whose_text_is_a_token_is_passed_by() -> None:
    assert [*learn(as_bytes({(0, 1): 9, (1, 0): 2}), ["a", "b", "ab"], 9)] == [((1, 0), 2)]


def test_what_new_tokens_stand_for() -> None:
    assert parts(5, [(0, 1), (5, 2), (6, 5)]) == [(0, 1), (0, 1, 2), (0, 1, 2, 0, 1)]


# --- the step


def given_docs(folder: Path, texts: dict[str, str]) -> dict[str, Artifact]:
    for name, text in texts.items():
        write_docs(folder / name, [doc(f"{name}{n}", text) for n in range(3)])
    return {name: Artifact(folder / name, "", {}) for name in texts}


def extended(folder: Path, base: Artifact, tokens: int = NEW, **texts: str) -> tuple[Artifact, ExtendedFacts]:
    docs = given_docs(folder / "docs", texts or {"fi": FINNISH, "ja": JAPANESE})
    work = new_work(folder / "extended")
    facts = extend_tokenizer(work, tokenizer=base, docs=docs, tokens=tokens)
    return Artifact(work.out, "", to_json(facts)), facts


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tokenizer of English alone."""
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"), OLD)


@pytest.fixture(scope="module")
def made(base: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same with tokens of Finnish and Japanese."""
    return extended(tmp_path_factory.mktemp("made"), base)[0]


def test_old_ids_and_merges_stay_and_new_ones_follow(base: Artifact, made: Artifact) -> None:
    old, new = (json.loads((folder.path / "tokenizer.json").read_text()) for folder in (base, made))
    assert new["model"]["merges"][: len(old["model"]["merges"])] == old["model"]["merges"]
    assert len(new["model"]["merges"]) == len(old["model"]["merges"]) + NEW
    assert old["model"]["vocab"].items() <= new["model"]["vocab"].items()
    assert sorted(new["model"]["vocab"].values()) == [*range(OLD + NEW)]
    assert {key: new[key] for key in new if key != "model"} == {key: old[key] for key in old if key != "model"}
    assert made.read(ExtendedFacts).vocab == open_tokenizer(made.path).get_vocab_size() == OLD + NEW


def test_every_new_token_is_reached_by_its_own_text(base: Artifact, made: Artifact) -> None:
    before, after = open_tokenizer(base.path), open_tokenizer(made.path)
    rows = read_jsonl(made.path / ADDED)
    assert [row["id"] for row in rows] == [*range(OLD, OLD + NEW)]
    whole = 0
    for row in rows:
        name = after.id_to_token(row["id"])
        assert [part.id for part in after.model.tokenize(name)] == [row["id"]]
        assert [part.id for part in before.model.tokenize(name)] == row["parts"]  # what the base makes of it
        assert len(row["parts"]) >= 2
        text = after.decode([row["id"]])
        if "\ufffd" not in text:  # some stand for a part of a character, and have no text alone
            whole += 1
            assert after.encode(text).ids == [row["id"]]
    assert whole > NEW / 2


def test_texts_without_new_merges_keep_their_ids(base: Artifact, made: Artifact) -> None:
    before, after = open_tokenizer(base.path), open_tokenizer(made.path)
    for text in (ENGLISH, "<fim_prefix> 2024", "house\n\n  mat", "def f(x): return x"):
        assert after.encode(text).ids == before.encode(text).ids
    assert after.encode(FINNISH).ids != before.encode(FINNISH).ids
    assert [after.token_to_id(name) for name in ("<|endoftext|>", "<fim_prefix>")] == [0, 1]


@given(st.text(st.sampled_from("päivä hyvötn吾輩は猫。\n1"), max_size=30) | st.text(max_size=30))
def test_every_text_comes_back_and_holds_no_more_tokens(base: Artifact, made: Artifact, text: str) -> None:
    before, after = (open_tokenizer(folder.path).encode(text).ids for folder in (base, made))
    assert open_tokenizer(made.path).decode(after) == text
    assert len(after) <= len(before)
    spelled = {row["id"]: row["parts"] for row in read_jsonl(made.path / ADDED)}
    assert [part for token in after for part in spelled.get(token, [token])] == before  # only joined, never cut anew


def test_the_facts_say_what_encoding_gives(base: Artifact, made: Artifact) -> None:
    texts = [FINNISH, JAPANESE]
    before, after = (
        [3 * len(open_tokenizer(folder.path).encode(text).ids) for text in texts] for folder in (base, made)
    )
    assert made.facts == {
        **{"vocab": OLD + NEW, "tokens_added": NEW, "bytes": 3 * sum(len(text.encode()) for text in texts)},
        **{"tokens_before": sum(before), "tokens_after": sum(after)},
    }
    assert sum(after) < 0.6 * sum(before)


def test_the_fast_encoder_agrees(made: Artifact) -> None:
    texts = pa.chunked_array([[FINNISH, JAPANESE, ENGLISH, "päivää<|endoftext|>"]])
    assert Encoder(made.path).agrees(texts)


def test_it_is_a_pure_function(base: Artifact, made: Artifact, tmp_path: Path) -> None:
    again, facts = extended(tmp_path, base, ja=JAPANESE, fi=FINNISH)
    assert facts == made.read(ExtendedFacts)
    for name in ("tokenizer.json", ADDED):
        assert (again.path / name).read_bytes() == (made.path / name).read_bytes()


def test_too_little_text(base: Artifact, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        extended(tmp_path, base, 10_000)
    assert caught.value.what.endswith(" new tokens, not 10000")
    assert (caught.value.at, caught.value.hint) == ("base.extend.tokens", "ask for fewer `tokens`, or add text")


def test_an_empty_source(base: Artifact, tmp_path: Path) -> None:
    write_docs(tmp_path / "fi", [])
    docs = {"fi": Artifact(tmp_path / "fi", "", {})}
    with pytest.raises(RecipeError, match="no text is left of source `fi`") as caught:
        extend_tokenizer(new_work(tmp_path / "work"), tokenizer=base, docs=docs, tokens=3)
    assert caught.value.at == "base.extend.sources"


# --- tokenizers of other families


def like_llama_3(data: dict[str, Any]) -> None:
    """Marks stand beside the model, after all its ids; pieces that are tokens are taken whole."""
    names = [added["content"] for added in data["added_tokens"]]
    vocab = {name: index for name, index in data["model"]["vocab"].items() if name not in names}
    data["model"]["vocab"] = {name: new for new, name in enumerate(sorted(vocab, key=vocab.__getitem__))}
    for index, added in enumerate(data["added_tokens"]):
        added["id"] = len(vocab) + index
    data["model"]["ignore_merges"] = True


def like_gpt_2(data: dict[str, Any]) -> None:
    """Merges are written as text."""
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]


def with_words(data: dict[str, Any]) -> None:
    """A token that is no mark stands beside the model."""
    word = {"content": "sanoi", "id": OLD, "special": False}
    data["added_tokens"].append({**data["added_tokens"][0], **word})


@pytest.mark.parametrize("change", [like_llama_3, like_gpt_2, with_words])
def test_other_families(base: Artifact, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((base.path / "tokenizer.json").read_text())
    change(data)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/tokenizer.json").write_text(json.dumps(data))
    other, (found, facts) = (
        Artifact(tmp_path / "other", "", {}),
        extended(tmp_path, Artifact(tmp_path / "other", "", {})),
    )
    before, after = open_tokenizer(other.path), open_tokenizer(found.path)
    size = before.get_vocab_size()
    assert after.get_vocab_size() == facts.vocab == size + NEW
    for token, index in before.get_vocab().items():
        assert after.token_to_id(token) == index
    assert after.encode(ENGLISH).ids == before.encode(ENGLISH).ids
    spelled = {row["id"]: row["parts"] for row in read_jsonl(found.path / ADDED)}
    for text in (FINNISH, JAPANESE, "<|endoftext|>", " sanoi", "sanoi"):
        ids = after.encode(text).ids
        assert after.decode(ids, skip_special_tokens=False) == text
        assert [part for token in ids for part in spelled.get(token, [token])] == before.encode(text).ids
    count = sum(3 * len(after.encode(text).ids) for text in (FINNISH, JAPANESE))
    assert facts.tokens_after == count
    after.encode_special_tokens = False
    assert after.encode("<|endoftext|>").ids == [before.token_to_id("<|endoftext|>")]


def word_level() -> Tokenizer:
    return Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))


def spelled_in_characters() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({"a": 0}, [], byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def with_suffixes() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    return tokenizer


@pytest.mark.parametrize("make", [word_level, spelled_in_characters, with_suffixes])
def test_tokenizers_that_cannot_be_extended(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    with pytest.raises(RecipeError) as caught:
        check_byte_level(tokenizer, json.loads(tokenizer.to_str()))
    assert caught.value.what == "only a byte-level BPE can be extended, and the base's tokenizer is another"


def test_pieces_are_those_of_the_pre_tokenizer() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "Ġ": 2, "ab": 3}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_tokens(["<x>"])
    pieces: Counter[bytes] = Counter()
    assert count_pieces(tokenizer, ["aab aab", "b<x>aab<x>", ""], pieces) == 5 + 5
    assert {tuple(np.frombuffer(piece, np.uint32).tolist()): n for piece, n in pieces.items()} == {
        (0, 3): 2,
        (2, 0, 3): 1,
    }


# --- what would go wrong is found


def test_lost_merges_and_moved_ids_are_found(base: Artifact) -> None:
    tokenizer, data = open_tokenizer(base.path), json.loads((base.path / "tokenizer.json").read_text())
    names, pieces = names_of(tokenizer), Counter[bytes]()
    count_pieces(tokenizer, [FINNISH * 3], pieces)
    merges = [pair for pair, _ in learn(pieces, names, 20)]
    right = with_merges(data, names, merges)
    check_extended(tokenizer, right, names, merges)

    lost = {**right, "model": {**right["model"], "merges": right["model"]["merges"][:-1]}}
    with pytest.raises(DataError, match="extending changes 0 tokens of the base, and 1 new tokens cannot be reached"):
        check_extended(tokenizer, lost, names, merges)
    vocab = {**right["model"]["vocab"], "a": right["model"]["vocab"]["b"], "b": right["model"]["vocab"]["a"]}
    with pytest.raises(DataError, match="extending changes 2 tokens of the base"):
        check_extended(tokenizer, {**right, "model": {**right["model"], "vocab": vocab}}, names, merges)


def test_a_vocabulary_that_was_trained_apart_cannot_be_reached(base: Artifact) -> None:
    """The control of arXiv 2512.03989: tokens of another tokenizer, appended with its merges."""
    tokenizer, data = open_tokenizer(base.path), json.loads((base.path / "tokenizer.json").read_text())
    apart = Tokenizer(models.BPE())
    apart.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s?\S+"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    apart.decoder = decoders.ByteLevel()
    words = ["the", "mat", "then", "that", "other", "hat", "there", *FINNISH.split()]
    random.Random(1).shuffle(words)
    trainer = trainers.BpeTrainer(
        vocab_size=330, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    apart.train_from_iterator([" ".join(words) * 3], trainer)
    model, names = json.loads(apart.to_str())["model"], names_of(tokenizer)
    new = [pair for pair in model["merges"] if "".join(pair) not in data["model"]["vocab"]]
    vocab = {**data["model"]["vocab"], **{"".join(pair): OLD + n for n, pair in enumerate(new)}}
    both = {**data, "model": {**data["model"], "vocab": vocab, "merges": [*data["model"]["merges"], *new]}}
    with pytest.raises(DataError, match="new tokens cannot be reached"):
        check_extended(tokenizer, both, names, [(0, 0)] * len(new))
