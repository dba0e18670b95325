"""Forgetting and what helps against it: replay, the model's own text, merging, an anchor."""

from typing import Any

import numpy as np
import torch

from aurora_m.model.forward import forward_hidden
from aurora_m.model.generate import Sampling, generate
from aurora_m.model.load import load_model
from aurora_m.model.merge import merge
from aurora_m.train.objectives.anchors import head_kl
from tests.oracles.lab import Arm, Lab
from tests.oracles.oracle import Bound, Figures, Oracle, least_fall

DOSES = (0.0, 0.01, 0.05, 0.25, 0.5)
PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from the base to the trained model
HOLDS = (0.1, 1.0)  # weights of the anchor
PROMPTS, NEW_TOKENS = 512, 60  # of self-generated replay
KL_ROWS = 48


# --- O1: forgetting exists


def forgetting(lab: Lab, arm: Arm | None = None) -> Figures:
    """How far what is old rises where nothing protects it."""
    arm = arm or lab.cap()
    new = lab.run(arm).bits["ja"] - lab.run(lab.base).bits["ja"]
    return {"old_rise": lab.rise(arm), "new_rise": new}


def nothing_new(lab: Lab) -> Figures:
    """A source that says it is Japanese, and is what the base knows already."""
    lab.docs.setdefault("not.ja", lab.docs["en"])
    return forgetting(lab, lab.cap(reads=(("not.ja", 1.0),)))


# --- O2 and O3: replay


def removed(lab: Lab, arm: Arm) -> Figures:
    """What share of the rise an arm takes away, and what that costs on the new language."""
    none = lab.cap()
    share = 1 - lab.rise(arm) / lab.rise(none)
    return {"removed": share, "new_cost": lab.run(arm).bits["ja"] - lab.run(none).bits["ja"]}


def mislabelled(lab: Lab, replay: float) -> Arm:
    """An arm whose replay says it is old, and is Japanese."""
    lab.docs.setdefault("not.old", lab.docs["ja"])
    return lab.cap(reads=(("ja", 1 - replay), ("not.old", replay)))


def doses(lab: Lab, order: tuple[float, ...] = DOSES) -> Figures:
    """Whether the rise falls with every dose, and what the largest one costs."""
    rises = [lab.rise(lab.cap(dose)) for dose in order]
    half = lab.run(lab.cap(order[-1])).bits["ja"] - lab.run(lab.cap(order[0])).bits["ja"]
    rest = {f"old_rise_{dose:g}": rise for dose, rise in zip(DOSES, rises, strict=True)}
    return {"least_fall": least_fall(rises), "new_cost": half, **rest}


# --- O4: self-generated replay


def own_text(lab: Lab, name: str, model: Any) -> str:
    """A source that a model wrote itself, going on from one byte each."""
    if name not in lab.docs:
        bytes_ = [ids[0] for ids in lab.docs["en"] + lab.docs["py"]]
        prompts = [[bytes_[index * 7 % len(bytes_)]] for index in range(PROMPTS)]
        new = generate(
            model, prompts, max_new=NEW_TOKENS, ends=[lab.end], batch=256, sampling=Sampling(1.0, seed=lab.seed)
        )
        lab.docs[name] = [[*prompt, *ids, lab.end] for prompt, ids in zip(prompts, new, strict=True)]
    return name


def self_replay(lab: Lab) -> Figures:
    """A quarter of the rows are the base's own text; beside it, as much real text."""
    own = lab.cap(reads=(("ja", 0.75), (own_text(lab, "own", lab.run(lab.base).model), 0.25)))
    return {**removed(lab, own), "beside_real": lab.rise(own) - lab.rise(lab.cap(0.25))}


def text_of_nobody(lab: Lab) -> Figures:
    """The same, written by a model that never learnt."""
    own = lab.cap(reads=(("ja", 0.75), (own_text(lab, "nobody's", lab.model("scratch")), 0.25)))
    return {**removed(lab, own), "beside_real": lab.rise(own) - lab.rise(lab.cap(0.25))}


# --- O8: merging with the base


def merged(lab: Lab, base: Any, trained: Any, part: float) -> Any:
    """The model a part of the way from one to another, by Aurora's linear merge."""
    work, models = lab.work(), {"base": lab.saved(base), "trained": lab.saved(trained)}
    merge(work, models=models, weights={"base": 1 - part, "trained": part}, method="linear")
    return load_model(work.out)


def frontier(lab: Lab, base: Any = None) -> Figures:
    """Old and new text on the way from the base to the trained model."""
    base, trained = base or lab.run(lab.base).model, lab.run(lab.cap()).model
    found = [lab.bits(merged(lab, base, trained, part)) for part in PARTS]
    old, new = [bits["old"] for bits in found], [bits["ja"] for bits in found]
    steps = {"least_old_step": least_fall(old[::-1]), "least_new_step": least_fall(new)}
    return {**steps, "old_share_at_quarter": (old[1] - old[0]) / (old[-1] - old[0])}


# --- O9: an anchor


