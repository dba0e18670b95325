"""Megatron's indexed token files in and out: `PREFIX.bin` and `PREFIX.idx`, text that comes already tokenized.

.bin  the tokens of all sequences, end to end
.idx  magic, version, code of the tokens' type, how many sequences and document bounds; then int32 lengths and int64
      byte offsets of the sequences, and int64 document bounds, counted in sequences; all little-endian

source  Megatron-LM, megatron/core/datasets/indexed_dataset.py
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aurora_m.core.ends import Ends, ends_of
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.files import replacing, shard_name, write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.tasks import map_shards
from aurora_m.core.uri import local_files, pinned
from aurora_m.tokens.shards import ShardFacts, Shards, bytes_a_token, dtype_of
from aurora_m.tokens.spelling import MOST_UNSPELLED, Spelling
from aurora_m.tokens.tokenizer import num_ids, open_tokenizer

MAGIC, VERSION = b"MMIDIDX\x00\x00", 1
HEAD = struct.Struct("<9sQBQQ")
TYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # 6 and 7 are floats, which are no tokens
CODES = {"uint16": 8, "uint32": 4}  # of our shards: ids stay below 2**31, where uint32 and int32 are the same bytes
SCHEME = "megatron:"
SHARD_TOKENS = 2**26  # in one file of shards
CHUNK_TOKENS = 2**22  # in memory at a time, or one document
COPY = "write the pair again, or copy it again"


@dataclass(frozen=True)
class Pair:
    """An open pair: document n is tokens bounds[n] to bounds[n + 1]."""

    tokens: NDArray[np.integer]  # mapped from the file
    bounds: NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Documents `first` to `last` - 1 of a pair, which become one file of shards."""

    name: str  # of the pair
    prefix: Path
    first: int
    last: int
    shard: str


def pair_files(uri: str, root: Path) -> dict[str, Path]:
    """The files of the pairs that `megatron:PREFIX`, a glob below `root`, means, by name. DataError if one lacks."""
    files = local_files(f"file:{uri.removeprefix(SCHEME)}.idx", root)
    for name, path in [*files.items()]:
        tokens = path.with_suffix(".bin")
        if not tokens.is_file():
            raise DataError("an index has no token file", at=str(path), hint=f"put `{tokens.name}` beside it")
        files[f"{name.removesuffix('.idx')}.bin"] = tokens
    return files


def import_shards(work: Work, *, tokenizer: Artifact, uri: str, pin: str) -> ShardFacts:
    """Read pairs as token shards; a document that does not end with the tokenizer's end token gets one.

    What leads a document is left out: rows put it there.
    The sequences of a document are joined; documents without tokens are left out; ids are `PREFIX:n`, n from 1. The
    bytes of the facts are those of the tokens' text.
    DataError if a file is damaged or holds an id that the tokenizer does not know, or too many that stand for no text.
    """
    files = pair_files(uri, work.runtime.root)
    dtype = dtype_of(num_ids(open_tokenizer(tokenizer.path)))
    imported = partial(_import, out=work.out, tokenizer=tokenizer.path, dtype=dtype)
    with pinned(files, pin, uri):
        parts = _parts(files)
        counts = [*map_shards(work, imported, parts, "tokens", "parts")]
    num_tokens, num_docs, num_bytes, added, unknown = (sum(column) for column in zip(*counts, strict=True))
    if unknown > MOST_UNSPELLED * num_tokens:
        what = f"{unknown / num_tokens:.1%} of the tokens are the one for text that the tokenizer cannot spell"
        raise DataError(what, at=uri, hint="leave such text out, or choose a base whose tokenizer can spell it")
    return ShardFacts(num_tokens, num_docs, num_bytes, bytes_a_token(num_bytes, num_tokens), dtype, 0, added)


def _parts(files: Mapping[str, Path]) -> list[Part]:
    """The documents of pairs, cut into files of shards."""
    cuts = []
    for name, path in files.items():
        if path.suffix == ".idx":
            prefix = path.with_suffix("")
            cuts += [(name.removesuffix(".idx"), prefix, *cut) for cut in _cuts(open_pair(prefix).bounds)]
    return [Part(*cut, shard_name(index, len(cuts), "bin")) for index, cut in enumerate(cuts)]


