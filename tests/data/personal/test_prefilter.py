"""Spots: regions keep to their texts, never cut a character, and hold what they are for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.personal import prefilter


def regions(*texts: str) -> list[prefilter.Region]:
    """The regions of some texts."""
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, data)])
    return [
        prefilter.Region(*row) for row in prefilter.regions(np.frombuffer(b"".join(data), np.uint8), offsets).tolist()
    ]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("a@b", prefilter.EMAIL),
        ("a＠b", prefilter.EMAIL),
        ("soita 09 123 456", prefilter.NUMBER),
        ("०९१२३४५६७८", prefilter.NUMBER),
        ("０３－１２３４－５６７８", prefilter.NUMBER),
        ("131052A308T", prefilter.NUMBER),
        ("81.1.1.1", prefilter.IP),
        ("2001:db8::1", prefilter.IP),
        ("ABCDE1234F", prefilter.PAN),
        ("ghp_abcdefabcdefabcdef", prefilter.SECRET),
        ("-----BEGIN RSA PRIVATE KEY-----", prefilter.SECRET),
        ("my_password: hunter22", prefilter.SECRET),
        ('#define API_KEY "abc12345"', prefilter.SECRET),
    ],
)
def test_a_spot(text: str, kinds: int) -> None:
    assert regions("", text) == [(1, 0, len(text.encode()), kinds)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@a a @ b",
        "1234567",
        "2023-01-02 10:11, 01.02.2023, 1995-2023",
        "1,234,567,890",
        "1.2.3 and 1.2",
        "ABCDE1234 ABCD1234F abcde1234f",
        "ghp_short, BEGIN WORK",
        "password: required",
        "2023年12月31日10時30分",
        "12:34:56:78",
    ],
)
def test_no_spot(text: str) -> None:
    assert regions(text) == []


def test_regions_that_touch_are_one() -> None:
    far = "x" * 1000
    both = regions(f"a@b {far} 12345678901", f"a@b c {far[:100]} a@b")
    assert [(one.text, one.kinds) for one in both] == [
        (0, prefilter.EMAIL),
        (0, prefilter.NUMBER),
        (1, prefilter.EMAIL),
    ]
    assert both[0].end < both[1].start


PARTS = [
    "a@b",
    "12345678901",
    "漢字",
    "😀",
    "é",
    "x" * 300,
    "81.1.1.1",
    "\n",
    "key='abc1234'",
    "2001:db8::1",
    "०१२",
    "＠",
]


@given(st.lists(st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=4)), max_size=9).map("".join), max_size=6))
def test_regions_keep_to_texts_and_characters(texts: list[str]) -> None:
    data = "".join(texts).encode()
    bounds = np.cumsum([0, *(len(text.encode()) for text in texts)])
    last = (-1, -1)
    for text, start, end, kinds in regions(*texts):
        assert bounds[text] <= start < end <= bounds[text + 1]
        assert kinds > 0
        data[start:end].decode()
        assert (text, start) > last
        last = (text, end)
    assert [one[1:] for one in regions(*texts)] == [
        (start + bounds[row], end + bounds[row], kinds)
        for row, text in enumerate(texts)
        for _, start, end, kinds in regions(text)
    ]
