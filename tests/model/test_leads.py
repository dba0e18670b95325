"""A base that begins its texts with a token is read, measured, trained and released so, whatever its tokenizer is."""

import json
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import BOS, EOS, FAMILIES, LEAD, base
from hypothesis import given
from hypothesis import strategies as st
from tiny import doc, new_work, tiny_model
from tokenizers import Tokenizer, processors
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurora_m.core.chat import render
from aurora_m.core.ends import ends_of
from aurora_m.core.errors import RecipeError
from aurora_m.core.facts import to_json
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.core.uri import pin_files
from aurora_m.model.base import base_files
from aurora_m.model.embed import extend
from aurora_m.model.forward import forward_hidden
from aurora_m.model.likelihood import document_bits
from aurora_m.model.load import fetch_base, load_model, save_model
from aurora_m.model.merge import merge
from aurora_m.tokens.extend import extend_tokenizer
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.shards import shard
from aurora_m.tokens.stream import stage_stream
from aurora_m.tokens.tokenizer import decode_after, encode_within, open_tokenizer, take_tokenizer
from aurora_m.train.monitor import bits_per_byte, divergence
from aurora_m.tune.examples import encode

TEXTS = ["the cat sat on the mat", "def f(x):\n    return x", "Yö on pitkä.", "日本語 hi", "a", " b  c\n", "2024: 17"]
HOW = ("template", "after bytes", "flag", "none")


def fetched(folder: Path, **recipe: Any) -> Path:
    """A base from `folder`/base, taken."""
    work = new_work(folder / "take", root=folder)
    pin = pin_files(base_files("file:base", folder))
    fetch_base(work, model="file:base", revision="", pin=pin, **recipe)
    return work.out


@pytest.fixture(params=[(family, how) for family in FAMILIES for how in HOW], ids=" ".join)
def taken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    """A base of each kind, led in each way, as it is taken; and whether it is led."""
    family, how = request.param
    tokenizer = FAMILIES[family]()
    if how == "template":
        tokenizer.post_processor = LEAD
    if how == "after bytes":
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), LEAD])
    base(tmp_path / "base", tokenizer, {"add_bos_token": True} if how == "flag" else {})
    return fetched(tmp_path), how != "none"


