"""What a report may show of documents: it is read by more people than they are, so it repeats no personal data."""

import re
from collections.abc import Mapping

from aurora_m.data.personal import pii
from aurora_m.data.select.edits import shared_ends

Pieces = tuple[str, str, str, str]  # what stood ahead of an edit, what went, what came, what stood behind it

# a sample is cut from its document, maybe through a number or an address, which nothing finds then
_CUT_START = re.compile(r"\A[!-~]*[@0-9][!-~]*(?: [0-9()./-]+)*")
_CUT_END = re.compile(r"(?:[+(]?[0-9][0-9()./-]* )*[!-~]*[@0-9][!-~]*\Z")
_CUT = "…"


def masked(text: str, lang: str) -> str:
    """The beginning of a document of this language (`mul`: not known), with personal data masked."""
    return _CUT_END.sub(_CUT, _masked(text, lang))


def pieces(sample: Mapping[str, str], lang: str) -> Pieces:
    """An edit of rewrite's `samples.jsonl` in pieces; of masked data, letters are shown as x and digits as 0."""
    before, after = sample["before"], sample["after"]
    start, same = shared_ends(before, after)
    gone, come = before[start : len(before) - same], after[start : len(after) - same]
    if sample["kind"] in pii.KINDS:
        gone = "".join("0" if char.isdigit() else "x" if char.isalnum() else char for char in gone)
    else:
        gone = _masked(gone, lang)
    come = _masked(come, lang)  # behind a long secret, all that follows it came
    if same == 0:
        gone, come = _CUT_END.sub(_CUT, gone), _CUT_END.sub(_CUT, come)
    ahead, behind = _masked(before[:start], lang), _masked(before[len(before) - same :], lang)
    return _CUT_START.sub(_CUT, ahead), gone, come, _CUT_END.sub(_CUT, behind)


def _masked(text: str, lang: str) -> str:
    return pii.mask(text, pii.find(text, lang, pii.KINDS))
