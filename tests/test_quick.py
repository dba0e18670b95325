"""`make quick` runs the tests next to a change."""

from tests.quick import HOUSE, next_to


def test_the_mirror_and_who_imports_it() -> None:
    tests = {f"tests/review/test_{name}.py" for name in ("decisions", "gate", "people")}
    assert next_to("aurora_m/review/decisions.py") == tests
    assert "tests/data/text/test_langid.py" in next_to("aurora_m/data/text/langid.py")


def test_a_file_without_a_mirror_is_tested_by_its_folder() -> None:
    found = next_to("aurora_m/data/text/a_new_file.py")
    assert found == {path.relative_to(HOUSE).as_posix() for path in (HOUSE / "tests/data/text").glob("test_*.py")}


def test_a_test_is_itself_and_the_long_ones_are_left_out() -> None:
    assert next_to("tests/core/test_run.py") == {"tests/core/test_run.py"}
    assert next_to("tests/e2e/test_kill.py") == next_to("README.md") == next_to("tests/core/gone.py") == set()
