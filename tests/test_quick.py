"""`make quick` runs the tests next to a change."""

from tests.quick import HOUSE, tests_of


def test_the_mirror_and_who_imports_it() -> None:
    assert tests_of("aurora_m/review/decisions.py") == {"tests/review/test_decisions.py", "tests/review/test_gate.py"}
    assert "tests/data/text/test_langid.py" in tests_of("aurora_m/data/text/langid.py")


def test_a_file_without_a_mirror_is_tested_by_its_folder() -> None:
    found = tests_of("aurora_m/data/text/a_new_file.py")
    assert found == {path.relative_to(HOUSE).as_posix() for path in (HOUSE / "tests/data/text").glob("test_*.py")}


def test_a_test_is_itself_and_the_long_ones_are_left_out() -> None:
    assert tests_of("tests/core/test_run.py") == {"tests/core/test_run.py"}
    assert tests_of("tests/e2e/test_kill.py") == tests_of("README.md") == tests_of("tests/core/gone.py") == set()
