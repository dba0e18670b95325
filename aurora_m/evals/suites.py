"""The suites: what `definitions/` says of them, and their items; step `collect`."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_m.core.canon import JSON, digest, file_digest
from aurora_m.core.errors import DataError, Missing, RecipeError, did_you_mean
from aurora_m.core.files import json_rows, write_jsonl
from aurora_m.core.step import Work
from aurora_m.core.typed import build, parse_toml
from aurora_m.core.uri import local_files, pin_files, unchanged
from aurora_m.evals.items import ITEMS, read_item, read_own_items, write_items
from aurora_m.evals.kinds import KINDS
from aurora_m.evals.task import Item, Task

DEFINITIONS = Path(__file__).with_name("definitions")
FORMAT = 1  # of a definition
FILE = "file:"


@dataclass(frozen=True)
class Suite:
    """One or more tasks under a name and a version, which goes up whenever their prompts or rows change."""

    format: int
    name: str
    version: int
    source: str
    license: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class ItemsFacts:
    """How many items there are, in all and by task."""

    items: int
    tasks: Mapping[str, int]


def suite_names() -> list[str]:
    """The suites that ship."""
    return sorted(path.stem for path in DEFINITIONS.glob("*.toml"))


def read_suite(path: Path) -> Suite:
    """Read a definition. DataError names an unknown, missing or wrong key, or another format."""
    try:
        data = parse_toml(path.read_text(encoding="utf-8"), str(path))
    except (RecipeError, UnicodeDecodeError) as error:
        raise DataError(
            f"a suite is {error.what if isinstance(error, RecipeError) else error}",
            at=str(path),
            hint="see the suites that ship",
        ) from None
    if data.get("format") != FORMAT:
        what = f"a suite of the format `{data['format']}`" if "format" in data else "a suite does not say its format"
        raise DataError(what, at=str(path), hint=f"this version of Aurora reads `format = {FORMAT}`")
    try:
        suite = build(Suite, data, str(path))
    except RecipeError as error:
        raise DataError(error.what, at=error.at, hint=error.hint) from None
    for task in suite.tasks:
        _check(task, f"{path}: {task.name}")
    return suite


def pin_suites(suites: list[str], safety: str, root: Path) -> str:
    """Digest of all that the suites hold. RecipeError on an unknown suite, Missing on a missing file."""
    definitions = {path.name: path for path in sorted(DEFINITIONS.glob("*.toml"))}  # all frame what is looked for
    rows: dict[str, JSON] = {name: [*_digests(name, safety, root)] for name in suites}
    return digest({"definitions": pin_files(definitions), "rows": rows})


def has_programs(suites: Sequence[str], root: Path) -> bool:
    """Whether there are items whose answers are run. RecipeError on an unknown suite."""
    return any(KINDS[kind].program for name in suites for kind in _kinds(name, root))


def collect(work: Work, *, suites: list[str], safety: str, pin: str) -> ItemsFacts:
    """Write the suites' items, sorted by task and id, and for each the text that training data must not hold.

    `safety` names the safety rows, `file:GLOB` or `sample:NAME`, whose held-out part is the suite `safety`.
    items.jsonl: `Item` rows. overlap.jsonl: {id, text}. DataError if a file is not the one that was pinned.
    """
    root = work.runtime.root
    with unchanged(lambda: pin_suites(suites, safety, root), pin, ", ".join(suites), _all_files(suites, safety, root)):
        pairs = [pair for name in suites for pair in _items(name, safety, root)]
    pairs.sort(key=lambda pair: (pair[0].task, pair[0].id))
    items = [item for item, _ in pairs]
    for name, count in Counter(item.id for item in items).items():
        if count > 1:
            raise DataError(f"two items have the id `{name}`", at=", ".join(suites), hint="give each item its own id")
    write_items(work.out / ITEMS, items)
    write_jsonl(work.out / "overlap.jsonl", ({"id": item.id, "text": text} for item, text in pairs))
    return ItemsFacts(len(items), dict(sorted(Counter(item.task for item in items).items())))


def _items(suite: str, safety: str, root: Path) -> Iterator[tuple[Item, str]]:
    """The items of a suite, and for each the text that gives it away."""
    if suite.startswith(FILE):
        tasks = [task for name in suite_names() for task in _shipped(name).tasks]
        for item in read_own_items(_own_file(suite, root)):
            alike = [task for task in tasks if (task.kind, task.lang) == (item.kind, item.lang)]
            yield item, _overlap(item, alike)
        return
    for task in _shipped(suite).tasks:
        for path in _files(task, safety, root).values():
            for at, row in json_rows(path):
                for item in _item(task, row, at):
                    yield item, _overlap(item, [task])


def _overlap(item: Item, tasks: list[Task]) -> str:
    """The item with its right answer, as a text would hold it: without what one of the tasks puts around a question."""
    for before, after in (task.frame() for task in tasks):
        if (before or after) and item.prompt.startswith(before) and item.prompt.endswith(after):
            question = item.prompt.removeprefix(before).removesuffix(after)
            return f"{question} {item.right.removeprefix(' ')}{item.after}"
    return item.prompt + item.right + item.after


def _item(task: Task, row: Mapping[str, object], at: str) -> Iterator[Item]:
    """The row's item, if it is one of the task's."""
    try:
        if task.takes(row):
            yield read_item(task.item(row), at)
    except KeyError as error:
        hint = "see the other rows of the file"
        raise DataError(f"a row has no `{error.args[0]}`", at=at, hint=hint) from None
    except DataError as error:
        raise DataError(error.what, at=at, hint=error.hint) from None


def _kinds(suite: str, root: Path) -> set[str]:
    """The kinds of a suite's items; none if its file is missing."""
    if not suite.startswith(FILE):
        return {task.kind for task in _shipped(suite).tasks}
    path = root / suite.removeprefix(FILE)
    return {item.kind for item in read_own_items(path)} if path.is_file() else set()


