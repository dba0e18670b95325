"""What of a text a tokenizer cannot spell: what becomes its unknown token, and what is dropped without a token.

A model that predicts `<unk>` looks as if it knew the text behind it. So a source that a tokenizer cannot spell is
refused, and the little that other sources have of it counts for nothing in bits per byte.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn
from unicodedata import normalize

from tokenizers import Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel

from aurora_m.core.errors import DataError
from aurora_m.core.step import Artifact
from aurora_m.tokens.sample import sampled

MOST_UNSPELLED = 0.01  # of the bytes of a source, or of a language of it
LEAST_SHARE = 0.001  # of a source: languages with less of it are not looked at alone
ROUND_TRIPS = 500  # documents of a source that are encoded and decoded again
MOST_CHANGED = 0.01  # of the documents of a source that come back as other text
CODE = "code"  # a language in which white space has a meaning
SHOWN, AROUND = 5, 8  # characters in an error
UNUSED = {0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100)}  # bytes that no character has in UTF-8


class Spelling:
    """Finds the characters of texts for which a tokenizer has no token. `open_tokenizer` gives one that is right."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._dropped: dict[str, bool] = {}  # of characters that were looked at

    @cached_property
    def unknown(self) -> frozenset[int]:
        """The ids that stand for whatever has no token; empty if nothing does, or if every byte has a token."""
        model = self.tokenizer.model
        if isinstance(model, models.Unigram):
            index = json.loads(model.__getstate__()).get("unk_id")
        else:
            index = None if model.unk_token is None else self.tokenizer.token_to_id(model.unk_token)
        return frozenset() if index is None or self.whole else frozenset([int(index)])

    @cached_property
    def whole(self) -> bool:
        """Whether every byte that texts have has a token, so that any text can be spelled."""
        model, vocab = self.tokenizer.model, self.tokenizer.get_vocab(with_added_tokens=False)
        if isinstance(model, models.BPE):
            falls_back = model.byte_fallback
        else:
            falls_back = isinstance(model, models.Unigram) and bool(json.loads(model.__getstate__())["byte_fallback"])
        if falls_back:
            return all(f"<0x{byte:02X}>" in vocab for byte in {*range(256)} - UNUSED)
        parts = [self.tokenizer.pre_tokenizer, self.tokenizer.normalizer]
        byte_level = any(part is not None and b'"ByteLevel"' in part.__getstate__() for part in parts)
        alphabet = {*ByteLevel.alphabet()} - {chr(byte) for byte in UNUSED}  # these stand for themselves there
        return isinstance(model, models.BPE) and byte_level and alphabet <= vocab.keys()

    def unspelled(self, text: str) -> str:
        """The characters of a text that no token spells, in their order."""
        if self.whole:
            return ""
        dropped = {char for char in {*text} if self._is_dropped(char)}
        hidden = self._hidden(text) if self.unknown else set()
        if not (dropped or hidden):
            return ""
        return "".join(char for at, char in enumerate(text) if at in hidden or char in dropped)

    def changed(self, text: str, lang: str = "") -> tuple[str, str] | None:
        """What a text that can be spelled was and comes back as, where that is another.

        White space and compatible forms do not count, but in code: SentencePiece's usual rules join spaces and write
        characters in their compatible form (NFKC).
        """
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        plain = str.strip if lang == CODE else _plain
        old, new = plain(text), plain(self.tokenizer.decode(ids, skip_special_tokens=False))
        return (old, new) if old != new else None

    def _hidden(self, text: str) -> set[int]:
        """Where the characters stand that became unknown tokens."""
        row = self.tokenizer.encode(text, add_special_tokens=False)
        spans = (span for index, span in zip(row.ids, row.offsets, strict=True) if index in self.unknown)
        return {at for start, end in spans for at in range(start, end)}

    def _is_dropped(self, char: str) -> bool:
        """Whether a character is left out, or becomes another, without an unknown token that would show it."""
        if char not in self._dropped:
            ids = self.tokenizer.encode(char, add_special_tokens=False).ids
            self._dropped[char] = self.unknown.isdisjoint(ids) and self.changed(char) is not None
        return self._dropped[char]


def _plain(text: str) -> str:
    return " ".join(normalize("NFKC", text).split())


