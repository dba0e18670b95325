"""How often text may be read again, and whether old text helps when there is little of the new."""

import numpy as np

from tests.oracles.lab import VOCAB, Arm, Lab
from tests.oracles.oracle import Bound, Figures, Oracle

EPOCHS = (1, 4, 64)
LITTLE_BYTES = 50_000


# --- O21: repetition


def repeated(lab: Lab, epochs: tuple[int, int, int] = EPOCHS) -> Figures:
    """Held-out English after as many steps on text that is read so often, against text that is read once."""
    steps = 2 * lab.cap_steps
    runs = []
    for times in epochs:
        arm = Arm(((lab.some("en", steps * 1024 // times), 1.0),), steps, 3e-3)
        runs.append(lab.run(arm).bits["en"])
    once, four, many = runs
    return {"four_costs": four - once, "many_cost": many - once, "once": once}


# --- O22: little new text


def little(lab: Lab, beside: tuple[tuple[str, float], ...] = (("en", 0.3), ("py", 0.2))) -> Figures:
    """What held-out Japanese gains if each step on a little of it comes with as much of something else."""
    few = lab.some("ja", LITTLE_BYTES)
    alone = lab.cap(reads=((few, 1.0),), peak_lr=3e-3)
    both = lab.cap(reads=((few, 0.5), *beside), peak_lr=3e-3, opt_steps=2 * lab.cap_steps)
    return {"gain": lab.run(alone).bits["ja"] - lab.run(both).bits["ja"]}


def with_noise(lab: Lab) -> Figures:
    """The same, where what stands beside it says nothing."""
    random = np.random.default_rng(lab.seed)
    lab.docs["noise"] = [[*random.integers(4, VOCAB, 512).tolist(), lab.end] for _ in range(1000)]
    return little(lab, (("noise", 0.5),))


ORACLES = (
    Oracle(
        21, "four epochs are as good as one, many are not", "2305.16264",
        "4 epochs cost 0.005, 64 cost 0.40",
        (Bound("four_costs", "<", 0.05), Bound("many_cost", ">", 0.15)), repeated,
        "64 epochs are really one", lambda lab: repeated(lab, (1, 4, 1)),
    ),
    Oracle(
        22, "old text beside a little new text helps the new", "2603.04964",
        "up to 2 times as far on the same new text",
        (Bound("gain", ">", 0.0),), little,
        "what stands beside it is noise", with_noise, advisory=True,
    ),
)  # fmt: skip
