"""Addresses as they may be told: without user, password, query and fragment, where keys and signatures stand.

A recipe, a key, a page and an error have the public address; only what opens it asks for the whole one.
"""

import hashlib
import re
from urllib.parse import parse_qsl

IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'<>`]+")  # no longer scheme: time would be quadratic
CHAIN = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*(?:://|::|\Z))")  # of fsspec: `simplecache::https://...`
QUERY = re.compile(r"[?;](?=[\w.%~-]*=)")  # in an address that is not of the web `?` stands for any letter
WEB_QUERY = re.compile(rf"[?#]|{QUERY.pattern}")
NAMED = ("abfs", "abfss", "wasb", "wasbs")  # what stands before `@` is a container, no user

# What signs a request and changes from day to day, while the file that it asks for does not.
SIGNATURE = re.compile(
    r"x-(amz|goog|oss|cos|obs|bce)-.*|sig|signature|expires|(security|access|session|auth)?[_-]?token|api[_-]?key|policy"
    r"|awsaccesskeyid|googleaccessid|ossaccesskeyid|key-pair-id"
    r"|sv|se|sp|sr|st|ss|sip|spr|srt|skoid|sktid|skt|ske|sks|skv",  # the last line are Azure's
    re.IGNORECASE,
)


class Address(str):
    """An address that is shown, compared, hashed and written as its public part; `whole` opens it."""

    whole: str

    def __new__(cls, whole: str) -> "Address":
        """Keep the whole, and be its public part."""
        made = super().__new__(cls, public(whole))
        made.whole = whole
        return made

    def __reduce__(self) -> tuple[object, ...]:
        return Address, (self.whole,)


def whole(address: str) -> str:
    """What opens an address."""
    return address.whole if isinstance(address, Address) else address


def public(address: str) -> str:
    """An address without what may be secret in it; what is no address, as it is."""
    return "::".join(map(_public, CHAIN.split(address)))


def without_secrets(text: str) -> str:
    """A text in which all addresses are public."""
    return IN_TEXT.sub(lambda found: public(found[0]), text)


def selection(address: str) -> str:
    """A digest of what the query asks for, its signature apart; empty if there is nothing.

    Slow on purpose (scrypt), as there may be a short password in it.
    """
    query = "&".join(re.split(rf"\?|{QUERY.pattern}", whole(address))[1:])
    kept = [pair for pair in parse_qsl(query.partition("#")[0], True) if not SIGNATURE.fullmatch(pair[0])]
    return hashlib.scrypt(repr(sorted(kept)).encode(), salt=b"aurora", n=2**13, r=8, p=1).hex() if kept else ""


def _public(address: str) -> str:
    scheme, found, rest = address.partition("://")
    if not found:
        return address
    end = next((place for place, char in enumerate(rest) if char in "/?#"), len(rest))
    host, path = rest[:end], rest[end:]
    name, _, port = host.partition(":")
    is_host = ":" not in host or "]" in host or (port.isdigit() and ("." in name or name == "localhost"))
    if "@" not in host and "@" in path and not is_host:  # a password with a slash in it
        end = path.rindex("@") + 1
        tail = next((place for place, char in enumerate(path[end:], end) if char in "/?#"), len(path))
        host, path = path[end:tail], path[tail:]
    user, _, bare = host.rpartition("@")
    if not (scheme.lower() in NAMED and ":" not in user):
        host = bare
    query = WEB_QUERY if scheme.lower() in ("http", "https") else QUERY
    return f"{scheme}://{query.split(host + path, maxsplit=1)[0]}"
