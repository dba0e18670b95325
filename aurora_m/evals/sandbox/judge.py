"""The side of the tests: runs them on functions of the other side, whose code never runs here.

The verdict is this process's. The code that is tested gets the arguments of calls, and gives plain values back, which
are compared here: it sees neither tests nor verdict, and an object of its own that says yes to everything is equal to
nothing. Where an item is about a class, the tests use its objects, and what these say of each other is theirs.
"""

import ast
import builtins
import io
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from aurora_m.evals.sandbox.peer import Peer, Remote
from aurora_m.evals.sandbox.wire import Gone, Pipe, Value

WHY_CHARS = 200

# What objects of a class may be asked; as a number, beside plain values, only where a class of the item declares it.
_OWN = ("bool", "bytes", "enter", "exit", "format", "hash", "invert", "len", "repr", "reversed", "str", "getitem",
        "setitem", "delitem")  # fmt: skip
_NUMBER = ("abs", "complex", "float", "index", "int", "neg", "pos", "round", "add", "radd", "sub", "rsub", "mul",
           "rmul", "matmul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")  # fmt: skip
_COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")


class Instance(Remote):
    """An object of a class of the other side."""

    __slots__ = ()
    _peer: "_Judge"

    def __getattr__(self, name: str) -> Value:
        """Its attribute."""
        return self._peer.ask("get", self, name)

    def __setattr__(self, name: str, value: Value) -> None:
        """Set its attribute."""
        self._peer.ask("set", self, name, value)

    def __instancecheck__(self, value: Value) -> bool:
        """Whether another of its objects is an instance of it, where it is a class."""
        return isinstance(value, Remote) and bool(self._peer.ask("is_instance", value, self))

    def __contains__(self, value: Value) -> bool:
        """Whether a value is in it, which an object must not say of itself unless its class is to."""
        if isinstance(value, Remote) or "__contains__" in self._peer.declared:
            return bool(self._peer.ask("operate", self, "__contains__", (value,)))
        return any(part is value or part == value for part in self)


def _operator(name: str) -> Any:
    def ask(self: Instance, *args: Value) -> Value:
        return self._peer.ask("operate", self, name, args)

    return ask


def _arithmetic(name: str) -> Any:
    def ask(self: Instance, *args: Value) -> Value:
        among_objects = bool(args) and all(isinstance(arg, Remote) for arg in args)
        if name not in self._peer.declared and not among_objects:
            raise TypeError(f"no class of the item has `{name}`")
        return self._peer.ask("operate", self, name, args)

    return ask


def _comparison(name: str) -> Any:
    def ask(self: Instance, other: Value) -> Value:
        return self._peer.ask("operate", self, name, (other,)) if isinstance(other, Remote) else NotImplemented

    return ask


for _word in _OWN:
    setattr(Instance, f"__{_word}__", _operator(f"__{_word}__"))
for _word in _NUMBER:
    setattr(Instance, f"__{_word}__", _arithmetic(f"__{_word}__"))
for _word in _COMPARE:
    setattr(Instance, f"__{_word}__", _comparison(f"__{_word}__"))


def judge(pipe: Pipe, program: Mapping[str, str], lost: Callable[[], NoReturn]) -> None:
    """Run the `tests` of a program: its `prompt`, and the `code` that goes on from it; raises what is wrong.

    What the prompt holds whole, and imports, are run here, too, for the tests to use; what its `solution` ends or adds,
    and classes, are the code's. `lost` is called when the other side has gone.
    """
    prompt = program["prompt"]
    whole, begun = _split(prompt, program["solution"])
    classes = [node for node in (*whole, *begun) if isinstance(node, ast.ClassDef)]
    peer = _Judge(pipe, Instance if classes else Remote, lost)
    peer.declared = {name for node in classes for part in node.body for name in bound(part)}
    peer.ask("load", prompt + program["code"])
    space: dict[str, Value] = {"__name__": "__main__"}
    exec(compile(ast.Module(whole, []), "<prompt>", "exec"), space)  # noqa: S102
    for name in {name for node in begun for name in bound(node)} | {*_classes(whole, space)}:
        _take(peer, name, space)
    peer.errors = {name: value for name, value in space.items() if _is_error(value)}
    exec(compile(program["tests"], "<tests>", "exec"), space)  # noqa: S102


def bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement gives a value, not those inside of its functions and classes."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from bound(child)


def why(error: BaseException) -> str:
    """An error as the last line of its traceback."""
    return traceback.format_exception_only(error)[-1].strip()[:WHY_CHARS]


class _Judge(Peer):
    """The peer of the tests. What the code prints goes where they print; when the other side has gone, all is over."""

    def __init__(self, pipe: Pipe, remote: type[Remote], lost: Callable[[], NoReturn]) -> None:
        super().__init__(pipe, remote)
        self.lost = lost
        self.declared: set[str] = set()  # the names in the classes of the item

    def ask(self, operation: str, *args: Value) -> Value:
        """As a peer does."""
        try:
            try:
                return super().ask(operation, *args)
            finally:
                if isinstance(sys.stdout, io.StringIO) and operation != "printed":
                    sys.stdout.write(str(super().ask("printed")))
        except Gone:
            self.lost()  # tests may expect an error, and this is none of theirs

    def may_pass(self, value: Value) -> bool:
        """Functions and iterators of the tests."""
        return callable(value) or isinstance(value, Iterator)

    def perform(self, operation: str, *args: Value) -> Value:
        """The code may call functions that it was given, and take from iterators: nothing else that it names."""
        if not self.owns(args[0]):
            raise TypeError("this was not passed on")
        if operation == "call":
            return args[0](*args[1], **args[2])
        if operation == "operate" and args[1] in ("__iter__", "__next__"):
            return (iter if args[1] == "__iter__" else next)(args[0])
        raise TypeError(f"the tests do not `{operation}`")


def _split(prompt: str, solution: str) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """The statements that a prompt holds whole, with all imports, and those that its solution ends or adds."""
    whole: list[ast.stmt] = []
    begun: list[ast.stmt] = []
    last_line = prompt.count("\n")
    for node in ast.parse(prompt + solution).body:
        is_whole = (node.end_lineno or 0) <= last_line or isinstance(node, ast.Import | ast.ImportFrom)
        (whole if is_whole else begun).append(node)
    return whole, begun


def _classes(nodes: list[ast.stmt], space: Mapping[str, Value]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.ClassDef) and not _is_error(space.get(node.name)):
            yield node.name


def _is_error(value: Value) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _take(peer: Peer, name: str, space: dict[str, Value]) -> None:
    """Let a name stand for what it is on the other side: an exception, a value, or what is asked there."""
    space.pop(name, None)
    kind, about = peer.ask("look", name)
    if kind == "error":
        base = next((getattr(builtins, part) for part in about if _is_error(getattr(builtins, part, None))), Exception)
        space[name] = type(name, (base,), {})
    elif kind == "value":
        space[name] = about
