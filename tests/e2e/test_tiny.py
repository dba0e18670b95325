"""The whole way once: what the tiny recipe promises, measured on its own report."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from tests.e2e.conftest import NO_REPLAY, TINY, aurora, read_changes

NEW, OLD = ("fi", "hi", "ja", "vi"), ("en", "code")
MAX_MEMORY_BYTES = 3 * 10**9

Rows = list[dict[str, Any]]


def bits(rows: Rows, model: str, lang: str) -> dict[str, Any]:
    (row,) = [r for r in rows if r["task"] == "bpb" and r["model"] == model and r["lang"] == lang]
    return row


def home(store: Path, name: str) -> Path:
    return Path(json.loads(aurora("show", name, "--store", store, "--json").stdout)["path"])


def digest_of(store: Path, name: str) -> str:
    return str(json.loads(aurora("show", name, "--store", store, "--json").stdout)["digest"])


@pytest.mark.parametrize("lang", NEW)
def test_cap_lowers_new_languages_by_a_quarter(changes: Rows, lang: str) -> None:
    row = bits(changes, "cap", lang)
    assert row["high"] < -0.25, "the whole interval lies below a quarter less"
    assert row["verdict"] == "gained"


@pytest.mark.parametrize("model", ["cap", "cat", "safe"])
@pytest.mark.parametrize("lang", OLD)
def test_replay_keeps_the_old_languages(changes: Rows, model: str, lang: str) -> None:
    row = bits(changes, model, lang)
    assert row["change"] < 0.05
    assert row["verdict"] != "lost"


def test_without_replay_the_report_says_lost(store: Path) -> None:
    rows = read_changes(store, "tiny-no-replay")
    for lang in OLD:
        row = bits(rows, "cap", lang)
        assert row["low"] > 0.05
        assert row["verdict"] == "lost"
    page = (home(store, "tiny-no-replay/report") / "report.html").read_text()
    assert re.search(r'class="verdict lost">.*?lost</span></td', page), "the verdict column of the page says so, too"


def test_tuning_raises_refusal_with_over_refusal_beside_it(changes: Rows, store: Path) -> None:
    mine = [row for row in changes if row["model"] == "safe"]
    refusal = {row["lang"]: row for row in mine if row["metric"] == "refusal"}
    over = {row["lang"]: row for row in mine if row["metric"] == "over_refusal"}
    assert set(refusal) == set(over) == {"en", *NEW}
    cat = {row["lang"]: row["after"] for row in changes if row["model"] == "cat" and row["metric"] == "refusal"}
    assert all(refusal[lang]["after"] > cat[lang] for lang in refusal)
    pooled = sum(row["after"] for row in refusal.values()) / len(refusal)
    assert pooled > 0.3
    page = (home(store, "tiny/report") / "report.html").read_text().lower()
    assert "over-refusal" in page


def test_it_fits_a_small_machine(peak_bytes: int) -> None:
    assert peak_bytes < MAX_MEMORY_BYTES


def test_a_second_run_has_nothing_to_do(store: Path) -> None:
    for words in ([], ["--workers", 2], ["--device", "cpu", "--threads", 1, "--micro-batch", 1]):
        plan = json.loads(aurora("plan", TINY, "--store", store, "--json", *words).stdout)
        assert {row["state"] for row in plan} == {"have"}
    assert "nothing to do" in aurora("plan", TINY, "--store", store).stdout


def test_an_edited_threshold_runs_its_decision_and_what_follows(store: Path, tmp_path: Path) -> None:
    edited = tmp_path / "tiny.toml"
    edited.write_text(TINY.read_text().replace("longest_line <= 1000", "longest_line <= 900"))
    plan = {row["step"]: row for row in json.loads(aurora("plan", edited, "--store", store, "--json").stdout)}
    changed = plan["decide.code"]
    assert changed["state"] == "run"
    assert "params.keep" in changed["why"]
    assert "1000" in changed["why"]
    assert "900" in changed["why"]
    assert plan["rewrite.code"] == {**plan["rewrite.code"], "state": "wait", "why": "needs decide.code"}
    assert plan["base"]["state"] == "wait"
    untouched = [name for name in plan if name.split(".")[0] in ("fetch", "signals", "duplicates", "overlap", "items")]
    assert {plan[name]["state"] for name in [*untouched, "decide.en", "rewrite.fi", "reviewed"]} == {"have"}


def test_the_same_bytes_upstream_run_nothing_below(own_store: Path, tmp_path: Path) -> None:
    """A threshold that removes nothing more gives the same documents, so training is not run again."""
    edited = tmp_path / "tiny.toml"
    edited.write_text(TINY.read_text().replace("chars >= 40", "chars >= 41"))
    before = digest_of(own_store, "tiny/rewrite.instruct")
    aurora("run", edited, "--store", own_store, "--to", "rewrite.instruct")
    assert digest_of(own_store, "tiny/rewrite.instruct") == before
    plan = {
        row["step"]: row["state"] for row in json.loads(aurora("plan", edited, "--store", own_store, "--json").stdout)
    }
    assert plan["shards.instruct"] == plan["cat"] == "have"


def test_transformers_alone_loads_the_release(store: Path) -> None:
    release, safe = home(store, "tiny/release"), home(store, "tiny/safe")
    tokenizer = AutoTokenizer.from_pretrained(release)
    ids = tokenizer("Hyvää huomenta! おはよう", return_tensors="pt").input_ids
    with torch.inference_mode():
        models = [AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (release, safe)]
        logits = [model(ids).logits for model in models]
    assert float((logits[0] - logits[1]).abs().max()) < 1e-5
    made = pipeline("text-generation", model=str(release))("The garden", max_new_tokens=8, do_sample=False)
    assert made[0]["generated_text"].startswith("The garden")
    assert (release / "README.md").read_text().startswith("---\nlicense:")


def test_chat_answers(store: Path) -> None:
    one = json.loads(
        aurora("chat", "tiny/release", "--store", store, "--prompt", "How do I bake bread?", "--json").stdout
    )
    assert one["answer"].strip()


def test_show_and_diff(store: Path) -> None:
    assert "tiny/cap" in aurora("show", "--store", store).stdout.splitlines()
    lineage = aurora("show", "tiny/release", "--store", store, "--up", "--rows", 0).stdout
    assert "fetch.ja-" in lineage
    lines = aurora("diff", "tiny/score.base", "tiny/score.cap", "--store", store).stdout.splitlines()
    assert any(re.match(r"bpb\s+hi\s.*gained$", line) for line in lines)
    changed = {line.split(":")[0] for line in aurora("diff", TINY, NO_REPLAY).stdout.splitlines()}
    replay = {f"mixture.{name}.{key}" for name in ("cap", "cat") for key in ("replay", "replay_weights")}
    assert changed == {"name", *replay}, "replay is all that the second recipe changes"
