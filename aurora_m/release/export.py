"""The release: a Hugging Face folder with its card, proved to load with `transformers` alone: equal logits and ids."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from aurora_m.core.step import Artifact, Work
from aurora_m.model.export import check_copy, rounding, write_model
from aurora_m.model.tokenizer import fit_class
from aurora_m.tokens.sample import sample

LEFT_OUT = {"curve.jsonl", "manifest.json", "optimizer.states"}
FLOAT32 = "float32"
DOCS, CHARS = 8, 1000  # of each source, by which the release is checked


@dataclass(frozen=True)
class ReleaseFacts:
    """What is in the folder, and how far its logits are from those of the model that was trained."""

    max_logit_difference: float  # from the trained weights in the release's own type
    parameters: int
    license: str
    dtype: str | None = None  # of the weights, where that is not float32, in which they were trained
    rounding: float | None = None  # how far that moved logits


def export(
    work: Work, *, model: Artifact, base: Artifact, card: Artifact, docs: dict[str, Artifact], license: str, dtype: str
) -> ReleaseFacts:
    """Copy the model's folder and its card, then load the copy as a user would and compare logits, ids and text.

    Rows of the vocabulary that no token has are left out.

    docs   of every source: their tokenizer's ids must be those of training
    dtype  of the weights; `base`: as the base's files had them
    """
    for path in sorted(model.path.iterdir()):
        if path.is_dir():
            shutil.copytree(path, work.out / path.name)
        elif path.name not in LEFT_OUT:
            shutil.copyfile(path, work.out / path.name)
    shutil.copyfile(card.path / "README.md", work.out / "README.md")
    (work.out / "LICENSE").write_text(f"{license}\n\nThe licence of these weights, as the recipe declares it.\n")
    kind = str(base.facts.get("dtype", FLOAT32)) if dtype == "base" else dtype
    parameters: Any = model.facts["parameters"]
    left = parameters - write_model(model.path, work.out, kind)
    texts = [*_texts(docs)]
    fit_class(work.out, texts, "release", work.log.say)
    facts = ReleaseFacts(check_copy(model.path, work.out, texts, kind), left, license)
    return facts if kind == FLOAT32 else replace(facts, dtype=kind, rounding=round(rounding(model.path, kind), 6))


def _texts(docs: dict[str, Artifact]) -> Iterator[str]:
    """The beginnings of some documents of each source."""
    for name in sorted(docs):
        yield from (text[:CHARS] for text in islice(sample(docs[name].path), DOCS))
