"""Values between the tests and the code that they test: plain ones by value, all others by a number.

A message is JSON: {"objects": [[kind, contents], ...], ...}. Values that can change stand among the objects, by
identity, so that what was one object on one side is one on the other, and a reply says how those of the question
look now. Nothing that is read here can name code: the other side may be hostile.
"""

import builtins
import json
import os
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from types import EllipsisType, NotImplementedType
from typing import Any

MESSAGE_BYTES = 2**26
PLAIN_INT = 2**63

Value = Any  # of Python
Coded = Any  # of JSON

# kind: (type, taken apart into values, put together again)
FROZEN: Mapping[str, tuple[type, Callable[[Any], Iterable[Any]], Callable[..., Any]]] = {
    "tuple": (tuple, list, lambda *parts: parts),
    "frozenset": (frozenset, list, lambda *parts: frozenset(parts)),
    "bytes": (bytes, lambda value: [value.hex()], bytes.fromhex),
    "complex": (complex, lambda value: [value.real, value.imag], complex),
    "range": (range, lambda value: [value.start, value.stop, value.step], range),
    "slice": (slice, lambda value: [value.start, value.stop, value.step], slice),
    "Decimal": (Decimal, lambda value: [str(value)], Decimal),
    "Fraction": (Fraction, lambda value: [value.numerator, value.denominator], Fraction),
    "datetime": (datetime, lambda value: [value.isoformat()], datetime.fromisoformat),
    "date": (date, lambda value: [value.isoformat()], date.fromisoformat),
    "time": (time, lambda value: [value.isoformat()], time.fromisoformat),
    "timedelta": (timedelta, lambda value: [value.days, value.seconds, value.microseconds], timedelta),
    "Ellipsis": (EllipsisType, lambda _: [], lambda: Ellipsis),
    "NotImplemented": (NotImplementedType, lambda _: [], lambda: NotImplemented),
}


def _pairs(value: Mapping[Any, Any]) -> list[Any]:
    return [part for pair in value.items() for part in pair]


def _fill_mapping(value: Any, parts: list[Any]) -> None:
    value.clear()
    for key, part in zip(parts[::2], parts[1::2], strict=True):
        value[key] = part


def _fill_default(value: Any, parts: list[Any]) -> None:
    value.default_factory, *pairs = parts
    _fill_mapping(value, pairs)


def _fill_all(value: Any, parts: list[Any]) -> None:
    value.clear()
    value.extend(parts)


def _fill_set(value: Any, parts: list[Any]) -> None:
    value.clear()
    value.update(parts)


# kind: (type, taken apart into values, filled with them again)
MUTABLE: Mapping[str, tuple[type, Callable[[Any], list[Any]], Callable[[Any, list[Any]], None]]] = {
    "list": (list, list, _fill_all),
    "dict": (dict, _pairs, _fill_mapping),
    "set": (set, list, _fill_set),
    "bytearray": (bytearray, list, _fill_all),
    "deque": (deque, list, _fill_all),
    "OrderedDict": (OrderedDict, _pairs, _fill_mapping),
    "Counter": (Counter, _pairs, _fill_mapping),
    "defaultdict": (defaultdict, lambda value: [value.default_factory, *_pairs(value)], _fill_default),
}
_FROZEN_OF = {kind: name for name, (kind, _, _) in FROZEN.items()}
_MUTABLE_OF = {kind: name for name, (kind, _, _) in MUTABLE.items()}
_BASES = (str, float, bytes, tuple, frozenset, list, dict, set, bytearray, deque)  # of subclasses, which go as these


