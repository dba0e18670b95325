"""Skills learnt one after another: each displaces those before it, unless the model's own text is read beside it."""

import random
from collections.abc import Callable
from statistics import mean
from typing import Any

from aurora_m.model.generate import Sampling, generate
from aurora_m.tokens.encoder import Encoder
from tests.oracles.lab import Arm, Lab, encoded
from tests.oracles.oracle import Bound, Figures, Oracle

STEPS, RATE = 600, 3e-3  # of each skill
DRILLS, QUESTIONS = 8000, 200
PROMPTS, NEW_TOKENS = 2000, 12
LETTERS = "abcdefghijklmnop"

Skill = Callable[[random.Random], tuple[str, str]]


def turned(draw: random.Random) -> tuple[str, str]:
    """Four letters in reverse."""
    word = "".join(draw.choices(LETTERS, k=4))
    return f"r{word}=", word[::-1]


def sorted_(draw: random.Random) -> tuple[str, str]:
    """Four letters in order."""
    word = "".join(draw.choices(LETTERS, k=4))
    return f"s{word}=", "".join(sorted(word))


def added(draw: random.Random) -> tuple[str, str]:
    """The sum of two digits."""
    one, two = draw.randrange(10), draw.randrange(10)
    return f"a{one}+{two}=", f"{one + two:02}"


def wrapped(draw: random.Random) -> tuple[str, str]:
    """The sum of two digits modulo 7."""
    one, two = draw.randrange(10), draw.randrange(10)
    return f"m{one}+{two}=", f"{(one + two) % 7:02}"


SKILLS: tuple[Skill, ...] = (turned, sorted_, added, wrapped)


def drilled(lab: Lab, skill: Skill) -> str:
    """A source of a skill's questions with their answers."""
    name = skill.__name__
    if name not in lab.docs:
        draw = random.Random(f"{lab.seed} {name}")
        drills = ["".join(skill(draw)) for _ in range(DRILLS)]
        lab.docs[name] = [[*ids, lab.end] for ids in encoded(Encoder(lab.tokenizer.path), drills)]
    return name


def own_text(lab: Lab, name: str, model: Any, skills: int) -> str:
    """A source that a model wrote, going on from the first byte of each of the first so many skills in turn."""
    if name not in lab.docs:
        firsts = [lab.docs[drilled(lab, skill)][0][:1] for skill in SKILLS[:skills]]
        prompts = [firsts[index % skills] for index in range(PROMPTS)]
        new = generate(
            model, prompts, max_new=NEW_TOKENS, ends=[lab.end], batch=500, sampling=Sampling(1.0, seed=lab.seed)
        )
        lab.docs[name] = [[*prompt, *ids, lab.end] for prompt, ids in zip(prompts, new, strict=True)]
    return name


def right(lab: Lab, model: Any, skill: Skill) -> float:
    """The share of new questions that are answered rightly."""
    draw = random.Random(f"{lab.seed} {skill.__name__} questions")
    asked = [skill(draw) for _ in range(QUESTIONS)]
    encoder = Encoder(lab.tokenizer.path)
    prompts, answers = (encoded(encoder, list(texts)) for texts in zip(*asked, strict=True))
    said = generate(model.eval(), prompts, max_new=len(answers[0]), ends=[lab.end], batch=QUESTIONS)
    return mean(one == two for one, two in zip(said, answers, strict=True))


def taught(lab: Lab, replay: str) -> list[float]:
    """How many of each skill's questions are answered rightly once all have been learnt.

    replay  what half of the text is from the second skill on: "" for nothing, "own" for what the model as it is then
            writes, "nobody's" for what a model writes that never learnt
    """
    arm: Arm | str = "scratch"
    for learnt, skill in enumerate(SKILLS):
        reads = ((drilled(lab, skill), 1.0),)
        if replay and learnt:
            writer = lab.run(arm).model if replay == "own" and isinstance(arm, Arm) else lab.model("scratch")
            reads = ((drilled(lab, skill), 0.5), (own_text(lab, f"{replay}{learnt}", writer, learnt), 0.5))
        arm = Arm(reads, STEPS, RATE, arm)
    assert isinstance(arm, Arm)
    return [right(lab, lab.run(arm).model, skill) for skill in SKILLS]


def in_turn(lab: Lab, replay: str = "own") -> Figures:
    """What is left of the first three skills after the fourth."""
    without, beside = taught(lab, ""), taught(lab, replay)
    return {"old_without": mean(without[:-1]), "old_with": mean(beside[:-1]), "new_with": beside[-1]}


ORACLES = (
    Oracle(
        11, "skills learnt in turn displace each other; text of the model's own keeps them", "martin-marek/forgetting",
        "old tasks 21, 1, 1 % without; 99 to 100 % with",
        (Bound("old_without", "<", 0.4), Bound("old_with", ">", 0.5), Bound("new_with", ">", 0.9)), in_turn,
        "the text is that of a model that never learnt", lambda lab: in_turn(lab, "nobody's"),
    ),
)  # fmt: skip
