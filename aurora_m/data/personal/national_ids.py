"""Numbers that governments give to people: structure, check digits, and the words that name a bare number.

`fi_hetu` (personal identity code, with the signs of 2023), `in_aadhaar`, `in_pan`, `jp_my_number`, `vn_cccd` (citizen
identity card) and `us_ssn`. Twelve digits alone say little: where a check digit lets one in ten pass, or there is
none, a word beside the number has to name it.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from typing import Final

KINDS = ("fi_hetu", "jp_my_number", "vn_cccd", "us_ssn", "in_pan", "in_aadhaar")  # the surer first
BEFORE_CHARS, AFTER_CHARS = 60, 56  # where a word that names a number stands
GLUE = r"A-Za-z0-9_\u00c0-\u024f\u0400-\u052f\u0900-\u0963\u1e00-\u1eff"  # go on with a number; kana and han do not
END = rf"(?![{GLUE}])(?![.,/-][0-9])"

CENTURIES: Final = {"+": 1800, **dict.fromkeys("-YXWVU", 1900), **dict.fromkeys("ABCDEF", 2000)}
CHECK_CHARS: Final = "0123456789ABCDEFHJKLMNPRSTUVWXY"
PROVINCES: Final = frozenset(  # of Vietnam, as births were registered up to 2025
    map(int, re.findall("[0-9]{2}",
    "01020406081011121415171920222425262730313334353637384042444546484951525456586062646667687072747577798082838486878991"
    "9293949596"))
)  # fmt: skip
THIS_YEAR: Final = 2026  # births after it are none yet
PRINTED_SSNS: Final = {"078051120", "219099999", "457555462"}  # in advertisements: nobody's


def begin(first: str, stops: str = "") -> str:
    """The first character of a number that stands alone. The look behind it comes second, so that `re` leaps to it."""
    behind = rf"(?<![{stops}]{first})" if stops else rf"(?<![0-9][.,/+-]{first})"
    return rf"{first}(?<![{GLUE}]{first}){behind}"


_PATTERNS: Final = {
    "fi_hetu": ("[0-3]", r"[0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Ya-fhj-npr-y]"),
    "jp_my_number": ("[0-9]", r"[0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}"),
    "vn_cccd": (
        "0",
        r"(?:[0-9]{2}([ .-]?)[0-9]{3}\1[0-9]{3}\1[0-9]{3}|[0-9]{3}([ .-])[0-9]{4}\2[0-9]{4}"
        r"|[0-9]{2}[ .-][0-9]{3}[ .-]?[0-9]{6})",
    ),
    "us_ssn": ("[0-8]", r"[0-9]{2}([ -]?)[0-9]{2}\1[0-9]{4}"),
    "in_pan": ("[A-Z]", r"[A-Z]{2}[ABCEFGHJLPT][A-Z][0-9]{4}[A-Z]"),
    "in_aadhaar": ("[2-9]", r"[0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}"),
}
_FOUND: Final = {kind: re.compile(begin(first) + rest + END) for kind, (first, rest) in _PATTERNS.items()}


def named(spaced: str, unspaced: str = "") -> "re.Pattern[str]":
    """A pattern of words that may name a number: `spaced` ones at the start of a word, `unspaced` ones anywhere."""
    parts = [rf"(?<![{GLUE}])(?:{spaced})".replace(r"\b", f"(?![{GLUE}])")] + ([unspaced] if unspaced else [])
    return re.compile(unicodedata.normalize("NFKC", "|".join(parts)))


WORDS: Final = {
    "fi_hetu": named(r"hetu"),
    "in_aadhaar": named(r"aadh?aa?r|uidai|uid\b", "आधार|アドハー|アーダール"),
    "in_pan": named(r"pan(?:\b|-)|permanent account", "पैन|स्थायी (?:खाता|लेखा)|納税者番号"),
    "jp_my_number": named(
        r"my ?number|individual number|mynumber", "マイナンバー|個人番号|通知カード|マイナ保険|माय नंबर|माई नंबर"
    ),
    "vn_cccd": named(
        r"cccd|cmnd|căn cước|can cuoc|số định danh|định danh cá nhân|citizen id|chip[- ]based id|vietnamese id|"
        r"national id|vietnamilai\w* henkilö",
        "国民(?:ID|識別|身分)|市民身分|ベトナム身分|身分証番号|वियतनामी पहचान|नागरिक पहचान",
    ),
    "us_ssn": named(
        r"ssn|social security|yhdysvaltain sosiaaliturva|an sinh xã hội",
        "社会保障番号|ソーシャルセキュリティ|सामाजिक सुरक्षा|एसएसएन",
    ),
}
THINGS: Final = named(  # orders, parcels, books
    r"(?:order|invoice|tracking|serial|sku|part|reference|ref|batch|barcode|transaction|ticket|parcel|shipment|booking|"
    r"article|item|product|model|case|document)s?[ .-]*(?:number|num|no|nr|id|code|ref|#|:)|isbn|issn|ean\b|upc\b|gtin|"
    r"imei|doi\b|awb|tilaus(?!ta)|lasku(?:n|nro|numero)|viite|seuranta|sarjan|tuote(?:n|k)|lähetys(?:t|n)|erän|"
    r"(?:mã |số )?(?:đơn hàng|hoá đơn|hóa đơn|vận đơn)|mã đơn|số sê-?ri|số seri|mã sản phẩm|mã số thuế|"
    r"số tham chiếu|mã lô",
    "注文|請求書|伝票|追跡|品番|型番|製造番号|シリアル|受付番号|法人番号|商品|商品コード|整理番号|ऑर्डर|चालान|ट्रैकिंग|सीरियल|"
    "संदर्भ|रसीद|उत्पाद|बिल (?:संख्या|नंबर)",
)
_IDS: Final = re.compile("|".join(pattern.pattern for pattern in (THINGS, *WORDS.values())))
_REST: Final = re.compile(r"[\n。।!?]|\.(?:\s|$)")  # what follows is not about this number
_NEXT: Final = re.compile(r"[^\w]{0,4}[0-9]")  # the word names the number after it


def claim(text: str, start: int, end: int, words: "re.Pattern[str]") -> int:
    """What the words nearest before text[start:end], or else right after it, say it is.

    1: what `words` name; -1: the number of a thing, or another id; 0: they do not say.
    """
    before = unicodedata.normalize("NFKC", text[max(start - BEFORE_CHARS, 0) : start]).casefold()
    ours = max((match.end() for match in words.finditer(before)), default=0)
    others = max((match.end() for match in _IDS.finditer(before)), default=0)
    if ours or others:
        return 1 if ours >= others else -1
    after = _REST.split(unicodedata.normalize("NFKC", text[end : end + AFTER_CHARS]).casefold(), maxsplit=1)[0]
    named = _IDS.search(after) or words.search(after)
    if named is None or _NEXT.match(after, named.end()):
        return 0
    return 1 if words.search(after, 0, named.end()) else -1


def find(kind: str, text: str, lang: str) -> Iterator[tuple[int, int]]:
    """Each number of one of `KINDS` in a text with ASCII digits, as (start, end)."""
    for match in _FOUND[kind].finditer(text):
        start, end = match.span()
        if _VALID[kind](match[0]) and _stands(kind, text, start, end, lang):
            yield start, end


def _stands(kind: str, text: str, start: int, end: int, lang: str) -> bool:
    """Whether its form is sure enough, or a word names it."""
    if kind == "fi_hetu":
        return True
    claimed = claim(text, start, end, WORDS[kind])
    if kind == "us_ssn" and text[start + 3] == "-":
        return claimed >= 0
    home = lang in ("hi", "en", "")
    if kind == "in_pan" or (kind == "in_aadhaar" and not text[start + 4].isdigit() and not _goes_on(text, start, end)):
        return claimed >= (0 if home else 1)
    return claimed == 1


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether groups of four stand before or after: a card, a table."""
    return bool(
        re.match(r"[ -][0-9]{2}", text[end : end + 3]) or re.search(r"[0-9]{2}[ -]$", text[max(start - 3, 0) : start])
    )


