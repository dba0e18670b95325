"""Personal data in text: e-mail and IP addresses, phone, card and account numbers; found with re2, then checked."""

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import re2


class Span(NamedTuple):
    """text[start:end] is personal data."""

    start: int
    end: int
    kind: str


Finder: TypeAlias = Callable[[str], Iterator[Span]]

KINDS = ("email", "iban", "ip", "card", "phone")  # where two overlap, the earlier kind is right
FILE_ENDINGS = {"png", "jpg", "jpeg", "gif", "svg", "webp"}  # of `icon@2x.png`
LOCAL = "._%+-"
_EMAIL = re2.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_IBAN = re2.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?")
_IP = re2.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{0,33}[0-9A-Fa-f:]")
_CARD = re2.compile(
    r"[2-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,4}(?:[ -]?[0-9]{3})?"
    r"|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}"
)
_PHONE = re2.compile(
    r"\+[0-9]{1,3}(?:[ .-]?\(0?[0-9]{1,4}\))?(?:[ .-]?[0-9]{1,12}){1,6}"  # international
    r"|\(0?[0-9]{2,4}\) ?[0-9]{3,4}[ -][0-9]{3,4}"
    r"|0[0-9]{1,4}[ -][0-9]{3,4}[ -]?[0-9]{3,4}|0[0-9]{4,5}[ -][0-9]{5,6}"  # national, with the trunk zero
    r"|[2-9][0-9]{2}[.-][0-9]{3}[.-][0-9]{4}"
)
_NOBODY = [
    ipaddress.ip_network(net)
    for net in ("0.0.0.0/8", "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
]
CARD_BRANDS = (  # first digits, number of digits
    (("4",), (13, 16, 19)),
    (("51", "52", "53", "54", "55", "22", "23", "24", "25", "26", "27"), (16,)),
    (("34", "37"), (15,)),
    (("60", "62", "64", "65"), (16, 19)),
)


def find(text: str, kinds: Iterable[str]) -> list[Span]:
    """Spans of these `KINDS`, in order, none overlapping another; offsets are characters.

    Phone numbers are those in an international or a usual long national form. IP addresses of private networks, of
    this machine and of none (127.0.0.1, 0.0.0.0) tell of nobody and stay, as do version numbers.
    """
    wanted = set(kinds)
    found: list[Span] = []
    for kind in KINDS:
        if kind in wanted and _may_hold(text, kind):
            new = list(_FINDERS[kind](text))
            found += [span for span in new if not any(span.start < old.end and old.start < span.end for old in found)]
    return sorted(found)


def mask(text: str, spans: Iterable[Span]) -> str:
    """The text with `<EMAIL>`, `<IBAN>`, `<IP>`, `<CARD>` or `<PHONE>` for each span; spans as `find` gives them."""
    parts, at = [], 0
    for start, end, kind in spans:
        parts += [text[at:start], f"<{kind.upper()}>"]
        at = end
    return "".join([*parts, text[at:]])


def _may_hold(text: str, kind: str) -> bool:
    """A cheap look before the search."""
    if kind == "email":
        return "@" in text
    if kind == "ip":
        return "." in text or ":" in text
    return True


def _free(text: str, start: int, end: int, stops: str) -> bool:
    """Whether the span stands alone: no letter or digit touches it, nor does one through a character of `stops`."""
    before, after = text[start - 1 : start], text[end : end + 1]
    runs_on = _glues(after) or (after != "" and after in stops and _glues(text[end + 1 : end + 2]))
    return not (_glues(before) or (before != "" and before in stops) or runs_on)


def _glues(char: str) -> bool:
    """Letters, digits and `_` go on with a number or name; those of scripts without spaces, and Hangul, do not."""
    return (char.isalnum() or char == "_") and (char < "\u0e00" or "\u1e00" <= char < "\u2e80")


def _spans(pattern: Any, kind: str, valid: Callable[[str, int, str], bool], stops: str) -> Finder:
    def spans(text: str) -> Iterator[Span]:
        for match in pattern.finditer(text):
            start, end = match.span()
            if _free(text, start, end, stops) and valid(text, start, text[start:end]):
                yield Span(start, end, kind)

    return spans


def _is_email(text: str, start: int, found: str) -> bool:
    local, _, domain = found.partition("@")
    labels = domain.split(".")
    tidy = all(label.strip("-") == label for label in labels) and ".." not in local and not local.endswith(".")
    return tidy and labels[-1].lower() not in FILE_ENDINGS


def _is_iban(text: str, start: int, found: str) -> bool:
    """ISO 13616: the check digits make the number 1 modulo 97."""
    plain = found.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_ip(text: str, start: int, found: str) -> bool:
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return False
    if address.version == 6:
        return text[max(start - 1, 0) : start] != ":"  # the pattern is 2000::/3: the open net and documentation
    lead = text[max(start - 12, 0) : start].lower().rstrip(" =:\"'")
    if lead.endswith(("version", "ver.", "ver", " v", "release")) or found.endswith(".0.0.0"):
        return False
    if max(map(int, found.split(".")[:3])) < 10:
        return False  # a version or a section far more often: one address in 25,000 looks so
    return not (address.is_multicast or address.is_reserved or any(address in net for net in _NOBODY))


def _is_card(text: str, start: int, found: str) -> bool:
    """A brand's first digits and length, and Luhn's check (ISO/IEC 7812)."""
    digits = _digits(found)
    brand = any(digits.startswith(first) and len(digits) in sizes for first, sizes in CARD_BRANDS)
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return brand and len(set(digits)) > 1 and sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


def _is_phone(text: str, start: int, found: str) -> bool:
    digits = _digits(found)
    if found.startswith("+"):
        return 8 <= len(digits) <= 15 and digits[0] != "0"
    year = found.startswith(("(19", "(20")) and found[5:6] == ")"
    return 9 <= len(digits) <= 11 and not year and len(set(digits)) > 2


def _digits(found: str) -> str:
    return "".join(char for char in found if char.isdigit())


_FINDERS = {
    "email": _spans(_EMAIL, "email", _is_email, LOCAL),
    "iban": _spans(_IBAN, "iban", _is_iban, "_-"),
    "ip": _spans(_IP, "ip", _is_ip, "._-"),
    "card": _spans(_CARD, "card", _is_card, "._-/+"),
    "phone": _spans(_PHONE, "phone", _is_phone, "._-/+=#$"),
}