@dataclass
class Unspelled:
    """How much of some texts a tokenizer cannot spell."""

    num_bytes: int = 0  # of the texts
    lost_bytes: int = 0
    examples: list[str] = field(default_factory=list)  # some of the lost characters, each once

    @classmethod
    def sum(cls, parts: Iterable["Unspelled"]) -> "Unspelled":
        """All parts together."""
        total = cls()
        for part in parts:
            total._plus(part.num_bytes, part.lost_bytes, part.examples)
        return total

    def __bool__(self) -> bool:
        return self.lost_bytes > 0

    @property
    def share(self) -> float:
        """Of the bytes."""
        return self.lost_bytes / self.num_bytes if self.num_bytes else 0.0

    def add(self, spelling: Spelling, texts: Iterable[str]) -> None:
        """Count some texts."""
        for text in texts:
            lost = spelling.unspelled(text)
            self._plus(len(text.encode()), len(lost.encode()), lost)

    def _plus(self, num_bytes: int, lost_bytes: int, chars: Iterable[str]) -> None:
        self.num_bytes += num_bytes
        self.lost_bytes += lost_bytes
        if len(self.examples) < SHOWN:
            self.examples = [*dict.fromkeys([*self.examples, *chars])][:SHOWN]

    def check(self, at: str, lang: str = "") -> None:
        """DataError, with `at`, if it is too much."""
        if self.share <= MOST_UNSPELLED:
            return
        shown = ", ".join(f"`{char}`" if char.isprintable() else f"U+{ord(char):04X}" for char in self.examples)
        of = f"the text in `{lang}`" if lang else "the text"
        what = f"the base's tokenizer cannot spell {self.share:.1%} of {of}: {shown}"
        hint = "choose a base that can (byte-level, or with byte fallback), or leave such text out: `<unk>` is no text"
        raise DataError(what, at=at, hint=hint)


def check_texts(tokenizer: Tokenizer, rows: Iterable[tuple[str, str]], at: str) -> None:
    """DataError, with `at`, if the texts of some language cannot be spelled. `rows` are language and text."""
    spelling, by_lang = Spelling(tokenizer), defaultdict[str, Unspelled](Unspelled)
    for lang, text in rows:
        by_lang[lang].add(spelling, [text])
    for lang, counts in by_lang.items():
        counts.check(at, lang)


def check_sources(tokenizer: Tokenizer, docs: Mapping[str, Artifact], say: Callable[[str], None]) -> None:
    """Probe a tokenizer with a sample of every source's documents, those that are held out too.

    What is lost within the limits is said by `say`.
    errors  DataError if a source, or a language of it, cannot be spelled, or if documents come back as other text
    """
    spelling = Spelling(tokenizer)
    for source, artifact in docs.items():
        by_lang: dict[str, Unspelled] = defaultdict(Unspelled)
        changed: list[tuple[str, str]] = []
        num_docs = 0
        for lang, text in _sampled(artifact):
            by_lang[lang].add(spelling, [text])
            num_docs += 1
            if num_docs <= ROUND_TRIPS and not spelling.unspelled(text) and (pair := spelling.changed(text, lang)):
                changed.append(pair)
        whole = Unspelled.sum(by_lang.values())
        for lang, counts in by_lang.items():
            if counts.num_bytes >= LEAST_SHARE * whole.num_bytes:
                counts.check(f"source.{source}", lang)
        whole.check(f"source.{source}")
        read = min(num_docs, ROUND_TRIPS)
        if len(changed) > MOST_CHANGED * read:
            _raise_changed(changed, read, source)
        if whole:
            say(f"  tokenizer: {whole.share:.3%} of source `{source}` cannot be spelled, and counts for nothing")


def _sampled(docs: Artifact) -> Iterator[tuple[str, str]]:
    """Language and text of some documents."""
    for kind in ("docs", "held"):
        for table in sampled(docs.path, kind, ["lang", "text"]):
            yield from zip(table["lang"].to_pylist(), table["text"].to_pylist(), strict=True)


def _raise_changed(changed: Sequence[tuple[str, str]], num_docs: int, source: str) -> NoReturn:
    """Say that documents that can be spelled come back as other text, and show where the first does."""
    old, new = changed[0]
    at = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    part = slice(max(0, at - AROUND), at + AROUND)
    shown = f"{json.dumps(old[part], ensure_ascii=False)} becomes {json.dumps(new[part], ensure_ascii=False)}"
    what = f"the base's tokenizer changes {len(changed)} of {num_docs} documents: {shown}"
    hint = "what it writes would not be what it read: choose a base whose tokenizer gives text back"
    raise DataError(what, at=f"source.{source}", hint=hint)
