"""A stage from tokens to a model folder: the same bytes each time, and what does not fill a batch is not read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ARCHS, as_step, doc, new_work, tiny_base, tiny_tokenizer, training

from aurora_m.core.canon import file_digest, folder_files
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.model.embed import extend
from aurora_m.model.export import check_copy
from aurora_m.model.load import load_model
from aurora_m.tokens.extend import extend_tokenizer
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.rows import Row
from aurora_m.tokens.shards import shard
from aurora_m.tokens.stream import Stream
from aurora_m.train import guard
from aurora_m.train.curve import FILE as CURVE
from aurora_m.train.monitor import bits_per_byte
from aurora_m.train.plan import Plan
from aurora_m.train.stage import train

T = 16
TEXTS = {"en": "the cat sat on the mat and the dog ran", "fi": "yö on pitkä ja kissa istui matolla"}


@pytest.fixture(scope="module", params=ARCHS)
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that a stage of 11 rows, 2 a step, takes."""
    folder = tmp_path_factory.mktemp("stage")
    tokenizer = tiny_tokenizer(folder)
    shards, held = {}, {}
    for lang, text in TEXTS.items():
        write_docs(folder / lang, [doc(f"{lang}{n}", f"{text} {n}", lang, lang) for n in range(20)])
        write_docs(folder / lang, [doc("h", text[::-1], lang, lang)], "held")
        held[lang] = Artifact(folder / lang, "", {})
        work = new_work(folder / f"shards_{lang}")
        shards[lang] = Artifact(work.out, "", to_json(shard(work, docs=held[lang], tokenizer=tokenizer)))
    work = new_work(folder / "mixture")
    shares = {"en": 0.5, "fi": 0.5}
    mix(
        work,
        shards=shards,
        name="cap",
        shares=shares,
        unit="bytes",
        tokens=11 * T,
        row_tokens=T,
        max_epochs=4,
        fim={"en": 0.5},
    )
    return {
        "start": tiny_base(folder, tokenizer, request.param),
        "tokenizer": tokenizer,
        "mixture": Artifact(work.out, "", {}),
        "shards": shards,
        "held_out": held,
        "name": "cap",
        "how": {"row_tokens": T, "rows": 2, "warmup_tokens": 2 * T, "optimizer": "muon"},
    }


def sums(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in folder_files(folder)}


def test_a_stage_is_a_pure_function(tmp_path: Path, given: dict[str, Any]) -> None:
    works = [new_work(tmp_path / "one", save_every_s=0.0), new_work(tmp_path / "two")]
    facts = [train(work, **as_step(given)) for work in works]
    assert facts[0] == facts[1]
    assert sums(works[0].out) == sums(works[1].out)
    names = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", CURVE}
    assert set(sums(works[0].out)) >= names
    other = new_work(tmp_path / "other")
    train(other, **as_step(given, seed=4))
    assert sums(other.out)[CURVE] != sums(works[0].out)[CURVE]


