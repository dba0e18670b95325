"""Secrets: keys and tokens by the prefixes that their issuers gave them, private key blocks, passwords by their place.

What is written in place of a secret (`changeme`, `<your token>`, `${TOKEN}`, a name in words) is none.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

_ISSUED: Final = re.compile(  # by issuer: prefix, then characters and how many; each issuer's own documentation
    r"\b(?:"
    + "|".join(
        (
            r"A(?:KIA|SIA)[A-Z0-9]{16}",  # Amazon
            r"gh[pousr]_[A-Za-z0-9]{36,251}",  # GitHub
            r"github_pat_[A-Za-z0-9_]{60,90}",
            r"glpat-[A-Za-z0-9_-]{20,64}",  # GitLab
            r"xox[abprs]-[A-Za-z0-9-]{20,200}",  # Slack
            r"xapp-[0-9]-[A-Za-z0-9-]{30,200}",
            r"sk-(?:[a-z0-9]{2,10}-)*[A-Za-z0-9_]{20,200}(?:-[A-Za-z0-9_-]{1,100})?",  # OpenAI, Anthropic
            r"[sr]k_live_[A-Za-z0-9]{16,120}",  # Stripe
            r"whsec_[A-Za-z0-9+/]{24,64}",
            r"AIza[A-Za-z0-9_-]{35}",  # Google
            r"ya29\.[A-Za-z0-9_-]{20,300}",
            r"GOCSPX-[A-Za-z0-9_-]{28}",
            r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,64}",  # SendGrid
            r"eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{20,1000}",  # RFC 7519, signed
            r"hf_[A-Za-z0-9]{30,40}",
            r"npm_[A-Za-z0-9]{36}",
            r"pypi-[A-Za-z0-9_-]{50,250}",
            r"dop_v1_[a-f0-9]{64}",  # DigitalOcean
            r"shp(?:at|ss|ca|pa)_[a-fA-F0-9]{32}",  # Shopify
            r"dckr_pat_[A-Za-z0-9_-]{27}",  # Docker
        )
    )
    + r"|(?<=hooks\.slack\.com/services/)T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{24}"
    + r")\b",
    re.ASCII,
)
_BLOCK: Final = re.compile(
    r"-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----)[\s\S]){60,6000}"
    r"-----END (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----"
)
_IN_URL: Final = re.compile(r"(?<=://)[^\s:/@'\"<>]{0,64}:([^\s/'\"<>@]{3,100}|[^\s/'\"<>]{3,100}?)@(?=[A-Za-z0-9\[])")
_NAME: Final = re.compile(
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|credentials?|token|authorization|"
    r"(?:api|access|secret|private|account|auth|encryption|signing|master|shared|service|client|storage|app|license)"
    r"[_-]?key)[\"']?(?:[\])]|: ?&?'?[a-z ]{2,12}| value)?\s{0,4}$",  # also typed, and as an attribute of XML
    re.IGNORECASE,
)
_VALUE: Final = re.compile(
    r"[:=](?:(?<=:)=|(?<==)>)?[ \t]{0,4}(?i:(?:bearer|basic|token)\s)?"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`\s]{6,400})(?P=quote)|(?P<bare>[^\s\"'`,;()<>{}\[\]]{6,400}))"
)
NAME_CHARS: Final = 40
_DEFINED: Final = re.compile(r"#\s?define\s+(\w{1,40})\s+\"([^\"\s]{6,400})\"")  # of C
_PLACEHOLDER: Final = re.compile(
    r"(?i)example|sample|dummy|placeholder|change[-_]?me|your[-_ ]|^your|(?-i:xxxx|XXXX)|\*\*\*|\.\.\.|<|>|\$\{|\{\{"
    r"|%\(|^\$|^%|redacted|^(?:test|foo|bar|none|null|true|false|password|secret|token)[-_]?\d{0,4}$"
    r"|process\.env|os\.environ|getenv|secrets\."
)
MIN_ENTROPY_BITS: Final = 2.7  # a character, of a value given to a name: words that stand for one lie under it


def find(text: str) -> Iterator[tuple[int, int]]:
    """Each secret as (start, end): a whole key or block, the password of a URL, the value of a name that says so."""
    for match in _ISSUED.finditer(text):
        if _entropy(match[0]) >= MIN_ENTROPY_BITS and not _is_placeholder(match[0]):
            yield match.span()
    if "-----BEGIN" in text:
        for match in _BLOCK.finditer(text):
            yield match.span()
    if "://" in text:
        yield from _passwords(text)
    yield from _values(text)


def _passwords(text: str) -> Iterator[tuple[int, int]]:
    """Those in URLs."""
    for match in _IN_URL.finditer(text):
        named = match[1].casefold() in ("password", "pass", "pwd", "secret")
        if not named and not _is_placeholder(match[1]) and "{" not in match[1]:
            yield match.span(1)


def _values(text: str) -> Iterator[tuple[int, int]]:
    """Those of names that say so."""
    for match in _VALUE.finditer(text):
        group = "quoted" if match["quoted"] else "bare"
        called = group == "bare" and text[match.end() : match.end() + 1] in ("(", "[", "{", "<")
        name = _NAME.search(text[max(match.start() - NAME_CHARS, 0) : match.start()])
        if name and not called and is_value(match[group], quoted=group == "quoted"):
            yield match.span(group)
    if "define" in text:
        for match in _DEFINED.finditer(text):
            if _NAME.search(match[1]) and is_value(match[2], quoted=True):
                yield match.span(2)


def is_value(value: str, *, quoted: bool) -> bool:
    """Whether what is given to a name such as `password` is a secret: varied characters, more than words.

    A bare value may as well be code: one that could be a name there needs three digits, or case without an order.
    """
    if _is_placeholder(value) or "://" in value:
        return False
    numbers = sum(char.isdigit() for char in value)
    marks = any(char in "!@#$%^&*+=?~/" for char in value)
    if not quoted and re.fullmatch(r"[!&*-]{0,2}[A-Za-z_$][\w.$-]*", value) and numbers < 3:
        return _is_drawn(value) and _entropy(value) >= MIN_ENTROPY_BITS
    mixed = any(char.isalpha() for char in value) and (numbers > 0 or marks or _is_drawn(value))
    return mixed and _entropy(value) >= MIN_ENTROPY_BITS - (0.5 if len(value) < 12 else 0)


def _is_drawn(value: str) -> bool:
    """Whether case and digits change as in drawn characters (0.6 of the places), not as in camelCase (a third)."""
    return len(value) >= 12 and sum(_case(one) != _case(two) for one, two in pairwise(value)) >= 0.42 * len(value)


def _case(char: str) -> int:
    return 0 if char.islower() else 1 if char.isupper() else 2


def _is_placeholder(value: str) -> bool:
    return _PLACEHOLDER.search(value) is not None


def _entropy(value: str) -> float:
    """Bits a character (Shannon 1948), of the characters as they stand."""
    return sum(-n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
