"""Text to token ids in bulk: fastokens where it agrees with Hugging Face's tokenizers on a sample, else those."""

import re
from pathlib import Path

import fastokens
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aurora_m.core.errors import RecipeError
from aurora_m.tokens.spelling import Spelling
from aurora_m.tokens.tokenizer import FILE, num_ids, open_tokenizer

MARK = re.compile(r"<\w+>")
SAMPLE_DOCS, SAMPLE_CHARS = 32, 1024  # of a shard, compared before it is trusted


class Encoder:
    """A folder's tokenizer. A special token's name in a text is text, not the token; nothing is cut or added."""

    def __init__(self, folder: Path) -> None:
        self.slow: Tokenizer = open_tokenizer(folder)
        self.num_ids = num_ids(self.slow)
        self.spelling = Spelling(self.slow)
        try:
            self.fast = fastokens.Tokenizer.from_json_str((folder / FILE).read_text(encoding="utf-8"))
            self.fast.no_truncation()
        except Exception:  # it does not know this kind of tokenizer, and has no error of its own to say so
            self.fast = None

    def agrees(self, texts: pa.ChunkedArray) -> bool:
        """Whether both give the same ids for the beginnings of documents spread over `texts`."""
        if self.fast is None:
            return False
        spread = pa.array(range(0, len(texts), max(1, len(texts) // SAMPLE_DOCS)), pa.int64())
        sample = pc.utf8_slice_codeunits(texts.take(spread), 0, SAMPLE_CHARS).to_pylist()
        ids, bounds = self.encode(sample)
        slow, slow_bounds = self.encode_slowly(sample)
        return np.array_equal(ids, slow) and np.array_equal(bounds, slow_bounds)

    def encode(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The ids of all texts in a row, and n + 1 bounds."""
        ids, bounds = self.fast.encode_batch_flat(texts, split_special_tokens=True)
        return np.frombuffer(ids, np.uint32), np.frombuffer(bounds, np.uint64).astype(np.int64)

    def heads(self, texts: list[str]) -> list[list[int]]:
        """The ids of short texts in which the names of special tokens are these tokens.

        RecipeError if the tokenizer has no token for a mark that stands in them.
        """
        marks = {mark for text in texts for mark in MARK.findall(text)}
        missing = sorted(mark for mark in marks if self.slow.token_to_id(mark) is None)
        if missing:
            what = f"the base's tokenizer has no token `{missing[0]}`"
            raise RecipeError(what, at="curate: repo_marks", hint="leave it out")
        self.slow.encode_special_tokens = False
        try:
            return [row.ids for row in self.slow.encode_batch_fast(texts, add_special_tokens=False)]
        finally:
            self.slow.encode_special_tokens = True

    def encode_slowly(self, texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The same by Hugging Face's tokenizers, the reference."""
        rows = [row.ids for row in self.slow.encode_batch_fast(texts, add_special_tokens=False)]
        bounds = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return np.concatenate([np.zeros(0, np.uint32), *(np.array(row, np.uint32) for row in rows)]), bounds
