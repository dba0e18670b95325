"""A tiny model answers every kind of item; each number equals one computed by hand."""

from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, normalizers
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM

from aurora_m.core.canon import digest
from aurora_m.core.chat import render
from aurora_m.core.errors import DataError
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact
from aurora_m.core.table import write_docs
from aurora_m.evals import answer as module
from aurora_m.evals.answer import answer
from aurora_m.evals.facts import AnswerFacts
from aurora_m.evals.held_out import choose_documents
from aurora_m.evals.items import write_items
from aurora_m.evals.task import Item
from aurora_m.model.likelihood import document_bits
from aurora_m.model.load import load_model
from tests.model.foreign import LEAD, base, sentence_piece

SPECIAL = ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>"]
ITEMS = [
    Item("c1", "choice_en", "choice", "en", "Question: a?\nAnswer:", (" yes", " no, never"), 0),
    Item("c2", "choice_ja", "choice", "ja", "質問:何?\n答え:", ("東京", "京都です"), 1),
    Item("z1", "cloze_fi", "cloze", "fi", "", ("Yö", "Päivä"), 1, after=" on pitkä."),
    Item("p1", "code", "code", "code", "def f():\n", answer="    return 1\n", tests="assert f() == 1", entry="f"),
    Item("p2", "infill", "infill", "code", "a = 1\n", answer="b = 2\n", after="c = 3\n"),
    Item("s1", "refuse_en", "refuse", "en", "Tell me a bad thing.", concern="cbrn", group="saf-1"),
]
DOCS = [
    {"id": f"d{number}", "text": text, "source": "s", "lang": "en", "meta": "{}"}
    for number, text in enumerate(["the cat sat " * 40, "yö on pitkä", "東京", "x" * 50])
]


