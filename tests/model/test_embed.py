"""Rows of new tokens: where they come from, and that nothing else of the model moves."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import doc, new_work, tiny_base, tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurora_m.core.errors import DataError
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.model.embed import add_rows, extend
from aurora_m.model.facts import ExtendFacts
from aurora_m.model.load import load_model, parameters
from aurora_m.tokens.extend import ADDED, extend_tokenizer
from aurora_m.tokens.tokenizer import open_tokenizer

VOCAB, NEW = 50, 3
PARTS = [[3, 4], [3, 4, 9], [7, 7]]
INITS = ("subtokens", "mean", "random")


def rows_of(model: Any) -> list[torch.Tensor]:
    """The embeddings and the head."""
    return [layer.weight.detach().clone() for layer in (model.get_input_embeddings(), model.get_output_embeddings())]


@torch.no_grad()
def logits(model: Any, ids: list[int]) -> torch.Tensor:
    found: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return found


@pytest.mark.parametrize("init", INITS)
def test_old_rows_and_logits_stay(model: Any, init: str) -> None:
    before, text = rows_of(model), [5, 6, 7, 8, 3, 4]
    old = logits(model, text)
    rest = {name: w.clone() for name, w in model.state_dict().items() if w.shape[0] != VOCAB}
    add_rows(model, VOCAB, PARTS, init, 1)
    for now, then in zip(rows_of(model), before, strict=True):
        assert now.shape == (VOCAB + NEW, then.shape[1])
        assert torch.equal(now[:VOCAB], then)
    torch.testing.assert_close(logits(model, text)[:, :VOCAB], old, atol=1e-6, rtol=1e-6)
    assert model.config.vocab_size == VOCAB + NEW
    assert all(torch.equal(model.state_dict()[name], w) for name, w in rest.items())


def test_a_sub_token_row_is_the_mean_of_its_parts(model: Any) -> None:
    before = rows_of(model)
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    add_rows(model, VOCAB, PARTS, "subtokens", 1)
    for now, old in zip(rows_of(model), before, strict=True):
        assert torch.equal(now[VOCAB], (old[3] + old[4]) / 2)
        torch.testing.assert_close(now[VOCAB + 1], (old[3] + old[4] + old[9]) / 3)
        assert torch.equal(now[VOCAB + 2], old[7])
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


def test_both_kinds_of_head_are_tested() -> None:
    heads = [tiny_model(kind) for kind in ("llama", "bigcode")]
    assert [m.get_input_embeddings().weight is m.get_output_embeddings().weight for m in heads] == [False, True]


def test_the_mean_and_random_rows(model: Any) -> None:
    before = rows_of(model)[0]
    add_rows(model, VOCAB, PARTS, "mean", 1)
    for row in rows_of(model)[0][VOCAB:]:
        torch.testing.assert_close(row, before.mean(0))
    drawn = []
    for seed in (1, 1, 2):
        other = tiny_model("llama")
        add_rows(other, VOCAB, [[1]] * 500, "random", seed)
        drawn.append(rows_of(other)[0][VOCAB:])
    old = rows_of(tiny_model("llama"))[0]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert float(drawn[0].std()) == pytest.approx(float(old.std()), rel=0.05)


@pytest.mark.parametrize("init", INITS)
def test_padding_goes_and_its_rows_are_not_taken_for_tokens(model: Any, init: str) -> None:
    before = rows_of(model)
    model.resize_token_embeddings(VOCAB + 14, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[VOCAB:] = float("nan")
    add_rows(model, VOCAB, PARTS, init, 1)
    for now, old in zip(rows_of(model), before, strict=True):
        assert now.shape[0] == VOCAB + NEW
        assert torch.equal(now[:VOCAB], old)
        assert not now.isnan().any()


def test_a_model_with_fewer_rows_than_tokens() -> None:
    with pytest.raises(DataError) as caught:
        add_rows(tiny_model("llama"), VOCAB + 1, PARTS, "mean", 1)
    assert caught.value.what == "the base has 50 rows for the 51 tokens of its tokenizer"
    assert caught.value.hint == "give a model and a tokenizer that belong together"


@pytest.mark.parametrize("arch", ["llama", "gpt_bigcode"])
def test_the_step(tmp_path: Path, arch: str) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    base = tiny_base(tmp_path, tokenizer, arch)
    write_docs(tmp_path / "fi", [doc(f"d{n}", "hyvää päivää sanoi pöllö, hyvää yötä sanoi kissa\n") for n in range(4)])
    grown = new_work(tmp_path / "grown")
    extend_tokenizer(grown, tokenizer=tokenizer, docs={"fi": Artifact(tmp_path / "fi", "", {})}, tokens=10)
    work = new_work(tmp_path / "work")
    facts = extend(work, model=base, tokenizer=Artifact(grown.out, "", {}), init="subtokens", seed=1)
    old, new = load_model(base.path), load_model(work.out)
    assert facts == ExtendFacts(arch, parameters(old) + 10 * 32, 10, 290)
    assert (work.out / "tokenizer.json").read_bytes() == (grown.out / "tokenizer.json").read_bytes()
    assert torch.equal(rows_of(new)[0][:280], rows_of(old)[0])
    for row in read_jsonl(grown.out / ADDED):
        torch.testing.assert_close(rows_of(new)[0][row["id"]], rows_of(old)[0][row["parts"]].mean(0))
    theirs = AutoTokenizer.from_pretrained(work.out)  # as a user would read the folder
    text = "hyvää päivää, the cat sat"
    assert theirs(text).input_ids == open_tokenizer(work.out).encode(text).ids
    assert AutoModelForCausalLM.from_pretrained(work.out).config.vocab_size == 290
    assert "transformers_version" not in json.loads((work.out / "config.json").read_text())
