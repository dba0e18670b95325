"""The release: a Hugging Face folder with its card, proved to load by `transformers` alone with equal logits."""

import shutil

from aurora_m.core.step import Artifact, Facts, Work
from aurora_m.model.export import check_copy, cut_padding

LEFT_OUT = {"curve.jsonl", "manifest.json", "optimizer.pt"}


def export(work: Work, *, model: Artifact, card: Artifact, license: str) -> Facts:
    """Copy the model's folder and its card, then load the copy as a user would and compare logits and text.

    Rows of the vocabulary that no token has are left out.
    """
    for path in sorted(model.path.iterdir()):
        if path.name not in LEFT_OUT:
            shutil.copyfile(path, work.out / path.name)
    shutil.copyfile(card.path / "README.md", work.out / "README.md")
    (work.out / "LICENSE").write_text(f"{license}\n\nThe licence of these weights, as the recipe declares it.\n")
    cut = cut_padding(model.path, work.out)
    difference = check_copy(model.path, work.out)
    left = int(str(model.facts["parameters"])) - cut
    return {"max_logit_difference": difference, "parameters": left, "license": license}
