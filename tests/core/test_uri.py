"""Local places: the same names wherever the files lie, and pins that follow what they hold."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aurora_m.core.errors import DataError, Missing
from aurora_m.core.uri import SAMPLE, local_files, pin_files, pinned


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A recipe's folder with some files."""
    for name in ("data/b.jsonl", "data/a.jsonl", "data/en/a.jsonl", "data/fi/x/a.jsonl", "one.txt"):
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("file:one.txt", {"one.txt": "one.txt"}),
        ("file:data/a.jsonl", {"a.jsonl": "data/a.jsonl"}),
        ("file:data/*.jsonl", {"a.jsonl": "data/a.jsonl", "b.jsonl": "data/b.jsonl"}),
        ("file:data/*/a.jsonl", {"en/a.jsonl": "data/en/a.jsonl"}),
        ("file:*/a.jsonl", {"data/a.jsonl": "data/a.jsonl"}),
        (
            "file:data/**/*.jsonl",
            {
                "a.jsonl": "data/a.jsonl",
                "b.jsonl": "data/b.jsonl",
                "en/a.jsonl": "data/en/a.jsonl",
                "fi/x/a.jsonl": "data/fi/x/a.jsonl",
            },
        ),
        ("file:../here/data/en/*", {"a.jsonl": "data/en/a.jsonl"}),
        ("file:./data/[b]*", {"b.jsonl": "data/b.jsonl"}),
    ],
)
def test_files_and_their_names(root: Path, uri: str, names: dict[str, str]) -> None:
    found = local_files(uri, root)
    assert list(found) == sorted(names)
    assert {name: path.resolve() for name, path in found.items()} == {n: root / path for n, path in names.items()}


def test_folders_are_no_files(root: Path) -> None:
    assert list(local_files("file:data/*", root)) == ["a.jsonl", "b.jsonl"]


def test_names_and_pins_do_not_depend_on_the_place(root: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(root, tmp_path / "elsewhere"))
    pins = [pin_files(local_files("file:data/**/*.jsonl", place)) for place in (root, other)]
    assert pins[0] == pins[1]
    (other / "data/a.jsonl").write_text("changed")
    assert pin_files(local_files("file:data/**/*.jsonl", other)) != pins[0]
    shutil.copyfile(root / "data/a.jsonl", other / "data/a.jsonl")
    (other / "data/a.jsonl").rename(other / "data/c.jsonl")
    assert pin_files(local_files("file:data/**/*.jsonl", other)) != pins[0]


@pytest.mark.parametrize(
    ("uri", "what", "hint"),
    [
        ("file:none/*.jsonl", "no file matches `none/*.jsonl`", "paths are relative to the folder of the recipe"),
        ("file:data", "no file matches `data`", "paths are relative to the folder of the recipe"),
    ],
)
def test_no_file_matches(root: Path, uri: str, what: str, hint: str) -> None:
    with pytest.raises(Missing) as caught:
        local_files(uri, root)
    assert (caught.value.what, caught.value.at, caught.value.hint) == (what, str(root), hint)


@pytest.mark.parametrize("uri", ["", "data/a.jsonl", "file:", "sample:", "s3:bucket/x", "hf:owner/name"])
def test_what_names_no_file(root: Path, uri: str) -> None:
    with pytest.raises(DataError) as caught:
        local_files(uri, root)
    assert (caught.value.what, caught.value.at, caught.value.hint) == (
        f"`{uri}` names no file",
        uri or "an empty name",
        "write `file:data/*.jsonl` or `sample:texts/en`",
    )


def test_samples_ship_with_the_package(root: Path) -> None:
    assert local_files("sample:texts/en", root) == {"en.jsonl": SAMPLE / "texts/en.jsonl"}
    assert list(local_files("sample:safety/*", root)) == [f"{lang}.jsonl" for lang in ("en", "fi", "hi", "ja", "vi")]


def test_samples_of_one_name_are_all_found(root: Path) -> None:
    found = local_files("sample:*/en", root)
    assert {"texts/en.jsonl", "instructions/en.jsonl", "safety/en.jsonl"} <= set(found)
    assert all(path == SAMPLE / name for name, path in found.items())


def test_an_unknown_sample_lists_the_known_ones(root: Path) -> None:
    with pytest.raises(DataError) as caught:
        local_files("sample:texts/xx", root)
    assert caught.value.what == "there is no sample `texts/xx`"
    assert caught.value.at == "sample:texts/xx"
    assert caught.value.hint.startswith("the samples are `evals/choice_en`, `evals/choice_fi`, ")
    assert "`texts/vi`" in caught.value.hint


def edited_and_back(path: Path) -> None:
    """Another text of the same size for a moment, and the same times of change as far as they can be set."""
    content, about = path.read_bytes(), path.stat()
    path.write_bytes(content[::-1])
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "none": lambda path: path.read_bytes(),
    "the same size": lambda path: path.write_bytes(path.read_bytes()[::-1]),
    "another size": lambda path: path.write_bytes(b"x"),
    "gone": lambda path: path.unlink(),
    "edited and back": edited_and_back,
    "replaced by its copy": lambda path: (
        shutil.copy(path, path.with_suffix(".new")) and path.with_suffix(".new").rename(path)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.parametrize("fails", [False, True])
def test_what_is_read_is_what_was_pinned(root: Path, change: Callable[[Path], object], fails: bool) -> None:
    files = local_files("file:data/*.jsonl", root)
    pin, caught = pin_files(files), None
    try:
        with pinned(files, pin, "file:data/*.jsonl"):
            change(root / "data/a.jsonl")
            if fails:
                raise DataError("the line is not JSON", at="a", hint="b")
    except DataError as error:
        caught = error
    if change is CHANGES["none"]:
        assert caught is None or (fails and caught.what == "the line is not JSON")
    else:
        assert caught is not None
        assert caught.what == "files changed while the run was on its way"


def test_a_file_that_changed_between_pin_and_reading_is_told(root: Path) -> None:
    files = local_files("file:data/*.jsonl", root)
    pin = pin_files(files)
    path = root / "data/a.jsonl"
    about = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.raises(DataError, match="files changed"), pinned(files, pin, "file:data/*.jsonl"):
        path.read_bytes()


@pytest.mark.parametrize(
    "name", [b"\xff.jsonl", b"a\nb.jsonl", b"\x1b[2J.jsonl", "\u202ea.jsonl".encode(), b"\xc2\x9b.jsonl"]
)
def test_a_name_that_could_not_be_written_or_shown_is_refused(root: Path, name: bytes) -> None:
    (root / "data" / os.fsdecode(name)).write_text("x")
    with pytest.raises(DataError) as caught:
        local_files("file:data/*.jsonl", root)
    assert caught.value.what == "a file's name is not utf-8, or has control characters in it"
    assert caught.value.hint == "rename the file"
    assert caught.value.at.isprintable()
