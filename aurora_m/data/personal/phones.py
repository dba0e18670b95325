"""Phone numbers, international and national: shapes by language, then the numbering plans of `phonenumbers`."""

import re
from collections.abc import Iterator
from typing import Final

from aurora_m.data.personal.national_ids import END, begin, claim, digits, named

REGIONS: Final = {  # whose national numbers stand in texts of a language
    "fi": ("FI",),
    "ja": ("JP",),
    "hi": ("IN",),
    "vi": ("VN",),
    "en": ("US", "GB", "IN"),
    "": ("US", "GB", "IN", "FI", "JP", "VN"),
}
_STOPS: Final = "-./+=#$"  # go on with something longer from before
_ABROAD: Final = re.compile(
    begin("[+0]", _STOPS) + r"(?:(?<=\+)|0(?=[1-9])) ?[0-9]{1,3}(?:[ ./-]{0,2}\(?[0-9]{1,12}\)?){1,7}" + END
)
_HOME: Final = re.compile(
    begin("[(0]", _STOPS)
    + r"(?:(?<=\()0[0-9]{1,4}\)|(?<=0)[0-9]{1,4})(?:(?:[ .-]| - |(?<=\))|)\(?[0-9]{1,9}\)?){1,5}"
    + END
)
_US: Final = re.compile(
    begin("[(1-9]", _STOPS)
    + r"(?:(?<=1)[ .-]\(?[2-9][0-9]{2}|(?<=\()[2-9][0-9]{2}|(?<=[2-9])[0-9]{2})(?:\)[ .-]?|[ .-])[0-9]{3}[ .-][0-9]{4}"
    + END
)
_INDIA: Final = re.compile(
    begin("[6-9]", _STOPS)
    + r"(?:[0-9]{4}[ -][0-9]{5}|[0-9]{2}[ -][0-9]{3}[ -][0-9]{4}|[0-9]{3}[ -][0-9]{3}[ -][0-9]{3}"
    + r"|(?<=9)1[ -]?[6-9][0-9]{4}[ -]?[0-9]{5})"
    + END
)
_BARE: Final = re.compile(begin("[0-9]", "-./+$") + r"[0-9]{7,11}" + END)
_DATE: Final = re.compile(
    r"[0-3]?[0-9][ ./-][0-3]?[0-9][ ./-](?:19|20)[0-9]{2}|[0-9]{2}([ ./-])[0-9]{2}\1[0-9]{2}|\(?(?:19|20)[0-9]{2}\) .*"
    r"|[0-3][0-9][01][0-9]{3}-[0-9]{4}"
)
_GROUPED: Final = re.compile(r"^(?=.*[0-9]{3}).*[ .)-].*[0-9]{2}$")  # pairs alone are a lottery, one last digit a check
_LAST: Final = re.compile(r" +\(?(?:[0-9]{1,2}|[0-9]{4,})\)?$")  # three digits go on with the same number
_ROW: Final = re.compile(r"(?:[0-9A-Z]{2}[0-9]{2}|[A-Z]{2}[0-9]{2} [A-Z]{4}) [0-9]{4}$")  # of an account, a table
MIN_CHARS: Final = 8
WORDS: Final = named(
    r"tel\b|tel[.:]|telephone|phone|call\b|calling|ring\b|mobile|cell|fax|whatsapp|sms\b|text me|contact|hotline|"
    r"helpline|viber|signal\b|dial|reach|puh|soit|numero(?:ni|ssa|sta|on|mme|iin)|gsm|kännyk|matkapuh|tavoit|faksi|"
    r"điện thoại|sđt|đt\b|đt[.:]|di động|gọi|liên hệ|đường dây|zalo|số máy|alo\b|nhắn",
    "電話|携帯|ケータイ|スマホ|連絡先|ファ[クッ]|フリーダイヤル|फ़ोन|फोन|मोबाइल|मो[.०॰]|कॉल|संपर्क|सम्पर्क|व्हाट्सएप|"
    "दूरभाष|टेलीफोन|हेल्पलाइन|डायल",
)


