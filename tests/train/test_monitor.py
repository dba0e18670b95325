"""Bits per byte in every language, against a sum by hand, and the same model afterwards."""

from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ARCHS, POSITIONS, doc, tiny_base, tiny_tokenizer
from tokenizers import Tokenizer, models

from aurora_m.core.canon import digest
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.model.load import load_model
from aurora_m.tokens.tokenizer import open_tokenizer
from aurora_m.train import monitor
from aurora_m.train.monitor import GLANCE_BYTES, bits_per_byte, divergence


def held(folder: Path, docs: list[dict[str, str]]) -> Artifact:
    write_docs(folder, docs, "held")
    return Artifact(folder, "", {})


def bits_by_hand(model: Any, ids: list[int]) -> float:
    """One document that fits into the positions: each token after the end token and those before it."""
    with torch.inference_mode():
        logp = model(torch.tensor([[0, *ids]])).logits[0, :-1].double().log_softmax(-1)
    return -float(logp[range(len(ids)), ids].sum()) / log(2)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_language_by_hand(tmp_path: Path, arch: str) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    model = load_model(tiny_base(tmp_path, tokenizer, arch).path).train()
    texts = {"en": ["the cat sat", "a dog"], "fi": ["yö on pitkä"]}
    sources = {
        "web": held(tmp_path / "web", [doc("b", texts["en"][0]), doc("a", texts["fi"][0], "fi")]),
        "wiki": held(tmp_path / "wiki", [doc("c", texts["en"][1])]),
    }
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    measured: Any = bits_per_byte(sources, tokenizer)(model)
    encoder = open_tokenizer(tokenizer.path)
    for lang, found in texts.items():
        bits = sum(bits_by_hand(model, encoder.encode(text).ids) for text in found)
        assert measured[lang] == pytest.approx(bits / sum(len(text.encode()) for text in found), abs=1e-4)
    for source, text in (("web", "the cat sat"), ("wiki", "a dog")):
        bits = bits_by_hand(model, encoder.encode(text).ids)
        assert measured[f"en/{source}"] == pytest.approx(bits / len(text), abs=1e-4)
    assert list(measured) == ["en", "en/web", "en/wiki", "fi"]  # Finnish has one source
    assert model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert bits_per_byte(dict(reversed(sources.items())), tokenizer)(model) == measured


def test_what_cannot_be_spelled_counts_for_nothing(tmp_path: Path) -> None:
    model = load_model(tiny_base(tmp_path, tiny_tokenizer(tmp_path), "llama").path)
    vocab = {"<|endoftext|>": 0, "<unk>": 1, **{letter: 2 + n for n, letter in enumerate("the cast")}}
    Tokenizer(models.BPE(vocab, [], unk_token="<unk>")).save(str(tmp_path / "tokenizer.json"))
    tokenizer = Artifact(tmp_path, "", {})
    plain, some = (held(tmp_path / name, [doc("a", text)]) for name, text in (("p", "the cat"), ("q", "the cat日")))
    only = held(tmp_path / "only", [doc("a", "日本", "ja")])
    assert bits_per_byte({"s": some, "t": only}, tokenizer)(model) == bits_per_byte({"s": plain}, tokenizer)(model)


def test_a_glance_takes_whole_documents_in_order_of_a_hash(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    model = load_model(tiny_base(tmp_path, tokenizer, "llama").path)
    long = "the cat " * (GLANCE_BYTES // 8)
    first, second, last = sorted("abc", key=digest)
    assert (first, second, last) == ("c", "a", "b")
    docs = [doc(last, "never read"), doc(first, long[:-8]), doc(second, "the dog and the cat")]
    glance, first_two = (
        bits_per_byte({"s": held(tmp_path / str(n), part)}, tokenizer)(model) for n, part in enumerate((docs, docs[1:]))
    )
    assert glance == first_two
    assert glance != bits_per_byte({"s": held(tmp_path / "a", docs[1:2])}, tokenizer)(model)
    assert len(open_tokenizer(tokenizer.path).encode(long).ids) > 4 * POSITIONS


@pytest.mark.parametrize("arch", ARCHS)
def test_divergence_by_hand(tmp_path: Path, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    folder = tiny_base(tmp_path, tokenizer, arch).path
    base, model = (load_model(folder).eval() for _ in range(2))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    first, second = sorted("ab", key=digest)
    texts = {first: "the cat sat on the mat", second: "the dog ran to the house"}
    docs = [*(doc(name, text) for name, text in texts.items()), doc("c", "yö on pitkä", "fi")]
    sources = {"s": held(tmp_path / "s", docs)}
    encoder = open_tokenizer(tokenizer.path)
    ids = [encoder.encode(texts[name]).ids for name in (first, second)]
    monkeypatch.setattr(monitor, "KL_TOKENS", len(ids[0]) + 2)
    total = count = 0.0
    for row in ([0, *ids[0]], [0, *ids[1][:2]]):
        with torch.inference_mode():
            ours, theirs = (m(torch.tensor([row])).logits[0].double().log_softmax(-1) for m in (model, base))
        total += float((theirs.exp() * (theirs - ours)).sum())
        count += len(row)
    far = divergence(base, sources, tokenizer, ["en"])
    model.train()
    found = far(model)
    assert found == {"kl/en": pytest.approx(total / count, abs=2e-5)}
    assert total / count > 0.01
    assert model.training
    assert far(base) == {"kl/en": 0.0}
