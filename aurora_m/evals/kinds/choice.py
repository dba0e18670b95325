"""Choice: which of `choices`, each going on from `prompt` as it stands, is likeliest by byte; `answer` is its index."""

from collections.abc import Iterator

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError
from aurora_m.evals.kinds.kind import Answer, Kind, Loglikelihood, Outputs, Score, num_bytes
from aurora_m.evals.task import Item


def check(item: Item, at: str) -> None:
    """DataError unless the answer is the index of a choice."""
    if type(item.answer) is not int or not 0 <= item.answer < len(item.choices):
        what = "the `answer` of an item is not the index of one of its `choices`"
        raise DataError(what, at=at, hint="the first choice has the index 0")


def requests(item: Item) -> tuple[Loglikelihood]:
    """Every choice after the prompt, and what follows it."""
    return (Loglikelihood(item.prompt, tuple(choice + item.after for choice in item.choices)),)


def answer(item: Item, outputs: Outputs) -> dict[str, JSON]:
    """{nats, bytes}, lists over the choices."""
    return {"nats": [*outputs.nats[0]], "bytes": [num_bytes(choice) for choice in item.choices]}


def score(item: Item, answer: Answer) -> Iterator[Score]:
    """Right if no byte of another choice is likelier on average."""
    yield accuracy(item, [nats / size for nats, size in zip(answer["nats"], answer["bytes"], strict=True)])


def accuracy(item: Item, rates: list[float]) -> Score:
    """Whether the highest rate, the first of equal ones, is the right choice's."""
    return Score("accuracy", float(rates.index(max(rates)) == item.answer))


KIND = Kind(("accuracy",), check, requests, answer, score)
