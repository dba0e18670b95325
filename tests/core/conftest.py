"""Fixtures of the core tests: the toy step functions, here and in child processes."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOY = Path(__file__).with_name("toy.py")
ROOT = Path(__file__).parents[2]

Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The toy step functions, importable as `aurora_m.toy`."""
    spec = importlib.util.spec_from_file_location("aurora_m.toy", TOY)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "aurora_m.toy", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def child() -> Iterator[Child]:
    """Start a Python process with the toy functions: `child(store, code, **more of Popen)`."""
    started: list[subprocess.Popen[str]] = []

    def start(store: Path, code: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None) -> Any:
        process = subprocess.Popen(
            [*before, sys.executable, str(TOY), str(store), code],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
