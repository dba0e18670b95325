"""Personal data: what is found, what is not, and that masking touches nothing else."""

from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.personal import pii, prefilter
from aurora_m.data.personal.pii import CODE_KINDS, COLUMNS, KINDS, counts, find, mask


def masked(text: str, lang: str = "") -> str:
    """Mask every kind."""
    return mask(text, find(text, lang))


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("Write to maija.virtanen+list@posti.example.fi.", "Write to <EMAIL>."),
        ("メールはtaro@example.jpまで、電話は03-1234-5678まで", "メールは<EMAIL>まで、電話は<PHONE>まで"),
        ("전화 +82 10 1234 5678로", "전화 <PHONE>로"),
        ("メール: taro＠example.jp。", "メール: <EMAIL>。"),
        ("<a@b.co>, 'x_y@c-d.org'", "<<EMAIL>>, '<EMAIL>'"),
        ("soita +358 40 123 4567 heti", "soita <PHONE> heti"),
        ("(+1 (555) 123-4567)", "(<PHONE>)"),
        ("tel. 03-1234-5678, 0912 345 678, 040 1234567", "tel. <PHONE>, <PHONE>, <PHONE>"),
        ("(555) 123-4567 or 555-123-4567", "<PHONE> or <PHONE>"),
        ("call +84912345678.", "call <PHONE>."),
        ("hosts 88.8.8.8, 203.0.113.7 and 2001:db8::1", "hosts <IP>, <IP> and <IP>"),
        ("server 93.184.216.34:443", "server <IP>:443"),
        ("Visa 4111 1111 1111 1111, Amex 3782-822463-10005", "Visa <CARD>, Amex <CARD>"),
        ("card 5555555555554444, ４１１１ １１１１ １１１１ １１１１", "card <CARD>, <CARD>"),
        ("IBAN FI21 1234 5600 0007 85, GB82WEST12345698765432.", "IBAN <IBAN>, <IBAN>."),
        ("IBAN NO93 8601 1117 947 00000", "IBAN <IBAN> 00000"),
        ("hetu 131052-308T, SSN 536-90-4399", "hetu <FI_HETU>, SSN <US_SSN>"),
        ("postgres://ann:s3crEt99@db.example.com/x", "postgres://ann:<SECRET>@db.example.com/x"),
    ],
)
def test_found(text: str, after: str) -> None:
    assert masked(text) == after


@pytest.mark.parametrize(
    "text",
    [
        "icon@2x.png and @decorator and a@b, user@localhost, a..b@c.org, git@github.com:a/b.git",
        "http://user:pass@example.com",
        "in 1995-2023, on 01.02.2023, 2023-01-02 10:11:12",
        "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, 9783161484100",
        "x = 0123456789; y = 1234567890123456; z = 0x0123_4567",
        "127.0.0.1, 0.0.0.0, 192.168.1.20, 10.1.2.3, 255.255.255.255, 999.1.1.1",
        "version 1.2.3.4, v1.2.3.4, 1.2.3.4.5, Chrome/120.0.0.0, ver. 20.3.4.5, section 8.2.4.44, 8.8.8.8",
        "version is 22.95.9.14; バージョンは 62.77.4.37; section 15.4.2.1",
        "std::dec a::b ::1 fe80::1 12:34:56 2023:10 2001:zz",
        "4111 1111 1111 1112, 0000 0000 0000 0000, order number: 4539578763621486",
        "FI21 1234 5600 0007 86, ZZ21 1234 5600 0007 85, DE21 1234 5600 0007 85",
        "Nature (2019) 571 1234; 100 000 000; 3.141592653589793; 1+1",
        "nguyễn@vi.example.vnđ x_88.8.8.8 0123-456-789ế",
        "#0123-4567-890 id=040-1234567",
        "5678 1234 5678 1234 5678 1234",
    ],
)
def test_not_found(text: str) -> None:
    assert masked(text) == text


def test_code_has_secrets_addresses_and_hosts_only() -> None:
    text = 'n = "536-90-4399"  # me@a.org, 131052-308T, 93.184.216.34, call +358 40 123 4567, x = a@self.weight'
    assert masked(text, "code") == text.replace("me@a.org", "<EMAIL>").replace("93.184.216.34", "<IP>")
    assert set(CODE_KINDS) < set(KINDS)


def test_only_the_kinds_asked_for() -> None:
    text = "a@b.org 81.80.8.8"
    assert mask(text, find(text, "en", ["ip"])) == "a@b.org <IP>"
    assert find(text, "en", []) == []
    assert find("", "en") == []


def test_offsets_are_characters() -> None:
    (found,) = find("漢字😀 é a@b.org", "ja")
    assert found == ("email", 6, 13)
    far = "漢字😀 " * 300
    assert [one.start for one in find(f"{far}a@b.org {far}a@b.org", "ja")] == [1200, 2408]


PARTS = [
    "a@b.org",
    "+358 40 123 4567",
    "040 123 4567",
    "212-555-0123",
    "81.80.8.8",
    "2001:db8::1",
    "4111111111111111",
    "FI2112345600000785",
    "131052-308T",
    "Aadhaar 2341 2341 2346",
    "PAN ABCPE1234F",
    "SSN 536904399",
    "マイナンバー１２３４５６７８９０１８",
    "CCCD 001099012345",
    "password = 'h8Kd9sLq2'",
    "ghp_0123456789abcdefABCDEF0123456789abcd",
    " ",
    "\n",
    ", ",
    "漢",
    "9",
    ".",
    "x",
    "-",
    ":",
    "०",
]
TEXTS = st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=3)), max_size=20).map("".join)
LANGS = st.sampled_from(["", "en", "fi", "hi", "ja", "vi", "code"])


@given(TEXTS, LANGS)
def test_masking_touches_nothing_else(text: str, lang: str) -> None:
    found = find(text, lang)
    assert all(one.end <= two.start for one, two in pairwise(found))
    pieces, rest = [], mask(text, found)
    for kind, start, end in reversed(found):
        rest, was, after = rest.rpartition(f"<{kind.upper()}>")
        assert was
        pieces += [after, text[start:end]]
    assert rest + "".join(reversed(pieces)) == text


@given(st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=3)), max_size=6).map("".join), LANGS)
def test_the_first_look_misses_nothing(text: str, lang: str) -> None:
    every = prefilter.EMAIL | prefilter.NUMBER | prefilter.IP | prefilter.PAN | prefilter.SECRET
    whole = pii._search(text, lang, every, pii._wanted(lang, KINDS))
    assert find(text, lang) == whole


@given(st.lists(st.tuples(TEXTS, LANGS), max_size=6), st.integers(0, 6))
def test_counts_are_of_what_is_found(docs: list[tuple[str, str]], cut: int) -> None:
    texts, langs = [text for text, _ in docs], [lang for _, lang in docs]
    column = pa.chunked_array([pa.array(part, pa.large_string()) for part in (texts[:cut], texts[cut:])])
    columns = counts(column, langs)
    assert tuple(columns) == COLUMNS
    for row, (text, lang) in enumerate(docs):
        kinds = Counter(one.kind for one in find(text, lang))
        assert {kind: int(columns[f"pii_{kind}"][row]) for kind in KINDS if columns[f"pii_{kind}"][row]} == kinds


def test_long_runs_take_linear_time() -> None:
    for piece in (
        "a",
        "1",
        "a.",
        "1 ",
        "@a",
        "1.",
        "2222:",
        "x@y:",
        "password='a1'",
        "-----BEGIN ",
        "://a:b1c@",
        "040 ",
    ):
        find(piece * 20_000, "fi")
