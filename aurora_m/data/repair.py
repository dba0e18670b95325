"""Repair text that comes: mend bytes that were misread (mojibake), and compose (NFC)."""

import re

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ftfy.badness import BADNESS_RE

from aurora_m.data.edits import Edits, difference, replaced
from aurora_m.data.minhash import nfc

# the first two bytes of a utf-8 character, read as Latin-1 or Windows-1252
_MISREAD = "[\u00c2-\u00f4][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
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
    rows = np.flatnonzero(pc.match_substring_regex(texts, _MISREAD))
    rows = rows[np.asarray(pc.match_substring_regex(texts.take(pa.array(rows)), _BAD))]
    mended = replaced(texts, {row: ftfy.fix_encoding(texts[row].as_py()) for row in rows.tolist()})
    composed, edits = nfc(mended), Edits()
    for kind, before, after in (("encoding", texts, mended), ("nfc", mended, composed)):
        for row in np.flatnonzero(pc.not_equal(before, after)).tolist():
            text = before[row].as_py()
            edits.count(names[row].as_py(), text, difference(kind, text, after[row].as_py()))
    return composed, edits
