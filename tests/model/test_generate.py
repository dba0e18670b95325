"""Generation is the same for any batch size and equals a plain loop."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import POSITIONS, VOCAB, tiny_model
from transformers import GenerationConfig, MptConfig, MptForCausalLM

from aurora_m.model.generate import Sampling, generate

PROMPTS = [[(5 * n + k) % VOCAB for n in range(1, 2 + 3 * k)] for k in range(1, 8)]
NEVER = VOCAB + 1  # an end that no model of this vocabulary says


def plain_loop(model: Any, prompt: list[int], max_new: int, eos: int) -> list[int]:
    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + max_new:
            new = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if new == eos:
                break
            ids.append(new)
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_greedy_equals_a_plain_loop(model: Any, batch: int) -> None:
    expected = [plain_loop(model, prompt, 12, 0) for prompt in PROMPTS]
    assert generate(model, PROMPTS, max_new=12, ends=[0], batch=batch) == expected


def test_it_stops_before_eos_and_before_a_stop_sequence(model: Any) -> None:
    whole = plain_loop(model, PROMPTS[2], 12, NEVER)
    first = whole.index(whole[5])
    assert generate(model, PROMPTS[2:3], max_new=12, ends=[whole[5]]) == [whole[:first]]
    mark = whole[4:6]
    at = next(n for n in range(12) if whole[n : n + 2] == mark)
    for batch in (1, 32):
        new = generate(model, PROMPTS, max_new=12, ends=[0], stop=[[], mark], batch=batch)
        assert new[2] == plain_loop(model, PROMPTS[2], 12, 0)[:at]


def test_samples_do_not_depend_on_the_batch(model: Any) -> None:
    one, many = (
        generate(model, PROMPTS, max_new=6, ends=[0], sampling=Sampling(1.0, 20, 5), batch=batch) for batch in (1, 4)
    )
    assert one == many
    assert one != generate(model, PROMPTS, max_new=6, ends=[0], sampling=Sampling(1.0, 20, 6))
    assert one != generate(model, PROMPTS, max_new=6, ends=[0])


def test_the_share_of_samples_is_the_probability() -> None:
    model, prompt, n = tiny_model("llama"), [3, 4, 5], 3000
    with torch.inference_mode():
        p_V = (model(torch.tensor([prompt])).logits[0, -1] / 2.0).softmax(-1)
    drawn = generate(model, [prompt] * n, max_new=1, ends=[NEVER], sampling=Sampling(2.0), batch=n)
    counts = Counter(ids[0] for ids in drawn)
    for token in p_V.topk(3).indices.tolist():
        assert counts[token] / n == pytest.approx(float(p_V[token]), abs=4 * (0.25 / n) ** 0.5)
    kept = set(p_V.topk(2).indices.tolist())
    assert {
        ids[0] for ids in generate(model, [prompt] * 200, max_new=1, ends=[NEVER], sampling=Sampling(2.0, 2))
    } == kept


def test_a_long_prompt_is_cut_on_the_left(model: Any) -> None:
    prompt = [n % VOCAB for n in range(POSITIONS + 30)]
    new = generate(model, [prompt], max_new=10, ends=[NEVER])
    assert new == [plain_loop(model, prompt[-(POSITIONS - 10) :], 10, NEVER)]


def test_positions_have_several_names() -> None:
    torch.manual_seed(1)
    config = MptConfig(vocab_size=VOCAB, d_model=32, n_layers=1, n_heads=4, max_seq_len=16, eos_token_id=0)
    model, prompt = MptForCausalLM(config).train(False), [1 + n % 9 for n in range(20)]
    assert generate(model, [prompt], max_new=4, ends=[NEVER]) == [plain_loop(model, prompt[-12:], 4, NEVER)]


def test_errors() -> None:
    model = tiny_model("llama")
    assert generate(model, [], max_new=4, ends=[0]) == []
    with pytest.raises(ValueError, match="64 new tokens leave no room for a prompt in 64 positions"):
        generate(model, [[1]], max_new=POSITIONS, ends=[0])
    with pytest.raises(ValueError, match="a prompt needs at least one token"):
        generate(model, [[1], []], max_new=4, ends=[0])


def test_it_prints_nothing(model: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    generate(model, PROMPTS, max_new=3, ends=[0], sampling=Sampling(0.7))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_later_prompts_draw_as_they_would_among_all(model: Any) -> None:
    sampling = Sampling(temperature=1.0, seed=5)
    among_all = generate(model, PROMPTS, max_new=6, ends=[0], sampling=sampling)[3:]
    assert generate(model, PROMPTS[3:], max_new=6, ends=[0], sampling=replace(sampling, first=3)) == among_all
    assert generate(model, PROMPTS[3:], max_new=6, ends=[0], sampling=sampling) != among_all


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_some_ids_are_never_said(model: Any, temperature: float) -> None:
    sampling = Sampling(temperature)
    freely = {number for ids in generate(model, PROMPTS, max_new=12, ends=[0], sampling=sampling) for number in ids}
    never = sorted(freely)[::2]
    new = generate(model, PROMPTS, max_new=12, ends=[0], sampling=replace(sampling, never=never))
    chosen = {number for ids in new for number in ids}
    assert chosen
    assert chosen.isdisjoint(never)


def test_what_a_folder_says_of_generation_does_not_count(model: Any) -> None:
    plain = generate(model, PROMPTS[:1], max_new=12, ends=[NEVER])
    model.generation_config = own = GenerationConfig(repetition_penalty=9.0, eos_token_id=NEVER, pad_token_id=0)
    ids_BT = torch.tensor(PROMPTS[:1])
    asked = GenerationConfig(max_new_tokens=12, do_sample=False)
    penalised_BT = model.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), generation_config=asked)
    assert penalised_BT[:, ids_BT.shape[1] :].tolist() != plain
    assert generate(model, PROMPTS[:1], max_new=12, ends=[NEVER]) == plain
    assert model.generation_config is own