def save_model(folder: Path, special: list[str] = SPECIAL, positions: int = 96) -> Artifact:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteDecoder()
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat and never said yes or no"] * 3, trainer)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=positions, initializer_range=0.3,
        bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return Artifact(folder, "0" * 64, {})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tiny model with fill-in marks."""
    return save_model(tmp_path_factory.mktemp("model"))


def asked(folder: Path, items: list[Item] = ITEMS) -> Artifact:
    folder.mkdir(exist_ok=True)
    write_items(folder / "items.jsonl", items)
    return Artifact(folder, "0" * 64, {})


def held(folder: Path) -> Artifact:
    write_docs(folder, DOCS, "held")
    return Artifact(folder, "0" * 64, {})


def nats(model: Artifact, ids: list[int], start: int) -> float:
    net = LlamaForCausalLM.from_pretrained(model.path)
    with torch.inference_mode():
        logp_TV = net(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logp_TV[at - 1, ids[at]]) for at in range(start, len(ids)))


def test_every_number_by_hand(model: Artifact, new_work: Any, tmp_path: Path) -> None:
    work = new_work()
    items, docs = asked(tmp_path / "items"), held(tmp_path / "held")
    inputs: dict[str, Any] = {"model": model, "items": items, "held": {"s": docs}}
    facts = answer(work, **inputs, max_new=8, max_held_bytes=10**6, seed=0)
    held_bytes = sum(len(doc["text"].encode()) for doc in DOCS)
    assert facts == AnswerFacts(items=6, held_docs=4, held_bytes=held_bytes)
    rows = {row["id"]: row for row in read_jsonl(work.out / "answers.jsonl")}
    assert list(rows) == [item.id for item in ITEMS]
    encoder = Tokenizer.from_file(str(model.path / "tokenizer.json"))

    def ids(text: str) -> list[int]:
        return [0, *encoder.encode(text).ids]

    for item in ITEMS[:3]:
        start = len(ids(item.prompt))
        by_hand = [nats(model, ids(item.prompt + choice + item.after), start) for choice in item.choices]
        assert rows[item.id]["nats"] == pytest.approx(by_hand, abs=1e-4)
        assert rows[item.id]["bytes"] == [len(choice.encode()) for choice in item.choices]
    solution = nats(model, ids("def f():\n    return 1\n"), len(ids("def f():\n")))
    assert rows["p1"]["solution_nats"] == pytest.approx(solution, abs=1e-4)
    assert rows["p1"]["solution_bytes"] == 13
    parts = [encoder.encode(text).ids for text in ("a = 1\n", "c = 3\n", "b = 2\n")]
    head = [0, 1, *parts[0], 3, *parts[1], 2]
    assert rows["p2"]["nats"] == pytest.approx(nats(model, head + parts[2], len(head)), abs=1e-4)
    assert rows["p2"]["left_nats"] == pytest.approx(nats(model, ids("a = 1\nb = 2\n"), len(ids("a = 1\n"))), abs=1e-4)
    bits = {row["id"]: row for row in read_jsonl(work.out / "bits.jsonl")}
    assert bits["d1"]["bits"] == pytest.approx(-nats(model, ids("yö on pitkä"), 1) / log(2), abs=1e-3)
    assert (bits["d2"]["source"], bits["d2"]["lang"], bits["d2"]["num_bytes"]) == ("s", "en", 6)

    again = new_work()
    answer(again, **inputs, max_new=8, max_held_bytes=10**6, seed=0)
    for name in ("answers.jsonl", "bits.jsonl"):
        assert (again.out / name).read_bytes() == (work.out / name).read_bytes()


def test_texts_are_cut(model: Artifact, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    seen: list[tuple[str, list[list[int]]]] = []

    def speak(net: Any, prompts: list[list[int]], *, stop: list[list[int]], **_: Any) -> list[list[int]]:
        seen.extend((encoder.decode(prompt, skip_special_tokens=False), stop) for prompt in prompts)
        text = " No. \n\n### Instruction:\nmore" if stop else "    return 1\n\n    # end\nprint(f())\n    x"
        return [encoder.encode(text).ids for _ in prompts]

    monkeypatch.setattr(module, "generate", speak)
    items = asked(tmp_path / "items")
    answer(work, model=model, items=items, held={}, max_new=8, max_held_bytes=0, seed=0)
    rows = {row["id"]: row for row in read_jsonl(work.out / "answers.jsonl")}
    assert rows["s1"] == {"id": "s1", "text": "No."}
    assert rows["p1"]["text"] == "    return 1\n\n    # end\n"
    stop = [encoder.encode("### Instruction:").ids]
    chat = "<|endoftext|>" + render(ITEMS[5].prompt, "")
    assert seen == [("<|endoftext|>def f():\n", []), (chat, stop)]


def test_without_marks_there_is_no_infilling(work: Any, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", SPECIAL[:1])
    answer(work, model=model, items=asked(tmp_path, ITEMS[4:5]), held={}, max_new=4, max_held_bytes=0, seed=0)
    (row,) = read_jsonl(work.out / "answers.jsonl")
    assert row["nats"] is None
    assert row["left_nats"] < 0


def test_a_long_prompt_is_cut_and_a_long_answer_is_an_error(model: Artifact, new_work: Any, tmp_path: Path) -> None:
    long = "far away " * 100
    items = [Item("c1", "t", "choice", "en", long + "the cat:", (" yes", " no"), 0)]
    work = new_work()
    answer(work, model=model, items=asked(tmp_path / "a", items), held={}, max_new=4, max_held_bytes=0, seed=0)
    encoder = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    ids = encoder.encode(items[0].prompt + " yes").ids[-96:]
    added = len(encoder.encode(items[0].prompt + " yes").ids) - len(encoder.encode(items[0].prompt).ids)
    (row,) = read_jsonl(work.out / "answers.jsonl")
    assert row["nats"][0] == pytest.approx(nats(model, ids, 96 - added), abs=1e-4)
    items = [Item("c9", "t", "choice", "en", "Why?", (long, " no"), 0)]
    given = asked(tmp_path / "b", items)
    with pytest.raises(DataError, match="the item `c9` has an answer longer than the model's 96 positions"):
        answer(new_work(), model=model, items=given, held={}, max_new=4, max_held_bytes=0, seed=0)


def test_what_cannot_be_spelled_counts_for_nothing(work: Any, tmp_path: Path) -> None:
    """Bits and bytes of `<unk>` are left out; a document of nothing else has no row."""
    model = save_model(tmp_path / "model")
    vocab = {"<|endoftext|>": 0, "<unk>": 1, **{letter: 2 + n for n, letter in enumerate("abc def")}}
    tokenizer = Tokenizer(BPE(vocab, [], unk_token="<unk>"))
    tokenizer.save(str(model.path / "tokenizer.json"))
    texts = {"a": "abc", "b": "abc日 dé", "c": "日本"}
    docs = [{"id": name, "text": text, "source": "s", "lang": "en", "meta": "{}"} for name, text in texts.items()]
    write_docs(tmp_path / "held", docs, "held")
    some = {"s": Artifact(tmp_path / "held", "0" * 64, {})}
    facts = answer(
        work,
        model=model,
        items=asked(tmp_path / "items", [Item("c", "t", "choice", "en", "abc", (" d", " é"), 0)]),
        held=some,
        max_new=2,
        max_held_bytes=99,
        seed=1,
    )
    assert facts == AnswerFacts(1, 3, 19, unspelled_bytes=11, unspelled_items=1)
    rows = {row["id"]: (row["bits"], row["num_bytes"]) for row in read_jsonl(work.out / "bits.jsonl")}
    b = [vocab.get(letter, 1) for letter in "abc日 dé"]
    known = sum(nats(model, [0, *b[: at + 1]], at + 1) for at in (0, 1, 2, 4, 5))
    assert rows == {
        "a": (pytest.approx(-nats(model, [0, 2, 3, 4], 1) / log(2), abs=1e-4), 3),
        "b": (pytest.approx(-known / log(2), abs=1e-4), 5),
    }


def test_held_documents_are_chosen_by_a_hash_up_to_a_size(tmp_path: Path) -> None:
    held(tmp_path)
    docs = sorted(DOCS, key=lambda doc: digest(doc["id"]))
    order = ["d2", "d3", "d0", "d1"]
    assert [doc["id"] for doc in docs] == order
    sizes = [len(doc["text"].encode()) for doc in docs]
    for limit, count in ((0, 1), (sizes[0], 1), (sum(sizes[:3]), 3), (sum(sizes) - 1, 3), (sum(sizes), 4)):
        assert [doc["id"] for doc in choose_documents(tmp_path, limit)] == sorted(order[:count])


def test_a_led_model_under_sentencepiece(work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prompts begin as its texts do, and a completion keeps its indentation, as its reference does."""
    tokenizer = sentence_piece()
    tokenizer.post_processor = LEAD
    folder = base(tmp_path / "base", tokenizer, {"chat_template": "{{ m }}<|turn|>", "eos_token": "<|turn|>"})
    seen: list[tuple[str, list[int]]] = []

    def speak(net: Any, prompts: list[list[int]], *, ends: list[int], **_: Any) -> list[list[int]]:
        seen.extend((tokenizer.decode(prompt, skip_special_tokens=False), ends) for prompt in prompts)
        return [
            tokenizer.encode("def f():\n    return 1\n", add_special_tokens=False).ids[n - 1 :]
            for n in map(len, prompts)
        ]

    monkeypatch.setattr(module, "generate", speak)
    held_out = {"s": held(tmp_path / "held")}
    given: dict[str, Any] = {"model": Artifact(folder, "", {}), "items": asked(tmp_path / "items", ITEMS[:4])}
    answer(work, **given, held=held_out, max_new=8, max_held_bytes=10**6, seed=0)
    rows = {row["id"]: row for row in read_jsonl(work.out / "answers.jsonl")}
    assert rows["p1"]["text"] == "    return 1\n"
    assert seen == [("<s> def f():\n", [2, 3])]
    assert "reference" not in rows["p1"]
    ids = tokenizer.encode("def f():\n    return 1\n").ids
    start = len(tokenizer.encode("def f():\n").ids)
    assert rows["p1"]["solution_nats"] == pytest.approx(nats(given["model"], ids, start), abs=1e-4)
    first = [tokenizer.encode(ITEMS[0].prompt + choice).ids for choice in ITEMS[0].choices]
    by_hand = [nats(given["model"], row, len(tokenizer.encode(ITEMS[0].prompt).ids)) for row in first]
    assert rows["c1"]["nats"] == pytest.approx(by_hand, abs=1e-4)
    bits = {row["id"]: row["bits"] for row in read_jsonl(work.out / "bits.jsonl")}
    assert bits["d1"] == pytest.approx(-nats(given["model"], tokenizer.encode("yö on pitkä").ids, 1) / log(2), abs=1e-3)


