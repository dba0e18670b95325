"""The other family, and the other way in: a GPTBigCode base from scratch, then its release as somebody's base model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from transformers import AutoModelForCausalLM, GPTBigCodeForCausalLM

from aurora_m.core.typed import Count
from aurora_m.recipe import Base, Recipe, dumps, load
from tests.e2e.conftest import TINY, aurora

SHORT = Count(16 * 1024)  # tokens a stage: enough to see a loss fall, not to learn


def shortened(recipe: Recipe, name: str) -> Recipe:
    """The tiny recipe with stages of sixteen optimizer steps and one epoch of tuning."""
    mixtures = {key: replace(mixture, tokens=SHORT) for key, mixture in recipe.mixture.items()}
    stages = tuple(replace(stage, warmup_tokens=Count(2048)) for stage in recipe.stage)
    tunes = {key: replace(tune, epochs=1, replay=0.0) for key, tune in recipe.tune.items()}
    evals = replace(recipe.evals, suites=("fi", "code"), max_new_tokens=8, max_held_bytes=Count(4000))
    return replace(recipe, name=name, mixture=mixtures, stage=stages, tune=tunes, evals=evals)


def run(recipe: Recipe, folder: Path) -> dict[str, str]:
    """Run a recipe in a folder; returns where its goals are."""
    path = folder / f"{recipe.name}.toml"
    path.write_text(dumps(recipe))
    made = json.loads(aurora("run", path, "--store", folder / "store", "--json").stdout)
    return {name: about["path"] for name, about in made.items()}


def losses(store: Path, name: str) -> list[float]:
    shown = json.loads(aurora("show", name, "--store", store, "--json").stdout)
    rows = [json.loads(line) for line in (Path(shown["path"]) / "curve.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_gpt_bigcode_from_scratch_and_then_as_a_base(own_store: Path, tmp_path: Path) -> None:
    tiny = load(TINY)
    assert tiny.base.scratch is not None
    scratch = replace(tiny.base.scratch, arch="gpt_bigcode", kv_heads=1)
    first = run(shortened(replace(tiny, base=Base(scratch=scratch)), "bigcode"), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(first["release"])
    assert isinstance(model, GPTBigCodeForCausalLM)
    assert model.config.multi_query
    falling = losses(own_store, "bigcode/base")
    assert falling[-1] < falling[0] - 0.5

    shutil.copytree(first["release"], tmp_path / "model")
    onward = shortened(replace(tiny, base=Base(model="file:model"), stage=tiny.stage[1:]), "onward")
    second = run(onward, tmp_path)
    assert (Path(second["report"]) / "report.html").exists()
    continued = losses(own_store, "onward/cap")
    assert continued[0] < losses(own_store, "bigcode/base")[0], "it goes on from what the base had learnt"
