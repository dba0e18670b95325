"""Who decided what, and whose word is the last: people by their names, which is all that a ledger knows of them."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from aurora_m.core.errors import DataError
from aurora_m.review.decisions import Decision

# Letters of other scripts that look like Latin ones in common fonts, small and composed.
# source  Unicode Technical Standard 39, confusables.txt, what of it is Greek, Cyrillic, Armenian and small
_LIKE = dict(
    zip(
        "аеорсухѕіјԁһԛԝкмнтвгпз" + "αορνυικτχηγ" + "օոսհցզ" + "ıɩɑɡℓ",
        "aeopcyxsijdhqwkmhtbrn3" + "aopvuiktxny" + "onuhgq" + "iiagl",
        strict=True,
    )
)


def person(name: str) -> str:
    """The name by which decisions are one person's: composed (NFKC), case-folded, without spaces around, doubled or
    of no width."""
    visible = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(visible.split()).casefold())


def check_people(ledgers: Iterable[Sequence[Decision]]) -> dict[str, str]:
    """The people of some ledgers, each with the first spelling of the name.

    DataError if a name is empty, or looks like another one in letters of another script.
    """
    spelled: dict[str, str] = {}
    seen: dict[str, str] = {}
    for decision in (decision for ledger in ledgers for decision in ledger):
        key = person(decision.reviewer)
        if not key:
            hint = "who decided is not known: let a reviewer with a name decide, in a new ledger"
            raise DataError("a decision has no reviewer", at=f"the decision at {decision.at}", hint=hint)
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
