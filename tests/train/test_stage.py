"""A stage from tokens to a model folder: the same bytes each time, and what does not fill a batch is not read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ARCHS, doc, new_work, tiny_base, tiny_tokenizer

from aurora_m.core.canon import file_digest, folder_files
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.model.export import check_copy
from aurora_m.model.load import load_model
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.shards import shard
from aurora_m.tokens.stream import Stream
from aurora_m.train import stage
from aurora_m.train.stage import CURVE, train

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
        shards[lang] = Artifact(work.out, "", shard(work, docs=held[lang], tokenizer=tokenizer))
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
        "held": held,
        **{"name": "cap", "batch": 2 * T, "schedule": "cosine", "peak_lr": 1e-2, "end_lr": 1e-3, "warmup": 2 * T},
        **{"decay_share": 0.2, "optimizer": "muon", "weight_decay": 0.1, "beta2": 0.95, "clip": 1.0, "seed": 3},
    }


def sums(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in folder_files(folder)}


def test_a_stage_is_a_pure_function(tmp_path: Path, given: dict[str, Any]) -> None:
    works = [new_work(tmp_path / "one", save_every_s=0.0), new_work(tmp_path / "two")]
    facts = [train(work, **given) for work in works]
    assert facts[0] == facts[1]
    assert sums(works[0].out) == sums(works[1].out)
    names = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", CURVE}
    assert set(sums(works[0].out)) >= names
    other = new_work(tmp_path / "other")
    train(other, **{**given, "seed": 4})
    assert sums(other.out)[CURVE] != sums(works[0].out)[CURVE]


def test_what_comes_out(tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Watched(Stream):
        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return super().__getitem__(index)

    monkeypatch.setattr(stage, "Stream", Watched)
    work = new_work(tmp_path / "work")
    facts = train(work, **given)
    assert read == list(range(10))  # the last row does not fill a batch
    assert (facts["opt_steps"], facts["tokens"]) == (5, 10 * T)
    curve = read_jsonl(work.out / CURVE)
    assert [entry["tokens"] for entry in curve] == [2 * T * step for step in range(6)]
    assert set(curve[0]["measure"]) == {"en", "fi"}
    assert curve[-1]["measure"]["en"] < curve[0]["measure"]["en"]
    assert curve[-1]["lr"] == pytest.approx(1e-3)
    assert check_copy(work.out, work.out) == 0.0
    before, after = (load_model(path).state_dict() for path in (given["start"].path, work.out))
    assert not any(torch.equal(after[name], weight) for name, weight in before.items() if weight.ndim == 2)
