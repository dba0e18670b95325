"""which-data: the documents of a step are those that it learnt from, so that reading them again gives its loss."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import as_step, doc, new_work, tiny_base, tiny_tokenizer

from aurora_m.cli import which_data as module
from aurora_m.cli.main import main
from aurora_m.cli.which_data import lines, which_data
from aurora_m.core.ends import ends_of
from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Step
from aurora_m.core.store import Store
from aurora_m.core.table import write_docs
from aurora_m.core.typed import Count
from aurora_m.recipe import Recipe, load
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.rows import Row
from aurora_m.tokens.shards import Shards, shard
from aurora_m.tokens.stream import Stream, positions_of
from aurora_m.train.curve import FILE as CURVE
from aurora_m.train.curve import Curve, Entry, EvalPoint
from aurora_m.train.stage import train

TINY = Path(__file__).parents[2] / "recipes" / "tiny.toml"
T, ROWS, STEPS = 32, 2, 5
WORDS = {"en": "the cat sat on the mat and the dog ran", "fi": "kissa istui matolla ja koira juoksi taloon"}


class Made:
    """A stage named `cap` whose inputs are in a store: its recipe, its steps, and what it is trained with."""

    def __init__(self, folder: Path, packing: str) -> None:
        self.store = Store(folder / "store")
        self.tokenizer = tiny_tokenizer(folder)
        self.shards: dict[str, Artifact] = {}
        for lang, text in WORDS.items():
            texts = [" ".join([text] * (1 + number % 3)) + f" {number}" for number in range(30)]
            write_docs(folder / lang, [doc(f"{lang}-{number}", told, lang, lang) for number, told in enumerate(texts)])
            work = new_work(folder / f"shards_{lang}")
            facts = shard(work, docs=Artifact(folder / lang, "", {}), tokenizer=self.tokenizer)
            self.shards[lang] = Artifact(work.out, "", to_json(facts))
        work = new_work(folder / "mixture")
        asked: dict[str, Any] = {"shares": {"en": 0.5, "fi": 0.5}, "unit": "tokens", "max_epochs": 9.0, "fim": {}}
        size: dict[str, Any] = {"tokens": ROWS * STEPS * T + T, "row_tokens": T, "packing": packing}
        self.mixture = Artifact(work.out, "", to_json(mix(work, shards=self.shards, name="m", **asked, **size)))
        tiny = load(TINY)
        stage = replace(tiny.stage[1], row_tokens=Count(T), batch_tokens=Count(ROWS * T))
        self.recipe: Recipe = replace(tiny, seed=3, stage=(stage,))
        shards = {name: Step(f"shards.{name}", "toy:shard") for name in self.shards}
        read: dict[str, Any] = {"tokenizer": Step("tokenizer", "toy:tokenizer"), "shards": shards}
        read["mixture"] = Step("mixture.cap", "toy:mix")
        self.steps = {"cap": Step("cap", "toy:train", read)}

    def commit(self, step: Step, made: Artifact) -> None:
        """Put an artifact into the store under its step."""
        digests = {name: self.store.find(parent.key({})).digest for name, parent in step.parents()}  # type: ignore[union-attr]
        key = step.key(digests)
        out = self.store.partial(key) / "out"
        out.mkdir(parents=True)
        for path in made.path.rglob("*"):
            if path.is_file():
                (out / path.relative_to(made.path)).parent.mkdir(parents=True, exist_ok=True)
                (out / path.relative_to(made.path)).write_bytes(path.read_bytes())
        self.store.commit(key, made.facts, {"finished": "2024-05-01", "seconds": 1.0})

    def commit_inputs(self) -> None:
        """All that the stage reads."""
        inputs: Any = self.steps["cap"].inputs
        self.commit(inputs["tokenizer"], self.tokenizer)
        self.commit(inputs["mixture"], self.mixture)
        for name, step in inputs["shards"].items():
            self.commit(step, self.shards[name])

    def which(self, opt_step: int) -> Any:
        return which_data(self.recipe, self.steps, self.store, "cap", opt_step)


@pytest.fixture(scope="module", params=["concat", "best_fit"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The stage, ready to be trained, with rows of one of the two kinds."""
    ready = Made(tmp_path_factory.mktemp("which"), request.param)
    ready.commit_inputs()
    return ready


def rebuilt(made: Made, told: Any) -> Row:
    """A row from what which-data tells of it, and the documents by their names."""
    shards = Shards.of(made.shards[told["source"]])
    ids, bounds = shards.doc_ids(0, shards.num_docs), shards.bounds(0, shards.num_docs)
    end = ends_of(made.tokenizer.path).end.id
    tokens, starts, jumps = [], [], []
    for part in told["docs"]:
        number = ids.index(part["id"])
        whole = shards.read(int(bounds[number]), int(bounds[number + 1] - bounds[number])).tolist()
        if not tokens and made.mixture.facts["packing"] == "best_fit":
            tokens.append(whole[part["first"] - 1] if part["first"] else end)
        starts.append(max(0, len(tokens) - 1))
        jumps += [len(tokens) - 1] if part["first"] and part is not told["docs"][0] else []
        tokens += whole[part["first"] : part["last"]]
    weights = (np.arange(T) < len(tokens) - 1).astype(np.float32)
    weights[jumps] = 0.0
    starts += [len(tokens) - 1] if len(tokens) <= T else []
    tokens += [end] * (T + 1 - len(tokens))
    return Row(np.array(tokens), positions_of(np.array([0, *starts]), T), weights, told["source"], told["epoch"])


