"""Training held by anchors in several real processes, for `test_anchor.py`."""

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[index]) for index in (0, 2)]
    sys.path[:0] = [str(Path(__file__).parents[1] / "model")]

import torch
from processes import ROWS, Made, T, fitted, noted, plain_model, plan

from aurora_m.core.log import Log
from aurora_m.core.step import Runtime, Work
from aurora_m.model.adapt import adapt
from aurora_m.tokens.rows import Row
from aurora_m.train.objectives.anchors import Distance, Divergence
from aurora_m.train.world import RankCoordinator


class Old(Made):
    """Other rows, which are soon read again."""

    row_tokens = T

    def __len__(self) -> int:
        return 3 * ROWS // 2

    def __getitem__(self, index: int) -> Row:
        return super().__getitem__(100 + index)


def anchored(folder: Path, kind: str, lora: bool, team: Any = None) -> tuple[Any, list[Any]]:
    """Train a tiny model, or adapters of one, held by both anchors or the first."""
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    model, base = plain_model(kind), plain_model(kind).requires_grad_(False)
    if lora:
        adapt(model, 2, 32, 1)
    start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    anchors: list[Any] = [Divergence(base, Old(), ROWS, 2.0, 1), *([] if lora else [Distance(start, 0.1)])]
    where = Runtime(folder, threads=1, device="cpu", team=team)
    work = Work(folder / "out", folder / "scratch", where, Log(quiet=True))
    return model, fitted(work, model, Made(), plan(), anchors)


def variants(folder: Path, team: Any = None) -> None:
    """All that is compared."""
    noted(folder, "whole", lambda: anchored(folder / "whole", "llama", False, team))
    noted(folder, "adapted", lambda: anchored(folder / "adapted", "bigcode", True, team))


if __name__ == "__main__":
    torch.set_num_threads(1)
    variants(Path(sys.argv[-1]), RankCoordinator.join("cpu"))
