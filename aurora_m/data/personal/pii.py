"""Personal data and secrets in text: where they stand, how many there are, and a text without them.

One compiled pass (prefilter.py) says where to look; patterns, check digits, numbering plans and the words beside a
number then decide. `find` and `counts` look at the same regions, so they agree.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_m.data.personal import national_ids, phones, prefilter, secrets
from aurora_m.data.personal.national_ids import END, GLUE, begin, claim, digits, named
from aurora_m.data.text.kernels import text_buffers


class Span(NamedTuple):
    """text[start:end] is of this kind."""

    kind: str
    start: int
    end: int


Finder: TypeAlias = Callable[[str, str], Iterable[tuple[int, int]]]  # of a text and its language

KINDS = (
    "secret",
    "email",
    "ip",
    "iban",
    "card",
    *national_ids.KINDS,
    "phone",
)  # where two overlap, the earlier kind is right
CODE_KINDS = ("secret", "email", "ip")  # other numbers in code count things
COLUMNS = tuple(f"pii_{kind}" for kind in KINDS)

_DIGITS = {0xFF10 + i: 48 + i for i in range(10)} | {0x0966 + i: 48 + i for i in range(10)}  # full-width, Devanagari
_DASHES = dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2212, 0xFF0D, 0xFE63, 0x2015), 45)
_SPACES = dict.fromkeys((0xA0, 0x2002, 0x2003, 0x2007, 0x2009, 0x202F, 0x3000), 32)
_MARKS = {0xFF20: 64, 0xFF0E: 46, 0xFF0B: 43, 0xFF08: 40, 0xFF09: 41, 0xFF3F: 95}
_LETTERS = {0xFF21 + i: 65 + i for i in range(26)} | {0xFF41 + i: 97 + i for i in range(26)}
_PLAIN: Final = _DIGITS | _DASHES | _SPACES | _MARKS | _LETTERS
_WIDE: Final = re.compile("[" + "".join(re.escape(chr(point)) for point in sorted(_PLAIN)) + "ー]")
_LONG_VOWEL: Final = re.compile("(?<=[0-9])ー(?=[0-9])")  # typed for a dash

FILE_ENDINGS = {"png", "jpg", "jpeg", "gif", "svg", "webp"}  # of `icon@2x.png`
CODE_ENDINGS = frozenset(  # of hosts in code, besides the two letters of a country
    ("com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "dev", "app", "tech", "cloud", "online",
     "site", "xyz", "email", "example")
)  # fmt: skip
_DOMAIN: Final = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}" + f"(?![{GLUE}])(?![.-][A-Za-z0-9])")
_LOCAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}$")
_USER: Final = re.compile(r"://[^\s/@]{1,64}:$")  # of a URL: what follows is a password
_LOCAL_CHARS: Final = frozenset("._%+-")  # an address that starts with one is cut from something
_IP: Final = re.compile(begin("[0-9]", ".-") + rf"[0-9]{{0,2}}(?:\.[0-9]{{1,3}}){{3}}(?![{GLUE}])(?![._-][A-Za-z0-9])")
_IP6: Final = re.compile(begin("[23]", ":.-") + rf"[0-9A-Fa-f]{{3}}:[0-9A-Fa-f:]{{0,33}}[0-9A-Fa-f:](?![{GLUE}:])")
LEAD_CHARS: Final = 24
_VERSION: Final = re.compile(
    r"(?:(?<![a-z])(?:versio\w{0,4}|ver\.?|release|build|firmware|driver|revision|rev\.?|chapter|section|kohta|luku|oid|"
    r"phiên bản|phần)|バージョン|版|संस्करण|第)(?:\W{0,8}|\W{1,4}(?:\w{1,5}\W{1,4}){1,3}|(?:は|が)\W{0,3})$"
    r"|(?<![a-z/])v[. ]{0,2}$"
)
_IBAN: Final = re.compile(
    begin("[A-Z]") + r"[A-Z][0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Za-z0-9_])"
)
_CARD: Final = re.compile(
    begin("[2-68]", "-=#$/+.")
    + r"(?:[0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?|[0-9]{3}([ -]?)[0-9]{6}\2[0-9]{4,5})"
    + END
)
_CARD_WORDS: Final = named(
    r"card|visa|mastercard|amex|luotto|pankkikor|kort|thẻ|debit|credit", "カード|クレジット|कार्ड"
)
CARD_BRANDS: Final = re.compile(  # ISO/IEC 7812: first digits and length
    r"4[0-9]{15}(?:[0-9]{3})?|5[1-5][0-9]{14}|(?=.{16}$)2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720|20[0-4])[0-9]*|3[47][0-9]{13}"
    r"|(?:60|62|64|65)[0-9]{14}(?:[0-9]{3})?|35(?:2[89]|[3-8][0-9])[0-9]{12}|3(?:0[0-5]|[689][0-9])[0-9]{11}"
    r"|(?:81|82)[0-9]{14}"
)
IBAN_CHARS: Final = {  # by country: the IBAN registry of ISO 13616
    country: int(length) for country, length in re.findall("([A-Z]{2})([0-9]{2})",
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22"
    "GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31"
    "MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24"
    "XK20YE30")
}  # fmt: skip
_NOBODY: Final = [
    ipaddress.ip_network(net)
    for net in ("0.0.0.0/8", "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
]


def find(text: str, lang: str, kinds: Iterable[str] = KINDS) -> list[Span]:
    """What stands in a text of this language, in order, none overlapping another; offsets are characters.

    `lang` is `en`, `fi`, `hi`, `ja`, `vi` (national phone numbers and forms of bare numbers are theirs), `code` (only
    `CODE_KINDS`), or anything else: what stands for itself, in the form of any of them. IP addresses of private
    networks, of this machine and of none tell of nobody and stay, as do version numbers.
    """
    data = text.encode("utf-8", "replace")
    wanted = _wanted(lang, kinds)
    spans: list[Span] = []
    at = chars = 0
    rows = prefilter.regions(np.frombuffer(data, np.uint8), np.array([0, len(data)], np.int64))
    for _, start, end, bits in rows.tolist():
        chars += len(data[at:start].decode())
        at = start
        spans += [
            Span(kind, chars + a, chars + b) for kind, a, b in _search(data[start:end].decode(), lang, bits, wanted)
        ]
    return spans


def counts(texts: pa.ChunkedArray | pa.Array, langs: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """How often each kind stands in each text: a column for each of `COLUMNS`; `langs` as `find` takes them."""
    data, offsets = text_buffers(texts)
    columns = {kind: np.zeros(len(texts), np.int64) for kind in KINDS}
    for text, start, end, bits in prefilter.regions(data, offsets).tolist():
        lang = langs[text]
        for kind, _, _ in _search(data[start:end].tobytes().decode(), lang, bits, _wanted(lang, KINDS)):
            columns[kind][text] += 1
    return {f"pii_{kind}": column for kind, column in columns.items()}


def mask(text: str, spans: Iterable[Span]) -> str:
    """The text with `<EMAIL>`, `<FI_HETU>` and so on for what was found; `spans` as `find` gives it."""
    parts, at = [], 0
    for kind, start, end in spans:
        parts += [text[at:start], f"<{kind.upper()}>"]
        at = end
    return "".join([*parts, text[at:]])


def _wanted(lang: str, kinds: Iterable[str]) -> frozenset[str]:
    return frozenset(kinds).intersection(CODE_KINDS if lang == "code" else KINDS)


def _search(piece: str, lang: str, bits: int, wanted: frozenset[str]) -> list[Span]:
    """What stands in one region."""
    text = piece
    if not piece.isascii() and _WIDE.search(piece):
        text = _LONG_VOWEL.sub("-", piece.translate(_PLAIN))
    spans: list[Span] = []
    taken = bytearray(len(text))
    for kind in KINDS:
        if kind in wanted and bits & _BITS.get(kind, prefilter.NUMBER):
            for start, end in _FINDERS[kind](text, lang):
                if taken.find(1, start, end) < 0:
                    taken[start:end] = b"\1" * (end - start)
                    spans.append(Span(kind, start, end))
    return sorted(spans, key=lambda one: one.start)


def _emails(text: str, lang: str) -> Iterator[tuple[int, int]]:
    for match in _DOMAIN.finditer(text):
        before = _LOCAL.search(text, max(match.start() - 64, 0), match.start())
        if before is None or text[before.start() - 1 : before.start()] in _LOCAL_CHARS:
            continue
        if text[before.start() - 1 : before.start()] == ":" and _USER.search(
            text, max(before.start() - 80, 0), before.start()
        ):
            continue
        local, labels = before[0], match[0][1:].split(".")
        ending = labels[-1].lower()
        tidy = all(label.strip("-") == label for label in labels) and ".." not in local and not local.endswith(".")
        remote = local == "git" and text[match.end() : match.end() + 1] in (":", "/")
        code = lang == "code" and len(ending) > 2 and ending not in CODE_ENDINGS
        if tidy and not remote and not code and ending not in FILE_ENDINGS:
            yield before.start(), match.end()


def _ibans(text: str, lang: str) -> Iterator[tuple[int, int]]:
    """ISO 13616: the country's length, and check digits that make the number 1 modulo 97."""
    for match in _IBAN.finditer(text):
        start, end = match.span()
        size = IBAN_CHARS.get(match[0][:2], 0)
        places = [at for at in range(start, end) if text[at].isalnum()]
        if not size or len(places) < size:
            continue
        end = places[size - 1] + 1
        plain = re.sub("[ -]", "", text[start:end])
        cut = end == match.end() or text[end] in " -"
        if cut and int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1:
            yield start, end