def anchored(lab: Lab, weights: tuple[float, float] = HOLDS) -> Figures:
    """What of the rise is left under an anchor, and what it costs on the new language."""
    none = lab.cap()
    light, strong = (lab.cap(kl=weight) for weight in weights)
    left = {"left_at_0.1": lab.rise(light) / lab.rise(none), "left_at_1": lab.rise(strong) / lab.rise(none)}
    return {**left, "new_cost": lab.run(strong).bits["ja"] - lab.run(none).bits["ja"]}


# --- O10: which divergence foretells forgetting


def foretelling(lab: Lab, old: tuple[str, ...] = ("en", "py"), new: tuple[str, ...] = ("ja",)) -> Figures:
    """Rank correlation, over protected and unprotected runs, of KL to the base with the rise of what is old."""
    base, none = lab.run(lab.base), lab.run(lab.cap())
    arms = [lab.cap(peak_lr=lr) for lr in (1e-4, 3e-4)] + [lab.cap(dose) for dose in DOSES[:4]]
    arms += [lab.cap(kl=weight) for weight in HOLDS]
    models = [lab.run(arm).model for arm in arms]
    models += [merged(lab, base.model, none.model, part) for part in PARTS[1:-1]]
    rises = [lab.bits(model)["old"] for model in models]
    far = {kind: [divergence(lab, model, names) for model in models] for kind, names in (("old", old), ("new", new))}
    return {"rho_old_text": spearman(far["old"], rises), "rho_new_text": spearman(far["new"], rises)}


def divergence(lab: Lab, model: Any, sources: tuple[str, ...]) -> float:
    """KL(base || model) on held-out rows, in nats a token."""
    for name in sources:
        lab.docs.setdefault(f"held.{name}", [[*ids, lab.end] for ids in lab.held[name]])
    share = 1 / len(sources)
    stream = lab.rows(Arm(tuple((f"held.{name}", share) for name in sources), KL_ROWS, 0.0), "kl")
    rows = [stream[index] for index in range(KL_ROWS)]
    base = lab.run(lab.base).model
    with torch.no_grad():
        (ours_ND, _, weights_N), (theirs_ND, _, _) = forward_hidden(model, rows), forward_hidden(base, rows)
        heads = [each.get_output_embeddings().weight for each in (model, base)]
        return float(head_kl(ours_ND, heads[0], theirs_ND, heads[1], weights_N)) / len(weights_N)


def spearman(a: list[float], b: list[float]) -> float:
    """Rank correlation, without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


ORACLES = (
    Oracle(
        1, "training on a new language alone forgets the old", "2403.08763, 2605.26097",
        "old text rises by 0.05 to 1 nats; by 3.3 bits a byte at this size",
        (Bound("old_rise", ">", 0.4), Bound("new_rise", "<", -4.0)), forgetting,
        "what says it is Japanese is English", nothing_new,
    ),
    Oracle(
        2, "5 % replay removes most of the forgetting", "2403.08763, 2502.06042",
        "about 90 % removed, new text no worse than 0.1",
        (Bound("removed", ">", 0.6), Bound("new_cost", "<", 0.15)), lambda lab: removed(lab, lab.cap(0.05)),
        "the replay is mislabelled Japanese", lambda lab: removed(lab, mislabelled(lab, 0.05)),
    ),
    Oracle(
        3, "more replay forgets less, and half of the rows cost new text", "2403.08763",
        "old falls strictly over 0, 1, 5, 25, 50 %; 50 % costs 0.48 of new text",
        (Bound("least_fall", ">", 0.0), Bound("new_cost", ">", 0.1)), doses,
        "1 % and 25 % have changed places", lambda lab: doses(lab, (0.0, 0.25, 0.05, 0.01, 0.5)),
    ),
    Oracle(
        4, "replay that the base writes itself is nearly as good as real text", "2605.26097",
        "96 % removed; within 0.08 to 0.15 of real replay",
        (Bound("removed", ">", 0.7), Bound("beside_real", "<", 0.2)), self_replay,
        "written by a model that never learnt", text_of_nobody,
    ),
    Oracle(
        8, "between base and trained model lies a frontier", "2407.08699",
        "old rises and new falls at every step; a quarter of the way costs 9 % of the rise",
        (Bound("least_old_step", ">", 0.0), Bound("least_new_step", ">", 0.0), Bound("old_share_at_quarter", "<", 0.2)),
        frontier, "merged with a model that never learnt", lambda lab: frontier(lab, lab.model("scratch")),
    ),
    Oracle(
        9, "an anchor on a little old text keeps it, at little cost", "2605.26097",
        "4 % of the rise is left at weight 0.1, 1 % at 1; new text 0.1 better",
        (Bound("left_at_0.1", "<", 0.2), Bound("left_at_1", "<", 0.08), Bound("new_cost", "<", 0.1)), anchored,
        "the anchor's weight is lost", lambda lab: anchored(lab, (0.0, 0.0)),
    ),
    Oracle(
        10, "KL to the base foretells forgetting on old text, not on new", "2509.04259; a first measurement",
        "rank correlation 0.93 on old text, -0.3 on new, over 11 runs",
        (Bound("rho_old_text", ">", 0.85),), foretelling,
        "old and new text have changed places", lambda lab: foretelling(lab, ("ja",), ("en", "py")),
    ),
)  # fmt: skip
