"""Code: go on from `prompt` so that `tests` (Python) pass for the function `entry`; `answer` is a solution."""

import ast
import re
import warnings
from collections.abc import Iterator

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError
from aurora_m.evals.kinds import infill
from aurora_m.evals.kinds.kind import Answer, Generate, Kind, Loglikelihood, Outputs, Score, bits, num_bytes
from aurora_m.evals.sandbox.judge import bound
from aurora_m.evals.sandbox.run import Program
from aurora_m.evals.task import Item

_AT_MARGIN = re.compile(r"^(?:\S|[ \t]+```)", re.MULTILINE)  # a fence is no Python, wherever it stands
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def check(item: Item, at: str) -> None:
    """DataError without a solution or tests."""
    infill.check(item, at)
    if not item.tests:
        raise DataError("an item has no `tests`", at=at, hint="write Python that raises if the answer is wrong")


def requests(item: Item) -> tuple[Loglikelihood, Generate]:
    """The solution, and a function of the model's own."""
    return Loglikelihood(item.prompt, (item.right,)), Generate(item.prompt, reference=item.right)


def answer(item: Item, outputs: Outputs) -> dict[str, JSON]:
    """{text, solution_nats, solution_bytes}."""
    ((nats,),), (text,) = outputs.nats, outputs.texts
    return {"text": body(item.prompt, text), "solution_nats": nats, "solution_bytes": num_bytes(item.right)}


def score(item: Item, answer: Answer) -> Iterator[Score]:
    """Bits of the solution; whether the function passes is known once it has run."""
    yield Score("solution_bpb", bits(answer["solution_nats"]), answer["solution_bytes"])


def program(item: Item, text: str) -> Program:
    """The function with a body, and its tests."""
    return Program(item.prompt, body(item.prompt, text), body(item.prompt, item.right), item.tests)


def body(prompt: str, text: str) -> str:
    """What of a completion belongs to the function: all before the first line at the margin that it is whole without.

    A line at the margin inside a string, brackets or a statement ends nothing. What the function may need stays behind
    it: definitions of new names, assignments that call nothing, and imports that one of these or the function uses or
    has behind it. A fence ends it, too. In a completion that is not Python the first line at the margin ends it.
    """
    starts_a_line = not prompt or prompt.endswith("\n")
    at_margin = [found.start() for found in _AT_MARGIN.finditer(text) if found.start() or starts_a_line]
    ends = [*at_margin, len(text)]
    whole = {end: tree.body for end in ends if (tree := _parsed(prompt + text[:end]))}
    if not whole:
        return text[: ends[0]]
    kept, *later = whole
    nodes = whole[kept]
    for end in later:
        is_begun = any(isinstance(node, _DEFINITIONS) and _last_line(node) > prompt.count("\n") for node in nodes)
        known = {name for node in nodes for name in bound(node)}
        if not all(_defines(node, known, is_begun) for node in whole[end][len(nodes) :]):
            break
        nodes = whole[end]
        if not is_begun or not isinstance(nodes[-1], ast.Import | ast.ImportFrom) or _is_used(nodes):
            kept = end
    return text[:kept]


def _parsed(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _last_line(node: ast.stmt) -> int:
    return node.end_lineno or 0


def _defines(node: ast.stmt, known: set[str], is_begun: bool) -> bool:
    """Whether a statement does nothing but give names that are not known yet; behind the function a call does more."""
    names = {*bound(node)}
    if not names or not known.isdisjoint(names):
        return False
    if not is_begun:
        runs = isinstance(node, ast.Expr | ast.Assert | ast.While | ast.Raise)
        return not runs and not (isinstance(node, ast.If) and "__name__" in ast.dump(node.test))
    calls = any(isinstance(part, ast.Call) for part in ast.walk(node))
    gives = isinstance(node, ast.Assign | ast.AnnAssign) and not calls
    return gives or isinstance(node, (*_DEFINITIONS, ast.Import, ast.ImportFrom))


def _is_used(nodes: list[ast.stmt]) -> bool:
    """Whether what stands before the last statement uses a name that this gives."""
    names = {*bound(nodes[-1])}
    return any(isinstance(part, ast.Name) and part.id in names for node in nodes[:-1] for part in ast.walk(node))


KIND = Kind(("pass", "solution_bpb"), check, requests, answer, score, program)
