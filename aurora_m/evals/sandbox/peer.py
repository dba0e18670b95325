"""One of the two sides: asks the other, and answers it while it waits for a reply."""

import builtins
from collections.abc import Mapping

from aurora_m.evals.sandbox.wire import Coded, Pipe, Reader, Value, Writer

TEXT_CHARS = 500  # of an error


class Remote:
    """A function or an iterator of the other side. It compares with nothing, for the other side would decide that."""

    __slots__ = ("_number", "_peer")
    _peer: "Peer"
    _number: int

    def __init__(self, peer: "Peer", number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Value, **named: Value) -> Value:
        """Call it there."""
        return self._peer.ask("call", self, args, named)

    def __iter__(self) -> Value:
        """An iterator there, which is iterated here."""
        return self._peer.ask("operate", self, "__iter__", ())

    def __next__(self) -> Value:
        """What it gives next."""
        return self._peer.ask("operate", self, "__next__", ())


class Peer:
    """Asks and answers over a pipe.

    remote  makes what stands here for an object of the other side
    errors  the exceptions that are raised here for those of the other side, by name, beside the builtin ones
    """

    def __init__(self, pipe: Pipe, remote: type[Remote] = Remote) -> None:
        self.pipe, self.remote = pipe, remote
        self.errors: dict[str, type[BaseException]] = {}
        self._own: dict[int, int] = {}  # the numbers of named objects, by identity
        self._numbered: list[Value] = []  # kept: they may come back
        self._remotes: dict[int, Remote] = {}

    def perform(self, operation: str, *args: Value) -> Value:
        """Do what the other side asks."""
        raise NotImplementedError

    def may_pass(self, value: Value) -> bool:
        """Whether an object may be named to the other side."""
        return True

    def owns(self, value: Value) -> bool:
        """Whether an object was named to the other side."""
        return id(value) in self._own

    def ask(self, operation: str, *args: Value) -> Value:
        """Let the other side do something; returns what that gives or raises what it raises."""
        writer = Writer(self._name)
        self.pipe.send({"ask": operation, **writer.message(args=args)})
        while "ask" in (message := self.pipe.receive()):
            self.answer(message)
        reply = Reader(self._named, message, writer.objects)
        if "error" in message:
            raise self._error(reply.field("error"))
        return reply.field("value")

    def answer(self, message: Mapping[str, Coded]) -> None:
        """Do what the other side asks, and reply."""
        objects: list[Value] = []
        try:
            question = Reader(self._named, message)
            objects = question.objects
            reply = self._reply(objects, value=self.perform(message["ask"], *question.field("args")))
        except BaseException as error:
            reply = self._reply(objects, error=_about(error))
        self.pipe.send(reply)

    def _reply(self, objects: list[Value], **fields: Value) -> dict[str, Coded]:
        return Writer(self._name, objects).message(**fields)

    def _name(self, value: Value) -> Coded:
        if isinstance(value, Remote):
            return {"yours": value._number}
        if not self.may_pass(value):
            raise TypeError(f"a value of the type `{type(value).__name__}` cannot be passed on")
        if id(value) not in self._own:
            self._own[id(value)] = len(self._numbered)
            self._numbered.append(value)
        return {"mine": self._own[id(value)]}

    def _named(self, coded: Coded) -> Value:
        ((whose, number),) = coded.items()
        if type(number) is not int or number < 0:
            raise TypeError("this names no object")
        if whose == "yours":
            return self._numbered[number]
        if whose != "mine":
            raise TypeError("this is no value")
        return self._remotes.setdefault(number, self.remote(self, number))

    def _error(self, about: Value) -> BaseException:
        names, args, text = about
        kind = self._error_class([str(name) for name in names])
        try:
            return kind(*args)
        except Exception:
            return RuntimeError(str(text))

    def _error_class(self, names: list[str]) -> type[BaseException]:
        for name in names:
            found = self.errors.get(name, getattr(builtins, name, None))
            if isinstance(found, type) and issubclass(found, BaseException):
                return found if name == names[0] else type(names[0], (found,), {})
        return RuntimeError


def _about(error: BaseException) -> Value:
    """Names of its classes, its arguments where they are plain, and its text."""
    names = [kind.__name__ for kind in type(error).__mro__]
    text = str(error)[:TEXT_CHARS]
    plain = all(arg is None or type(arg) in (bool, int, float, str) for arg in error.args)
    return names, [*error.args] if plain else [text], text
