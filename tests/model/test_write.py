"""Documents that a model writes: exactly as a plain loop draws them, whatever the batch and whatever was stopped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from tiny import ARCHS, POSITIONS, new_work, tiny_base, tiny_tokenizer
from tokenizers import Tokenizer

from aurora_m.core.canon import hash64
from aurora_m.core.ends import Ends, Mark
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import DOCS, FetchFacts, read_all
from aurora_m.model import write as room
from aurora_m.model.generate import Sampling
from aurora_m.model.load import load_model
from aurora_m.model.write import write

SEED, NUMBER = 17, 32
ENDS = [0, *range(40, 50)]  # so many that most documents end


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A base of each family, in which many tokens end a text."""
    folder = tmp_path_factory.mktemp("bases")
    tokenizer = tiny_tokenizer(folder)
    found = {arch: tiny_base(folder, tokenizer, arch) for arch in ARCHS}
    for base in found.values():
        marks = [Mark(number, "", "it") for number in ENDS]
        Ends(marks[0], None, tuple(marks[1:])).write(base.path)
    return found


def written(work: Work, base: Artifact, **changes: Any) -> tuple[pa.Table, FetchFacts]:
    asked = {"documents": NUMBER, "source": "own", "lang": "mul", "seed": SEED, **changes}
    facts = write(work, model=base, **asked)
    return read_all(work.out), facts


def drawn(base: Artifact, number: int) -> tuple[str, bool]:
    """One document by a plain loop that reads all its tokens again for each new one; and whether it was cut."""
    net, tokenizer = load_model(base.path), Tokenizer.from_file(str(base.path / "tokenizer.json"))
    stream = torch.Generator().manual_seed(hash64(f"{SEED} own") % 2**32 * 1_000_003 + number)
    ids = [0]
    with torch.inference_mode():
        while len(ids) < POSITIONS:
            logits_V = net(torch.tensor([ids])).logits[0, -1].double()
            logits_V[1:4] = float("-inf")  # the marks of infilling
            sums_V = logits_V.softmax(-1).cumsum(-1)
            draw = float(torch.rand(1, generator=stream, dtype=torch.float64))
            new = int((sums_V > draw * sums_V[-1]).nonzero()[0])
            if new in ENDS:
                return tokenizer.decode(ids[1:]), False
            ids.append(new)
    return tokenizer.decode(ids[1:]).rstrip("\ufffd"), True


@pytest.mark.parametrize("arch", ARCHS)
def test_documents_are_draws_of_a_plain_loop(bases: dict[str, Artifact], tmp_path: Path, arch: str) -> None:
    table, facts = written(new_work(tmp_path / "w"), bases[arch])
    plain = [drawn(bases[arch], number) for number in range(NUMBER)]
    kept = [(f"own:{number}", text, cut) for number, (text, cut) in enumerate(plain, 1) if text.strip()]
    assert table.schema == DOCS
    assert table["id"].to_pylist() == [name for name, _, _ in kept]
    assert table["text"].to_pylist() == [text for _, text, _ in kept]
    assert {(row["source"], row["lang"], row["meta"]) for row in table.to_pylist()} == {("own", "mul", "{}")}
    assert to_json(facts) == {
        "docs": len(kept),
        "bytes": sum(len(text.encode()) for _, text, _ in kept),
        "skipped": {"empty": NUMBER - len(kept)},
        "repairs": {},
        "cut": sum(cut for *_, cut in kept),
    }
    assert 0 < len(kept) < NUMBER, "some are empty"
    assert 0 < facts.cut < len(kept), "some are cut, and some end"