def test_texts_begin_as_they_do_in_plain_transformers(taken: tuple[Path, bool]) -> None:
    folder, led = taken
    plain, ours, ends = AutoTokenizer.from_pretrained(folder), open_tokenizer(folder), ends_of(folder)
    assert ends.stops == [2]
    assert (ends.start, ends.lead is not None) == ((1, True) if led else (2, False))
    model = load_model(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    ids = [ours.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert [plain(text).input_ids for text in TEXTS] == [[1, *row] if led else row for row in ids]
    bits = document_bits(model, ids, ends.start, 64)
    for text, ours_bits in zip(TEXTS, bits, strict=True):
        row = plain(text).input_ids if led else [2, *plain(text).input_ids]
        with torch.inference_mode():
            logp_TV = theirs(torch.tensor([row])).logits[0].log_softmax(-1)
        by_hand = -sum(float(logp_TV[at, token]) for at, token in enumerate(row[1:])) / log(2)
        assert ours_bits == pytest.approx(by_hand, abs=1e-3)


def test_rows_have_the_loss_of_plain_documents(taken: tuple[Path, bool], tmp_path: Path) -> None:
    folder, led = taken
    texts = [f"{text} {number}" for number in range(12) for text in TEXTS]
    write_docs(tmp_path / "docs", [doc(f"d{number}", text) for number, text in enumerate(texts)])
    tokenizer = Artifact(new_work(tmp_path / "tokenizer").out, "", {})
    take_tokenizer(new_work(tmp_path / "again"), model=Artifact(folder, "", {}), docs={})
    tokenizer = Artifact(tmp_path / "again" / "out", "", {})
    work = new_work(tmp_path / "shards")
    facts = shard(work, docs=Artifact(tmp_path / "docs", "", {}), tokenizer=tokenizer)
    shards = {"s": Artifact(work.out, "", to_json(facts))}
    mixed = new_work(tmp_path / "mixture")
    how: dict[str, Any] = {"unit": "tokens", "fim": {}, "row_tokens": 48, "max_epochs": 1.0, "packing": "best_fit"}
    made = mix(mixed, shards=shards, name="m", shares={"s": 1.0}, tokens=facts.tokens // 48 * 48, **how)
    stream = stage_stream(Artifact(mixed.out, "", to_json(made)), shards, tokenizer, 3, "cap")
    rows = [stream._rows("s")[0].row(n, None) for n in range(made.sources["s"].rows_an_epoch)]
    assert len(rows) >= len(stream) > 5
    model, plain = load_model(folder), AutoTokenizer.from_pretrained(folder)
    nll = {}
    with torch.inference_mode():
        for text in texts:
            ids = [*([] if led else [2]), *plain(text).input_ids, 2]
            logp_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            nll[tuple(ids[1:])] = -sum(float(logp_TV[at, token]) for at, token in enumerate(ids[1:]))
        for row in (stream[index] for index in range(len(stream))):
            hidden_ND, targets_N, weights_N = forward_hidden(model, [row])
            logp_NV = model.get_output_embeddings()(hidden_ND).log_softmax(-1)
            loss = -(logp_NV.gather(1, targets_N[:, None])[:, 0] * weights_N).sum()
            begins = [*np.flatnonzero(row.positions == 0).tolist(), len(row.positions)]
            documents = [tuple(row.targets[a:b].tolist()) for a, b in pairwise(begins)]
            by_hand = sum(nll.get(ids, 0.0) for ids in documents)
            assert {ids for ids in documents if ids not in nll} <= {(2,) * n for n in range(49)}, "padding"
            assert float(loss) == pytest.approx(by_hand, rel=1e-4)


# --- as it is taken


def told(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_generation_stops_at_the_end_that_only_the_tokenizer_declares(tmp_path: Path) -> None:
    base(tmp_path / "base", FAMILIES["byte_level"](), {}, eos_token_id=None)
    assert told(fetched(tmp_path), "generation_config.json")["eos_token_id"] == 2


@pytest.mark.parametrize("kind", [None, "LlamaTokenizer", "GemmaTokenizerFast", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("flag", [None, False, True])
@pytest.mark.parametrize("family", ["byte_level", "gemma"])
def test_a_template_wins_over_a_flag_as_in_transformers(
    tmp_path: Path, family: str, flag: bool | None, kind: str | None
) -> None:
    """Which reads no `add_bos_token` where there is a tokenizer.json."""
    tokenizer = FAMILIES[family]()
    tokenizer.post_processor = LEAD
    about = {"tokenizer_class": kind, "add_bos_token": flag}
    base(tmp_path, tokenizer, {})
    kept = told(tmp_path, "tokenizer_config.json") | about
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in kept.items() if v is not None}))
    assert ends_of(tmp_path).start == AutoTokenizer.from_pretrained(tmp_path)("a").input_ids[0] == 1


@pytest.mark.parametrize("about", [None, {}, {"add_bos_token": False}])
@pytest.mark.parametrize("model_type", ["llama", "gemma", "gemma3_text"])
def test_without_a_class_a_text_begins_as_the_tokenizer_itself_says(
    tmp_path: Path, model_type: str, about: dict[str, Any] | None
) -> None:
    """Whatever the model's type is, and the class that transformers takes for it."""
    for led in (False, True):
        folder = tmp_path / str(led)
        tokenizer = FAMILIES["gemma"]()
        if led:
            tokenizer.post_processor = LEAD
        base(folder, tokenizer, {})
        (folder / "config.json").write_text(json.dumps({"model_type": model_type, "eos_token_id": 2}))
        (folder / "tokenizer_config.json").unlink()
        if about is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": BOS, "eos_token": EOS, **about}))
        assert (ends_of(folder).lead is not None) == led
        assert (AutoTokenizer.from_pretrained(folder)("a").input_ids[0] == 1) == led


def test_turn_ends_stay_beside_the_end(tmp_path: Path) -> None:
    template = {"eos_token": "<|turn|>", "chat_template": "{{ m }}<|turn|>"}
    base(tmp_path / "base", FAMILIES["byte_level"](), template, eos_token_id=2)
    folder = fetched(tmp_path)
    assert ends_of(folder).stops == [2, 3]
    assert told(folder, "tokenizer_config.json")["eos_token"] == "<|turn|>", "as the base has it"


def test_a_name_in_the_vocabulary_ends_nothing(tmp_path: Path) -> None:
    base(tmp_path / "base", FAMILIES["byte_level"](), {"eos_token": None}, eos_token_id=None)
    with pytest.raises(RecipeError, match="the base does not declare which token ends a document"):
        fetched(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "base").rename(tmp_path / "b" / "base")
    folder = fetched(tmp_path / "b", end_token=EOS)
    assert ends_of(folder).stops == [2]
    assert told(folder, "generation_config.json")["eos_token_id"] == 2


def test_models_made_of_a_base_keep_what_the_recipe_said(tmp_path: Path) -> None:
    """Their folders do not declare it themselves, or declare another."""
    for name, eos in (("none", None), ("other", 3)):
        about = {"eos_token": None} if eos is None else {"eos_token": "<|turn|>"}
        base(tmp_path / name / "base", FAMILIES["byte_level"](), about, eos_token_id=eos)
        folder = fetched(tmp_path / name, end_token=EOS)
        assert ends_of(folder).end.by == "the recipe"
        trained, merged = tmp_path / name / "trained", new_work(tmp_path / name / "merged")
        save_model(load_model(folder), trained, folder)
        two = {"a": Artifact(folder, "", {}), "b": Artifact(trained, "", {})}
        merge(merged, models=two, weights={"a": 0.5, "b": 0.5}, method="linear", origin="", scale=1.0)
        assert ends_of(trained) == ends_of(merged.out) == ends_of(folder)


def test_a_saved_base_says_it_again(taken: tuple[Path, bool], tmp_path: Path) -> None:
    folder, led = taken
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "base").symlink_to(folder)
    again = fetched(tmp_path / "again")
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    names.remove("ends.json")  # of a flag, which file says so is another now
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert (ends_of(again).start, ends_of(again).stops) == (ends_of(folder).start, ends_of(folder).stops)
    assert BOS in told(folder, "tokenizer.json")["model"]["vocab"] or led


# --- what is generated


OPENED = {name: make() for name, make in FAMILIES.items()}
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁\ufffd"), max_size=12)


@pytest.mark.parametrize("family", FAMILIES)
@given(prompt=WORDS, text=WORDS, cut=st.integers(0, 60), led=st.booleans())
def test_new_tokens_mean_what_they_mean_behind_their_prompt(
    family: str, prompt: str, text: str, cut: int, led: bool
) -> None:
    tokenizer = OPENED[family]
    ids, whole = ([*([1] if led else []), *tokenizer.encode(t).ids] for t in (prompt, prompt + text))
    if ids == whole[: len(ids)]:
        lost = (prompt + text).startswith(" ") and family in ("sentence_piece", "metaspace")
        assert decode_after(tokenizer, ids, whole) == text or lost
    at = min(cut, len(whole))
    decoded = tokenizer.decode(whole)
    assert decoded.endswith(decode_after(tokenizer, whole[:at], whole)), "also within a character"


def test_a_space_that_would_be_lost_alone() -> None:
    tokenizer = OPENED["sentence_piece"]
    prompt = tokenizer.encode("def f():\n").ids
    whole = tokenizer.encode("def f():\n    return 1").ids
    assert tokenizer.decode(whole[len(prompt) :]) == "   return 1"
    assert decode_after(tokenizer, prompt, whole) == "    return 1"


def test_a_character_that_the_prompt_began_is_new() -> None:
    tokenizer: Tokenizer = OPENED["byte_level"]
    ids = tokenizer.encode("a本").ids
    assert len(ids) == 4
    assert decode_after(tokenizer, ids[:2], ids) == "本"


def test_a_base_with_more_tokens_begins_its_texts_as_before(tmp_path: Path) -> None:
    tokenizer = FAMILIES["byte_level"]()
    tokenizer.post_processor = LEAD
    base(tmp_path / "base", tokenizer, {})
    folder = fetched(tmp_path)
    write_docs(tmp_path / "docs", [doc("d", "pitkä päivä " * 20)])
    take_tokenizer(new_work(tmp_path / "tokenizer"), model=Artifact(folder, "", {}), docs={})
    given: dict[str, Any] = {"docs": {"s": Artifact(tmp_path / "docs", "", {})}, "tokens": 3}
    work = new_work(tmp_path / "more")
    extend_tokenizer(work, tokenizer=Artifact(tmp_path / "tokenizer" / "out", "", {}), **given)
    assert ends_of(work.out) == ends_of(folder)
    grown = new_work(tmp_path / "grown")
    extend(grown, model=Artifact(folder, "", {}), tokenizer=Artifact(work.out, "", {}), init="mean", seed=1)
    assert ends_of(grown.out) == ends_of(folder)
    assert AutoTokenizer.from_pretrained(grown.out)("pitkä").input_ids[0] == 1


def test_an_example_is_led_and_its_response_is_cut_where_it_stands(tmp_path: Path) -> None:
    """SentencePiece would put a space before a response that is encoded alone."""
    tokenizer = FAMILIES["sentence_piece"]()
    tokenizer.post_processor = LEAD
    folder = base(tmp_path / "base", tokenizer, {})
    example = encode({"prompt": "Say the cat", "answer": "the cat"}, open_tokenizer(folder), ends_of(folder))
    text = render("Say the cat", "the cat")
    plain = AutoTokenizer.from_pretrained(folder)
    assert example.tokens == [*plain(text).input_ids, 2]
    assert example.tokens[: example.prompt] == plain(render("Say the cat", "")).input_ids


def test_what_a_stage_measures_is_led(tmp_path: Path) -> None:
    tokenizer = FAMILIES["gemma"]()
    tokenizer.post_processor = LEAD
    folder = base(tmp_path / "base", tokenizer, {})
    write_docs(tmp_path / "held", [doc("d", "the cat sat")], "held")
    held, model = {"s": Artifact(tmp_path / "held", "", {})}, load_model(folder)
    found = bits_per_byte(held, Artifact(folder, "", {}))(model)
    ids = AutoTokenizer.from_pretrained(folder)("the cat sat").input_ids
    assert ids[0] == 1
    with torch.inference_mode():
        logp_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    by_hand = -sum(float(logp_TV[at, token]) for at, token in enumerate(ids[1:])) / log(2)
    assert found == {"en": pytest.approx(by_hand / 11, abs=1e-4)}
    model.train(False)
    other = tiny_model("llama", tokenizer.get_vocab_size())
    away = divergence(other, held, Artifact(folder, "", {}), ["en"])(model)
    with torch.inference_mode():
        ours_TV, theirs_TV = (net(torch.tensor([ids])).logits[0].log_softmax(-1) for net in (model, other))
    kl = (theirs_TV.exp() * (theirs_TV - ours_TV)).sum(-1)
    assert away["kl/en"] == pytest.approx(float(kl.mean()), rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_within_another_has_the_tokens_that_it_has_there(family: str) -> None:
    tokenizer = OPENED[family]
    for text in ("the cat", "  return x", "### Instruction:", "本", ""):
        ids = encode_within(tokenizer, text)
        assert ids == tokenizer.encode(f"Yö\n{text}").ids[len(tokenizer.encode("Yö\n").ids) :]
    byte_level = family in ("byte_level", "gemma")
    assert (encode_within(tokenizer, "the cat") == tokenizer.encode("the cat").ids) == byte_level