def digits(text: str) -> str:
    """The digits alone."""
    return re.sub(r"[^0-9]", "", text)


def is_hetu(number: str) -> bool:
    """A date, a number from 002 (900 and up for a time only), and the remainder modulo 31 (Decree 128/2010, 2023)."""
    day, month, year, sign, check = int(number[:2]), int(number[2:4]), int(number[4:6]), number[6], number[10].upper()
    try:
        born = date(CENTURIES[sign] + year, month, day)
    except ValueError:
        return False
    return (
        int(number[7:10]) >= 2 and born.year <= THIS_YEAR and CHECK_CHARS[int(number[:6] + number[7:10]) % 31] == check
    )


def is_aadhaar(number: str) -> bool:
    """Verhoeff's check over the dihedral group of order ten (1969); a number that reads the same backwards is none."""
    plain = digits(number)
    total = 0
    for place, char in enumerate(reversed(plain)):
        total = _times(total, _permuted(int(char), place))
    return total == 0 and plain != plain[::-1]


def _times(a: int, b: int) -> int:
    """The product in the dihedral group: 0 to 4 turn the pentagon, 5 to 9 turn it over as well."""
    turned = (a + b if a < 5 else a - b) % 5
    return turned + 5 * ((a < 5) != (b < 5))


def _permuted(digit: int, place: int) -> int:
    """Verhoeff's permutation, applied as often as the place says."""
    for _ in range(place % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def is_pan(number: str) -> bool:
    """Only the structure is public: the fourth letter tells the kind of holder, 0000 is not given."""
    return number[5:9] != "0000"


def is_my_number(number: str) -> bool:
    """The check digit of Ordinance 85 of 2014 (Ministry of Internal Affairs), article 5: weights 2 to 7, 2 to 6."""
    plain = [int(char) for char in digits(number)]
    weights = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    rest = sum(weight * digit for weight, digit in zip(weights, plain[:11], strict=True)) % 11
    return len(set(plain)) > 1 and plain[11] == (0 if rest <= 1 else 11 - rest)


def is_cccd(number: str) -> bool:
    """Province of birth, a digit for century and sex, year of birth (Circular 07/2016/TT-BCA); there is no check."""
    plain = digits(number)
    century = 1900 + 100 * (int(plain[3]) // 2)
    return int(plain[:3]) in PROVINCES and century + int(plain[4:6]) <= THIS_YEAR and plain[6:] != "000000"


def is_ssn(number: str) -> bool:
    """The ranges that were never given (Social Security Administration, 2011)."""
    plain = digits(number)
    return plain[:3] not in ("000", "666") and plain[3:5] != "00" and plain[5:] != "0000" and plain not in PRINTED_SSNS


_VALID: Final = {
    "fi_hetu": is_hetu,
    "in_aadhaar": is_aadhaar,
    "in_pan": is_pan,
    "jp_my_number": is_my_number,
    "vn_cccd": is_cccd,
    "us_ssn": is_ssn,
}
