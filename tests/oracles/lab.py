"""A world small enough to train in minutes: texts that every Python has, a byte-level base, and the arms of a study.

Everything is trained, packed, mixed and measured by Aurora's own code. Sources are en (Python's help topics and
docstrings), py (files of its standard library) and ja (the sample that ships), so no data are fetched.
"""

import ast
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch

from aurora_m.core.canon import hash64
from aurora_m.core.step import Artifact, Work
from aurora_m.core.uri import SAMPLE
from aurora_m.model.init import init
from aurora_m.model.likelihood import document_bits
from aurora_m.model.load import load_model, save_model
from aurora_m.tokens.encoder import Encoder
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.stream import Stream, stage_stream
from aurora_m.train.loop import fit
from aurora_m.train.monitor import Monitor
from aurora_m.train.objectives.anchors import Anchored, Divergence
from aurora_m.train.objectives.next_token import NextToken
from aurora_m.train.plan import Plan
from aurora_m.train.schedule import Schedule
from tests.model.tiny import new_work, tiny_shards, tiny_tokenizer, training

ROW_TOKENS, ROWS = 64, 16  # of an optimizer step
BATCH = ROW_TOKENS * ROWS
VOCAB = 260  # the end token, three marks of infilling, 256 bytes
PIECE_CHARS = 512  # of a document: texts are cut, so that many of them are held out
HELD_BYTES = 16_000  # of a source
GLANCE = 8  # held-out documents of a source that are read at marks
LIBRARY = Path(os.__file__).parent
PACKAGES = ("asyncio", "concurrent", "ctypes", "email", "http", "importlib", "logging", "multiprocessing", "unittest")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
OLD = {"en": 0.6, "py": 0.4}  # what the base learns from, and replay with it
ANCHOR_ROWS, ANCHOR_BYTES = 4, 50_000

Held = Mapping[str, Sequence[list[int]]]
Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Arm:
    """One training run: where it starts, what it reads, how long and how fast. Two equal ones are trained once."""

    reads: Shares  # of sources, as shares of tokens
    opt_steps: int
    peak_lr: float
    start: "Arm | str" = "scratch"
    end: float = 0.1  # the last rate, of the peak
    warmup: float = 0.05  # of the steps
    of_steps: int = 0  # of the whole schedule, where the arm ends before it
    fim: float = 0.0  # share of the code whose middles are filled in
    kl: float = 0.0  # weight of an anchor on text like the base's
    optimizer: str = "adamw"
    marks: int = 1  # at more than one, what is old is measured on the way

    @property
    def schedule(self) -> Schedule:
        """Cosine, from the warm-up's end to the last rate."""
        total = (self.of_steps or self.opt_steps) * BATCH
        return Schedule("cosine", self.peak_lr, self.end * self.peak_lr, round(self.warmup * total), total)


@dataclass
class Run:
    """A trained model, and how it came about."""

    lab: "Lab"
    model: Any
    curve: list[Any] = field(default_factory=list)

    @cached_property
    def bits(self) -> dict[str, float]:
        """Bits per byte of held-out text by source, and the mean of what is old."""
        return self.lab.bits(self.model)

    @property
    def marks(self) -> list[float]:
        """What is old at the start and at each mark."""
        return [entry["measure"] for entry in self.curve if "measure" in entry]


