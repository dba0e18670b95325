"""The release: a Hugging Face folder with its card, proved to load by `transformers` alone with equal logits."""

import shutil
from dataclasses import dataclass
from typing import Any

from aurora_m.core.step import Artifact, Work
from aurora_m.model.export import check_copy, cut_padding

LEFT_OUT = {"curve.jsonl", "manifest.json", "optimizer.states"}


@dataclass(frozen=True)
class ReleaseFacts:
    """What is in the folder, and how far its logits are from those of the model that was trained."""

    max_logit_difference: float
    parameters: int
    license: str


def export(work: Work, *, model: Artifact, card: Artifact, license: str) -> ReleaseFacts:
    """Copy the model's folder and its card, then load the copy as a user would and compare logits and text.

    Rows of the vocabulary that no token has are left out.
    """
    for path in sorted(model.path.iterdir()):
        if path.name not in LEFT_OUT:
            shutil.copyfile(path, work.out / path.name)
    shutil.copyfile(card.path / "README.md", work.out / "README.md")
    (work.out / "LICENSE").write_text(f"{license}\n\nThe licence of these weights, as the recipe declares it.\n")
    parameters: Any = model.facts["parameters"]
    left = parameters - cut_padding(model.path, work.out)
    return ReleaseFacts(check_copy(model.path, work.out), left, license)