def test_the_bytes_do_not_depend_on_how_many_are_written_side_by_side(
    bases: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for size in (1, 7, 64):
        monkeypatch.setattr(room, "PART_DOCS", size)
        work = new_work(tmp_path / str(size))
        facts = write(work, model=bases["llama"], documents=NUMBER, source="own", lang="mul", seed=SEED)
        found.append((facts, {path.name: path.read_bytes() for path in (work.out / "docs").iterdir()}))
    assert found[0] == found[1] == found[2]


def test_fewer_documents_are_the_first_of_more(bases: dict[str, Artifact], tmp_path: Path) -> None:
    few, _ = written(new_work(tmp_path / "few"), bases["llama"], documents=9)
    more, _ = written(new_work(tmp_path / "more"), bases["llama"])
    assert few.equals(more.slice(0, len(few)))


def test_each_source_and_seed_has_documents_of_its_own(bases: dict[str, Artifact], tmp_path: Path) -> None:
    texts = []
    for at, changes in enumerate(({}, {"source": "other"}, {"seed": 18})):
        table, _ = written(new_work(tmp_path / str(at)), bases["llama"], **changes)
        texts += [text for text in table["text"].to_pylist() if len(text) > 8]
    assert len(texts) > NUMBER
    assert len(set(texts)) == len(texts)


def test_a_stopped_step_keeps_what_was_whole(
    bases: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PART_DOCS", 5)
    whole, facts = written(new_work(tmp_path / "whole"), bases["llama"])
    generate, calls = room.generate, []

    def until_killed(*words: Any, sampling: Sampling, **rest: Any) -> list[list[int]]:
        calls.append(sampling.first)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*words, sampling=sampling, **rest)

    monkeypatch.setattr(room, "generate", until_killed)
    stopped = new_work(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        written(stopped, bases["llama"])
    again = replace(stopped, out=tmp_path / "again")  # a step begins with an empty folder, and the scratch it left
    again.out.mkdir()
    table, same = written(again, bases["llama"])
    assert calls == [0, 5, 10, *range(10, NUMBER, 5)]
    assert (table, same) == (whole, facts)

    monkeypatch.setattr(room, "load_model", None)  # all parts are there: no model is read
    last = replace(stopped, out=tmp_path / "last")
    last.out.mkdir()
    assert written(last, bases["llama"]) == (whole, facts)


def test_half_a_character_at_a_cut_goes(bases: dict[str, Artifact], tmp_path: Path) -> None:
    work = new_work(tmp_path / "w")
    table, _ = written(work, bases["llama"], documents=64)
    (part,) = work.scratch.iterdir()
    rows = read_jsonl(part)
    halves = [row["text"] for row in rows if row["cut"] and row["text"].endswith("\ufffd")]
    assert halves
    texts = set(table["text"].to_pylist())
    assert not texts & set(halves)
    assert {half.rstrip("\ufffd") for half in halves} <= texts
    assert {row["text"] for row in rows if not row["cut"] and row["text"].strip()} <= texts, "only at a cut"


@pytest.mark.parametrize(("lead", "start", "stops"), [(Mark(9, "m", "it"), 9, [0, 7]), (None, 0, [0, 7])])
def test_a_text_begins_and_ends_as_the_base_says(
    bases: dict[str, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lead: Mark | None,
    start: int,
    stops: list[int],
) -> None:
    base = _copy(bases["llama"], tmp_path)
    Ends(Mark(0, "<|endoftext|>", "it"), lead, (Mark(7, "k", "it"),)).write(base.path)
    asked: list[dict[str, Any]] = []

    def heard(net: Any, prompts: list[list[int]], **given: Any) -> list[list[int]]:
        asked.append({"prompts": prompts, **given})
        return [[] for _ in prompts]

    monkeypatch.setattr(room, "generate", heard)
    table, facts = written(new_work(tmp_path / "w"), base, documents=2)
    assert (len(table), facts) == (0, FetchFacts(0, 0, {"empty": 2}, {}, 0))
    (given,) = asked
    assert (given["prompts"], given["ends"]) == ([[start], [start]], stops)
    assert given["max_new"] == POSITIONS - 1
    assert given["sampling"].never == [1, 2, 3], "the marks of infilling"


def test_rows_without_a_token_are_never_said(
    bases: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = load_model(bases["llama"].path)
    vocab = net.config.vocab_size
    net.resize_token_embeddings(vocab + 8)
    base = _copy(bases["llama"], tmp_path)
    net.save_pretrained(base.path)
    generate, said = room.generate, []

    def kept(*words: Any, sampling: Sampling, **given: Any) -> list[list[int]]:
        assert sampling.never == [1, 2, 3, *range(vocab, vocab + 8)]
        rows = generate(*words, sampling=sampling, **given)
        freely = generate(*words, sampling=replace(sampling, never=()), **given)
        said.extend([{number for row in found for number in row} for found in (rows, freely)])
        return rows

    monkeypatch.setattr(room, "generate", kept)
    written(new_work(tmp_path / "w"), base, documents=64)
    assert max(said[0]) < vocab <= max(said[1])


def _copy(base: Artifact, folder: Path) -> Artifact:
    (folder / "base").mkdir()
    for path in base.path.iterdir():
        (folder / "base" / path.name).write_bytes(path.read_bytes())
    return Artifact(folder / "base", "", {})
