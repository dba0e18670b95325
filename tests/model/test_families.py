"""The table of families is true: every line is what a small random model proves now."""

import pytest
from families import COMMAND, FAMILIES, PAGE, line_of, page, proved

QUICK = ("llama", "gpt_bigcode", "gpt2", "mixtral", "gemma3_text", "granite", "opt", "bloom")


def test_every_family_has_its_line() -> None:
    lines = PAGE.read_text().splitlines()
    rows = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert sorted(rows) == sorted(FAMILIES)
    assert COMMAND in PAGE.read_text()


@pytest.mark.parametrize("family", QUICK)
def test_the_line_of_a_family_is_true(family: str) -> None:
    assert line_of(proved(family)) in PAGE.read_text().splitlines()


@pytest.mark.slow
def test_the_page_is_what_all_families_prove() -> None:
    made = {family: proved(family) for family in FAMILIES}
    assert PAGE.read_text() == "\n".join(page(made)) + "\n", f"run {COMMAND}"
