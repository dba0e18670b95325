"""More tokens for a byte-level BPE: learn merges on new text on top of the base's own, whose ids and merges stay.

The base's merges come first, so a text is cut as the base cuts it, and only then do new merges join what is left. A new
token is made by one merge only, and no other token has its text: so each can be reached, and none comes out otherwise.

source  arXiv 2512.03989, continued BPE training
"""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

from aurora_m.core.ends import ends_of
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.files import write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.tokens.tokenizer import FILE, even_texts, open_tokenizer

ADDED = "added.jsonl"  # of each new token its id, and the base's tokens that it stands for
LEARN_BYTES = 2**26  # of text, of all sources together
BATCH = 256  # documents encoded at once
LEAST = 2  # times that a pair must stand to be merged
END, GONE = -1, -2  # no tokens: what stands between pieces, and where a token was that is merged into the one before
RIGHT = 2**32  # a pair is left * RIGHT + right

I64 = NDArray[np.int64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class ExtendedFacts:
    """What an extended tokenizer is, and what that does to the text that was read."""

    vocab: int
    tokens_added: int
    bytes: int  # of the text
    tokens_before: int
    tokens_after: int


def extend_tokenizer(work: Work, *, tokenizer: Artifact, docs: dict[str, Artifact], tokens: int) -> ExtendedFacts:
    """Learn `tokens` tokens on documents and append them to a tokenizer; writes tokenizer.json, ends.json and `ADDED`.

    docs    as many bytes of each are read as the smallest has, and `LEARN_BYTES` together at most
    errors  RecipeError if the tokenizer is no byte-level BPE, or if too few pairs of the text stand twice
    """
    base = open_tokenizer(tokenizer.path)
    data = json.loads((tokenizer.path / FILE).read_text(encoding="utf-8"))
    check_byte_level(base, data)
    names = names_of(base)
    pieces: Counter[bytes] = Counter()
    num_bytes = num_tokens = saved = 0
    with work.log.bar("read", LEARN_BYTES, "bytes") as bar:
        for texts in even_texts(docs, "base.extend.sources", LEARN_BYTES):
            num_tokens += count_pieces(base, texts, pieces)
            num_bytes += sum(len(text.encode()) for text in texts)
            bar.update(num_bytes)
    merges: list[Pair] = []
    with work.log.bar("merge", tokens, "tokens") as bar:
        for pair, count in learn(pieces, names, tokens):
            merges.append(pair)
            saved += count
            bar.update(len(merges))
    if len(merges) < tokens:
        what, hint = f"the text gives {len(merges)} new tokens, not {tokens}", "ask for fewer `tokens`, or add text"
        raise RecipeError(what, at="base.extend.tokens", hint=hint)
    extended = with_merges(data, names, merges)
    (work.out / FILE).write_text(json.dumps(extended, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    check_extended(base, extended, names, merges)
    ends_of(tokenizer.path).write(work.out)
    made = parts(len(names), merges)
    write_jsonl(work.out / ADDED, ({"id": len(names) + n, "parts": [*part]} for n, part in enumerate(made)))
    return ExtendedFacts(len(names) + len(merges), len(merges), num_bytes, num_tokens, num_tokens - saved)


def check_byte_level(tokenizer: Tokenizer, data: Mapping[str, Any]) -> None:
    """RecipeError unless a tokenizer (`data` is its file) is a BPE over bytes, as GPT-2, StarCoder and Qwen have it."""
    model, splits = tokenizer.model, data.get("pre_tokenizer") or {}
    kinds = {splits.get("type"), *(part["type"] for part in splits.get("pretokenizers", ()))}
    plain = isinstance(model, models.BPE) and not (
        model.byte_fallback or model.dropout or model.continuing_subword_prefix or model.end_of_word_suffix
    )
    if not plain or "ByteLevel" not in kinds:
        what = "only a byte-level BPE can be extended, and the base's tokenizer is another"
        raise RecipeError(what, at="base.extend", hint="leave `[base.extend]` out, or choose another base")


def names_of(tokenizer: Tokenizer) -> list[str]:
    """The token of each id, marks too; empty where there is none."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    names = [""] * (max(vocab.values()) + 1)
    for token, index in vocab.items():
        names[index] = token
    return names


def count_pieces(tokenizer: Tokenizer, texts: Sequence[str], pieces: Counter[bytes]) -> int:
    """Count the pieces of two tokens or more that merges may not cross, as uint32 ids; returns the number of tokens."""
    added = np.array([*tokenizer.get_added_tokens_decoder()], np.uint32)
    num_tokens = 0
    for first in range(0, len(texts), BATCH):
        for row in tokenizer.encode_batch(texts[first : first + BATCH], add_special_tokens=False):
            ids, words = np.array(row.ids, np.uint32), np.array(row.word_ids, np.int64)
            whole = np.isin(ids, added)
            starts = np.flatnonzero((np.diff(words, prepend=-1) != 0) | whole | np.roll(whole, 1))
            ends = np.append(starts[1:], len(ids))
            long = ends - starts > 1
            raw = ids.tobytes()
            spans = zip((4 * starts[long]).tolist(), (4 * ends[long]).tolist(), strict=True)
            pieces.update(raw[start:end] for start, end in spans)
            num_tokens += len(ids)
    return num_tokens


def learn(pieces: Mapping[bytes, int], names: Iterable[str], limit: int) -> Iterator[tuple[Pair, int]]:
    """The most frequent pair of neighbours, merged, and again: each pair with how often it was merged.

    Of pairs as frequent, the one of the smallest ids comes first. Pairs whose text a token has already are passed by.
    New ids follow the names. Ends before `limit` if no pair stands `LEAST` times.
    """
    chain, spelled = Chain(pieces), [*names]
    taken = set(spelled)
    while limit > 0 and (pair := chain.best()) is not None:
        name = spelled[pair[0]] + spelled[pair[1]]
        if name in taken:
            chain.forget(pair)
            continue
        taken.add(name)
        spelled.append(name)
        limit -= 1
        yield pair, chain.merge(pair, len(spelled) - 1)


class Chain:
    """The pieces of a text as one linked list of tokens, and where each pair of neighbours stands in it.

    All places of a pair are known when the later of its two tokens is made; from then on they only become fewer.
    """

    def __init__(self, pieces: Mapping[bytes, int]) -> None:
        rows = [np.frombuffer(piece, np.uint32) for piece in pieces]
        lengths = np.array([1, *(len(row) + 1 for row in rows)])
        self.tokens = np.full(int(lengths.sum()), END, np.int64)
        ends = np.cumsum(lengths) - 1  # of the pieces: where END stands
        inside = np.ones(len(self.tokens), np.bool_)
        inside[ends] = False
        self.tokens[inside] = np.concatenate([np.zeros(0, np.int64), *rows])
        self.weights = np.repeat(np.array([0, *pieces.values()], np.int64), lengths)
        self.after = np.arange(1, len(self.tokens) + 1)
        self.before = np.arange(-1, len(self.tokens) - 1)
        self.places: dict[int, I64] = {}
        self.counts: dict[int, int] = {}
        self.heap: list[Pair] = []  # minus the count, and the pair: the count may have fallen since
        self._add(np.flatnonzero(inside[:-1] & inside[1:]))

    def best(self) -> Pair | None:
        """The pair that stands most often."""
        while self.heap:
            count, key = self.heap[0]
            now = self.counts.get(key, 0)
            if now == -count:
                return divmod(key, RIGHT)
            if now < LEAST:
                heapq.heappop(self.heap)
            else:
                heapq.heapreplace(self.heap, (-now, key))
        return None

    def forget(self, pair: Pair) -> None:
        """Let a pair be."""
        key = pair[0] * RIGHT + pair[1]
        del self.counts[key], self.places[key]

    def merge(self, pair: Pair, new: int) -> int:
        """Put `new` in all places of a pair; returns how often it stands then, by weight."""
        tokens, left, right = self.tokens, *pair
        at = self.places[left * RIGHT + right]
        self.forget(pair)
        at = at[(tokens[at] == left) & (tokens[self.after[at]] == right)]
        if left == right:
            at = _apart(at, self.after[at])
        second, ahead = self.after[at], self.before[at]
        beyond = self.after[second]
        self._remove(second[tokens[beyond] >= 0])
        self._remove(ahead[(tokens[ahead] >= 0) & ~np.isin(ahead, second)])
        tokens[at], tokens[second] = new, GONE
        self.after[at], self.before[beyond] = beyond, at
        ahead = self.before[at]
        self._add(np.concatenate([ahead[(tokens[ahead] >= 0) & (tokens[ahead] != new)], at[tokens[beyond] >= 0]]))
        return int(self.weights[at].sum())

    def _add(self, places: I64) -> None:
        for key, count, group in self._groups(places):
            if count >= LEAST:
                self.counts[key], self.places[key] = count, group
                heapq.heappush(self.heap, (-count, key))

    def _remove(self, places: I64) -> None:
        for key, count, _ in self._groups(places):
            if key in self.counts:
                self.counts[key] -= count

    def _groups(self, places: I64) -> Iterator[tuple[int, int, I64]]:
        """The pairs that begin at some places: each with its weight and its places in order."""
        if not len(places):
            return
        keys = self.tokens[places] * RIGHT + self.tokens[self.after[places]]
        order = np.lexsort((places, keys))
        places, keys = places[order], keys[order]
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        sums = np.add.reduceat(self.weights[places], firsts)
        ends = [*firsts[1:].tolist(), len(places)]
        for key, count, first, end in zip(keys[firsts].tolist(), sums.tolist(), firsts.tolist(), ends, strict=True):
            yield key, count, places[first:end]


def _apart(at: I64, after: I64) -> I64:
    """Of the places of a pair of equal tokens those that do not overlap, from the left, as a BPE takes them."""
    joined = np.append(False, at[1:] == after[:-1])  # begins where the place before ends
    starts = np.maximum.accumulate(np.where(joined, 0, np.arange(len(at))))
    kept: I64 = at[(np.arange(len(at)) - starts) % 2 == 0]
    return kept


def with_merges(data: Mapping[str, Any], names: Sequence[str], merges: Sequence[Pair]) -> dict[str, Any]:
    """A tokenizer's file with more merges at the end, and their tokens.

    All tokens that stood beside the model, marks above all, now stand in it, too: their ids would move otherwise.
    """
    model = data["model"]
    old: list[Any] = model["merges"]
    spelled, new = [*names], []
    for left, right in merges:
        new.append([spelled[left], spelled[right]])
        spelled.append(spelled[left] + spelled[right])
    as_text = bool(old) and isinstance(old[0], str)
    vocab = {token: index for index, token in enumerate(spelled) if token}
    all_merges = [*old, *(" ".join(pair) if as_text else pair for pair in new)]
    return {**data, "model": {**model, "vocab": vocab, "merges": all_merges}}


def parts(first: int, merges: Sequence[Pair]) -> list[tuple[int, ...]]:
    """The base's tokens that each new token stands for; new ids begin with `first`."""
    made: list[tuple[int, ...]] = []
    for pair in merges:
        made.append(tuple(token for side in pair for token in (made[side - first] if side >= first else (side,))))
    return made


def check_extended(base: Tokenizer, data: Mapping[str, Any], names: Sequence[str], merges: Sequence[Pair]) -> None:
    """DataError unless all ids of the base are as they were, and every new token comes out of its own text."""
    made = Tokenizer.from_str(json.dumps(data))
    made.encode_special_tokens = True
    old = base.get_vocab(with_added_tokens=True)
    moved = [token for token, index in old.items() if made.token_to_id(token) != index]
    marks = [about.content for about in base.get_added_tokens_decoder().values()]
    moved += [mark for mark in marks if made.encode(mark).ids != base.encode(mark).ids]
    # A piece that is a token may be taken whole, without merges; within a longer piece it needs them.
    by_merges = Tokenizer.from_str(json.dumps({**data, "model": {**data["model"], "ignore_merges": False}})).model
    new = {index: token for token, index in data["model"]["vocab"].items() if index >= len(names)}
    lost = [token for index, token in new.items() if [part.id for part in by_merges.tokenize(token)] != [index]]
    if moved or lost or len(new) != len(merges):
        what = f"extending changes {len(moved)} tokens of the base, and {len(lost)} new tokens cannot be reached"
        hint = "the base's tokenizer is of a kind that cannot be extended"
        raise DataError(what, at=", ".join(f"`{token}`" for token in [*moved, *lost][:3]), hint=hint)