def _digests(suite: str, safety: str, root: Path) -> Iterator[str]:
    if suite.startswith(FILE):
        yield file_digest(_own_file(suite, root))
        return
    for task in _shipped(suite).tasks:
        yield pin_files(_files(task, safety, root))


def _all_files(suites: list[str], safety: str, root: Path) -> list[Path]:
    """Every file that the items are read from."""
    found = sorted(DEFINITIONS.glob("*.toml"))
    for name in suites:
        if name.startswith(FILE):
            found.append(_own_file(name, root))
            continue
        found += [path for task in _shipped(name).tasks for path in _files(task, safety, root).values()]
    return found


def _shipped(name: str) -> Suite:
    if name not in suite_names():
        listed = f"suites are {', '.join(suite_names())} and `file:PATH.jsonl`"
        hint = did_you_mean(name, suite_names(), listed)
        raise RecipeError(f"there is no suite `{name}`", at="evals.suites", hint=hint)
    return read_suite(DEFINITIONS / f"{name}.toml")


def _files(task: Task, safety: str, root: Path) -> dict[str, Path]:
    return local_files(task.rows.replace("{safety}", safety), root)


def _own_file(suite: str, root: Path) -> Path:
    path = root / suite.removeprefix(FILE)
    if not path.is_file():
        raise Missing("an evaluation file is missing", at=str(path), hint="paths start at the recipe's folder")
    return path


def _check(task: Task, at: str) -> None:
    if task.kind not in KINDS:
        hint = did_you_mean(task.kind, KINDS, f"kinds are {', '.join(KINDS)}")
        raise DataError(f"there is no kind `{task.kind}`", at=at, hint=hint)
    metrics = KINDS[task.kind].metrics
    if task.metric not in metrics:
        hint = did_you_mean(task.metric, metrics, f"metrics of `{task.kind}` are {', '.join(metrics)}")
        raise DataError(f"items of the kind `{task.kind}` have no metric `{task.metric}`", at=at, hint=hint)
