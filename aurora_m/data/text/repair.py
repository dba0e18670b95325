"""Repair text that comes: mend bytes that were misread (mojibake), and compose (NFC)."""

import re
from typing import Any

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ftfy.badness import BADNESS_RE

from aurora_m.data.dedup.minhash import nfc
from aurora_m.data.select.edits import Edits, difference, replaced
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.kernels import text_buffers

# ftfy's own test, which does 3 MB/s, as RE2 takes it: no verbose form, and no classes of Unicode in \s and \w
_BAD = (
    re.sub(r"(\[[^]]*\])|#.*|\s+", r"\1", BADNESS_RE.pattern)
    .replace(r"\s", r"[\s\pZ\x0b\x1c-\x1f\x85]")
    .replace(r"\w", r"(?:_|[^\s\pZ\pP\pS])")
)


def repair(names: pa.ChunkedArray, texts: pa.Array) -> tuple[pa.Array, Edits]:
    """The texts of the documents of these names, mended and composed; both are counted once a document.

    `encoding`: utf-8 that was read as Latin-1 or Windows-1252, repaired by ftfy where its own test finds it; `nfc`.
    """
    rows = np.flatnonzero(misread(*text_buffers(texts)))
    rows = rows[np.asarray(pc.match_substring_regex(texts.take(pa.array(rows)), _BAD))]
    mended = replaced(texts, {row: ftfy.fix_encoding(texts[row].as_py()) for row in rows.tolist()})
    composed, edits = nfc(mended), Edits()
    steps = (("encoding", texts, mended), ("nfc", mended, composed))
    for kind, before, after in (step for step in steps if step[1] is not step[2]):
        for row in np.flatnonzero(pc.not_equal(before, after)).tolist():
            text = before[row].as_py()
            edits.count(names[row].as_py(), text, difference(kind, text, after[row].as_py()))
    return composed, edits


@compiled
def misread(data: Any, offsets: Any) -> Any:
    """Which texts may hold the first two bytes of a utf-8 character, each read as a character of its own.

    The first byte reads as U+00C2 to U+00F4 in Latin-1 and Windows-1252, the second as no ASCII in either.
    """
    found = np.zeros(len(offsets) - 1, np.bool_)
    for text in range(len(offsets) - 1):
        for i in range(offsets[text], offsets[text + 1] - 2):
            if data[i] == 0xC3 and 0x82 <= data[i + 1] <= 0xB4 and data[i + 2] >= 0x80:
                found[text] = True
                break
    return found
