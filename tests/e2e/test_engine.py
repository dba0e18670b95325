"""The tiny recipe's curation in many shards: the same digests for one worker, for more, and on Ray."""

from pathlib import Path

import pytest

from aurora_m.core.log import Log
from aurora_m.core.run import run
from aurora_m.core.step import Runtime
from aurora_m.data.read import sources
from aurora_m.graph.build import build
from aurora_m.recipe import load
from tests.e2e.conftest import TINY

GOALS = ("datasheet", "mixture.cap", "mixture.cat")  # all of curation, and every token shard
SHARD_BYTES = 30_000


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes."""
    return digests(tmp_path_factory.mktemp("alone"), 1, "local")


def digests(folder: Path, workers: int, engine: str) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SHARD_BYTES", SHARD_BYTES)
        steps = build(load(TINY), TINY.parent)
        runtime = Runtime(folder, TINY.parent, workers=workers, engine=engine)
        made = run([steps[name] for name in GOALS], runtime, Log(quiet=True), "tiny")
    shards = [*folder.glob("artifacts/fetch.*/docs/*.parquet")]
    assert len(shards) > 3 * len(steps["datasheet"].inputs["fetched"])  # type: ignore[arg-type]
    return dict(zip(GOALS, (artifact.digest for artifact in made), strict=True))


def test_eight_workers_change_no_byte(tmp_path: Path, alone: dict[str, str]) -> None:
    assert digests(tmp_path, 8, "local") == alone


@pytest.mark.slow
def test_ray_changes_no_byte(tmp_path: Path, alone: dict[str, str]) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        assert digests(tmp_path, 2, "ray") == alone
    finally:
        ray.shutdown()
