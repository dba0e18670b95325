"""`torchrun --nproc-per-node 2` runs a recipe to its release, with the facts of one process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from aurora_m.core.typed import Count
from aurora_m.recipe import Base, dumps, load
from tests.e2e.conftest import HOUSE, TINY, aurora, copied

TORCHRUN = "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"


def small(folder: Path) -> Path:
    """The tiny recipe in English only, with one short stage, and tuning."""
    tiny = load(TINY)
    assert tiny.base.scratch is not None
    (base, *_) = tiny.stage
    slow = {"batch_tokens": Count(4096), "peak_lr": 1e-3, "end_lr": 1e-4}  # so that rounding does not grow
    safe = replace(tiny.tune["safe"], start="base", epochs=1, replay=0.0, mixture="", optimizer="adamw", **slow)
    recipe = replace(
        tiny,
        name="small",
        base=Base(scratch=replace(tiny.base.scratch, tokenizer_sources=("en",), vocab=Count(1024), layers=2)),
        source={"en": tiny.source["en"]},
        curate={"text": tiny.curate["text"]},
        mixture={"base": replace(tiny.mixture["base"], tokens=Count(16 * 1024), weights={"en": 1.0}, fim={})},
        stage=(replace(base, warmup_tokens=Count(2048)),),
        tune={"safe": safe},
        evals=replace(
            tiny.evals, suites=("en",), old=("en",), margins={"en": 0.05}, max_new_tokens=4, max_held_bytes=Count(2000)
        ),
    )
    path = folder / "small.toml"
    path.write_text(dumps(recipe))
    return path


def together(count: int, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *TORCHRUN, str(count), "-m", "aurora_m", *map(str, words)]
    return subprocess.run(
        command, cwd=HOUSE, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_two_processes_release_what_one_does(store: Path, tmp_path: Path) -> None:
    path, alone, both = small(tmp_path), *(copied(store, tmp_path / name) for name in ("alone", "both"))
    made: dict[str, Any] = json.loads(aurora("run", path, "--store", alone, "--json").stdout)
    done = together(2, "run", path, "--store", both, "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert list(found) == list(made)
    for name in ("base", "safe"):
        one, two = (
            json.loads(aurora("show", f"small/{name}", "--store", store, "--json").stdout) for store in (alone, both)
        )
        assert one["facts"].pop("loss") == pytest.approx(two["facts"].pop("loss"), abs=1e-5)
        assert one["facts"] == two["facts"]
        curves = [(Path(each["path"]) / "curve.jsonl").read_text().splitlines() for each in (one, two)]
        for a, b in zip(*curves, strict=True):
            assert json.loads(a).get("loss", 0.0) == pytest.approx(json.loads(b).get("loss", 0.0), abs=1e-4)
    models = [AutoModelForCausalLM.from_pretrained(each["release"]["path"]) for each in (made, found)]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert float((a - b).detach().abs().max()) < 0.02
    assert "nothing to do" in together(2, "run", path, "--store", both).stderr


def test_what_cannot_be_divided_stops_before_anything_starts(tmp_path: Path) -> None:
    done = together(3, "run", small(tmp_path), "--store", tmp_path / "store")
    assert done.returncode == 1
    assert done.stderr.count("error: 4 rows an optimizer step cannot be divided over 3 processes\n  at: base\n") == 1
    assert "fetch" not in done.stderr
