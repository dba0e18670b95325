"""What licences of sources ask for, and what the release's licence keeps of it."""

from dataclasses import replace

import pytest

from aurora_m.recipe import Recipe, load
from aurora_m.report.licences import Conflict, conflicts, licence_words
from tests.report.small_run import RECIPE

NAMED, SAME, UNKNOWN = (
    "asks that it is named",
    "asks that what is made from it has the same licence",
    "is not known to Aurora",
)
PAID, CUT = "forbids commercial use", "forbids what is made from it"


def recipe_of(licence: str, release: str) -> Recipe:
    """The tiny recipe with Finnish texts of one licence, all others free of any condition."""
    recipe = load(RECIPE)
    source = {name: replace(one, license="CC0-1.0") for name, one in recipe.source.items()}
    source["fi"] = replace(source["fi"], license=licence)
    return replace(recipe, source=source, release=replace(recipe.release, license=release))


@pytest.mark.parametrize(
    ("licence", "release", "what"),
    [
        ("CC0-1.0", "CC0-1.0", ""),
        ("CC0-1.0", "Apache-2.0", ""),
        ("Unlicense", "CC-BY-NC-4.0", ""),
        ("PSF-2.0", "CC0-1.0", NAMED),
        ("CC-BY-4.0", "CC0-1.0", NAMED),
        ("CC-BY-4.0", "Apache-2.0", ""),
        ("MIT", "bigcode-openrail-m", ""),
        ("CC-BY-SA-4.0", "Apache-2.0", SAME),
        ("CC-BY-SA-3.0", "CC-BY-SA-4.0", ""),
        ("CC-BY-SA-4.0", "CC-BY-4.0", SAME),
        ("GPL-3.0-only", "MIT", SAME),
        ("GPL-3.0-or-later", "AGPL-3.0-only", SAME),
        ("ODbL-1.0", "ODC-By-1.0", SAME),
        ("CC-BY-NC-3.0", "MIT", PAID),
        ("CC-BY-NC-4.0", "CC-BY-NC-4.0", ""),
        ("CC-BY-NC-SA-4.0", "CC-BY-SA-4.0", f"{PAID}; {SAME}"),
        ("CC-BY-ND-4.0", "CC-BY-4.0", CUT),
        ("CC-BY-NC-ND-4.0", "MIT", f"{PAID}; {CUT}"),
        ("various", "MIT", UNKNOWN),
        ("", "MIT", UNKNOWN),
        ("all rights reserved", "MIT", UNKNOWN),
        ("MIT OR GPL-3.0-only", "Apache-2.0", ""),
        ("MIT AND GPL-3.0-only", "Apache-2.0", SAME),
        ("mit", "MIT", ""),
    ],
)
def test_what_a_licence_asks_for(licence: str, release: str, what: str) -> None:
    assert conflicts(recipe_of(licence, release)) == ([Conflict(licence, ("fi",), what)] if what else [])


def test_what_is_said() -> None:
    assert licence_words(recipe_of("CC0-1.0", "MIT")) == []
    (words,) = licence_words(recipe_of("CC-BY-SA-4.0", "MIT"))
    assert (
        f"The release’s licence, MIT, may not keep what those of the sources ask for: CC-BY-SA-4.0 (fi) {SAME}. "
        in words
    )