def _ips(text: str, lang: str) -> Iterator[tuple[int, int]]:
    for match in _IP.finditer(text):
        if _is_public(match[0]) and not _VERSION.search(
            text[max(match.start() - LEAD_CHARS, 0) : match.start()].lower()
        ):
            yield match.span()
    for match in _IP6.finditer(text):
        try:
            ipaddress.IPv6Address(match[0])  # the pattern is 2000::/3: the open net and documentation
        except ValueError:
            continue
        yield match.span()


def _is_public(text: str) -> bool:
    """Of the open net; small numbers are a version or a section far more often: one address in 4,000 looks so."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    parts = [int(part) for part in text.split(".")]
    if text.endswith(".0.0.0") or max(parts[:3]) < 10 or max(parts) < 32:
        return False
    return not (address.is_multicast or address.is_reserved or any(address in net for net in _NOBODY))


def _cards(text: str, lang: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        start, end = match.span()
        grouped = not match[0].isdigit()
        inside = re.search(r"[A-Z]{2}[0-9]{2} $", text[max(start - 5, 0) : start])  # an account
        if inside is None and is_card(digits(match[0])) and (grouped or claim(text, start, end, _CARD_WORDS) >= 0):
            yield start, end


def is_card(plain: str) -> bool:
    """A brand's first digits and length, and Luhn's check (ISO/IEC 7812)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(plain))]
    luhn = sum(digit - 9 * (digit > 9) for digit in doubled) % 10 == 0
    return luhn and len(set(plain)) > 1 and CARD_BRANDS.fullmatch(plain) is not None


_BITS: Final = {
    "secret": prefilter.SECRET | prefilter.EMAIL,
    "email": prefilter.EMAIL,
    "ip": prefilter.IP,
    "in_pan": prefilter.PAN,
}
_FINDERS: Final[dict[str, Finder]] = {
    "secret": lambda text, _: secrets.find(text),
    "email": _emails,
    "ip": _ips,
    "iban": _ibans,
    "card": _cards,
    **{kind: partial(national_ids.find, kind) for kind in national_ids.KINDS},
    "phone": phones.find,
}