class Lab:
    """The world of one seed, which decides the base's first weights and the order of all rows."""

    def __init__(self, seed: int, folder: Path, base_steps: int = 1000, cap_steps: int = 250) -> None:
        torch.set_num_threads(1)
        self.seed, self.folder, self.cap_steps = seed, folder, cap_steps
        self.base = Arm(tuple(OLD.items()), base_steps, 3e-3, fim=0.5)
        self.tokenizer = tiny_tokenizer(folder, VOCAB)
        encoder = Encoder(self.tokenizer.path)
        self.end = 0
        self.docs: dict[str, list[list[int]]] = {}  # of each source, with end tokens
        self.held: dict[str, list[list[int]]] = {}
        self.models: dict[str, Any] = {}
        for name, (learnt, held) in texts().items():
            self.docs[name] = [[*ids, self.end] for ids in encoded(encoder, learnt)]
            self.held[name] = encoded(encoder, held)
        self._shards: dict[str, Artifact] = {}
        self._runs: dict[Arm, Run] = {}
        self._made = 0

    def cap(self, replay: float = 0.0, **changes: Any) -> Arm:
        """Continual pre-training on Japanese, with so much replay."""
        shares = {"ja": 1 - replay, **{name: share * replay for name, share in OLD.items()}}
        arm = Arm(tuple((name, share) for name, share in shares.items() if share), self.cap_steps, 1e-3, self.base)
        return replace(arm, **changes)

    def some(self, source: str, num_bytes: int) -> str:
        """A source that is the first bytes of another."""
        name, left = f"{source}.{num_bytes}", num_bytes
        if name not in self.docs:
            self.docs[name] = []
            for doc in self.docs[source]:
                if left > 0:
                    self.docs[name].append(doc)
                left -= len(doc)
        return name

    def run(self, arm: Arm) -> Run:
        """Train an arm, or take what was trained before."""
        if arm not in self._runs:
            model = self.model(arm.start)
            self._runs[arm] = Run(self, model, self.fit(model, arm))
        return self._runs[arm]

    def model(self, start: Arm | str) -> Any:
        """A new copy of the model that an arm starts from."""
        if isinstance(start, Arm):
            return deepcopy(self.run(start).model)
        if start == "scratch" and start not in self.models:
            shape = {"layers": 2, "width": 64, "heads": 4, "kv_heads": 4, "positions": ROW_TOKENS}
            work = self.work()
            init(work, tokenizer=self.tokenizer, arch="llama", **shape, seed=self.seed)
            self.models[start] = load_model(work.out)
        return deepcopy(self.models[start])

    def rows(self, arm: Arm, name: str = "") -> Stream:
        """The rows that an arm reads: those of Aurora's mixture, in an order of the stage's own."""
        shards = {source: self.shards(source) for source, _ in arm.reads}
        work, fim = self.work(), {source: arm.fim for source, _ in arm.reads if source == "py"}
        shape: Any = {"unit": "tokens", "tokens": arm.opt_steps * BATCH, "row_tokens": ROW_TOKENS, "max_epochs": 1000}
        mix(work, shards=shards, name="mixture", shares=dict(arm.reads), fim=fim, **shape)
        stage = name or ("base" if arm.start == "scratch" else "cap")
        return stage_stream(Artifact(work.out, "", {}), shards, self.tokenizer, self.seed, stage)

    def shards(self, source: str) -> Artifact:
        """The token shards of a source."""
        if source not in self._shards:
            self._shards[source] = tiny_shards(self.folder / "shards" / source, [self.docs[source]])
        return self._shards[source]

    def fit(self, model: Any, arm: Arm, rows: Any = None, work: Work | None = None, **changes: Any) -> list[Any]:
        """Train a model in place as an arm says; returns the curve. `changes` are of the plan."""
        held = {name: self.held[name][:GLANCE] for name in OLD}
        settings = training(ROW_TOKENS, ROWS, optimizer=arm.optimizer, eval_points=arm.marks)
        plan = Plan(settings, self.seed, arm.opt_steps, arm.schedule)
        objective: Any = NextToken(sorted({*self.docs, *(source for source, _ in arm.reads)}))
        objective = Anchored(objective, [self.anchor(arm)]) if arm.kl else objective

        def measure(net: Any) -> float:
            found = self.bits(net, held)["old"] if arm.marks > 1 else 0.0
            net.train()
            return found

        rows = self.rows(arm) if rows is None else rows
        monitor = Monitor(measure)  # type: ignore[arg-type]
        return fit(work or self.work(), "arm", model, rows, replace(plan, **changes), objective, monitor).to_json()

    def anchor(self, arm: Arm) -> Divergence:
        """KL to the model that an arm starts from, on a little text like that which the base learnt from."""
        few = tuple((self.some(name, round(share * ANCHOR_BYTES)), share) for name, share in OLD.items())
        frozen = self.model(arm.start).requires_grad_(False)
        return Divergence(frozen, self.rows(replace(arm, reads=few), "anchor"), ANCHOR_ROWS, arm.kl, ANCHOR_ROWS)

    def bits(self, model: Any, held: Held | None = None) -> dict[str, float]:
        """Bits per byte of held-out documents by source, and `old`, the mean of what the base learnt from."""
        found = {}
        for name, docs in (held or self.held).items():
            num_bytes = sum(len(text.encode()) for text in texts()[name][1][: len(docs)])
            found[name] = sum(document_bits(model.eval(), docs, self.end, ROW_TOKENS)) / num_bytes
        return {**found, "old": sum(found[name] for name in OLD if name in found) / len(OLD)}

    def rise(self, arm: Arm) -> float:
        """How far what is old rose over the base, in bits per byte."""
        return self.run(arm).bits["old"] - self.run(self.base).bits["old"]

    def saved(self, model: Any) -> Artifact:
        """A model as a folder."""
        work = self.work()
        save_model(model, work.out, self.tokenizer.path)
        return Artifact(work.out, "", {})

    def work(self, **runtime: Any) -> Work:
        """A new place; checkpoints only where they are asked for."""
        self._made += 1
        return new_work(self.folder / f"work{self._made}", **{"save_every_s": 3600.0, **runtime})


def encoded(encoder: Encoder, docs: list[str]) -> list[list[int]]:
    """The ids of texts."""
    ids, bounds = encoder.encode(docs)
    return [ids[first:last].tolist() for first, last in pairwise(bounds)]


@cache
def texts() -> dict[str, tuple[list[str], list[str]]]:
    """Of each source the documents to learn from and those held out, in the order of a hash."""
    found = {}
    for name, whole in {"en": english(), "py": code(), "ja": japanese()}.items():
        pieces = [text[at : at + PIECE_CHARS] for text in whole for at in range(0, len(text), PIECE_CHARS)]
        pieces = sorted({piece for piece in pieces if len(piece) == PIECE_CHARS}, key=hash64)
        sizes = [sum(len(piece.encode()) for piece in pieces[:count]) for count in range(len(pieces))]
        count = next(count for count, size in enumerate(sizes) if size >= HELD_BYTES)
        found[name] = (pieces[count:], pieces[:count])
    return found


def english() -> Iterable[str]:
    """Python's help topics, and the docstrings of some of the standard library's packages."""
    yield from (topics[name] for name in sorted(topics))
    for path in sorted(path for name in PACKAGES for path in (LIBRARY / name).glob("*.py")):
        nodes = ast.walk(ast.parse(path.read_bytes()))
        yield "\n\n".join(ast.get_docstring(node) or "" for node in nodes if isinstance(node, DOCUMENTED))


def code() -> Iterable[str]:
    """The modules of the standard library that are in no package, up to the letter f."""
    return (path.read_text() for path in sorted(LIBRARY.glob("[a-f]*.py")))


def japanese() -> Iterable[str]:
    """All Japanese that ships with the package, but what is there to be cleaned away."""
    for path in sorted(SAMPLE.rglob("*ja.jsonl")):
        rows = map(json.loads, path.read_text().splitlines())
        yield "\n\n".join(_spoken(row) for row in rows if row.get("kind") != "noise")


def _spoken(row: Mapping[str, Any]) -> str:
    return "\n".join(value for value in row.values() if isinstance(value, str) and not value.isascii())
