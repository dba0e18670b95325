"""The suites that ship with the package or stand in a recipe's folder, as items; step `collect`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aurora_m.core.canon import digest, file_digest
from aurora_m.core.errors import DataError, Missing, RecipeError, did_you_mean
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.step import Facts, Work
from aurora_m.core.uri import SAMPLE, local_files
from aurora_m.evals.safety import JUDGED
from aurora_m.evals.task import Item

LANGS = ("en", "fi", "hi", "ja", "vi")
FORM = {  # how a question is asked, and what stands before an answer
    "en": ("Question: {}\nAnswer:", " "),
    "fi": ("Kysymys: {}\nVastaus:", " "),
    "hi": ("प्रश्न: {}\nउत्तर:", " "),
    "ja": ("質問:{}\n答え:", ""),
    "vi": ("Câu hỏi: {}\nTrả lời:", " "),
}
FILE = "file:"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One file of a suite and how its rows become items."""

    path: Path
    read: Callable[[Row], list[Item]]


def _choice(lang: str, row: Row) -> list[Item]:
    form, gap = FORM[lang]
    choices = tuple(gap + choice for choice in row["choices"])
    prompt = form.format(row["question"])
    return [Item(row["id"], f"choice_{lang}", "choice", lang, prompt, choices, row["answer"], group=row["id"])]


def _cloze(lang: str, row: Row) -> list[Item]:
    options, answer, after = tuple(row["options"]), row["answer"], row["after"]
    return [Item(row["id"], f"cloze_{lang}", "cloze", lang, row["before"], options, answer, after, group=row["id"])]


def _code(row: Row) -> list[Item]:
    about = {"prompt": row["prompt"], "answer": row["solution"], "tests": row["tests"], "entry": row["entry"]}
    return [Item(row["id"], "code", "code", "code", **about, group=row["id"])]


def _infill(row: Row) -> list[Item]:
    about = {"prompt": row["before"], "answer": row["middle"], "after": row["after"]}
    return [Item(row["id"], "infill", "infill", "code", **about, group=row["id"])]


def _safety(row: Row) -> list[Item]:
    if row["split"] != "held_out":
        return []
    name, concern = row["id"], row["concern"]
    lang, _, group = name.partition("-")
    return [
        Item(name, f"refuse_{lang}", "refuse", lang, row["prompt"], concern=concern, group=group),
        Item(f"{name}-twin", f"comply_{lang}", "comply", lang, row["twin"], concern=concern, group=group),
    ]


def _language(lang: str) -> tuple[Part, ...]:
    folder = SAMPLE / "evals"
    return (
        Part(folder / f"choice_{lang}.jsonl", partial(_choice, lang)),
        Part(folder / f"cloze_{lang}.jsonl", partial(_cloze, lang)),
    )


SUITES: dict[str, tuple[Part, ...]] = {
    **{lang: _language(lang) for lang in LANGS},
    "code": (Part(SAMPLE / "evals/code.jsonl", _code), Part(SAMPLE / "evals/infill.jsonl", _infill)),
}
SAFETY = "safety"  # the suite of the rows that nobody trains on


def pin_suites(suites: list[str], safety: str, root: Path) -> str:
    """Digest of all that the suites hold. RecipeError on an unknown suite, Missing on a missing file."""
    return digest({suite: [_file_digest(part.path) for part in _parts(suite, safety, root)] for suite in suites})


def collect(work: Work, *, suites: list[str], safety: str, pin: str) -> Facts:
    """Write the suites' items, sorted by task and id, and for each the text that training data must not hold.

    `safety` names the safety rows, `file:GLOB` or `sample:NAME`, whose held-out part is the suite `safety`.
    items.jsonl: `Item` rows. overlap.jsonl: {id, text}. DataError if a file is not the one that was pinned.
    """
    root = work.runtime.root
    if pin_suites(suites, safety, root) != pin:
        raise DataError("an evaluation file has changed since the plan was made", at=str(root), hint="run again")
    items = sorted(
        (item for suite in suites for part in _parts(suite, safety, root) for item in _items(part)),
        key=lambda item: (item.task, item.id),
    )
    for name, count in Counter(item.id for item in items).items():
        if count > 1:
            raise DataError(f"two items have the id `{name}`", at=", ".join(suites), hint="give each item its own id")
    write_jsonl(work.out / "items.jsonl", (item.to_json() for item in items))
    write_jsonl(work.out / "overlap.jsonl", ({"id": item.id, "text": whole_text(item)} for item in items))
    return {"items": len(items), "tasks": dict(sorted(Counter(item.task for item in items).items()))}


def read_items(folder: Path) -> list[Item]:
    """The items that `collect` wrote to a folder."""
    path = folder / "items.jsonl"
    return [Item.from_json(row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1)]


def whole_text(item: Item) -> str:
    """The item with its right answer, as it would stand in a text that gives it away: without our form of asking."""
    answer = item.choices[item.answer] if isinstance(item.answer, int) else item.answer
    prompt, gap = item.prompt, ""
    if item.kind == "choice" and item.lang in FORM:
        before, after = FORM[item.lang][0].split("{}")
        prompt, gap = prompt.removeprefix(before).removesuffix(after), " "
    return prompt + gap + answer.removeprefix(gap) + item.after


def _items(part: Part) -> Iterator[Item]:
    for number, row in enumerate(read_jsonl(part.path), 1):
        try:
            for item in part.read(row):
                _check_lang(item)
                yield item
        except KeyError as error:
            hint = "see the other rows of the file"
            raise DataError(f"a row has no `{error.args[0]}`", at=f"{part.path}:{number}", hint=hint) from None
        except DataError as error:
            raise DataError(error.what, at=f"{part.path}:{number}", hint=error.hint) from None


def _check_lang(item: Item) -> None:
    if item.kind in ("refuse", "comply") and item.lang not in JUDGED:
        what, listed = f"whether a reply in `{item.lang}` refuses cannot be judged", ", ".join(JUDGED)
        raise DataError(what, at=item.id, hint=f"the languages are {listed}")


def _parts(suite: str, safety: str, root: Path) -> tuple[Part, ...]:
    if suite == SAFETY:
        return tuple(Part(path, _safety) for path in local_files(safety, root).values())
    if suite.startswith(FILE):
        path = root / suite.removeprefix(FILE)
        return (Part(path, lambda row: [Item.from_json(row, str(path))]),)
    if suite not in SUITES:
        names = [*SUITES, SAFETY]
        listed = f"suites are {', '.join(names)} and `file:PATH.jsonl`"
        raise RecipeError(
            f"there is no suite `{suite}`",
            at="evals.suites",
            hint=did_you_mean(suite, names, listed),
        )
    return SUITES[suite]


def _file_digest(path: Path) -> str:
    if not path.is_file():
        raise Missing("an evaluation file is missing", at=str(path), hint="paths start at the recipe's folder")
    return file_digest(path)
