"""Licences: which SPDX licence a text states, by its tag or in its own words, and whether that is a permissive one.

source  SPDX licence list and expressions (spdx.dev, ISO/IEC 5962); ids in capitals there are kept as they are here
"""

import re
from collections.abc import Iterable
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aurora_m.data.text import kernels

KINDS = ("permissive", "copyleft", "unknown", "none")  # of the last two: states one that is none of ours; states none
BSD, PROPRIETARY = "LicenseRef-BSD", "LicenseRef-Proprietary"  # a BSD licence, it does not say which; no open one
_PERMISSIVE = {
    name.lower()
    for name in f"""0BSD Apache-1.1 Apache-2.0 Artistic-2.0 blessing BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause
    BSD-2-Clause-Patent BSD-3-Clause BSD-3-Clause-Clear BSD-4-Clause BSD-Source-Code BSL-1.0 CC-BY-4.0 CC0-1.0 curl
    HPND ICU ISC libpng-2.0 MIT MIT-0 MIT-CMU MulanPSL-2.0 NCSA PostgreSQL PSF-2.0 Python-2.0
    Unicode-3.0 Unicode-DFS-2016 Unlicense UPL-1.0 WTFPL X11 Zlib ZPL-2.1 {BSD}""".split()
}
_COPYLEFT = re.compile(r"(A?L?GPL|MPL|EPL|CDDL|CPL|EUPL|OSL|SSPL|CECILL|CC-BY-SA|GFDL|QPL|Sleepycat)\b", re.I)
_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() -]+)", re.I)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*\+?")
# What a text says, in words alone (case, punctuation and line ends do not count), and what that is evidence of.
PHRASES = {
    "MIT": ("to deal in the software without", "mit license", "mit licence", "mit licensed", "license mit",
            "licence mit", "licensed mit", "mit and apache", "mit or apache", "mit apache 2 0"),
    "Apache-2.0": ("apache license version 2", "apache license 2 0", "licenses license 2 0", "apache 2 0 license",
                   "license apache2", "license apache", "mit and apache", "mit or apache", "mit apache 2 0"),
    "clause": ("redistribution and use in source and",),
    "clause 3": ("used to endorse or promote products",),
    "clause 4": ("all advertising materials mentioning features or",),
    "BSD-3-Clause": ("bsd 3 clause", "3 clause bsd", "new bsd license", "three clause bsd"),
    "BSD-2-Clause": ("bsd 2 clause", "2 clause bsd", "simplified bsd license", "two clause bsd"),
    BSD: ("bsd license", "bsd licence", "bsd licensed", "license bsd", "bsd style license", "bsd style licence"),
    "purpose": ("this software for any purpose with",),
    "notice": ("appear in all copies",),
    "ISC": ("isc license", "isc licence", "license isc"),
    "MPL-2.0": ("mozilla public license v 2 0", "mozilla public license version 2 0", "mpl 2 0", "license mpl"),
    "GPL": ("gnu general public license", "gnu gpl", "gplv2", "gplv3", "gpl v2", "gpl v3", "license gpl"),
    "LGPL": ("gnu lesser general public", "gnu library general public", "gnu lgpl", "lgplv2", "lgplv3", "lgpl v2",
             "lgpl v3", "license lgpl"),
    "AGPL": ("gnu affero general public", "gnu agpl", "agplv3", "agpl v3", "license agpl"),
    "2.0": ("version 2 of the", "public license version 2", "public licence version 2", "public license v2", "gplv2",
            "gpl v2", "lgplv2", "lgpl v2", "gpl version 2", "gpl 2", "lgpl 2"),
    "2.1": ("version 2 1 of", "license version 2 1", "lgpl 2 1", "lgplv2 1"),
    "3.0": ("version 3 of the", "public license version 3", "public licence version 3", "public license v3", "gplv3",
            "gpl v3", "lgplv3", "lgpl v3", "agplv3", "agpl v3", "gpl version 3", "gpl 3", "lgpl 3", "agpl 3"),
    "later": ("any later version", "or later version", "or later versions"),
    "verbatim": ("everyone is permitted to",),
    "Unlicense": ("this is free and unencumbered software", "license unlicense"),
    "CC0-1.0": ("cc0 1 0 universal", "waived all copyright and related or", "license cc0"),
    "PSF-2.0": ("python software foundation license version 2", "licensed to psf under a contributor",
                "licensed to the psf under a",
                "license psf"),
    "Zlib": ("altered source versions must be plainly",),
    "BSL-1.0": ("boost software license version",),
    PROPRIETARY: ("proprietary and confidential", "confidential and proprietary", "unauthorized copying of this"),
    "either": ("at your option", "dual licensed", "dually licensed", "dual license", "or the mit license"),
    "not either": ("at your option any",),
}  # fmt: skip
_PLAIN = ("MIT", "Apache-2.0", "MPL-2.0", "Unlicense", "CC0-1.0", "PSF-2.0", "Zlib", "BSL-1.0", PROPRIETARY)
_FAMILIES = {"GPL": "1.0", "LGPL": "2.0", "AGPL": "3.0"}  # with the version that a text without one begins at


def kind(licence: str) -> str:
    """Which of `KINDS` an SPDX expression is: a user may take the best of an OR, and must heed all of an AND."""
    try:
        return KINDS[_rank(_tokens(licence))] if licence else "none"
    except ValueError:
        return "unknown"


def joined(licences: Iterable[str], either: bool = False) -> str:
    """One SPDX expression of some, sorted; `either` says that a user may choose."""
    names = sorted({name for name in licences if name})
    if len(names) > 1:
        names = [f"({name})" if " " in name else name for name in names]
    return (" OR " if either else " AND ").join(names)


