"""Who decided what, and whose word is the last: people by their names, which is all that a ledger knows of them."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from aurora_m.core.errors import DataError
from aurora_m.review.decisions import Decision

# Letters of other scripts that look like Latin ones in common fonts, small and composed.
# source  Unicode Technical Standard 39, confusables.txt, what of it is Greek, Cyrillic, Armenian, small, Lisu
#         and Cherokee
_LIKE = dict(
    zip(
        "аеорсухѕіјԁһԛԝкмнтвгпз" + "αορνυικτχηγ" + "օոսհցզ" + "ıɩɑɡℓ"
        "ꓐꓑꓒꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴ" + "ᎠᎡᎢᎥᎩᎪᎫᎬᎳᎷᎻᎽᏀᏃᏎᏏᏒᏔᏕᏙᏚᏞᏟᏢᏦᏮᏴ",
        "aeopcyxsijdhqwkmhtbrn3" + "aopvuiktxny" + "onuhgq" + "iiagl"
        "bpddtgkjczfmnlsrvhwxyaeiou" + "drtiyajewmhygz4brwsvslcpk6b",
        strict=True,
    )
)  # fmt: skip
# What has no shape: Default_Ignorable_Code_Point, and the braille cell without dots.
_SHAPELESS = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# What stands beside Latin letters and is like none. source  Unicode Technical Standard 39, "highly restrictive"
_EAST_ASIAN = {"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO", "HANGUL"}


def person(name: str) -> str:
    """The name by which decisions are one person's: composed (NFKC), case-folded, without spaces around or doubled,
    and without what nobody sees."""
    shaped = _SHAPELESS.sub("", unicodedata.normalize("NFKC", name))
    visible = "".join(char for char in shaped if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(visible.split()).casefold())


def scripts(key: str) -> set[str]:
    """The scripts of a person's letters, by the names that Unicode gives these; those of East Asia aside."""
    found = {unicodedata.name(char, "").split(" ")[0] for char in key if char.isalpha()}
    return found - _EAST_ASIAN - {"MODIFIER"}  # of any script, as in Oʼzbek


def check_people(ledgers: Iterable[Sequence[Decision]]) -> dict[str, str]:
    """The people of some ledgers, each with the first spelling of the name.

    DataError if a name is empty, mixes scripts, or looks like another one in letters of another script.
    """
    spelled: dict[str, str] = {}
    seen: dict[str, str] = {}
    for decision in (decision for ledger in ledgers for decision in ledger):
        key = person(decision.reviewer)
        if not key:
            hint = "who decided is not known: let a reviewer with a name decide, in a new ledger"
            raise DataError("a decision has no reviewer", at=f"the decision at {decision.at}", hint=hint)
        if len(scripts(key)) > 1:
            what = f"a reviewer's name mixes scripts: `{ascii(decision.reviewer)[1:-1]}`"
            hint = "letters of two scripts can look alike: let them decide under a name in one, in a new ledger"
            raise DataError(what, at="reviewers", hint=hint)
        spelled.setdefault(key, " ".join(decision.reviewer.split()))
        other = seen.setdefault("".join(_LIKE.get(char, char) for char in key), key)
        if other != key:
            what = f"two reviewers have names that look alike: `{spelled[other]}` and `{ascii(spelled[key])[1:-1]}`"
            hint = "one person counts once: let them decide under one name, in a new ledger"
            raise DataError(what, at="reviewers", hint=hint)
    return spelled


def last_words(ledgers: Iterable[Sequence[Decision]]) -> Mapping[str, Mapping[str, str]]:
    """By item and person the verdict that counts: the last one.

    In a ledger that is the last line; of two ledgers, whatever their names, the later time, and at the same time a
    reject. DataError if two ledgers meet on a row and a time cannot be read.
    """
    found: dict[str, dict[str, list[Decision]]] = defaultdict(lambda: defaultdict(list))
    for ledger in ledgers:
        last = {(decision.item, person(decision.reviewer)): decision for decision in ledger}
        for (item, who), decision in last.items():
            found[item][who].append(decision)
    return {
        item: {who: _latest(decisions).verdict for who, decisions in people.items()} for item, people in found.items()
    }


def _latest(decisions: Sequence[Decision]) -> Decision:
    return (
        decisions[0] if len(decisions) == 1 else max(decisions, key=lambda one: (_time(one), one.verdict == "reject"))
    )


def _time(decision: Decision) -> datetime:
    try:
        time = datetime.fromisoformat(decision.at)
    except ValueError:
        what = "the time of a decision cannot be read, and two ledgers decide on the same row"
        raise DataError(what, at=f"`{decision.at}`", hint="write times as 2026-01-31T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
