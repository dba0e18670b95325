"""Token shards: flat token files with document offsets, written once and memory-mapped.

tokens/00000-of-00002.bin   uint16 (vocabulary up to 65,536) or uint32, documents end to end, each with its end token
tokens/00000-of-00002.idx   int64: where each document begins, and the length of the file, in tokens
ids/00000-of-00002.jsonl    the id of each document, a line each
"""

import bisect
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aurora_m.core.files import read_jsonl, replacing, write_jsonl
from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.core.table import shards
from aurora_m.core.tasks import each
from aurora_m.tokens.encoder import Encoder
from aurora_m.tokens.tokenizer import end_id

BATCH = 1024  # documents encoded at once


def shard(work: Work, *, docs: Artifact, tokenizer: Artifact) -> Facts:
    """Encode documents; one token shard for each document shard.

    returns  tokens (end tokens counted), docs, bytes of text, bytes a token, and `slow_shards`: those on a sample of
             which the fast encoder differed from Hugging Face's, so that the latter encoded them
    """
    size = _encoder(tokenizer.path).slow.get_vocab_size()
    dtype = "uint16" if size <= 2**16 else "uint32"
    encoded = partial(_shard, out=work.out, tokenizer=tokenizer.path, dtype=dtype)
    counts = [*each(work, encoded, shards(docs.path), "tokens")]
    num_tokens, num_docs, num_bytes, slow = (sum(column) for column in zip(*counts, strict=True))
    return {
        "tokens": num_tokens,
        "docs": num_docs,
        "bytes": num_bytes,
        "bytes_a_token": round(num_bytes / max(num_tokens, 1), 4),
        "dtype": dtype,
        "slow_shards": slow,
    }


def _shard(path: Path, *, out: Path, tokenizer: Path, dtype: str) -> tuple[int, int, int, int]:
    """Encode one shard; returns tokens, docs, bytes, and whether it took the slow encoder."""
    encoder = _encoder(tokenizer)
    end = end_id(encoder.slow)
    table = pq.read_table(path, columns=["id", "text"])
    fast = encoder.agrees(table["text"])
    offsets = [np.zeros(1, np.int64)]
    with replacing(out / "tokens" / f"{path.stem}.bin") as file:
        for start in range(0, len(table), BATCH):
            texts = table["text"].slice(start, BATCH).to_pylist()
            ids, bounds = encoder.encode(texts) if fast else encoder.encode_slowly(texts)
            file.write(np.insert(ids, bounds[1:], end).astype(dtype).tobytes())
            offsets.append(offsets[-1][-1] + bounds[1:] + np.arange(1, len(bounds)))
    with replacing(out / "tokens" / f"{path.stem}.idx") as file:
        file.write(np.concatenate(offsets).tobytes())
    write_jsonl(out / "ids" / f"{path.stem}.jsonl", table["id"].to_pylist())
    num_bytes = int(pc.sum(pc.binary_length(table["text"])).as_py() or 0)
    return int(offsets[-1][-1]), len(table), num_bytes, int(not fast)


@lru_cache(maxsize=1)
def _encoder(folder: Path) -> Encoder:
    return Encoder(folder)


@dataclass(frozen=True)
class Shards:
    """All token shards of one source, read as one array."""

    folder: Path
    dtype: str

    @classmethod
    def of(cls, artifact: Artifact) -> "Shards":
        """Open an artifact of `shard`."""
        return cls(artifact.path, str(artifact.facts["dtype"]))

    @cached_property
    def _files(self) -> list[np.ndarray]:
        paths = sorted((self.folder / "tokens").glob("*.bin"))
        return [np.memmap(path, self.dtype, "r") if path.stat().st_size else np.empty(0, self.dtype) for path in paths]

    @cached_property
    def _starts(self) -> list[int]:
        """Where each file begins in the whole."""
        return [0, *accumulate(len(file) for file in self._files)]

    @cached_property
    def doc_starts(self) -> np.ndarray:
        """Where each document begins in the whole, and where the last one ends: int64[docs + 1]."""
        parts = []
        for path, start in zip(sorted((self.folder / "tokens").glob("*.idx")), self._starts, strict=False):
            parts.append(np.fromfile(path, np.int64)[:-1] + start)
        return np.concatenate([*parts, [self._starts[-1]]])

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, length: int) -> np.ndarray:
        """Tokens `start` to `start + length` of the whole, as int64. IndexError outside it."""
        if start < 0 or start + length > len(self):
            raise IndexError(f"tokens {start} to {start + length} of {len(self)}")
        parts = []
        number = bisect.bisect_right(self._starts, start) - 1
        while length > 0:
            offset = start - self._starts[number]
            part = self._files[number][offset : offset + length]
            parts.append(part)
            start, length, number = start + len(part), length - len(part), number + 1
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def docs_between(self, start: int, stop: int) -> tuple[int, int]:
        """The documents that have a token in [start, stop): first, and one past the last."""
        first = int(np.searchsorted(self.doc_starts, start, "right")) - 1
        return first, int(np.searchsorted(self.doc_starts, stop, "left"))

    def doc_ids(self, first: int, last: int) -> list[str]:
        """The ids of documents `first` to `last`, by reading the id files."""
        names = [name for path in sorted((self.folder / "ids").glob("*.jsonl")) for name in read_jsonl(path)]
        return names[first:last]
