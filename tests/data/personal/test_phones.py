"""Phone numbers: forms by language, and the numbers that are none."""

import pytest

from aurora_m.data.personal import phones


def found(text: str, lang: str) -> list[str]:
    """Each number, the longest of those that overlap."""
    spans = sorted(set(phones.find(text, lang)))
    return [text[a:b] for a, b in spans if not any((c, d) != (a, b) and c <= a and b <= d for c, d in spans)]


@pytest.mark.parametrize(
    ("lang", "number"),
    [
        ("fi", "040 123 4567"),
        ("fi", "040-1234567"),
        ("fi", "0401234567"),
        ("fi", "09 123 456"),
        ("fi", "(09) 1234 567"),
        ("fi", "+358 40 123 4567"),
        ("ja", "03-1234-5678"),
        ("ja", "090-1234-5678"),
        ("ja", "09012345678"),
        ("ja", "(03)3456-7890"),
        ("hi", "98765 43210"),
        ("hi", "098765 43210"),
        ("hi", "022 2345 6789"),
        ("hi", "+91-9876543210"),
        ("vi", "0912 345 678"),
        ("vi", "0912345678"),
        ("vi", "0903.123.456"),
        ("vi", "(028) 3812 3456"),
        ("vi", "024 3812 3456"),
        ("en", "(212) 736-5000"),
        ("en", "212-736-5000"),
        ("en", "212.736.5000"),
        ("en", "1-800-736-5000"),
        ("en", "020 7946 0958"),
        ("en", "+44 20 7946 0958"),
        ("en", "0044 20 7946 0958"),
    ],
)
def test_found_without_a_word(lang: str, number: str) -> None:
    assert found(f"Abc {number}, (xy)", lang) == [number]
    assert found(f"({number}) 2", lang) == [number]


@pytest.mark.parametrize(
    ("lang", "word", "number"),
    [("hi", "मोबाइल", "9876543210"), ("en", "call", "98765 43210"), ("en", "Tel.", "2127365000"),
     ("vi", "SĐT", "02438123456"), ("fi", "puh.", "091234567"), ("ja", "電話", "0312345678"),
     ("en", "mobile:", "07911123456")],
)  # fmt: skip
def test_found_with_a_word(lang: str, word: str, number: str) -> None:
    assert found(f"{word} {number}", lang) == [number]
    assert found(f"abc {number}", lang) == []


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("fi", "01.02.2023, 1.2.2023, 2023-01-02, 0956834-9, 01 02 03 04 05"),
        ("fi", "tilausnumero 040 123 4567; 061-913-048"),
        ("fi", "6858 0570 2894; FI55 0819 6698 9031 33; 00100 Helsinki"),
        ("fi", "0570 123 456 789"),
        ("en", "98765 43210, 2127365000, (2019) 571-1234, 0-306-40615-2, +1234, 1,234,567,890"),
        ("en", "order number: 020 7946 0958; CCCD 003688750934"),
        ("ja", "注文番号 090-1234-5678"),
        ("hi", "9876543210"),
        ("vi", "070885-4517"),
        ("en", "555-555-5555, +999 123 456 789"),
    ],
)
def test_not_found(lang: str, text: str) -> None:
    assert found(text, lang) == []


def test_what_follows_is_left() -> None:
    assert found("040 123 4567 2023", "fi") == ["040 123 4567"]
    assert found("TEL 090-1234-5678 3", "ja") == ["090-1234-5678"]