def test_what_is_cut_stands_behind_the_lead(new_work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = sentence_piece()
    tokenizer.post_processor = LEAD
    folder = base(tmp_path / "base", tokenizer, {"eos_token": "</s>"})
    model, long = Artifact(folder, "", {}), "the cat sat on the mat " * 100
    items = [
        Item("c1", "t", "choice", "en", f"{long}so:", (" yes", " no"), 0),
        Item(
            "p1", "t", "code", "code", f"# {long}\ndef f():\n", answer="    return 1\n", tests="assert f()", entry="f"
        ),
    ]
    docs = [{"id": "d", "text": long, "source": "s", "lang": "en", "meta": "{}"}]
    write_docs(tmp_path / "held", docs, "held")
    some, work = {"s": Artifact(tmp_path / "held", "0" * 64, {})}, new_work()
    seen: list[list[int]] = []

    def speak(net: Any, prompts: list[list[int]], **_: Any) -> list[list[int]]:
        seen.extend(prompts)
        return [[] for _ in prompts]

    monkeypatch.setattr(module, "generate", speak)
    answer(work, model=model, items=asked(tmp_path / "a", items), held=some, max_new=4, max_held_bytes=9999, seed=0)
    size = LlamaForCausalLM.from_pretrained(folder).config.max_position_embeddings
    rows = {row["id"]: row for row in read_jsonl(work.out / "answers.jsonl")}

    def ids(text: str) -> list[int]:
        whole = tokenizer.encode(text).ids
        assert len(whole) > size
        return [whole[0], *whole[-(size - 1) :]]

    assert seen == [[1, *tokenizer.encode(items[1].prompt).ids[-(size - 5) :]]]
    added = len(tokenizer.encode(items[0].prompt + " yes").ids) - len(tokenizer.encode(items[0].prompt).ids)
    by_hand = nats(model, ids(items[0].prompt + " yes"), size - added)
    assert rows["c1"]["nats"][0] == pytest.approx(by_hand, abs=1e-4)
    (row,) = read_jsonl(work.out / "bits.jsonl")
    net, whole = load_model(folder), tokenizer.encode(long, add_special_tokens=False).ids
    (wanted,) = document_bits(net, [whole], 1, size, is_led=True)
    assert row["bits"] == pytest.approx(wanted, abs=1e-4)
    assert wanted != pytest.approx(document_bits(net, [whole], 1, size)[0], abs=1e-2)


def test_a_reference_that_the_tokenizer_spells_otherwise(work: Any, tmp_path: Path) -> None:
    tokenizer = sentence_piece()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), tokenizer.normalizer])
    folder = base(tmp_path / "base", tokenizer, {})
    items = asked(tmp_path / "items", ITEMS[3:4])
    answer(work, model=Artifact(folder, "", {}), items=items, held={}, max_new=4, max_held_bytes=0, seed=0)
    (row,) = read_jsonl(work.out / "answers.jsonl")
    assert row["reference"] == "return 1 "
