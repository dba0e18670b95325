"""The side of the code that is tested: runs it, and does with its functions and objects what the tests ask."""

import builtins
import io
import operator
import os
import sys
from typing import NoReturn

from aurora_m.evals.sandbox.peer import Peer
from aurora_m.evals.sandbox.wire import Gone, Pipe, Value


def serve(pipe: Pipe) -> NoReturn:
    """Answer until nobody asks."""
    sys.stdout = io.StringIO()
    candidate = _Candidate(pipe)
    try:
        while True:
            candidate.answer(pipe.receive())
    except Gone:
        os._exit(0)


class _Candidate(Peer):
    """The peer of the code."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.space: dict[str, Value] = {"__name__": "__main__"}

    def perform(self, operation: str, *args: Value) -> Value:
        """Do one thing."""
        function = getattr(self, operation)
        return function(*args)

    def load(self, code: str) -> None:
        """Run the code."""
        exec(compile(code.encode("utf-8", "surrogatepass"), "<code>", "exec"), self.space)  # noqa: S102

    def look(self, name: str) -> Value:
        """What kind of thing has a name, and what the tests need of it."""
        if name not in self.space:
            return "missing", None
        value = self.space[name]
        if isinstance(value, type) and issubclass(value, BaseException):
            return "error", [kind.__name__ for kind in value.__mro__]
        return "value", value

    def call(self, function: Value, args: Value, named: Value) -> Value:
        """Call a function of the code, or a class."""
        return function(*args, **named)

    def get(self, value: Value, name: str) -> Value:
        """An attribute."""
        return getattr(value, name)

    def set(self, value: Value, name: str, part: Value) -> None:
        """Set an attribute."""
        setattr(value, name, part)

    def is_instance(self, value: Value, kind: Value) -> bool:
        """Whether an object is an instance of a class."""
        return isinstance(value, kind)

    def operate(self, value: Value, name: str, args: Value) -> Value:
        """What an operator gives, by the name of its method."""
        function = getattr(builtins, name.strip("_"), None) or getattr(operator, name, None)
        return function(value, *args) if function else getattr(value, name)(*args)

    def printed(self) -> str:
        """What was printed since this was asked last."""
        text = sys.stdout.getvalue() if isinstance(sys.stdout, io.StringIO) else ""
        sys.stdout = io.StringIO()
        return text
