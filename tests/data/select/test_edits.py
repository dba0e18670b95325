"""Edits: counted, shown around where they are, and the one edit between two texts."""

from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.select.edits import Edit, Edits, combined, difference, shared_ends


@given(st.text("ab", max_size=12), st.text("ab", max_size=12))
def test_shared_ends_equal_a_slow_reference(before: str, after: str) -> None:
    start = same = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    while same < min(len(before), len(after)) - start and before[-1 - same] == after[-1 - same]:
        same += 1
    assert shared_ends(before, after) == (start, same)


@given(st.text("ab", max_size=12), st.text("ab", max_size=12))
def test_a_difference_makes_the_later_text(before: str, after: str) -> None:
    edit = difference("nfc", before, after)
    assert before[: edit.start] + edit.text + before[edit.end :] == after


def test_samples_are_few_and_short_and_counts_are_whole() -> None:
    parts = [Edits(), Edits()]
    for number in range(4):
        for part in parts:
            part.count(f"d{number}", "x" * 500, Edit("line", 100, 400, ""), times=2)
    whole = combined(parts)
    assert whole.counted() == {"line": 16}
    assert [sample["id"] for sample in whole.shown()] == ["d0", "d1", "d2", "d3", "d0"]  # type: ignore[call-overload, index]
    assert whole.shown()[0] == {"kind": "line", "id": "d0", "before": "x" * 320, "after": "x" * 160}