def test_what_comes_out(tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    getitem = Stream.__getitem__

    def watched(self: Stream, index: int) -> Row:
        read.append(index)
        return getitem(self, index)

    monkeypatch.setattr(Stream, "__getitem__", watched)
    work = new_work(tmp_path / "work")
    facts: Any = to_json(train(work, **as_step(given)))
    assert read == list(range(10))  # the last row does not fill a batch
    assert (facts["opt_steps"], facts["tokens"]) == (5, 10 * T)
    curve = read_jsonl(work.out / CURVE)
    assert [entry["tokens"] for entry in curve] == [2 * T * step for step in range(6)]
    assert set(curve[0]["measure"]) == {"en", "fi"}
    told: Any = facts["read"]
    assert {name: about["tokens"] for name, about in told.items()} == {
        name: sum(entry["by_source"].get(name, [0, 0])[1] for entry in curve[1:]) for name in ("en", "fi")
    }
    assert sum(about["tokens"] for about in told.values()) == 10 * T
    for part in ("token_share", "share"):
        assert sum(about[part] for about in told.values()) == pytest.approx(1, abs=1e-5)
    en = given["shards"]["en"].facts
    assert told["en"]["epochs"] == round(told["en"]["tokens"] / ((en["tokens"] - 1) // T * T), 4)
    assert curve[-1]["measure"]["en"] < curve[0]["measure"]["en"]
    assert curve[-1]["lr"] == pytest.approx(1e-3)
    assert check_copy(work.out, work.out) == 0.0
    before, after = (load_model(path).state_dict() for path in (given["start"].path, work.out))
    assert not any(torch.equal(after[name], weight) for name, weight in before.items() if weight.ndim == 2)


def trained(folder: Path, given: dict[str, Any], start: Artifact | None = None, **how: Any) -> Artifact:
    """The model of a stage with other settings, as an artifact with its facts."""
    inputs = {key: how.pop(key) for key in ("base", "more_mixture", "more_shards") if key in how}
    work = new_work(folder)
    asked = as_step({**given, **inputs, "start": start or given["start"]}, **how)
    return Artifact(work.out, "", to_json(train(work, **asked)))


def curve_of(model: Artifact) -> list[Any]:
    return read_jsonl(model.path / CURVE)


def test_a_stage_that_continues_goes_on_along_the_same_curve(tmp_path: Path, given: dict[str, Any]) -> None:
    curve = {"horizon_tokens": 24 * T, "decay_share": 0.0}
    first = trained(tmp_path / "first", given, **curve)
    second = trained(tmp_path / "second", given, first, continues=True, **curve)
    third = trained(tmp_path / "third", given, second, continues=True, **curve)
    assert [model.facts.get("curve_tokens") for model in (first, second, third)] == [None, 20 * T, 30 * T]
    whole = Plan.of(training(**given["how"], **curve), 3, 30)
    rates = [entry["lr"] for model in (first, second, third) for entry in curve_of(model)[1:]]
    assert rates == [whole.schedule.lr(2 * T * step) for step in range(1, 16)]
    assert rates[-4:] == [1e-3] * 4  # past the horizon


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimizer_state_is_kept_where_it_is_reused(tmp_path: Path, given: dict[str, Any], optimizer: str) -> None:
    plain = trained(tmp_path / "plain", given, optimizer=optimizer)
    first = trained(tmp_path / "first", given, optimizer=optimizer, keep_optimizer=True)
    assert set(sums(first.path)) - set(sums(plain.path)) == {"optimizer.states"}
    assert {name: sums(first.path)[name] for name in sums(plain.path)} == sums(plain.path)
    again = trained(tmp_path / "again", given, optimizer=optimizer, keep_optimizer=True)
    assert sums(again.path) == sums(first.path)
    for state in ("fresh", "reuse"):
        second = trained(tmp_path / state, given, first, optimizer=optimizer, optimizer_state=state)
        assert second.facts["optimizer_state"] == ("reused" if state == "reuse" else "fresh")
    assert sums(tmp_path / "fresh/out")[CURVE] != sums(tmp_path / "reuse/out")[CURVE]


def test_a_budget_is_measured_against_the_base(tmp_path: Path, given: dict[str, Any]) -> None:
    asked = {
        "max_old_rise": 0.001,
        "over_budget": "warn",
        "old_langs": ("en",),
        "eval_points": 2,
        "base": given["start"],
    }
    first = trained(tmp_path / "first", given, **asked)
    second = trained(tmp_path / "second", given, first, **asked)
    start, later = curve_of(first), curve_of(second)
    assert set(start[0]["measure"]) == {"en", "fi", "kl/en"}
    assert start[0]["measure"]["kl/en"] == 0.0
    assert later[0]["measure"] == start[-1]["measure"]
    base = start[0]["measure"]["en"]
    marks = [entry for entry in later if "old_rise" in entry]
    assert len(marks) == 2
    for mark in marks:
        assert mark["old_rise"]["en"] == pytest.approx(mark["measure"]["en"] / base - 1, abs=1e-6)
        assert mark["measure"]["kl/en"] > 0
    assert second.facts["old_rise"] == marks[-1]["old_rise"]
    assert second.facts["marks_over"] == sum("over_budget" in mark for mark in marks)


def test_a_raise_reads_its_own_stream_and_says_how_much(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "FROM_START", float("inf"))  # a loss that runs away is what is wanted here
    asked = {
        "max_old_rise": 1e-9,
        "over_budget": "raise",
        "old_langs": ("en",),
        "eval_points": 5,
        "base": given["start"],
    }
    more = {"more_mixture": given["mixture"], "more_shards": given["shards"]}
    never = trained(tmp_path / "never", given, **{**asked, "max_old_rise": 9.0}, **more)
    assert never.facts["raised"] == {"rows": 0, "share": 0.0}
    over = trained(tmp_path / "over", given, **{**asked, "peak_lr": 3.0}, **more)  # that wrecks the model
    curve = curve_of(over)
    assert [entry.get("raised") for entry in curve[1:3]] == [0.1, 0.2]
    assert over.facts["raised"]["rows"] >= 1


def test_a_budget_after_new_tokens_compares_with_the_base_as_it_was(tmp_path: Path, given: dict[str, Any]) -> None:
    made = new_work(tmp_path / "vocabulary"), new_work(tmp_path / "extended")
    asked: dict[str, Any] = {"tokenizer": given["tokenizer"], "docs": {"fi": given["held_out"]["fi"]}, "tokens": 8}
    extend_tokenizer(made[0], **asked)
    vocabulary = Artifact(made[0].out, "", {})
    facts = to_json(extend(made[1], model=given["start"], tokenizer=vocabulary, init="random", seed=1))
    start = Artifact(made[1].out, "", facts)
    about: dict[str, Any] = {"start": start, "tokenizer": vocabulary, "base": start}
    about |= {"original": given["start"], "original_tokenizer": given["tokenizer"]}
    shards, work = {}, new_work(tmp_path / "mixture")
    for lang, docs in given["held_out"].items():
        folder = new_work(tmp_path / f"shards_{lang}")
        shards[lang] = Artifact(folder.out, "", to_json(shard(folder, docs=docs, tokenizer=vocabulary)))
    wanted: dict[str, Any] = {"shares": {"en": 0.5, "fi": 0.5}, "unit": "bytes", "tokens": 4 * T, "row_tokens": T}
    mix(work, shards=shards, name="cap", max_epochs=9, fim={}, **wanted)
    about |= {"mixture": Artifact(work.out, "", {}), "shards": shards}
    last = new_work(tmp_path / "cap")
    about = as_step({**given, **about}, old_langs=("fi",), max_old_rise=0.01, peak_lr=1e-6, end_lr=1e-6)
    found: Any = to_json(train(last, **about))
    bits = [bits_per_byte({"fi": given["held_out"]["fi"]}, tokenizer)(load_model(path))["fi"]
            for tokenizer, path in ((given["tokenizer"], given["start"].path), (vocabulary, last.out))]  # fmt: skip
    assert found["old_rise"]["fi"] == pytest.approx(bits[1] / bits[0] - 1, abs=1e-5)
    of_extended = bits_per_byte({"fi": given["held_out"]["fi"]}, vocabulary)(load_model(start.path))["fi"]
    assert abs(of_extended / bits[0] - 1) > 0.001  # it is not that of the base with new tokens