def losses(made: Made, folder: Path, change: Callable[[int, Row], Row], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every step of the stage, its rows changed on the way."""
    read = Stream.__getitem__
    with monkeypatch.context() as patch:
        patch.setattr(Stream, "__getitem__", lambda stream, index: change(index, read(stream, index)))
        how = {"row_tokens": T, "rows": ROWS, "warmup_tokens": T, "optimizer": "muon"}
        base = tiny_base(folder, made.tokenizer, "llama")
        given: dict[str, Any] = {"mixture": made.mixture, "shards": made.shards, "tokenizer": made.tokenizer}
        work = new_work(folder / "work")
        train(work, **as_step({"start": base, "held_out": {}, "name": "cap", "how": how, **given}))
    return [entry["loss"] for entry in read_jsonl(work.out / CURVE) if "loss" in entry]


@pytest.mark.parametrize("opt_step", [1, 3])
def test_reading_its_documents_again_gives_a_steps_loss(
    made: Made, tmp_path: Path, opt_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {row["row"]: row for row in made.which(opt_step)["rows"]}
    assert sorted(told) == list(range((opt_step - 1) * ROWS, opt_step * ROWS))

    def again(index: int, row: Row) -> Row:
        return rebuilt(made, told[index]) if index in told else row

    def another(index: int, row: Row) -> Row:
        part = told[index]["docs"][0] if index in told else {}
        other = f"{part['id'][:3]}{(int(part['id'][3:]) + 3) % 30}" if part else ""  # as long, but for its number
        changed = {**told[index], "docs": [{**part, "id": other}, *told[index]["docs"][1:]]} if part else None
        return rebuilt(made, changed) if changed else row

    first = losses(made, tmp_path / "first", lambda index, row: row, monkeypatch)
    assert len(first) == STEPS
    assert losses(made, tmp_path / "again", again, monkeypatch) == first  # bit for bit, and the steps after it, too
    others = losses(made, tmp_path / "another", another, monkeypatch)
    assert others[: opt_step - 1] == first[: opt_step - 1]
    assert others[opt_step - 1] != first[opt_step - 1]


def test_for_people(made: Made) -> None:
    told = made.which(2)
    said = lines(told)
    assert said[0] == "cap, optimizer step 2: 2 rows"
    assert len([line for line in said if line.startswith("row ")]) == ROWS
    part = told["rows"][0]["docs"][0]
    assert f"  {part['id']}  tokens {part['first']} to {part['last'] - 1}" in said


def test_a_raised_replay_is_told(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = dict(made.steps["cap"].inputs)
    inputs |= {"more_mixture": inputs["mixture"], "more_shards": inputs["shards"]}
    stage = replace(made.recipe.stage[0], over_budget="raise")
    monkeypatch.setattr(made, "recipe", replace(made.recipe, stage=(stage,)))
    monkeypatch.setattr(made, "steps", {"cap": Step("cap", "toy:train", inputs)})
    with pytest.raises(RecipeError, match="`cap` is not made yet"):
        made.which(2)
    (tmp_path / "model").mkdir()
    raised = Entry(ROWS * T, 1.0, 0.1, 1.0, {}, eval_point=EvalPoint({}, raised=0.5))
    Curve(EvalPoint({}), [raised]).write(tmp_path / "model")
    made.commit(made.steps["cap"], Artifact(tmp_path / "model", "", {}))
    more = module.stage_stream(made.mixture, made.shards, made.tokenizer, 3, "cap.more")
    rows = {n: made.which(n)["rows"] for n in range(1, STEPS + 1)}
    both = [row for n in rows for row in rows[n]]
    assert [row["row"] for row in both] == list(range(ROWS * STEPS))
    replaced = [row["row"] for row in both if row["row"] >= ROWS][1::2]  # half, from the second step on
    told = [{"row": row["row"], "docs": row["docs"]} for row in both if row["row"] in replaced]
    wanted = module.rows_of((more, number) for number in range(len(replaced)))
    assert told == [{"row": n, "docs": row["docs"]} for n, row in zip(replaced, wanted, strict=True)]


@pytest.mark.parametrize(
    ("name", "opt_step", "what", "at", "hint"),
    [
        ("cap", 0, "`cap` has no optimizer step 0", "--step", "write a number from 1 to 5"),
        ("cap", 6, "`cap` has no optimizer step 6", "--step", "write a number from 1 to 5"),
        ("capp", 1, "there is no stage `capp`", "which-data", "did you mean `cap`?"),
        ("safe", 1, "`safe` is a tuning: it reads reviewed rows", "which-data",
         "`aurora show tiny/reviewed` lists them; name a stage"),
    ],
)  # fmt: skip
def test_what_is_not_there(made: Made, name: str, opt_step: int, what: str, at: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        which_data(made.recipe, made.steps, made.store, name, opt_step)
    assert (caught.value.what, caught.value.at, caught.value.hint) == (what, at, hint)


def test_what_is_not_made(made: Made, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        which_data(made.recipe, made.steps, Store(tmp_path), "cap", 1)
    assert caught.value.what == "`shards.en` is not made yet"
    assert caught.value.hint == "`aurora run` the recipe `--to shards.en`"


def test_the_verb(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("aurora_m.recipe.load", lambda path: made.recipe)
    monkeypatch.setattr("aurora_m.graph.build.build", lambda recipe, root: made.steps)
    words = ["which-data", "x.toml", "cap", "--step", "2", "--store", str(made.store.root)]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made.which(2)
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == lines(made.which(2))
