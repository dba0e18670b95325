"""Merged models in a run: a sweep from a base to what a stage made of it, measured, shown, tuned from and released."""

import shutil
from pathlib import Path

from aurora_m.core.files import read_json
from aurora_m.core.log import Log
from aurora_m.core.run import run
from aurora_m.core.step import Runtime
from aurora_m.graph.build import build
from aurora_m.recipe import loads
from tests.model.tiny import tiny_base, tiny_tokenizer

RECIPE = """
name = "merged"
seed = 5
[base]
model = "file:model"
[source]
en = { uri = "sample:texts/en", lang = "en", license = "CC0-1.0", curate = "all", held_out = 0.2 }
fi = { uri = "sample:texts/fi", lang = "fi", license = "CC0-1.0", curate = "all", held_out = 0.2 }
[curate.all]
keep = "chars >= 8 AND dup_of IS NULL"
[mixture.cap]
tokens = 8192
weights = { fi = 1.0 }
[[stage]]
name = "cap"
start = "base"
mixture = "cap"
row_tokens = 64
batch_tokens = 512
peak_lr = 1e-2
end_lr = 1e-3
warmup_tokens = 512
[merge.back]
models = { cap = 1.0 }
origin = "base"
sweep = [0, 0.5, 1]
[merge.trimmed]
models = { cap = 1.0 }
method = "ties"
origin = "base"
[evals]
suites = ["fi"]
old = ["en"]
margins = { en = 0.05 }
max_new_tokens = 8
max_held_bytes = "4K"
[release]
model = "back_50"
license = "CC0-1.0"
"""


def test_a_sweep_leads_from_the_base_to_the_stage(tmp_path: Path) -> None:
    base = tiny_base(tmp_path, tiny_tokenizer(tmp_path), "llama")
    shutil.copytree(base.path, tmp_path / "recipe/model")
    steps = build(loads(RECIPE), tmp_path / "recipe")
    names = ("base", "cap", "back_0", "back_50", "back_100", "trimmed")
    wanted = [steps[name] for name in (*names, "forgetting", "report", "release")]
    runtime = Runtime(tmp_path / "store", tmp_path / "recipe", threads=1, device="cpu")
    *models, forgetting, report, release = run(wanted, runtime, Log(quiet=True), "merged")
    content = {name: (made.path / "model.safetensors").read_bytes() for name, made in zip(names, models, strict=True)}
    assert content["back_0"] == content["base"]
    assert content["back_100"] == content["cap"]
    assert len({*content.values()}) == 4
    rows = read_json(forgetting.path / "changes.json")["rows"]
    change = {(row["model"], row["lang"]): row["change"] for row in rows if row["metric"] == "bpb"}
    assert change["back_0", "fi"] == 0.0
    assert change["back_100", "fi"] < change["back_50", "fi"] < 0.0
    assert change["back_100", "fi"] == change["cap", "fi"] < change["trimmed", "fi"] < 0.0
    page = (report.path / "report.html").read_text()
    assert "Old languages against new ones along back" in page
    assert "Old languages against new ones along trimmed" not in page
    card = (release.path / "README.md").read_text()
    assert "`base` → `cap` → `back_0` → `back_50` → `back_100` → `trimmed`" in card
    assert "`back_50` was not trained: it is `base` and 0.5 times what 1 × `cap` changed in it" in card
    assert (release.path / "model.safetensors").exists()
