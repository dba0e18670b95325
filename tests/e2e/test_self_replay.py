"""Replay without the base's data: a tiny base writes its own, and a stage reads it like any source."""

import shutil
from pathlib import Path

from aurora_m.core.files import read_json
from aurora_m.core.log import Log
from aurora_m.core.run import plan, run
from aurora_m.core.step import Runtime
from aurora_m.core.store import Store
from aurora_m.graph.build import build
from aurora_m.recipe import loads
from tests.model.tiny import tiny_base, tiny_tokenizer

RECIPE = """
name = "own"
seed = 5
[base]
model = "file:model"
[source]
own = { uri = "self:base", documents = 70, lang = "mul", license = "CC0-1.0", curate = "all" }
fi = { uri = "sample:texts/fi", lang = "fi", license = "CC0-1.0", curate = "all", held_out = 0.2 }
[curate.all]
keep = "chars >= 8 AND dup_of IS NULL"
[mixture.cap]
tokens = 4096
weights = { fi = 1.0 }
unit = "tokens"
replay = 0.25
replay_weights = { own = 1.0 }
[[stage]]
name = "cap"
start = "base"
mixture = "cap"
row_tokens = 64
batch_tokens = 512
peak_lr = 1e-3
end_lr = 1e-4
warmup_tokens = 512
[evals]
suites = ["fi"]
old = []
margins = {}
max_new_tokens = 8
[release]
model = "cap"
license = "CC0-1.0"
"""


def test_a_base_without_data_is_replayed(tmp_path: Path) -> None:
    base = tiny_base(tmp_path, tiny_tokenizer(tmp_path), "llama")
    shutil.copytree(base.path, tmp_path / "recipe/model")
    steps = build(loads(RECIPE), tmp_path / "recipe")
    goals = [steps[name] for name in ("fetch.own", "datasheet", "cap")]
    runtime = Runtime(tmp_path / "store", tmp_path / "recipe", threads=1, device="cpu")
    own, sheet, cap = run(goals, runtime, Log(quiet=True), "own")
    assert isinstance(own.facts["docs"], int)
    assert 60 < own.facts["docs"] <= 70
    assert "Synthetic, written by the base model without a prompt: `own`." in (sheet.path / "datasheet.md").read_text()
    read = cap.facts["read"]
    assert isinstance(read, dict)
    assert abs(read["own"]["share"] - 0.25) < 0.05, read  # type: ignore[index,call-overload,operator,arg-type]
    assert {row.state for row in plan(goals, Store(tmp_path / "store"))} == {"have"}
    assert read_json(sheet.path / "datasheet.json")["sources"]["own"]["documents_asked_for"] == 70