class Writer:
    """Turns values into JSON; `objects` are those that both sides know already, `name` names what goes by number."""

    def __init__(self, name: Callable[[Any], Coded], objects: Iterable[Any] = ()) -> None:
        self.name, self.objects = name, [*objects]
        self.at = {id(value): index for index, value in enumerate(self.objects)}

    def message(self, **fields: Value) -> dict[str, Coded]:
        """The fields with all objects that they reach."""
        coded = {key: self.value(value) for key, value in fields.items()}
        parts: list[Coded] = []
        while len(parts) < len(self.objects):  # it grows meanwhile
            value = self.objects[len(parts)]
            kind = _MUTABLE_OF[type(value)]
            parts.append([kind, [self.value(part) for part in MUTABLE[kind][1](value)]])
        return {**coded, "objects": parts}

    def value(self, value: Value) -> Coded:
        """One value. TypeError, of `name`, if it may not leave this side."""
        kind: type[Any] = type(value)
        if value is None or kind in (bool, str, float):
            return value
        if kind is int:
            return value if abs(value) < PLAIN_INT else {"int": hex(value)}
        if kind in _MUTABLE_OF:
            if id(value) not in self.at:
                self.at[id(value)] = len(self.objects)
                self.objects.append(value)
            return {"at": self.at[id(value)]}
        if kind in _FROZEN_OF:
            name = _FROZEN_OF[kind]
            return {name: [self.value(part) for part in FROZEN[name][1](value)]}
        if _builtin(value):
            return {"type": _builtin(value)}
        if isinstance(value, int):
            return self.value(int.__index__(value))
        base = next((base for base in _BASES if isinstance(value, base)), None)
        return self.name(value) if base is None else self.value(_plain(value, base))


def _builtin(value: Any) -> str:
    """The name of a builtin type; else nothing."""
    name = str(value.__name__) if isinstance(value, type) else ""
    return name if name and getattr(builtins, name, None) is value else ""


def _plain(value: Any, base: type) -> Any:
    return dict(value.items()) if base is dict else str.__str__(value) if base is str else base(value)


class Reader:
    """Turns a message back into values; `objects`, known already, take the contents that it says they have."""

    def __init__(
        self, named: Callable[[Coded], Any], message: Mapping[str, Coded], objects: Iterable[Any] = ()
    ) -> None:
        self.named, self.coded, self.objects = named, message, [*objects]
        parts = message["objects"]
        self.objects += [MUTABLE[kind][0]() for kind, _ in parts[len(self.objects) :]]
        read = [[self.value(part) for part in contents] for _, contents in parts]
        for value, (kind, _), contents in zip(self.objects, parts, read, strict=True):
            if type(value) is not MUTABLE[kind][0]:
                raise TypeError("an object has become one of another type")
            MUTABLE[kind][2](value, contents)

    def field(self, name: str) -> Value:
        """The value of a field."""
        return self.value(self.coded[name])

    def value(self, coded: Coded) -> Value:
        """One value. TypeError, ValueError, KeyError or IndexError if it is none."""
        if not isinstance(coded, dict):
            if isinstance(coded, list):
                raise TypeError("a list stands among the objects")
            return coded
        ((kind, about),) = coded.items()
        if kind == "int":
            return int(about, 16)
        if kind == "at":
            return self.objects[about]
        if kind == "type":
            found = getattr(builtins, about)
            if not isinstance(found, type):
                raise TypeError("this is no type")
            return found
        if kind in FROZEN:
            return FROZEN[kind][2](*[self.value(part) for part in about])
        return self.named(coded)


class Gone(BaseException):
    """The other side has gone."""


class Pipe:
    """Messages over two file descriptors."""

    def __init__(self, reads: int, writes: int) -> None:
        self.reads, self.writes = reads, writes

    def send(self, message: Mapping[str, Coded]) -> None:
        """Write a message. ValueError if it is too long, Gone if nobody reads."""
        data = json.dumps(message).encode()
        if len(data) > MESSAGE_BYTES:
            raise ValueError("a value is too large")
        data = struct.pack("=Q", len(data)) + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.writes, view) :]
        except BrokenPipeError:
            raise Gone from None

    def receive(self) -> dict[str, Coded]:
        """Read a message. Gone if the other side has gone, ValueError or TypeError if it sends what is no message."""
        (size,) = struct.unpack("=Q", read_bytes(self.reads, 8))
        if size > MESSAGE_BYTES:
            raise ValueError("a value is too large")
        message = json.loads(read_bytes(self.reads, size))
        if not isinstance(message, dict):
            raise TypeError("this is no message")
        return message


def read_bytes(handle: int, count: int) -> bytes:
    """So many bytes. Gone if there are fewer."""
    data = bytearray()
    while len(data) < count:
        part = os.read(handle, min(count - len(data), 2**20))
        if not part:
            raise Gone
        data += part
    return bytes(data)
