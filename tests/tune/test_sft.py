"""Supervised tuning: the loss is on responses and end tokens only, and packed examples do not see each other."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import ARCHS, KINDS, VOCAB, as_step, doc, new_work, tiny_base, tiny_model, tiny_shards, tiny_tokenizer
from tokenizers import Tokenizer, models

from aurora_m.core.canon import file_digest, folder_files
from aurora_m.core.chat import render
from aurora_m.core.ends import Ends, Mark
from aurora_m.core.errors import DataError, TrainError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import write_docs
from aurora_m.core.typed import Count
from aurora_m.model.export import check_copy
from aurora_m.recipe import Anchor, Lora
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.rows import Interleaved, Row
from aurora_m.tokens.stream import combine_keys
from aurora_m.tokens.tokenizer import open_tokenizer
from aurora_m.train.curve import FILE as CURVE
from aurora_m.tune import sft as module
from aurora_m.tune.examples import Example, encode, pack
from aurora_m.tune.sft import sft as step

END = 0
ENDS = Ends(Mark(END, "<|endoftext|>", "Aurora's own"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A trained tokenizer."""
    return open_tokenizer(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")).path)


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_example_is_end_prompt_response_end(encoder: Tokenizer, prompt: str, answer: str) -> None:
    example = encode({"prompt": prompt, "answer": answer}, encoder, ENDS)
    assert example.tokens[0] == END
    assert encoder.decode(example.tokens[1 : example.prompt]) == render(prompt, "")
    assert encoder.decode(example.tokens[example.prompt : -1]) == answer.strip()
    assert example.tokens[-1] == END
    assert END not in example.tokens[1:-1]
    assert encoder.decode(example.tokens[1:-1]) == render(prompt, answer)


@st.composite
def packings(draw: st.DrawFn) -> tuple[list[Example], int, int]:
    """Examples that fit, each of tokens of its own, the length of a row, and a key."""
    row_tokens = draw(st.integers(4, 30))
    sizes = draw(st.lists(st.tuples(st.integers(1, row_tokens - 1), st.integers(0, row_tokens)), max_size=20))
    examples, at = [], 1
    for prompt, answer in sizes:
        length = min(prompt + answer, row_tokens)
        examples.append(Example([*range(at, at + length), END], prompt))
        at += length
    return examples, row_tokens, draw(st.integers(0, 2**64 - 1))


def parts(row: Row) -> list[list[int]]:
    """The pieces of a row in which positions run on."""
    begins = [*np.flatnonzero(row.positions == 0).tolist(), len(row.tokens)]
    return [row.tokens[a:b].tolist() for a, b in pairwise(begins)]


@given(packings())
def test_every_example_is_read_once_whole_and_alone(packing: tuple[list[Example], int, int]) -> None:
    examples, row_tokens, key = packing
    rows = list(pack(examples, row_tokens, key, 2))
    found = []
    for row in rows:
        assert len(row.tokens) == row_tokens + 1
        assert len(row.positions) == len(row.weights) == row_tokens
        assert (row.source, row.epoch) == ("reviewed", 2)
        assert row.positions[0] == 0
        assert set(np.diff(row.positions)[row.positions[1:] != 0].tolist()) <= {1}
        for piece in parts(row):
            while len(piece) > 1 and piece[-2:] == [END, END]:
                piece = piece[:-1]  # one pad behind the last target of the row
            found.append(tuple(piece))
    expected = Counter(tuple(example.tokens) for example in examples)
    assert {piece: n for piece, n in Counter(found).items() if piece != (END,)} == expected


@given(packings())
def test_the_loss_is_on_responses_and_ends(packing: tuple[list[Example], int, int]) -> None:
    examples, row_tokens, key = packing
    targets = {t for example in examples for t in example.tokens[example.prompt : -1]}
    ends = 0
    for row in pack(examples, row_tokens, key, 0):
        assert row.weights.dtype == np.float32
        for before, token, weight in zip(row.tokens, row.tokens[1:], row.weights, strict=False):
            if token != END:
                assert weight == (1.0 if token in targets else 0.0)
            else:  # an end is a target; the padding behind an end is none
                assert weight == (1.0 if before != END else 0.0)
                ends += int(weight)
    assert ends == len(examples)


def test_a_row_by_hand() -> None:
    examples = [Example([1, 2, 3, END], 2), Example([4, 5, END], 1)]
    row = next(r for key in range(9) for r in pack(examples, 9, key, 0) if r.tokens[0] == 1)
    assert row.tokens.tolist() == [1, 2, 3, END, 4, 5, END, END, END, END]
    assert row.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert row.weights.tolist() == [0, 1, 1, 0, 1, 1, 0, 0, 0]
    assert [len(list(pack(examples, row_tokens, 1, 0))) for row_tokens in (5, 6, 7)] == [2, 1, 1]


def test_every_epoch_has_an_order_of_its_own() -> None:
    examples = [Example([n, END], 1) for n in range(1, 60)]
    orders = [[int(row.tokens[0]) for row in pack(examples, 1, combine_keys(7, epoch), epoch)] for epoch in range(3)]
    assert all(sorted(order) == list(range(1, 60)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] == [int(row.tokens[0]) for row in pack(examples, 1, combine_keys(7, 0), 0)]


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_packed_examples_do_not_see_each_other(kind: str) -> None:
    model = tiny_model(kind)
    rows = []
    for first in (1, 30):
        examples = [Example([*range(first, first + 8), END], 4), Example([20, 21, 22, 23, END], 2)]
        rows.append(next(r for key in range(9) for r in pack(examples, 20, key, 0) if r.tokens[0] == first))
    tokens, positions = (
        torch.from_numpy(np.stack([getattr(r, name) for r in rows])) for name in ("tokens", "positions")
    )
    assert int(tokens.max()) < VOCAB
    logits = model(input_ids=tokens[:, :-1], position_ids=positions, use_cache=False).logits
    assert torch.equal(logits[0, 9:], logits[1, 9:])
    assert not torch.equal(logits[0, :9], logits[1, :9])
    alone = model(input_ids=tokens[:1, 9:14], use_cache=False).logits
    torch.testing.assert_close(logits[:1, 9:14], alone, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module", params=ARCHS)
def inputs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that tuning takes: 8 rows that fit and one that is too long."""
    folder = tmp_path_factory.mktemp("sft")
    tokenizer = tiny_tokenizer(folder)
    rows = [{"id": f"r{n}", "prompt": f"the {n}?", "answer": "the cat"} for n in range(8)]
    write_jsonl(folder / "reviewed/rows.jsonl", [*rows, {"id": "long", "prompt": "x", "answer": "no " * 60}])
    write_docs(folder / "held", [doc("h", "the cat sat")], "held")
    return {
        "start": tiny_base(folder, tokenizer, request.param),
        "tokenizer": tokenizer,
        "reviewed": Artifact(folder / "reviewed", "", {}),
        "held_out": {"en": Artifact(folder / "held", "", {})},
        **{"name": "safe", "epochs": 3, "replay": 0.0},
        "how": {"row_tokens": 60, "rows": 4, "warmup_tokens": 240, "optimizer": "muon"},
    }


def test_tuning_is_a_pure_function(tmp_path: Path, inputs: dict[str, Any]) -> None:
    works = [new_work(tmp_path / name) for name in ("one", "two")]
    facts = [sft(work, **inputs) for work in works]
    assert facts[0] == facts[1]
    one, two = ({name: file_digest(work.out / name) for name in folder_files(work.out)} for work in works)
    assert one == two
    assert (facts[0]["examples"], facts[0]["too_long"], facts[0]["opt_steps"]) == (8, 1, 6)
    assert facts[0]["tokens"] == 6 * 240
    curve = read_jsonl(works[0].out / CURVE)
    assert [entry["by_source"]["reviewed"][1] for entry in curve[1:]] == [pytest.approx(4 * response(inputs))] * 6
    assert curve[-1]["loss"] < curve[1]["loss"]
    assert check_copy(works[0].out, works[0].out) == 0.0


def sft(work: Work, **inputs: Any) -> dict[str, Any]:
    """The facts of a tuning."""
    facts: dict[str, Any] = to_json(step(work, **as_step(inputs)))
    return facts


def response(inputs: dict[str, Any]) -> int:
    encoder = open_tokenizer(inputs["tokenizer"].path)
    return len(encoder.encode("the cat").ids) + 1


def test_replay_is_spread_evenly_between_the_rows(tmp_path: Path, inputs: dict[str, Any]) -> None:
    shards = {"web": tiny_shards(tmp_path / "web", [[[5] * 50 + [END]] * 40])}
    work = new_work(tmp_path / "mixture")
    about: dict[str, Any] = {"shares": {"web": 1.0}, "unit": "tokens", "max_epochs": 4, "fim": {}}
    mix(work, shards=shards, name="cap", tokens=60 * 60, row_tokens=60, **about)
    mixture = Artifact(work.out, "", {})
    work = new_work(tmp_path / "work")
    facts = sft(work, **{**inputs, "replay": 0.25, "mixture": mixture, "shards": shards})
    assert facts["opt_steps"] == 8
    for entry in read_jsonl(work.out / CURVE)[1:]:
        counted = {name: found[1] for name, found in entry["by_source"].items()}
        assert counted == {"reviewed": 3 * response(inputs), "web": 60}


def test_tuning_may_train_adapters_held_by_an_anchor(tmp_path: Path, inputs: dict[str, Any]) -> None:
    shards = {"web": tiny_shards(tmp_path / "web", [[[5] * 50 + [END]] * 40])}
    work = new_work(tmp_path / "mixture")
    about: dict[str, Any] = {"shares": {"web": 1.0}, "unit": "tokens", "max_epochs": 4, "fim": {}}
    mix(work, shards=shards, name="old", tokens=60 * 20, row_tokens=60, **about)
    anchor = Anchor(kl=0.1, mixture="old", batch_tokens=Count(120))
    how = {**inputs["how"], "lora": Lora(2, 32), "anchor": anchor}
    old = {"anchor_mixture": Artifact(work.out, "", {}), "anchor_shards": shards}
    work = new_work(tmp_path / "work")
    facts = sft(work, **{**inputs, **old, "how": how})
    assert facts["anchor_tokens"] == 6 * 120
    assert int(str(facts["trained"])) < int(str(facts["parameters"]))
    kls = [entry["anchor"]["kl"] for entry in read_jsonl(work.out / CURVE)[1:]]
    assert kls[0] == 0.0
    assert min(kls[1:]) > 0.0
    assert check_copy(work.out, work.out) == 0.0


@given(st.integers(0, 60), st.integers(0, 900))
def test_any_share_of_replay_reads_every_row_once_in_order(count: int, thousandths: int) -> None:
    share = Fraction(thousandths, 1000)
    mine: Any = [("tuned", n) for n in range(count)]
    others: Any = [("replay", n) for n in range(10 * count + 10)]
    rows = Interleaved(mine, others, [(0, share)], between=True)
    length = int(count / (1 - share))
    read: list[Any] = [rows[index] for index in range(length)]
    for stop in range(length + 1):
        replayed = [row for row in read[:stop] if row[0] == "replay"]
        assert replayed == others[: len(replayed)]
        assert abs(len(replayed) - stop * share) < 1
        assert [row for row in read[:stop] if row[0] == "tuned"] == mine[: stop - len(replayed)]
    assert len([row for row in read if row[0] == "tuned"]) == count


def test_rows_that_the_tokenizer_cannot_spell_are_refused(tmp_path: Path, inputs: dict[str, Any]) -> None:
    letters = sorted(
        {*"".join(f"{row['prompt']}{row['answer']}" for row in read_jsonl(inputs["reviewed"].path / "rows.jsonl"))}
    )
    vocab = {token: n for n, token in enumerate(["<|endoftext|>", "<unk>", *letters, "\n"])}
    (tmp_path / "t").mkdir()
    (tmp_path / "hindi").mkdir()
    Tokenizer(models.BPE(vocab, [], unk_token="<unk>")).save(str(tmp_path / "t/tokenizer.json"))
    write_jsonl(tmp_path / "hindi/rows.jsonl", [{"prompt": "नमस्ते", "answer": "नमस्ते", "lang": "hi"}])
    given = {**inputs, "tokenizer": Artifact(tmp_path / "t", "", {}), "reviewed": Artifact(tmp_path / "hindi", "", {})}
    with pytest.raises(DataError, match=r"cannot spell 97\.3% of the text in `hi`: ") as caught:
        step(new_work(tmp_path / "work"), **as_step(given))
    assert caught.value.at == f"tune.{given['name']}"


def test_too_few_rows(tmp_path: Path, inputs: dict[str, Any]) -> None:
    with pytest.raises(TrainError) as caught:
        sft(new_work(tmp_path / "work"), **{**inputs, "how": {**inputs["how"], "rows": 25}})
    assert (caught.value.what, caught.value.at, caught.value.hint) == (
        "8 reviewed rows do not fill one batch",
        "tune.safe",
        "lower `batch_tokens` or add rows",
    )


def test_each_epoch_of_a_run_has_another_key(
    tmp_path: Path, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[tuple[int, int]] = []

    def watched(examples: Any, row_tokens: int, key: int, epoch: int) -> Any:
        keys.append((key, epoch))
        return pack(examples, row_tokens, key, epoch)

    monkeypatch.setattr(module, "pack", watched)
    sft(new_work(tmp_path / "work"), **inputs)
    assert [epoch for _, epoch in keys] == [0, 1, 2]
    assert len({key for key, _ in keys}) == 3
