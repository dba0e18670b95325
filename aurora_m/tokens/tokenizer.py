"""Byte-level BPE tokenizers: train one for a base from scratch, and measure what languages cost under one."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from aurora_m.core.ends import EOS, ends_of
from aurora_m.core.errors import RecipeError
from aurora_m.core.faults import quiet_panics, translated
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import read_shards
from aurora_m.tokens.spelling import check_sources

FILE = "tokenizer.json"
FIM = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>")
SPECIAL = [EOS, *FIM]  # StarCoder's names, in StarCoder's order
# What merges may not cross. GPT-2's pattern tears vowel signs, which are marks, off Devanagari letters, so that Hindi
# costs twice the tokens it needs; here a word is letters and marks.
PIECES = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class TokenizerFacts:
    """What a tokenizer is."""

    vocab: int  # tokens, special ones included


def train_tokenizer(work: Work, *, docs: dict[str, Artifact], vocab: int) -> TokenizerFacts:
    """Train a byte-level BPE on documents; digits are split one by one, as in StarCoder, and marks stay with letters.

    docs    equal bytes of each are used
    vocab   number of tokens, the special ones included; at least 256 bytes + 4
    writes  tokenizer.json
    """
    if vocab < 256 + len(SPECIAL):
        raise RecipeError(
            f"a vocabulary of {vocab} has no room for all bytes", at="base.scratch.vocab", hint="write at least 260"
        )
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(even_texts(docs, "base.scratch.tokenizer_sources"), trainer)
    tokenizer.save(str(work.out / FILE))
    return TokenizerFacts(tokenizer.get_vocab_size())


def even_texts(docs: Mapping[str, Artifact], at: str, most: int | None = None) -> Iterator[list[str]]:
    """The first documents of every source, as many bytes of each as the smallest has, so that none takes all merges.

    `most` is how many bytes to read of all together. RecipeError, with `at`, if a source is empty.
    """
    sizes = {name: sum(_sizes(docs[name])) for name in sorted(docs)}
    budget = min(sizes.values())
    if not budget:
        empty = next(name for name, size in sizes.items() if not size)
        hint = "look at its decision with `aurora show`, or leave it out"
        raise RecipeError(f"no text is left of source `{empty}`", at=at, hint=hint)
    budget = budget if most is None else min(budget, most // len(sizes))
    for name in sorted(docs):
        left = budget
        for table in read_shards(docs[name].path, columns=["text"]):
            texts = []
            for text in table["text"].to_pylist():
                if left > 0:
                    texts.append(text)
                left -= len(text.encode())
            yield texts


def _sizes(docs: Artifact) -> Iterator[int]:
    for table in read_shards(docs.path, columns=["text"]):
        yield int(pc.sum(pc.binary_length(table["text"])).as_py() or 0)


def take_tokenizer(work: Work, *, model: Artifact, docs: dict[str, Artifact]) -> TokenizerFacts:
    """Take the tokenizer of a base model's folder, and how documents begin and end under it.

    docs    of every source, which it must be able to spell and give back
    errors  DataError if it cannot: see `spelling.check_sources`
    """
    shutil.copyfile(model.path / FILE, work.out / FILE)
    ends_of(model.path).write(work.out)
    tokenizer = open_tokenizer(work.out)
    check_sources(tokenizer, docs, work.log.say)
    return TokenizerFacts(tokenizer.get_vocab_size())


def open_tokenizer(folder: Path) -> Tokenizer:
    """Read a folder's tokenizer; it neither cuts nor pads, and a mark's name in a text is text, not the mark.

    DataError if the file holds none.
    """
    hint = "save the tokenizer again, with `tokenizer.save_pretrained(folder)`"
    with translated("the tokenizer cannot be used", str(folder / FILE), hint), quiet_panics():
        tokenizer = Tokenizer.from_file(str(folder / FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode_within(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text that stands within another: without the space that SentencePiece puts before a text alone."""
    alone, first, lines = (tokenizer.encode(t, add_special_tokens=False).ids for t in (text, "a", "\na"))
    if lines[-len(first) :] == first:  # nothing is put before a text
        return list(alone)
    before, whole = (tokenizer.encode(t, add_special_tokens=False).ids for t in ("\n", "\n" + text))
    return list(whole[len(before) :] if whole[: len(before)] == before else alone)


def decode_after(tokenizer: Tokenizer, prompt: Sequence[int], whole: Sequence[int]) -> str:
    """What the text of ids has behind the text of their beginning, a prompt.

    New ids alone may mean another text: SentencePiece takes the space off the first token of a text. Where a prompt
    ends within a character of several bytes, that character is new.
    """
    before, text = tokenizer.decode([*prompt]), tokenizer.decode([*whole])
    return str(text[num_shared(before, text) :])


def num_shared(one: Sequence[object], two: Sequence[object]) -> int:
    """How many ids two rows have in common at their beginning, or two texts characters."""
    same = (a == b for a, b in zip(one, two, strict=False))
    return next((at for at, equal in enumerate(same) if not equal), min(len(one), len(two)))


def num_ids(tokenizer: Tokenizer) -> int:
    """One more than the largest id: of a vocabulary with holes more than it has tokens."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def fim_ids(tokenizer: Tokenizer) -> tuple[int, int, int] | None:
    """The ids of the prefix, middle and suffix marks, if the tokenizer knows infilling."""
    prefix, middle, suffix = (tokenizer.token_to_id(name) for name in FIM)
    return None if prefix is None or middle is None or suffix is None else (prefix, middle, suffix)
