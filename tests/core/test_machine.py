"""The machine: what a process may use of it."""

import os

import pytest

from aurora_m.core.machine import load, processors


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors")
def test_a_bound_process_has_those_that_it_is_bound_to() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert processors() == len(before)


def test_a_system_that_binds_none_counts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert processors() == os.cpu_count()


def test_a_system_that_counts_no_load_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load() >= 0.0

    def none() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", none)
    assert load() == 0.0
