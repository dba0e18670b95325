"""Code: go on from `prompt` so that `tests` (Python) pass for the function `entry`; `answer` is a solution."""

from collections.abc import Iterator

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError
from aurora_m.evals.kinds import infill
from aurora_m.evals.kinds.kind import Answer, Generate, Kind, Loglikelihood, Outputs, Score, bits, num_bytes
from aurora_m.evals.task import Item


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
    return {"text": body(text), "solution_nats": nats, "solution_bytes": num_bytes(item.right)}


def score(item: Item, answer: Answer) -> Iterator[Score]:
    """Bits of the solution; whether the function passes is known once it has run."""
    yield Score("solution_bpb", bits(answer["solution_nats"]), answer["solution_bytes"])


def program(item: Item, text: str) -> str:
    """The function with a body, and its tests."""
    return f"{item.prompt}{text}\n{item.tests}"


def body(text: str) -> str:
    """What of a completion belongs to the function: all before the first line that is neither indented nor blank."""
    kept = []
    for line in text.splitlines(keepends=True):
        if line.strip() and not line.startswith((" ", "\t")):
            break
        kept.append(line)
    return "".join(kept)


KIND = Kind(("pass", "solution_bpb"), check, requests, answer, score, program)
