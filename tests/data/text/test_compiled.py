"""Where compiled kernels are kept: numba unpickles them, so only this user may write there."""

import os
import tempfile
from pathlib import Path

import pytest

from aurora_m.data.text import compiled


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A cache and a temporary folder of a test's own."""
    for name in ("cache", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(tmp_path / "tmp" / f"{prefix}once"))
    return tmp_path / "cache", tmp_path / "tmp"


def test_kernels_are_kept_in_the_cache_of_the_user(places: tuple[Path, Path]) -> None:
    folder = Path(compiled._folder())
    assert folder.parent == places[0] / "aurora-m"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert compiled._folder() == str(folder)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_not_read(places: tuple[Path, Path], mode: int) -> None:
    tmp = places[1]
    folder = Path(compiled._folder())
    folder.chmod(mode)
    again = Path(compiled._folder())
    assert again.parent == tmp / f"aurora-m-{os.getuid()}"
    again.parent.chmod(mode)
    assert compiled._folder() == str(tmp / "aurora-m-once")


def test_a_link_that_somebody_laid_is_not_followed(places: tuple[Path, Path], tmp_path: Path) -> None:
    cache, tmp = places
    (tmp_path / "elsewhere").mkdir()
    (cache / "aurora-m").symlink_to(tmp_path / "elsewhere")
    (tmp / f"aurora-m-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert compiled._folder() == str(tmp / "aurora-m-once")


def test_a_cache_of_somebody_else(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    compiled._folder()
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert compiled._folder() == str(places[1] / "aurora-m-once")


def test_a_home_that_cannot_be_written_to(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (places[0] / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(places[0] / "file"))
    assert Path(compiled._folder()).parent == places[1] / f"aurora-m-{os.getuid()}"
