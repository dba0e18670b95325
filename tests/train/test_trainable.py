"""What trains and what does not: frozen weights stay bit for bit, and a stopped stage goes on with all its parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ARCHS, as_step, doc, new_work, tiny_base, tiny_model, tiny_shards, tiny_tokenizer

from aurora_m.core.canon import file_digest, folder_files
from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import write_docs
from aurora_m.core.typed import Count
from aurora_m.model.export import check_copy
from aurora_m.model.load import load_model, parameters
from aurora_m.recipe import Anchor, Lora
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.stream import Stream
from aurora_m.train import checkpoint, loop, trainable
from aurora_m.train.curve import FILE as CURVE
from aurora_m.train.stage import train as step
from aurora_m.train.trainable import learning, open_only

T, STEPS = 16, 4
FIRST = {"llama": "model.layers.0.*", "gpt_bigcode": "transformer.h.0.*"}
LORA = Lora(2, 32)
ANCHOR = Anchor(kl=0.5, mixture="old", batch_tokens=Count(3 * T))
VARIANTS: dict[str, dict[str, Any]] = {
    "frozen": {"train": ("*.0.*",)},
    "expanded": {"expand": 1},
    "adapted": {"lora": LORA},
    "anchored": {"anchor": replace(ANCHOR, l2=0.1)},
    "adapted and anchored": {"lora": LORA, "anchor": ANCHOR},
}


@pytest.fixture(scope="module", params=ARCHS)
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that a stage of 4 steps of 2 rows takes, and rows for an anchor, fewer than it reads."""
    folder = tmp_path_factory.mktemp("parts")
    tokenizer = tiny_tokenizer(folder)
    write_docs(folder / "held", [doc("h", "the cat sat")], "held")
    made: dict[str, Any] = {}
    for name, key, rows in (("new", "", 2 * STEPS), ("old", "anchor_", 5)):
        docs = [[(3 * n + at) % 200 + 1 for at in range(20)] for n in range(rows)]
        shards = {name: tiny_shards(folder / name, [docs])}
        work = new_work(folder / f"mixture_{name}")
        about: dict[str, Any] = {"shares": {name: 1.0}, "unit": "tokens", "max_epochs": 4, "fim": {}}
        mix(work, shards=shards, name=name, tokens=rows * T, row_tokens=T, **about)
        made |= {f"{key}mixture": Artifact(work.out, "", {}), f"{key}shards": shards}
    return {
        **made,
        **{"start": tiny_base(folder, tokenizer, request.param), "tokenizer": tokenizer, "name": "cap"},
        "held_out": {"en": Artifact(folder / "held", "", {})},
        "how": {"row_tokens": T, "rows": 2, "warmup_tokens": 2 * T},
    }


def asked(given: dict[str, Any], **how: Any) -> dict[str, Any]:
    """The parameters of a stage with more settings; one without an anchor is given no text for it."""
    left_out = () if "anchor" in how else ("anchor_mixture", "anchor_shards")
    return as_step({k: v for k, v in given.items() if k not in left_out}, **how)


def train(work: Work, **given: Any) -> dict[str, Any]:
    """The facts of a stage."""
    facts: dict[str, Any] = to_json(step(work, **given))
    return facts


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in load_model(folder).named_parameters()}


def sums(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in folder_files(folder)}


# --- patterns


