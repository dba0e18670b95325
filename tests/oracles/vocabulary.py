"""New tokens: which first rows leave the old text untouched and learn the new one."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.model.embed import INITS, add_rows
from aurora_m.tokens.encoder import Encoder
from aurora_m.tokens.extend import ADDED, extend_tokenizer
from tests.model.tiny import doc
from tests.oracles.lab import Lab, encoded, texts
from tests.oracles.oracle import Bound, Figures, Oracle

NEW = 400  # tokens
SHARES = (("new.ja", 0.75), ("new.en", 0.25))


def first_rows(lab: Lab, lost: bool = False) -> Figures:
    """What each way to make rows for new tokens costs at once, and at the end of training.

    The base has learnt Japanese bytes before. `lost` gives random rows where the mean of the parts is asked for.
    """
    knows = lab.cap(reads=(("ja", 0.75), ("en", 0.25)), peak_lr=3e-3)
    before = lab.run(knows).bits
    held, parts = extended(lab)
    found: dict[str, float] = {}
    for way in INITS:
        name = "random" if lost and way == "subtokens" else way
        if name not in lab.models:
            lab.models[name] = lab.model(knows)
            add_rows(lab.models[name], len(lab.models[name].lm_head.weight), parts, name, lab.seed)
        at_once = lab.bits(lab.models[name], held)
        run = lab.run(lab.cap(reads=SHARES, start=name, opt_steps=lab.cap_steps * 3 // 5))
        found |= {f"{way}_en": at_once["en"] - before["en"], f"{way}_ja": at_once["ja"]}
        found[f"{way}_end"] = lab.bits(run.model, held)["ja"]
    margins = {"at_once": found["mean_ja"] - found["subtokens_ja"], "end": found["random_end"] - found["subtokens_end"]}
    old = {"old_moved": max(abs(found["subtokens_en"]), abs(found["mean_en"])), "old_random": found["random_en"]}
    return {**old, **{f"better_{name}": margin for name, margin in margins.items()}, **found}


def extended(lab: Lab) -> tuple[dict[str, list[list[int]]], Sequence[Sequence[int]]]:
    """Held-out text under a tokenizer with new tokens of Japanese, and what these stand for; sources `new.*` appear."""
    work = lab.work()
    write_docs(work.scratch / "ja", [doc(f"d{n}", text) for n, text in enumerate(texts()["ja"][0])])
    docs = {"ja": Artifact(work.scratch / "ja", "", {})}
    extend_tokenizer(work, tokenizer=lab.tokenizer, docs=docs, tokens=NEW)
    ids: Any = partial(encoded, Encoder(work.out))
    held = {}
    for name in ("ja", "en"):
        lab.docs[f"new.{name}"] = [[*row, lab.end] for row in ids(texts()[name][0])]
        held[name] = ids(texts()[name][1][: len(lab.held[name])])
    return held, [row["parts"] for row in read_jsonl(work.out / ADDED)]


ORACLES = (
    Oracle(
        12, "rows of new tokens inside the hull of the old leave old text alone; the mean of their parts is best",
        "2407.05841; a first measurement",
        "old text moves by less than 0.02, by 6.9 with random rows; 0.9 better than the mean at once, 0.12 than random "
        "at the end",
        (Bound("old_moved", "<", 0.05), Bound("old_random", ">", 1.0), Bound("better_at_once", ">", 0.3),
         Bound("better_end", ">", 0.0)), first_rows,
        "random rows where the mean of the parts was asked for", lambda lab: first_rows(lab, lost=True),
    ),
)  # fmt: skip
