"""What leaves the house: the model without padding, its card and its licence, and figures of what is in the folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny import new_work, tiny_base, tiny_tokenizer

from aurora_m.core.step import Artifact
from aurora_m.model.load import load_model, parameters, save_model
from aurora_m.release.export import ReleaseFacts, export


@pytest.mark.parametrize("rows", [280, 320])
def test_a_release_holds_the_rows_of_its_tokens_and_no_more(tmp_path: Path, rows: int) -> None:
    base = tiny_base(tmp_path, tiny_tokenizer(tmp_path), "gpt_bigcode")
    model = load_model(base.path)
    model.resize_token_embeddings(rows, mean_resizing=False)
    save_model(model, tmp_path / "model", base.path)
    (tmp_path / "model/curve.jsonl").write_text("{}\n")
    (tmp_path / "card").mkdir()
    (tmp_path / "card/README.md").write_text("# a card\n")
    made, card = (
        Artifact(tmp_path / "model", "", {"parameters": parameters(model)}),
        Artifact(tmp_path / "card", "", {}),
    )
    work = new_work(tmp_path / "work")
    facts = export(work, model=made, base=made, card=card, docs={}, license="CC0-1.0", dtype="base")
    released = load_model(work.out)
    assert facts == ReleaseFacts(0.0, parameters(released), "CC0-1.0")
    assert released.config.vocab_size == 280
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        assert torch.equal(released(ids).logits, model(ids).logits[..., :280])
    assert (work.out / "README.md").read_text() == "# a card\n"
    assert not (work.out / "curve.jsonl").exists()
    same = {path.name: path.read_bytes() for path in work.out.iterdir()}
    shutil.rmtree(tmp_path / "work")
    again = new_work(tmp_path / "work")
    export(again, model=made, base=made, card=card, docs={}, license="CC0-1.0", dtype="base")
    assert same == {path.name: path.read_bytes() for path in again.out.iterdir()}
    assert json.loads(same["config.json"])["tie_word_embeddings"]