def test_patterns_open_what_they_name() -> None:
    model = tiny_model("llama")
    open_only(model, ["model.layers.1.*", "model.norm.weigh?"])
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names == {name for name, _ in model.named_parameters() if ".1." in name or name == "model.norm.weight"}
    assert learning(model) == sum(p.numel() for name, p in model.named_parameters() if name in names)
    open_only(model, ["*"])
    assert learning(model) == parameters(model)


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("model.norm.weigth", "did you mean `model.norm.weight`?"),
        ("h.0.*", "names are such as `model.embed_tokens.weight` and `lm_head.weight`"),
    ],
)
def test_a_pattern_that_matches_nothing(pattern: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        open_only(tiny_model("llama"), ["model.layers.*", pattern])
    assert (caught.value.what, caught.value.hint) == (f"no weight is named `{pattern}`", hint)


def test_a_model_of_which_nothing_learns_is_not_trained(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainable, "open_only", lambda model, patterns: model.requires_grad_(False))
    with pytest.raises(TrainError, match="a step along the gradient lowers the loss by 0 of what it should"):
        train(new_work(tmp_path / "work"), **asked(given, train=("*",)))


@pytest.mark.parametrize("check", ["check_positions", "check_head", "check_isolation", "check_reference"])
def test_what_a_model_must_prove_is_asked(
    tmp_path: Path, given: dict[str, Any], check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: Any) -> None:
        raise TrainError(check, at="", hint="")

    monkeypatch.setattr(loop, check, refused)
    with pytest.raises(TrainError, match=check):
        train(new_work(tmp_path / "work"), **asked(given))


# --- a stage


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what each optimizer that is made from now on keeps state of, after an update."""
    sizes: list[int] = []
    update = loop.update

    def note(updates: Any, *more: Any) -> None:
        update(updates, *more)
        sizes[:] = [sum(p.numel() for p in optimizer.state) for optimizer in updates]

    monkeypatch.setattr(loop, "update", note)
    return sizes


def test_frozen_weights_stay_and_have_no_state(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, arch = watched(monkeypatch), given["start"].path.parent.name
    work = new_work(tmp_path / "work")
    facts = train(work, **asked(given, train=(FIRST[arch],)))
    before, after = weights(given["start"].path), weights(work.out)
    front = FIRST[arch][:-1]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(front) for name in moved)
    assert {name for name in before if name.startswith(front) and before[name].ndim == 2} <= moved
    trained = sum(p.numel() for name, p in before.items() if name.startswith(front))
    assert sizes == [trained]
    size, tokens = sum(p.numel() for p in before.values()), 2 * STEPS * T
    assert (facts["trained"], facts["parameters"], facts["flop"]) == (trained, size, (4 * size + 2 * trained) * tokens)
    whole = train(new_work(tmp_path / "whole"), **asked(given))
    assert ("trained" in whole, whole["flop"]) == (False, 6 * size * tokens)


def test_new_blocks_train_and_others_stay(tmp_path: Path, given: dict[str, Any]) -> None:
    front = FIRST[given["start"].path.parent.name].removesuffix("0.*")
    one, every = (new_work(tmp_path / name) for name in ("one", "every"))
    facts = train(one, **asked(given, expand=1))
    train(every, **asked(given, expand=1, train=("*",)))
    before, after, all_after = (weights(path) for path in (given["start"].path, one.out, every.out))
    new = {name for name in after if name.startswith(f"{front}2.")}
    assert set(after) == set(before) | new
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert facts["trained"] == sum(after[name].numel() for name in new)
    assert facts["parameters"] == sum(p.numel() for p in after.values())
    copies = {name: before[name.replace(f"{front}2.", f"{front}1.")] for name in new}
    assert not any(torch.equal(after[name], copy) for name, copy in copies.items() if copy.ndim == 2)
    assert not any(torch.equal(all_after[name], weight) for name, weight in before.items() if weight.ndim == 2)
    assert check_copy(one.out, one.out) == 0.0
    curve = read_jsonl(one.out / CURVE)
    assert curve[0]["measure"] == read_jsonl(every.out / CURVE)[0]["measure"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_adapters_learn_and_end_in_the_weights(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    sizes = watched(monkeypatch)
    work = new_work(tmp_path / "work")
    facts = train(work, **asked(given, lora=LORA, optimizer=optimizer))
    before, after = weights(given["start"].path), weights(work.out)
    assert list(after) == list(before)
    linear = {name for name, weight in before.items() if weight.ndim == 2 and ("layers." in name or ".h." in name)}
    for name, weight in before.items():
        change = (after[name] - weight).double()
        if name in linear:
            values = torch.linalg.svdvals(change)
            assert float(values[0]) > 1e-5
            assert float(values[LORA.rank]) < 1e-3 * float(values[0])  # what float32 rounds
        else:
            assert torch.equal(after[name], weight), name
    trained = sum(LORA.rank * sum(before[name].shape) for name in linear)
    assert (sum(sizes), facts["trained"]) == (trained, trained)
    assert facts["parameters"] == sum(p.numel() for p in before.values())
    assert check_copy(work.out, work.out) == 0.0


@pytest.mark.parametrize("how", ["lora", "expand"])
def test_rows_of_new_tokens_learn_beside_adapters_and_new_blocks(
    tmp_path: Path, given: dict[str, Any], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = replace(given["start"], facts={"tokens_added": 3})
    work = new_work(tmp_path / "work")
    work.log.quiet = False
    settings: dict[str, Any] = {"lora": LORA} if how == "lora" else {"expand": 1}
    train(work, **asked({**given, "start": start}, **settings))
    before = load_model(start.path).get_input_embeddings().weight
    assert not torch.equal(load_model(work.out).get_input_embeddings().weight, before)
    assert "embed_tokens.weight" in (said := capsys.readouterr().err) or "wte.weight" in said
    assert "learn too, for the new tokens" in said
    plain = new_work(tmp_path / "plain")  # a base whose tokens are all old
    train(plain, **asked(given, **settings))
    assert torch.equal(load_model(plain.out).get_input_embeddings().weight, before)


def test_patterns_that_leave_the_rows_of_new_tokens_out_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    start, arch = replace(given["start"], facts={"tokens_added": 3}), given["start"].path.parent.name
    name = "model.embed_tokens.weight" if arch == "llama" else "transformer.wte.weight"
    with pytest.raises(RecipeError) as caught:
        train(new_work(tmp_path / "work"), **asked({**given, "start": start}, train=(FIRST[arch],)))
    assert str(caught.value) == (
        "error: the rows of the new tokens cannot learn: `train` leaves them out\n"
        "  at: cap: train\n\n"
        f'hint: add "{name}" to `train`, or leave [base.extend] out'
    )
    train(new_work(tmp_path / "other"), **asked({**given, "start": start}, train=(FIRST[arch], name)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_anchors_are_in_the_curve_and_the_accounts(tmp_path: Path, given: dict[str, Any], precision: str) -> None:
    free, held = (new_work(tmp_path / name, precision=precision) for name in ("free", "held"))
    train(free, **asked(given))
    facts = train(held, **asked(given, anchor=replace(ANCHOR, kl=20.0, l2=0.1)))
    values = [entry["anchor"] for entry in read_jsonl(held.out / CURVE)[1:]]
    assert [set(value) for value in values] == [{"kl", "l2"}] * STEPS
    assert values[0] == {"kl": 0.0, "l2": 0.0}  # not even rounding differs
    assert all(min(value.values()) > 0.0 for value in values[1:])
    assert not any("anchor" in entry for entry in read_jsonl(free.out / CURVE))
    size, tokens, extra = facts["parameters"], 2 * STEPS * T, 3 * STEPS * T
    assert isinstance(size, int)
    assert facts["anchor_tokens"] == extra
    assert facts["flop"] == 6 * size * (tokens + extra) + 2 * size * extra
    start, one, two = (weights(path) for path in (given["start"].path, free.out, held.out))
    far, near = (sum(float((w[n] - start[n]).square().sum()) for n in start) for w in (one, two))
    assert near < far


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_stage_goes_on_bit_for_bit(
    tmp_path: Path, given: dict[str, Any], variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = new_work(tmp_path / "whole"), new_work(tmp_path / "stopped", save_every_s=0.0)
    wanted = asked(given, **VARIANTS[variant])
    facts = train(whole, **wanted)
    monkeypatch.setattr(checkpoint, "SAVING_SHARE", 1e9)
    getitem, left = Stream.__getitem__, [2 * (2 + (3 if wanted["training"].anchor else 0)) + 1]

    def stops(self: Any, index: int) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return getitem(self, index)

    monkeypatch.setattr(Stream, "__getitem__", stops)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, **wanted)
    assert (stopped.scratch / "checkpoint").exists()
    torch.rand(5)  # what was drawn between does not matter
    assert train(stopped, **wanted) == facts
    assert sums(stopped.out) == sums(whole.out)
