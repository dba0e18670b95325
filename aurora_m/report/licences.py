"""What the licences of a run's sources ask for, and whether the release's licence keeps it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aurora_m.data.measure.licences import kind
from aurora_m.recipe import Recipe

# What licences ask of what is made from a text, by what stands in their SPDX name. The last that matches counts.
# source  spdx.org/licenses; the licences' own summaries
_NONE = re.compile(r"CC0-|PDDL-|Unlicense$|0BSD$|WTFPL$|MIT-0$|public.domain$", re.I)
_ALIKE = re.compile(r"-SA\b|GPL|^(MPL|EPL|EUPL|OSL|CDDL|ODbL|SSPL)\b", re.I)
_FAMILY = re.compile(r"^(?:CC-BY(?:-NC)?-SA|[AL]?GPL|[A-Za-z]+)", re.I)
_PARTS = re.compile(r"\s+(?:AND|OR|WITH)\s+|[()]", re.I)
UNKNOWN = "is not known to Aurora"


@dataclass(frozen=True)
class Conflict:
    """What the licence of some sources asks for that the release's does not keep, or that it is not known."""

    licence: str
    sources: tuple[str, ...]
    what: str  # goes on from the licence: "forbids commercial use"


def conflicts(recipe: Recipe) -> list[Conflict]:
    """The licences of sources that the licence of the release may break, by name; of `A OR B` any one will do."""
    by_licence: dict[str, list[str]] = {}
    for name, source in recipe.source.items():
        by_licence.setdefault(source.license, []).append(name)
    release = recipe.release.license
    return [
        Conflict(licence, tuple(names), "; ".join(found))
        for licence, names in sorted(by_licence.items())
        if (found := _broken(licence, release))
    ]


def licence_words(recipe: Recipe) -> list[str]:
    """What to say of them, in a sentence or two; nothing where all is kept."""
    found = conflicts(recipe)
    if not found:
        return []
    told = "; ".join(f"{one.licence} ({', '.join(one.sources)}) {one.what}" for one in found)
    return [
        f"The release’s licence, {recipe.release.license}, may not keep what those of the sources ask for: {told}. "
        "Whether the weights of a model come under the licences of its texts is for a lawyer to say."
    ]


def _broken(licence: str, release: str) -> list[str]:
    """What a licence expression asks for and the release does not keep."""
    if not licence.strip():
        return [UNKNOWN]
    choices = [[*_asks(part, release)] for part in re.split(r"\s+OR\s+", licence, flags=re.I)]
    return min(choices, key=len)


def _asks(licence: str, release: str) -> Iterator[str]:
    for part in filter(None, map(str.strip, _PARTS.split(licence))):
        if part.lower() == release.lower() or _NONE.search(part):
            continue
        if re.search(r"-NC\b", part, re.I) and not re.search(r"-NC\b", release, re.I):
            yield "forbids commercial use"
        if re.search(r"-ND\b", part, re.I):
            yield "forbids what is made from it"
        elif _ALIKE.search(part):
            if _family(part) != _family(release):
                yield "asks that what is made from it has the same licence"
        elif kind(part) != "permissive" and not re.match(r"CC-BY|ODC-BY", part, re.I):
            yield UNKNOWN
        elif _NONE.search(release):
            yield "asks that it is named"


def _family(licence: str) -> str:
    found = _FAMILY.match(licence)
    return found[0].lower() if found else licence.lower()