def find(text: str, lang: str) -> Iterator[tuple[int, int]]:
    """Each phone number of a text with ASCII digits, as (start, end); some may overlap.

    With `+` or `00`: a possible number of its country. National: a valid one of the language's `REGIONS`, written in
    groups, or in one where it is of a mobile phone; digits alone that may as well count things need a word before.
    North American numbers in their usual groups count everywhere.
    """
    yield from _abroad(text)
    regions = REGIONS.get(lang, REGIONS[""])
    for match in _US.finditer(text):
        start, end = match.span()
        start += match[0].count("(") - match[0].count(")")  # of `(212.555.0123)`
        sure = " " not in text[start:end].removeprefix("1 ") or "(" in text[start:end]
        least = 0 if sure or _is_valid(match[0], ("US",)) else 1
        if len(set(digits(match[0]))) > 2 and claim(text, start, end, WORDS) >= least:
            yield start, end
    yield from _grouped(text, _HOME, tuple(region for region in regions if region != "US"), 0)
    if "IN" in regions:
        yield from _grouped(text, _INDIA, ("IN",), 0 if lang == "hi" else 1)
    for match in _BARE.finditer(text):
        start, end = match.span()
        surely = lang in ("fi", "ja", "vi", "hi") and match[0][0] == "0" and _is_mobile(match[0], regions[0])
        claimed = claim(text, start, end, WORDS)
        if claimed >= (0 if surely else 1) and (surely or _is_valid(match[0], regions)):
            yield start, end


def _abroad(text: str) -> Iterator[tuple[int, int]]:
    for match in _ABROAD.finditer(text):
        start = match.start()
        plus = match[0].startswith("+")
        for number in _shorter(match[0]):
            if _is_possible(number) if plus else _is_valid("+" + number[2:], (None,)):
                end = start + len(number)
                if claim(text, start, end, WORDS) >= (-1 if plus else 1 if number.isdigit() else 0):
                    yield start, end
                break


def _grouped(text: str, pattern: "re.Pattern[str]", regions: tuple[str, ...], least: int) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(text):
        start = match.start()
        if (text[start] == "(" and ")" not in match[0]) or _ROW.search(text[max(start - 10, 0) : start + 4]):
            continue
        for number in _shorter(match[0]):
            if _GROUPED.search(number) and _DATE.fullmatch(number) is None and _is_valid(number, regions):
                unusual = regions == ("FI",) and number.count("-") > 1 and not _is_mobile(number, "FI")
                if claim(text, start, start + len(number), WORDS) >= (1 if unusual else least):
                    yield start, start + len(number)
                break


def _shorter(number: str) -> Iterator[str]:
    """A number in groups, then without its last groups, which may belong to something else; none past its bracket."""
    opened = 0
    for place, char in enumerate(number):
        opened += (char == "(") - (char == ")")
        if opened < 0:
            number = number[:place]
            break
    while len(number) >= MIN_CHARS:
        yield number
        cut = _LAST.search(number)
        if cut is None:
            return
        number = number[: cut.start()]


def _is_valid(number: str, regions: "tuple[str | None, ...]") -> bool:
    return any(_kind(_plain(number), region) >= 1 for region in regions)


def _is_mobile(number: str, region: str) -> bool:
    return _kind(_plain(number), region) == 2


def _plain(number: str) -> str:
    return ("+" if number.startswith("+") else "") + digits(number.replace("(0)", ""))


def _is_possible(number: str) -> bool:
    """Of a known country and of a length that it has."""
    import phonenumbers as plans  # only here and below: it takes a while, and few texts come so far

    try:
        return len(set(digits(number))) > 2 and plans.is_possible_number(plans.parse(_plain(number)))
    except plans.NumberParseException:
        return False


def _kind(plain: str, region: "str | None") -> int:
    """0: no number of this region's plan (ITU-T E.164 and national ones), 1: one, 2: of a mobile phone."""
    import phonenumbers as plans

    try:
        number = plans.parse(plain, region)
    except plans.NumberParseException:
        return 0
    if not (plans.is_valid_number(number) if region is None else plans.is_valid_number_for_region(number, region)):
        return 0
    mobile = (plans.PhoneNumberType.MOBILE, plans.PhoneNumberType.FIXED_LINE_OR_MOBILE)
    return 2 if plans.number_type(number) in mobile else 1
