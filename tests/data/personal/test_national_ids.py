"""Government ids: check digits against python-stdnum, and the words that a bare number needs."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.data.personal import national_ids as ids


def found(text: str, lang: str = "en") -> list[tuple[str, str]]:
    """Each find of each kind."""
    return [(kind, text[start:end]) for kind in ids.KINDS for start, end in ids.find(kind, text, lang)]


@given(st.from_regex(r"[2-9][0-9]{11}", fullmatch=True))
def test_aadhaar_is_as_stdnum_has_it(number: str) -> None:
    aadhaar = pytest.importorskip("stdnum.in_.aadhaar", reason="python-stdnum is the oracle")
    assert ids.is_aadhaar(number) == aadhaar.is_valid(number)


def test_check_digits_are_as_stdnum_has_them() -> None:
    pytest.importorskip("stdnum", reason="python-stdnum is the oracle")
    from stdnum.fi import hetu
    from stdnum.in_ import aadhaar, pan
    from stdnum.jp import in_
    from stdnum.us import ssn

    rng = random.Random(1)
    for _ in range(600):
        twelve = "".join(rng.choices("0123456789", k=12))
        assert ids.is_my_number(twelve) == (in_.is_valid(twelve) and len(set(twelve)) > 1)
        head = rng.choice("23456789") + twelve[:10]
        assert [ids.is_aadhaar(head + d) for d in "0123456789"] == [aadhaar.is_valid(head + d) for d in "0123456789"]
        code = f"{rng.randrange(1, 32):02d}{rng.randrange(1, 13):02d}{twelve[:2]}-{twelve[2:5]}"
        mine = [ids.is_hetu(code + char) for char in ids.CHECK_CHARS]
        assert mine == [hetu.is_valid(code + char, allow_temporary=True) for char in ids.CHECK_CHARS]
        nine = f"{rng.randrange(900):03d}-{twelve[:2]}-{twelve[2:6]}"
        assert ids.is_ssn(nine) == ssn.is_valid(nine)
        letters = "".join(rng.choices("ABCDFGHIJLMNOPQRSTUVWXYZ", k=6))  # E, of a partnership, stdnum does not know
        card = letters[:5] + twelve[:4] + letters[5]
        assert bool(found(card, "hi")) == pan.is_valid(card)


@pytest.mark.parametrize("sign", "+-YXWVUABCDEF")
def test_every_century_sign(sign: str) -> None:
    year = "05" if sign in "ABCDEF" else "52"
    check = ids.CHECK_CHARS[int(f"1310{year}308") % 31]
    assert found(f"{year} 1310{year}{sign}308{check}.", "fi") == [("fi_hetu", f"1310{year}{sign}308{check}")]
    wrong = ids.CHECK_CHARS[(int(f"1310{year}308") + 1) % 31]
    assert found(f"{year} 1310{year}{sign}308{wrong}.", "fi") == []


@pytest.mark.parametrize(
    ("text", "lang", "kind"),
    [
        ("My Number: 123456789018", "en", "jp_my_number"),
        ("マイナンバーは1234-5678-9018です", "ja", "jp_my_number"),
        ("1234 5678 9018 is her Individual Number", "en", "jp_my_number"),
        ("Số CCCD: 001099012345", "vi", "vn_cccd"),
        ("căn cước công dân số 001 099 012 345", "vi", "vn_cccd"),
        ("SSN 536904399", "en", "us_ssn"),
        ("it was 536-90-4399", "fi", "us_ssn"),
        ("पैन ABCPE1234F", "hi", "in_pan"),
        ("it was ABCPE1234F", "en", "in_pan"),
        ("PAN番号ABCPE1234F", "ja", "in_pan"),
        ("आधार संख्या 234123412346", "hi", "in_aadhaar"),
        ("it was 2341 2341 2346.", "en", "in_aadhaar"),
        ("aadhaar 234123412346", "fi", "in_aadhaar"),
    ],
)
def test_found(text: str, lang: str, kind: str) -> None:
    assert [one for one, _ in found(text, lang)] == [kind]


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("order no. 123456789018", "en"),
        ("マイナンバーではなく注文番号 123456789018", "ja"),
        ("123456789018", "ja"),
        ("My Number: 123456789017", "en"),
        ("My Number 123456, order number 123456789018", "en"),
        ("001099012345", "vi"),
        ("CCCD 003099012345, CCCD 001299012345, mã đơn hàng 001099012345", "vi"),
        ("536904399", "en"),
        ("SSN 000-12-3456, 666-12-3456, 912-12-3456, 536-00-4399, 536-90-0000, 078-05-1120", "en"),
        ("order number: 536-90-4399", "en"),
        ("ABCPE1234F", "fi"),
        ("ABCDE1234F, ABCPE0000F, 22ABCPE1234F1Z5, abcpe1234f", "hi"),
        ("234123412346", "hi"),
        ("2341 2341 2347, 1234 1234 1234, 2341 2341 2346 1234, 4321 2341 2341 2346", "hi"),
        ("2341 2341 2346", "ja"),
        ("234123412346 SSN 536-90-0000", "vi"),
        ("300252-308T, 131052-308X, 1131052-308T, 131052-308TT, 010199-0015", "fi"),
    ],
)
def test_not_found(text: str, lang: str) -> None:
    assert found(text, lang) == []


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("SSN: {}", 1),
        ("SSN, see order number {}", -1),
        ("order number, SSN {}", 1),
        ("{} is the SSN.", 1),
        ("{}. The SSN", 0),
        ("{} SSN: 1", 0),
        ("{} is the order number", -1),
        ("CCCD {}", -1),
        ("{}", 0),
    ],
)
def test_the_nearest_words_say_what_it_is(text: str, claim: int) -> None:
    start = text.index("{")
    filled = text.replace("{}", "123456789")
    assert ids.claim(filled, start, start + 9, ids.WORDS["us_ssn"]) == claim
