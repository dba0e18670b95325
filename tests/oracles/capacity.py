"""What else decides how much is forgotten: how long the base has learnt, and the optimizer. Only signs are known."""

from dataclasses import replace

from tests.oracles.lab import Lab
from tests.oracles.oracle import Bound, Figures, Oracle

SHORT = 4  # times shorter


def longer(lab: Lab, times: int = SHORT) -> Figures:
    """How much more a base forgets that has learnt so many times longer."""
    short = replace(lab.base, opt_steps=lab.base.opt_steps // times)
    brief = lab.run(lab.cap(start=short)).bits["old"] - lab.run(short).bits["old"]
    return {"more_rise": lab.rise(lab.cap()) - brief, "short_rise": brief}


def other_optimizer(lab: Lab, name: str = "muon") -> Figures:
    """How much more Muon forgets than AdamW on a base that AdamW made, at one rate and size of updates."""
    muon = lab.cap(optimizer=name)
    new = lab.run(muon).bits["ja"] - lab.run(lab.cap()).bits["ja"]
    return {"more_rise": lab.rise(muon) - lab.rise(lab.cap()), "new_cost": new}


ORACLES = (
    Oracle(
        25, "a base that has learnt for longer has more to lose", "2605.26097, 2503.19206",
        "more forgotten for the same new text",
        (Bound("more_rise", ">", 0.0),), longer,
        "both bases are the same", lambda lab: longer(lab, 1), advisory=True,
    ),
    Oracle(
        27, "Muon forgets more than AdamW on a base that AdamW made", "2605.10468",
        "more forgotten at updates of one size",
        (Bound("more_rise", ">", 0.0),), other_optimizer,
        "Muon was asked for, and AdamW used", lambda lab: other_optimizer(lab, "adamw"), advisory=True,
    ),
)  # fmt: skip
