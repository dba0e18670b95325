"""The language of `keep`: its tokens, the columns it names, and where it is cut into clauses."""

import pytest

from aurora_m.data.select.expression import clauses, column_names, tokenize


def test_tokens() -> None:
    keep = " NOT (a_1 <= .5e1 OR b IN ('x ''y', 2))"
    tokens = tokenize(keep)
    texts = ["NOT", "(", "a_1", "<=", ".5e1", "OR", "b", "IN", "(", "'x ''y'", ",", "2", ")", ")"]
    assert [token.text for token in tokens] == texts
    assert [keep[token.start : token.end] for token in tokens] == [token.text for token in tokens]
    assert {token.text: token.depth for token in tokens if token.kind == "name"} == {
        "NOT": 0, "a_1": 1, "OR": 1, "b": 1, "IN": 1
    }  # fmt: skip
    assert column_names(keep) == {"a_1", "b"}


@pytest.mark.parametrize(
    ("keep", "parts"),
    [
        ("a > 1 AND b < 2", ["a > 1", "b < 2"]),
        (" a BETWEEN 1 AND 2 and b = 'x AND y' ", ["a BETWEEN 1 AND 2", "b = 'x AND y'"]),
        ("(a = 1 AND b = 2) AND NOT (c = 3 AND d = 4)", ["(a = 1 AND b = 2)", "NOT (c = 3 AND d = 4)"]),
        ("a = 1 AND b = 2 OR c = 3", ["a = 1 AND b = 2 OR c = 3"]),
        ("a NOT BETWEEN (1) AND (2) AND b IN (1, 2)", ["a NOT BETWEEN (1) AND (2)", "b IN (1, 2)"]),
        ("a = 'it''s' AND b = 1", ["a = 'it''s'", "b = 1"]),
    ],
)
def test_clauses(keep: str, parts: list[str]) -> None:
    assert clauses(keep) == parts
