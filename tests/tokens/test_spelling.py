"""What a tokenizer cannot spell is found in tokenizers of every kind, and is refused, or counts for nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import doc, new_work, tiny_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from aurora_m.core.errors import DataError
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.tokens import spelling as module
from aurora_m.tokens.shards import Shards, shard
from aurora_m.tokens.spelling import Spelling, Unspelled, check_sources
from aurora_m.tokens.tokenizer import num_ids, open_tokenizer, take_tokenizer

ENGLISH = "the cat sat on the mat and the dog ran to the house"
HINDI = "बिल्ली चटाई पर बैठी थी"
LETTERS = sorted({*ENGLISH})


def unigram(unknown: bool = True) -> Tokenizer:
    """SentencePiece's kind without byte fallback: T5, XGLM, mBART."""
    pieces = [("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS), ("▁the", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, 1 if unknown else None))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["</s>", "<unk>"])
    return tokenizer


def letters(unk: str | None) -> Tokenizer:
    """A BPE over letters; without an unknown token it drops what it does not know."""
    tokens = ["</s>", *LETTERS, "▁", *([unk] if unk else [])]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, [], unk_token=unk))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def fallback(missing: str = "") -> Tokenizer:
    """Llama's kind: what is no token is its bytes."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = ["<unk>", "</s>", *(name for name in names if name != missing), "▁", *LETTERS]
    vocab = {token: n for n, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    spaces = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    return tokenizer


def byte_level(missing: str = "") -> Tokenizer:
    """GPT-2's kind, perhaps without some of the bytes."""
    alphabet = sorted({*pre_tokenizers.ByteLevel.alphabet()} - {*missing})
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(["</s>", *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def words(model: Any = models.WordLevel) -> Tokenizer:
    """Words, and one token for all others."""
    tokenizer = Tokenizer(model({w: n for n, w in enumerate(["[UNK]", "</s>", *ENGLISH.split()])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def lower() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


KINDS: dict[str, tuple[Callable[[], Tokenizer], str]] = {
    "unigram": (unigram, HINDI.replace(" ", "")),
    "BPE with <unk>": (lambda: letters("<unk>"), HINDI.replace(" ", "")),
    "BPE that drops": (lambda: letters(None), HINDI.replace(" ", "")),
    "WordLevel": (words, HINDI.replace(" ", "")),
    "WordPiece": (lambda: words(models.WordPiece), HINDI.replace(" ", "")),
    "byte fallback": (fallback, ""),
    "bytes": (byte_level, ""),
    "bytes without those of Hindi": (lambda: byte_level("à"), HINDI.replace(" ", "")),  # 0xE0, with which all begin
    "fallback without those of Hindi": (lambda: fallback("<0xE0>"), HINDI.replace(" ", "")),
}


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """As a base has it."""
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')


def opened(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_token_is_found(kind: str) -> None:
    make, lost = KINDS[kind]
    spelling = Spelling(opened(make()))
    assert spelling.unspelled(HINDI) == lost
    assert spelling.unspelled(ENGLISH) == ""
    assert not spelling.changed(ENGLISH)
    assert spelling.whole == (kind in ("byte fallback", "bytes"))
    assert spelling.unspelled(f"the cat {HINDI} sat") == lost
    assert spelling.unspelled("") == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_cannot_be_spelled_is_refused(tmp_path: Path, kind: str) -> None:
    make, lost = KINDS[kind]
    tokenizer = opened(make())
    check_sources(tokenizer, {"a": source(tmp_path / "a", ENGLISH)}, print)
    for number, kept in enumerate(("docs", "held")):
        hindi = {"a": source(tmp_path / "a", ENGLISH), "b": source(tmp_path / f"b{number}", HINDI, kind=kept)}
        if not lost:
            check_sources(tokenizer, hindi, print)
            continue
        with pytest.raises(DataError) as caught:
            check_sources(tokenizer, hindi, print)
        share = len(lost.encode()) / len(HINDI.encode())
        chars = ", ".join(f"`{char}`" for char in [*dict.fromkeys(lost)][:5])
        assert caught.value.what == f"the base's tokenizer cannot spell {share:.1%} of the text in `en`: {chars}"
        assert caught.value.at == "source.b"
        assert caught.value.hint.startswith("choose a base that can (byte-level, or with byte fallback)")


def source(folder: Path, *texts: str, lang: str = "en", kind: str = "docs") -> Artifact:
    write_docs(folder, [doc(str(n), text, lang, folder.name) for n, text in enumerate(texts)], kind)
    return Artifact(folder, "", {})


def test_one_language_of_a_source_of_many(tmp_path: Path) -> None:
    rows = [*(doc(f"e{n}", ENGLISH) for n in range(150)), doc("h", HINDI, "hi")]
    write_docs(tmp_path, rows)
    tokenizer = opened(unigram())
    of_all = Unspelled()
    of_all.add(Spelling(tokenizer), [row["text"] for row in rows])
    assert of_all.share < module.MOST_UNSPELLED
    with pytest.raises(DataError, match="of the text in `hi`"):
        check_sources(tokenizer, {"web": Artifact(tmp_path, "", {})}, print)


def test_a_little_is_said_and_counted(tmp_path: Path) -> None:
    said: list[str] = []
    texts = [ENGLISH] * 99 + [f"{ENGLISH} {HINDI[:3]}"]
    check_sources(opened(unigram()), {"a": source(tmp_path / "a", *texts)}, said.append)
    assert said == ["  tokenizer: 0.176% of source `a` cannot be spelled, and counts for nothing"]


@pytest.mark.parametrize("change", ["lower case", "no accents", "no decoder", "no spaces"])
def test_text_that_does_not_come_back_is_refused(tmp_path: Path, change: str) -> None:
    tokenizer, text = byte_level(), "The Cat sat über den Zaun"
    if change == "lower case":
        tokenizer = lower()
    elif change == "no accents":
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    elif change == "no decoder":
        tokenizer.decoder = None
    else:
        tokenizer.normalizer = normalizers.Replace(Regex(" "), "")
    with pytest.raises(DataError) as caught:
        check_sources(opened(tokenizer), {"a": source(tmp_path / "a", text)}, print)
    assert caught.value.at == "source.a"
    if change == "no spaces":
        assert caught.value.what == (
            'the base\'s tokenizer changes 1 of 1 documents: "The Cat sat" becomes "TheCatsatüb"'
        )


def test_what_sentencepiece_is_known_to_do_is_no_change(tmp_path: Path) -> None:
    tokenizer = opened(unigram())
    for text in ("the  cat", " the cat", "ｔｈｅ cat", "the\u00a0cat"):
        assert Spelling(tokenizer).unspelled(text) == ""
        assert not Spelling(tokenizer).changed(text)


def test_the_names_of_special_tokens_are_text(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(tiny_tokenizer(tmp_path).path)
    assert Spelling(tokenizer).whole
    assert not Spelling(tokenizer).changed("a <|endoftext|> b")


def test_the_base_is_probed_when_its_tokenizer_is_taken(tmp_path: Path) -> None:
    save(unigram(), tmp_path)
    model = Artifact(tmp_path, "", {})
    taken = take_tokenizer(new_work(tmp_path / "a"), model=model, docs={"en": source(tmp_path / "en", ENGLISH)})
    assert taken.vocab == len(LETTERS) + 4
    with pytest.raises(DataError, match="cannot spell"):
        take_tokenizer(new_work(tmp_path / "b"), model=model, docs={"hi": source(tmp_path / "hi", HINDI)})


def test_shards_count_exactly_and_refuse(tmp_path: Path) -> None:
    save(unigram(), tmp_path)
    tokenizer = Artifact(tmp_path, "", {})
    texts = [ENGLISH] * 99 + [f"{ENGLISH} {HINDI[:3]}"]
    facts = shard(new_work(tmp_path / "w1"), docs=source(tmp_path / "a", *texts), tokenizer=tokenizer)
    assert facts.unspelled_bytes == 9
    assert (
        shard(new_work(tmp_path / "w2"), docs=source(tmp_path / "b", ENGLISH), tokenizer=tokenizer).unspelled_bytes
        is None
    )
    with pytest.raises(DataError, match="cannot spell") as caught:
        shard(new_work(tmp_path / "w3"), docs=source(tmp_path / "hindi", HINDI), tokenizer=tokenizer)
    assert caught.value.at == "source.hindi"


def test_ids_beyond_16_bits_of_a_small_vocabulary(tmp_path: Path) -> None:
    """A trimmed vocabulary: few tokens, and ids as they were in the large one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"</s>": 0, **{token: 66_000 + n for n, token in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    assert tokenizer.get_vocab_size() == 257
    assert num_ids(tokenizer) == 66_256
    save(tokenizer, tmp_path)
    work = new_work(tmp_path / "w")
    facts = shard(work, docs=source(tmp_path / "a", "the cat"), tokenizer=Artifact(tmp_path, "", {}))
    assert facts.dtype == "uint32"
    ids = Shards(work.out, facts.dtype).read(0, facts.tokens).tolist()
    assert tokenizer.decode(ids[:-1]) == "the cat"
    assert min(ids[:-1]) >= 66_000


def test_white_space_means_something_in_code(tmp_path: Path) -> None:
    tokenizer = opened(unigram())
    tokenizer.normalizer = normalizers.Replace(Regex(r"\s+"), " ")
    text = "the cat\n    sat"
    for lang in ("en", "code"):
        docs = {"s": source(tmp_path / lang, text, lang=lang)}
        if lang == "en":
            check_sources(tokenizer, docs, print)
            continue
        with pytest.raises(DataError) as caught:
            check_sources(tokenizer, docs, print)
        assert caught.value.what.endswith(r'documents: "the cat\n    sat" becomes "the cat sat"')