def open_pair(prefix: Path) -> Pair:
    """Map a pair's tokens. DataError unless the index is whole and says what the token file holds."""
    index, tokens = _with(prefix, ".idx"), _with(prefix, ".bin")
    kind, lengths, pointers, docs = _read_index(index)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    if (lengths < 0).any() or not np.array_equal(ends[:-1] * kind.itemsize, pointers):
        raise DataError("the sequences do not stand end to end", at=str(index), hint=COPY)
    if not len(docs) or docs[0] != 0 or docs[-1] != len(lengths) or (np.diff(docs) < 0).any():
        raise DataError("the documents do not cover the sequences", at=str(index), hint=COPY)
    expected, found = int(ends[-1]) * kind.itemsize, tokens.stat().st_size
    if expected != found:
        raise DataError(f"the token file has {found} bytes, its index says {expected}", at=str(tokens), hint=COPY)
    return Pair(np.memmap(tokens, kind, "r") if found else np.empty(0, kind), ends[docs])


def _read_index(path: Path) -> tuple[np.dtype, NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """The tokens' type, the sequences' lengths and byte offsets, and the document bounds."""
    with path.open("rb") as file:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size or not head.startswith(MAGIC):
            raise DataError("the file is no Megatron index", at=str(path), hint="an index begins with `MMIDIDX`")
        _, version, code, num_sequences, num_bounds = HEAD.unpack(head)
        if version != VERSION:
            hint = "it was written by another program, or in another order of bytes"
            raise DataError(f"the index has version {version}, not {VERSION}", at=str(path), hint=hint)
        if code not in TYPES:
            raise DataError(f"the index says type {code}, which is no integer", at=str(path), hint=COPY)
        expected, found = HEAD.size + 12 * num_sequences + 8 * num_bounds, path.stat().st_size
        if expected != found:
            modes = expected + num_sequences == found
            hint = "sequences with modes, as of pictures, cannot be read" if modes else COPY
            raise DataError(f"the index has {found} bytes, not {expected}", at=str(path), hint=hint)
        lengths = np.fromfile(file, "<i4", num_sequences)
        pointers = np.fromfile(file, "<i8", num_sequences)
        return np.dtype(TYPES[code]), lengths, pointers, np.fromfile(file, "<i8", num_bounds)


def _cuts(bounds: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of documents of `SHARD_TOKENS` tokens or one document: first, and one past the last; at least one run."""
    return _runs(bounds, 0, len(bounds) - 1, SHARD_TOKENS) or [(0, 0)]


def _runs(bounds: NDArray[np.int64], first: int, last: int, size: int) -> list[tuple[int, int]]:
    """Cut documents first to last - 1 into runs of at most `size` tokens or one document."""
    runs = []
    while first < last:
        fitting = int(np.searchsorted(bounds, bounds[first] + size, "right")) - 1
        stop = min(max(fitting, first + 1), last)
        runs.append((first, stop))
        first = stop
    return runs


def _import(part: Part, *, out: Path, tokenizer: Path, dtype: str) -> tuple[int, int, int, int, int]:
    """Write one file of shards; returns tokens, docs, bytes of text, end tokens added, and unknown tokens."""
    encoder, pair = open_tokenizer(tokenizer), open_pair(part.prefix)
    ends, sizes = ends_of(tokenizer), token_bytes(encoder)
    offsets, names = [np.zeros(1, np.int64)], []
    known = np.isin(np.arange(len(sizes)), [*encoder.get_vocab(with_added_tokens=True).values()])
    no_text = [*Spelling(encoder).unknown - {ends.start, ends.end.id}]
    num_bytes = added = unknown = 0
    stem = part.shard.removesuffix(".bin")
    with replacing(out / "tokens" / part.shard) as file:
        for first, last in _runs(pair.bounds, part.first, part.last, CHUNK_TOKENS):
            bounds = pair.bounds[first : last + 1]
            tokens = pair.tokens[bounds[0] : bounds[-1]].astype(np.int64)
            inside = (tokens >= 0) & (tokens < len(known))
            wrong = np.flatnonzero(~(inside & known[np.where(inside, tokens, 0)]))
            if len(wrong):
                doc = int(np.searchsorted(bounds, bounds[0] + wrong[0], "right")) + first
                what = f"the id {tokens[wrong[0]]} is not one of the tokenizer's {known.sum()}"
                hint = "tokenize the text with the base's tokenizer"
                raise DataError(what, at=f"{_with(part.prefix, '.bin')}, document {doc}", hint=hint)
            tokens, bounds = _without_lead(tokens, bounds - bounds[0], ends)
            full = np.flatnonzero(np.diff(bounds))
            stops = bounds[full + 1]
            lacking = tokens[stops - 1] != ends.end.id
            file.write(np.insert(tokens, stops[lacking], ends.end.id).astype(dtype).tobytes())
            offsets.append(offsets[-1][-1] + stops + np.cumsum(lacking))
            names += [f"{part.name}:{first + doc + 1}" for doc in full.tolist()]
            num_bytes, added = num_bytes + int(sizes[tokens].sum()), added + int(lacking.sum())
            unknown += int(np.isin(tokens, no_text).sum())
    with replacing(out / "tokens" / f"{stem}.idx") as file:
        file.write(np.concatenate(offsets).tobytes())
    write_jsonl(out / "ids" / f"{stem}.jsonl", names)
    return int(offsets[-1][-1]), len(names), num_bytes, added, unknown


def _without_lead(
    tokens: NDArray[np.int64], bounds: NDArray[np.int64], ends: Ends
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Documents, and their bounds, without what leads them, which rows put there themselves."""
    if ends.lead is None:
        return tokens, bounds
    begins = bounds[:-1][np.diff(bounds) > 0]
    leads = begins[tokens[begins] == ends.lead.id]
    return np.delete(tokens, leads), bounds - np.searchsorted(leads, bounds)


def export_pair(artifact: Artifact, prefix: Path) -> None:
    """Write an artifact of token shards as `PREFIX.bin` and `PREFIX.idx`: a sequence a document, with its end token.

    RecipeError if the artifact holds no token shards.
    """
    if not (artifact.path / "tokens").is_dir():
        hint = "name token shards, such as `tiny/shards.fi`"
        raise RecipeError("the artifact holds no tokens", at=str(artifact.path), hint=hint)
    shards = Shards.of(artifact)
    dtype = np.dtype(shards.dtype)
    starts = shards.bounds(0, shards.num_docs) if shards.num_docs else np.zeros(1, np.int64)
    lengths = np.diff(starts)
    if lengths.max(initial=0) >= 2**31:
        raise DataError("a document has 2**31 tokens or more", at=str(artifact.path), hint="an index cannot say it")
    with replacing(_with(prefix, ".bin")) as file:
        for first in range(0, len(shards), CHUNK_TOKENS):
            tokens = shards.read(first, min(CHUNK_TOKENS, len(shards) - first))
            file.write(tokens.astype(TYPES[CODES[dtype.name]]).tobytes())
    with replacing(_with(prefix, ".idx")) as file:
        file.write(HEAD.pack(MAGIC, VERSION, CODES[dtype.name], len(lengths), len(starts)))
        file.write(lengths.astype("<i4").tobytes())
        file.write((starts[:-1] * dtype.itemsize).astype("<i8").tobytes())
        file.write(np.arange(len(starts)).astype("<i8").tobytes())


def token_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """How many bytes of text each id stands for: 0 for marks, unknown text, and ids that no token has."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    sizes = np.zeros(max(vocab.values()) + 1, np.int64)
    byte_level = '"ByteLevel"' in tokenizer.to_str()  # a character stands for a byte there
    for token, index in vocab.items():
        spelled = len(token) if byte_level else len(token.replace("▁", " ").encode())
        sizes[index] = 1 if len(token) == 6 and token.startswith("<0x") and token.endswith(">") else spelled
    for index, about in tokenizer.get_added_tokens_decoder().items():
        sizes[index] = 0 if about.special else len(about.content.encode())
    sizes[[*Spelling(tokenizer).unknown]] = 0
    return sizes


def _with(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)
