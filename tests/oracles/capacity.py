"""What else decides how much is forgotten: how long and how fast the base has learnt, and the optimizer.

Only signs are known.
"""

from dataclasses import replace

from tests.oracles.lab import Lab
from tests.oracles.oracle import Bound, Figures, Oracle

SHORT = 4  # times shorter
LOW = 3e-4  # a tenth of the base's rate


def longer(lab: Lab, times: int = SHORT) -> Figures:
    """How much more a base forgets that has learnt so many times longer."""
    short = replace(lab.base, opt_steps=lab.base.opt_steps // times)
    brief = lab.run(lab.cap(start=short)).bits["old"] - lab.run(short).bits["old"]
    return {"more_rise": lab.rise(lab.cap()) - brief, "short_rise": brief}


def gentler(lab: Lab, rate: float = LOW) -> Figures:
    """How much more a base forgets that has learnt at a lower rate, where both go on at this one."""
    gentle = replace(lab.base, peak_lr=rate)
    forgot = lab.run(lab.cap(start=gentle, peak_lr=LOW)).bits["old"] - lab.run(gentle).bits["old"]
    rise = lab.rise(lab.cap(peak_lr=LOW))
    return {"more_rise": forgot - rise, "rise": rise}


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
        26, "a base that has learnt at a higher rate forgets less at a low one", "2605.26097",
        "loss 3.68 after a base at 1e-2, 4.02 after one at 2e-4",
        (Bound("more_rise", ">", 0.0),), gentler,
        "both bases are the same", lambda lab: gentler(lab, lab.base.peak_lr), advisory=True,
    ),
    Oracle(
        27, "Muon forgets more than AdamW on a base that AdamW made", "2605.10468",
        "more forgotten at updates of one size",
        (Bound("more_rise", ">", 0.0),), other_optimizer,
        "Muon was asked for, and AdamW used", lambda lab: other_optimizer(lab, "adamw"), advisory=True,
    ),
)  # fmt: skip
