"""Token shards: flat token files with document offsets, written once and memory-mapped.

tokens/00000-of-00002.bin   uint16 (ids up to 65,535) or uint32, documents end to end, each with its end token; what
                            begins a document is not there: rows put it where the end before it stands
tokens/00000-of-00002.idx   int64: where each document begins, and the length of the file, in tokens
ids/00000-of-00002.jsonl    the id of each document, a line each
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aurora_m.core.ends import ends_of
from aurora_m.core.files import replacing, write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import HEAD, shards
from aurora_m.core.tasks import map_shards
from aurora_m.tokens.encoder import Encoder
from aurora_m.tokens.spelling import Unspelled

BATCH = 1024  # documents encoded at once
OPEN = 4096  # files of a kind mapped at once: a process may not map without end


@dataclass(frozen=True)
class ShardFacts:
    """What the token shards of a source hold."""

    tokens: int  # end tokens counted
    docs: int
    bytes: int  # of text
    bytes_a_token: float
    dtype: Literal["uint16", "uint32"]
    slow_shards: int  # on a sample of which the fast encoder differed from Hugging Face's, which encoded them
    ends_added: int | None = None  # to documents that came tokenized without an end token
    unspelled_bytes: int | None = None  # of text for which the tokenizer has no token


def shard(work: Work, *, docs: Artifact, tokenizer: Artifact) -> ShardFacts:
    """Encode documents; one token shard for each document shard.

    errors  DataError if the tokenizer cannot spell the text
    """
    encoded = partial(_shard, out=work.out, tokenizer=tokenizer.path)
    dtypes, unspelled, *counts = zip(*map_shards(work, encoded, shards(docs.path), "tokens"), strict=True)
    num_tokens, num_docs, num_bytes, slow = map(sum, counts)
    facts = ShardFacts(num_tokens, num_docs, num_bytes, bytes_a_token(num_bytes, num_tokens), dtypes[0], slow)
    if lost := Unspelled.sum(unspelled):
        source = pq.read_table(shards(docs.path)[0], columns=["source"])["source"][0].as_py()
        lost.check(f"source.{source}")
        facts = replace(facts, unspelled_bytes=lost.lost_bytes)
    return facts


def bytes_a_token(num_bytes: int, num_tokens: int) -> float:
    """Bytes of text that a token stands for; 0 where there is none."""
    return round(num_bytes / max(num_tokens, 1), 4)


def dtype_of(num_ids: int) -> Literal["uint16", "uint32"]:
    """The type in which ids below `num_ids` are written."""
    return "uint16" if num_ids <= 2**16 else "uint32"


def _shard(
    path: Path, *, out: Path, tokenizer: Path
) -> tuple[Literal["uint16", "uint32"], Unspelled, int, int, int, int]:
    """Encode one shard; returns the tokens' type, what has no token, and how many tokens, docs and bytes there are.

    The last is 1 if it took the slow encoder.
    """
    encoder = _encoder(tokenizer)
    dtype = dtype_of(encoder.num_ids)
    end = ends_of(tokenizer).end.id
    table = pq.read_table(path)
    heads = table[HEAD].to_pylist() if HEAD in table.column_names else []
    fast = encoder.agrees(table["text"])
    offsets, unspelled = [np.zeros(1, np.int64)], Unspelled()
    with replacing(out / "tokens" / f"{path.stem}.bin") as file:
        for start in range(0, len(table), BATCH):
            texts = table["text"].slice(start, BATCH).to_pylist()
            ids, bounds = encoder.encode(texts) if fast else encoder.encode_slowly(texts)
            unspelled.add(encoder.spelling, texts)
            if heads:
                ids, bounds = _led(ids, bounds, encoder.heads(heads[start : start + BATCH]))
            file.write(np.insert(ids, bounds[1:], end).astype(dtype).tobytes())
            offsets.append(offsets[-1][-1] + bounds[1:] + np.arange(1, len(bounds)))
    with replacing(out / "tokens" / f"{path.stem}.idx") as file:
        file.write(np.concatenate(offsets).tobytes())
    write_jsonl(out / "ids" / f"{path.stem}.jsonl", table["id"].to_pylist())
    num_bytes = int(pc.sum(pc.binary_length(table["text"])).as_py() or 0)
    return dtype, unspelled, int(offsets[-1][-1]), len(table), num_bytes, int(not fast)


def _led(ids: np.ndarray, bounds: np.ndarray, heads: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Put token ids before each document."""
    sizes = [len(head) for head in heads]
    put = np.array([token for head in heads for token in head], ids.dtype)
    return np.insert(ids, np.repeat(bounds[:-1], sizes), put), bounds + np.cumsum([0, *sizes])


