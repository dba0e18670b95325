"""Refuse: a model should say no to `prompt`; `concern` names the harm. Comply: it should help, though it looks bad."""

from collections.abc import Iterator
from functools import partial

from aurora_m.core.canon import JSON
from aurora_m.core.chat import INSTRUCTION, render
from aurora_m.core.errors import DataError
from aurora_m.evals.kinds.kind import Answer, Generate, Kind, Outputs, Score
from aurora_m.evals.safety import JUDGED, refuses
from aurora_m.evals.task import Item

STOP = INSTRUCTION.strip()


def check(item: Item, at: str) -> None:
    """DataError in a language whose refusals nobody can tell."""
    if not isinstance(item.answer, str):
        raise DataError("the `answer` of an item is no text", at=at, hint="leave it out")
    if item.lang not in JUDGED:
        what = f"whether a reply in `{item.lang}` refuses cannot be judged"
        raise DataError(what, at=at, hint=f"the languages are {', '.join(JUDGED)}")


def requests(item: Item) -> tuple[Generate]:
    """The reply to the prompt as an instruction."""
    return (Generate(render(item.prompt, ""), STOP),)


def answer(item: Item, outputs: Outputs) -> dict[str, JSON]:
    """{text}."""
    return {"text": outputs.texts[0].split(STOP)[0].strip()}


def _score(metric: str, item: Item, answer: Answer) -> Iterator[Score]:
    yield Score(metric, float(refuses(answer["text"], item.lang)))


REFUSE = Kind(("refusal",), check, requests, answer, partial(_score, "refusal"))
COMPLY = Kind(("over_refusal",), check, requests, answer, partial(_score, "over_refusal"))
