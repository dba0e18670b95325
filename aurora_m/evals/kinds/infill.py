"""Infill: `answer` is the text between `prompt` and `after`."""

from collections.abc import Iterator

from aurora_m.core.canon import JSON
from aurora_m.core.errors import DataError
from aurora_m.evals.kinds.kind import Answer, FillIn, Kind, Loglikelihood, Outputs, Score, bits, num_bytes
from aurora_m.evals.task import Item


def check(item: Item, at: str) -> None:
    """DataError unless the answer is a text that is not empty."""
    if not isinstance(item.answer, str):
        raise DataError("the `answer` of an item is no text", at=at, hint="write the text itself")
    if not item.answer:
        raise DataError("an item has no `answer`", at=at, hint="write the text that is right")


def requests(item: Item) -> tuple[Loglikelihood, FillIn]:
    """The middle after what is left of it, and after both sides."""
    return Loglikelihood(item.prompt, (item.right,)), FillIn(item.prompt, item.after, item.right)


def answer(item: Item, outputs: Outputs) -> dict[str, JSON]:
    """{nats (null without fill-in marks), left_nats, bytes}."""
    (left,), fill_in = outputs.nats
    return {"nats": fill_in[0] if fill_in else None, "left_nats": left, "bytes": num_bytes(item.right)}


def score(item: Item, answer: Answer) -> Iterator[Score]:
    """Bits of the middle, with and without what comes after it."""
    yield Score("infill_left_bpb", bits(answer["left_nats"]), answer["bytes"])
    if answer["nats"] is not None:
        yield Score("infill_bpb", bits(answer["nats"]), answer["bytes"])


KIND = Kind(("infill_bpb", "infill_left_bpb"), check, requests, answer, score)