def declared(name: str) -> str:
    """The SPDX expression that a source's field holds; empty for what is none (`other`, `see LICENSE`)."""
    expression = " ".join(re.sub(r"/", " OR ", name).split())
    try:
        known = _rank(_tokens(expression)) < KINDS.index("unknown")
    except ValueError:
        return ""
    return expression if known else ""


def stated(texts: pa.Array | pa.ChunkedArray) -> list[str]:
    """The SPDX expression that each text states; empty for none.

    A tag `SPDX-License-Identifier` is taken as it is; else the licence is known by its own words or by a short form
    ("MIT licensed"). Several licences are joined by OR where the text leaves the choice, else by AND.
    """
    found = ["" for _ in range(len(texts))]
    for text, evidence in _evidence(texts).items():
        found[text] = _concluded(evidence)
    tagged = pc.match_substring(texts, "SPDX-License-Identifier", ignore_case=True)
    for text in np.flatnonzero(np.asarray(tagged)).tolist():
        tags = (declared(tag.strip(" -")) or tag.strip(" -") for tag in _TAG.findall(texts[text].as_py()))
        found[text] = joined(tags) or found[text]
    return found


@cache
def _patterns() -> tuple[kernels.Patterns, list[list[str]]]:
    """The phrases, and what each is evidence of."""
    meanings: dict[str, list[str]] = {}
    for meaning, phrases in PHRASES.items():
        for phrase in phrases:
            meanings.setdefault(phrase, []).append(meaning)
    words, _, bounds = kernels.words(pa.array(list(meanings), pa.large_string()))
    lengths = [len(phrase.split()) for phrase in meanings]
    assert np.diff(bounds).tolist() == lengths, "a phrase is not the words it is written with"
    return kernels.patterns(words, bounds[:-1], np.diff(bounds)), list(meanings.values())


def _evidence(texts: pa.Array | pa.ChunkedArray) -> dict[int, list[str]]:
    """What the words of each text are evidence of, in order; only texts with any."""
    words, _, bounds = kernels.words(texts)
    patterns, meanings = _patterns()
    found = kernels.matches(words, bounds, patterns).tolist()
    hits = [(at, meaning) for at, pattern in found for meaning in meanings[pattern]]
    hits.sort()
    rows = np.searchsorted(bounds, [at for at, _ in hits], "right") - 1
    evidence: dict[int, list[str]] = {}
    for row, (_, meaning) in zip(rows.tolist(), hits, strict=True):
        evidence.setdefault(row, []).append(meaning)
    return evidence


def _concluded(evidence: list[str]) -> str:
    """The expression that a text's evidence adds up to."""
    there = set(evidence)
    names = {name for name in _PLAIN if name in there}
    if "clause" in there:
        names.add(f"BSD-{4 if 'clause 4' in there else 3 if 'clause 3' in there else 2}-Clause")
    else:
        exact = {"BSD-2-Clause", "BSD-3-Clause"} & there
        names |= exact or {BSD} & there
    if "purpose" in there or "ISC" in there:
        names.add("ISC" if "ISC" in there or "notice" in there else "0BSD")
    family = next((name for name in evidence if name in _FAMILIES), "")
    if family and not {"MPL-2.0", "PSF-2.0"} & there:  # whose own words name the GPL as one they go with
        names.add(_gnu(family, evidence))
    choice = evidence.count("either") > evidence.count("not either")  # which the GPL's own text speaks of, too
    return joined(names, choice and "verbatim" not in there)


def _gnu(family: str, evidence: list[str]) -> str:
    """The GNU licence: of the versions that stand there the first, which `later` may follow."""
    version = next((name for name in evidence if name in ("2.0", "3.0")), "")
    if family == "LGPL" and "2.1" in evidence:
        version = "2.1"
    # The licences' own texts speak of later versions, and do not say whether they may be used here.
    later = not version or ("later" in evidence and "verbatim" not in evidence)
    return f"{family}-{version or _FAMILIES[family]}-{'or-later' if later else 'only'}"


def _tokens(expression: str) -> list[str]:
    return re.findall(r"[()]|[^\s()]+", expression)


def _rank(tokens: list[str]) -> int:
    """The index in `KINDS` of an SPDX expression. ValueError if it is none."""
    rank, rest = _either(tokens)
    if rest:
        raise ValueError(f"`{rest[0]}` cannot stand here")
    return rank


def _either(tokens: list[str]) -> tuple[int, list[str]]:
    rank, tokens = _both(tokens)
    while tokens and tokens[0].upper() == "OR":
        other, tokens = _both(tokens[1:])
        rank = min(rank, other)
    return rank, tokens


def _both(tokens: list[str]) -> tuple[int, list[str]]:
    rank, tokens = _one(tokens)
    while tokens and tokens[0].upper() == "AND":
        other, tokens = _one(tokens[1:])
        rank = max(rank, other)
    return rank, tokens


def _one(tokens: list[str]) -> tuple[int, list[str]]:
    if tokens and tokens[0] == "(":
        rank, rest = _either(tokens[1:])
        if not rest or rest[0] != ")":
            raise ValueError("a bracket is not closed")
        return rank, rest[1:]
    if not tokens or not _NAME.fullmatch(tokens[0]) or tokens[0].upper() in ("AND", "OR", "WITH"):
        raise ValueError("there is no licence")
    name, rest = tokens[0], tokens[1:]
    if rest and rest[0].upper() == "WITH":  # an exception only allows more
        if len(rest) < 2:
            raise ValueError("there is no exception")
        rest = rest[2:]
    permissive = name.rstrip("+").lower() in _PERMISSIVE
    return KINDS.index("permissive" if permissive else "copyleft" if _COPYLEFT.match(name) else "unknown"), rest
