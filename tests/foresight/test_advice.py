"""Advice: rates far above a size's usual one and old languages without replay are told, and what is usual is not."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aurora_m.core.run import plan
from aurora_m.core.store import Store
from aurora_m.core.typed import Count
from aurora_m.foresight.advice import advice, usual_rate
from aurora_m.foresight.devices import Machines
from aurora_m.foresight.estimate import Estimate, estimates
from aurora_m.graph.build import GOALS, build
from aurora_m.recipe import Anchor, Lora, Recipe, load

RECIPES = Path(__file__).parents[2] / "recipes"


def given(recipe: Recipe, folder: Path) -> list[str]:
    steps = build(recipe, folder)
    rows = plan([steps[name] for name in GOALS], Store(folder / "store"))
    costs: Mapping[str, Estimate | str] = estimates(rows, Machines(), folder)
    return [*advice(recipe, costs)]


def with_cap(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, stage=tuple(replace(s, **changes) if s.name == "cap" else s for s in recipe.stage))


@pytest.mark.parametrize("name", ["tiny", "aurora_m", "smollm2"])
def test_recipes_that_ship_need_none(name: str, tmp_path: Path) -> None:
    assert given(load(RECIPES / f"{name}.toml"), tmp_path) == []


# Brown et al. 2020, and rates of SmolLM2, Llama 3, OLMo 2 and Qwen2.5: between a third and five times the rule.
KNOWN = [(125e6, 6e-4), (1.3e9, 2e-4), (13e9, 1e-4), (175e9, 6e-5), (135e6, 3e-3), (1.7e9, 5e-4), (8e9, 3e-4)]


@pytest.mark.parametrize(("size", "rate"), KNOWN)
def test_rates_that_are_known_are_near_the_rule(size: float, rate: float) -> None:
    assert 1 / 3 < rate / usual_rate(int(size)) < 5.5


def test_a_rate_far_above_the_usual_one(tmp_path: Path) -> None:
    tiny = load(RECIPES / "tiny.toml")
    (line,) = given(with_cap(tiny, peak_lr=0.5), tmp_path)
    assert line.startswith("cap: peak_lr = 0.5 is 19")
    assert line.endswith("M weights (arXiv 2005.14165, table 2.1): most diverge")
    assert given(with_cap(tiny, peak_lr=0.02), tmp_path) == []
    assert given(with_cap(tiny, peak_lr=0.1, lora=Lora(4)), tmp_path) == []
    (line,) = given(with_cap(tiny, peak_lr=0.5, lora=Lora(4)), tmp_path)
    assert "of adapters of models of" in line


def test_old_languages_that_a_stage_does_not_read(tmp_path: Path) -> None:
    tiny = load(RECIPES / "tiny.toml")
    mixture = replace(tiny.mixture["cap"], weights={"fi": 1.0}, replay=0.0, replay_weights={})
    recipe = replace(tiny, mixture={**tiny.mixture, "cap": mixture})
    (line,) = given(recipe, tmp_path)
    assert line == (
        "cap: mixture.cap has no text in `en`, `code`, which `evals.old` says must not be lost: some 5 % of `replay` "
        "keep most of it (arXiv 2403.08763)"
    )
    assert given(with_cap(recipe, anchor=Anchor(kl=0.1, mixture="base", batch_tokens=Count(1024))), tmp_path) == []
    some = replace(mixture, weights={"fi": 0.5, "code": 0.5})
    assert "no text in `en`, which" in given(replace(tiny, mixture={**tiny.mixture, "cap": some}), tmp_path)[0]
