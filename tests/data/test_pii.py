"""Personal data: what is found, what is not, and that masking touches nothing else."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.pii import KINDS, find, mask


def masked(text: str) -> str:
    """Mask every kind."""
    return mask(text, find(text, KINDS))


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("Write to maija.virtanen+list@posti.example.fi.", "Write to <EMAIL>."),
        ("メールはtaro@example.jpまで、電話は03-1234-5678まで", "メールは<EMAIL>まで、電話は<PHONE>まで"),
        ("전화 +82 10 1234 5678로", "전화 <PHONE>로"),
        ("メール: taro@example.jp。", "メール: <EMAIL>。"),
        ("<a@b.co>, 'x_y@c-d.org'", "<<EMAIL>>, '<EMAIL>'"),
        ("soita +358 40 123 4567 heti", "soita <PHONE> heti"),
        ("(+1 (555) 123-4567)", "(<PHONE>)"),
        ("tel. 03-1234-5678, 0912 345 678, 040 1234567", "tel. <PHONE>, <PHONE>, <PHONE>"),
        ("(555) 123-4567 or 555-123-4567", "<PHONE> or <PHONE>"),
        ("call +84912345678.", "call <PHONE>."),
        ("hosts 88.8.8.8, 203.0.113.7 and 2001:db8::1", "hosts <IP>, <IP> and <IP>"),
        ("from 93.184.216.34:443", "from <IP>:443"),
        ("Visa 4111 1111 1111 1111, Amex 3782-822463-10005", "Visa <CARD>, Amex <CARD>"),
        ("card 5555555555554444", "card <CARD>"),
        ("IBAN FI21 1234 5600 0007 85, GB82WEST12345698765432.", "IBAN <IBAN>, <IBAN>."),
    ],
)
def test_found(text: str, after: str) -> None:
    assert masked(text) == after


@pytest.mark.parametrize(
    "text",
    [
        "icon@2x.png and @decorator and a@b, user@localhost, a..b@c.org",
        "in 1995-2023, on 01.02.2023, 2023-01-02 10:11:12",
        "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, 9783161484100",
        "x = 0123456789; y = 1234567890123456; z = 0x0123_4567",
        "127.0.0.1, 0.0.0.0, 192.168.1.20, 10.1.2.3, 255.255.255.255, 999.1.1.1",
        "version 1.2.3.4, v1.2.3.4, 1.2.3.4.5, Chrome/120.0.0.0, ver. 20.3.4.5, section 8.2.4.44, 8.8.8.8",
        "std::dec a::b ::1 fe80::1 12:34:56 2023:10",
        "4111 1111 1111 1112, 0000 0000 0000 0000",
        "FI21 1234 5600 0007 86",
        "Nature (2019) 571 1234; 100 000 000; 3.141592653589793; 1+1",
        "nguyễn@vi.example.vnđ x_88.8.8.8 0123-456-789ế",
        "#0123-4567-890 id=040-1234567",
    ],
)
def test_not_found(text: str) -> None:
    assert masked(text) == text


def test_only_the_kinds_asked_for() -> None:
    text = "a@b.org 8.80.8.8"
    assert mask(text, find(text, ["ip"])) == "a@b.org <IP>"
    assert find(text, []) == []


def test_offsets_are_characters() -> None:
    (span,) = find("漢字😀 é a@b.org", ["email"])
    assert (span.start, span.end, span.kind) == (6, 13, "email")


PARTS = [
    "a@b.org",
    "+358 40 123 4567",
    "8.80.8.8",
    "4111111111111111",
    "FI2112345600000785",
    " ",
    "漢",
    "9",
    ".",
    "x",
    "-",
    ":",
]


@given(st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=3)), max_size=20).map("".join))
def test_masking_touches_nothing_else(text: str) -> None:
    spans = find(text, KINDS)
    assert spans == sorted(spans)
    assert all(one.end <= two.start for one, two in pairwise(spans))
    pieces, rest = [], mask(text, spans)
    for span in reversed(spans):
        rest, found, after = rest.rpartition(f"<{span.kind.upper()}>")
        assert found
        pieces += [after, text[span.start : span.end]]
    assert rest + "".join(reversed(pieces)) == text


def test_long_runs_take_linear_time() -> None:
    for piece in ("a", "1", "a.", "1 ", "@a", "1.", "2222:"):
        find(piece * 100_000, KINDS)
