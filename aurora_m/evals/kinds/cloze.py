"""Cloze: which of `choices` makes `prompt` + choice + `after` the likeliest text; `answer` is its index."""

from collections.abc import Iterator

from aurora_m.evals.kinds import choice
from aurora_m.evals.kinds.kind import Answer, Kind, Score
from aurora_m.evals.task import Item


def score(item: Item, answer: Answer) -> Iterator[Score]:
    """Right if no other text is likelier as a whole: the same words follow, so that length is no matter."""
    yield choice.accuracy(item, answer["nats"])


KIND = Kind(("accuracy",), choice.check, choice.requests, choice.answer, score)