@lru_cache(maxsize=1)
def _encoder(folder: Path) -> Encoder:
    return Encoder(folder)


@dataclass(frozen=True)
class Shards:
    """All token shards of one source, read as one array. Opening them reads the sizes of the files, and no more."""

    folder: Path
    dtype: str

    @classmethod
    def of(cls, artifact: Artifact) -> "Shards":
        """Open an artifact of `shard`."""
        return cls(artifact.path, artifact.read(ShardFacts).dtype)

    @cached_property
    def _names(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "tokens").glob("*.bin"))

    @cached_property
    def _starts(self) -> list[int]:
        """Where each file begins in the whole, in tokens."""
        return self._sums("bin", np.dtype(self.dtype).itemsize, 0)

    @cached_property
    def _docs(self) -> list[int]:
        """How many documents stand before each file."""
        return self._sums("idx", 8, 1)

    def _sums(self, suffix: str, width: int, less: int) -> list[int]:
        paths = [self.folder / "tokens" / f"{name}.{suffix}" for name in self._names]
        return [0, *accumulate(path.stat().st_size // width - less for path in paths)]

    @cached_property
    def _tokens(self) -> Callable[[int], np.ndarray]:
        """The tokens of a file, by its number."""
        return lru_cache(OPEN)(lambda number: self._mapped(number, "bin", self.dtype))

    @cached_property
    def _offsets(self) -> Callable[[int], np.ndarray]:
        """Where the documents of a file begin in it, and its length."""
        return lru_cache(OPEN)(lambda number: self._mapped(number, "idx", "int64"))

    def _mapped(self, number: int, suffix: str, dtype: str) -> np.ndarray:
        path = self.folder / "tokens" / f"{self._names[number]}.{suffix}"
        return np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.empty(0, dtype)

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def num_docs(self) -> int:
        """How many documents there are."""
        return self._docs[-1]

    def read(self, start: int, length: int) -> np.ndarray:
        """Tokens `start` to `start + length` of the whole, as int64. IndexError outside it."""
        if start < 0 or start + length > len(self):
            raise IndexError(f"tokens {start} to {start + length} of {len(self)}")
        number = bisect_right(self._starts, start) - 1
        if number + 1 < len(self._starts) and start + length <= self._starts[number + 1]:  # as nearly always
            begin = start - self._starts[number]
            return self._tokens(number)[begin : begin + length].astype(np.int64)
        parts = [self._tokens(number)[a:b] for number, a, b in _parts(self._starts, start, start + length)]
        return np.concatenate([np.empty(0, self.dtype), *parts]).astype(np.int64)

    def bounds(self, first: int, last: int) -> np.ndarray:
        """Where documents `first` to `last` of the whole begin, and where the last of them ends: int64[docs + 1]."""
        parts = [np.zeros(0, np.int64)]
        for number, a, b in _parts(self._docs, first, last):
            parts.append(self._offsets(number)[a : b + (b == last - self._docs[number])] + self._starts[number])
        return np.concatenate(parts)

    def docs_between(self, start: int, stop: int) -> tuple[int, np.ndarray]:
        """The documents that have a token in [start, stop): the number of the first, and their `bounds`."""
        number = bisect_right(self._starts, start) - 1
        begin, offsets = self._starts[number], self._offsets(number)
        first = int(offsets.searchsorted(start - begin, "right")) - 1
        if stop <= self._starts[number + 1]:  # as nearly always: no search for another file
            last = int(offsets.searchsorted(stop - begin, "left"))
            return self._docs[number] + first, offsets[first : last + 1] + begin
        *_, (end, _, b) = _parts(self._starts, start, stop)
        last = self._docs[end] + int(self._offsets(end).searchsorted(b, "left"))
        return self._docs[number] + first, self.bounds(self._docs[number] + first, last)

    def doc_ids(self, first: int, last: int) -> list[str]:
        """The ids of documents `first` to `last`, from the id files that hold them."""
        found = []
        for number, a, b in _parts(self._docs, first, last):
            with (self.folder / "ids" / f"{self._names[number]}.jsonl").open("rb") as lines:
                found += [json.loads(line) for line in islice(lines, a, b)]
        return found


def _parts(starts: list[int], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The files that hold [start, stop) of the whole, each with the part of it that they hold."""
    number = bisect_right(starts, start) - 1
    while start < stop:
        begin, end = starts[number], min(stop, starts[number + 1])
        if start < end:
            yield number, start - begin, end - begin
            start = end
        number += 1
