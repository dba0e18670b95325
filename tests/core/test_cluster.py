"""Shard tasks on Ray: the same results in the same order; what is not there or dies is said in our words."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from aurora_m.core import cluster
from aurora_m.core.errors import DataError, RecipeError, StoreError
from aurora_m.core.tasks import map_shards
from tests.core.test_tasks import killed, squared, work_with, wrong

HOUSE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    """One of this machine, for all of these tests."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.mark.usefixtures("_ray")
def test_ray_gives_the_same(tmp_path: Path) -> None:
    work = work_with(tmp_path, 2, "ray")
    assert list(map_shards(work, partial(squared, folder=tmp_path), range(12), "squares")) == [
        (n, n * n) for n in range(12)
    ]
    with pytest.raises(DataError, match="three is wrong"):
        list(map_shards(work, wrong, range(5), "wrong"))
    assert list(map_shards(work, wrong, [], "none")) == []


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("times", [1, 99])
def test_a_killed_worker_is_as_in_the_pool(tmp_path: Path, times: int) -> None:
    tasks = map_shards(work_with(tmp_path, 2, "ray"), partial(killed, folder=tmp_path, times=times), range(4), "killed")
    if times == 1:
        assert list(tasks) == [0, 1, 2, 3]
        return
    with pytest.raises(StoreError, match=f"killed {cluster.RETRIES + 1} times") as caught:
        list(tasks)
    assert (caught.value.at, caught.value.hint) == ("task 3 of 4", "run with fewer --workers: memory")


def test_without_ray_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match="Ray is not installed") as caught:
        list(map_shards(work_with(tmp_path, 1, "ray"), wrong, [1], "wrong"))
    assert "aurora-m[ray]" in caught.value.hint


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "host:port"])
def test_a_cluster_that_is_not_there_is_said_soon(tmp_path: Path, address: str) -> None:
    pytest.importorskip("ray")
    code = (
        "import sys; from pathlib import Path; from aurora_m.core.errors import RecipeError\n"
        "from aurora_m.core.cluster import on_ray\n"
        "try: list(on_ray(2, len, ['a']))\n"
        "except RecipeError as error: print(error.what, error.at, error.hint, sep='\\n')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "RAY_ADDRESS": address, "RAY_TMPDIR": str(tmp_path)}
    began_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert time.monotonic() - began_s < 30  # 15 on a quiet machine
    what, at, hint = done.stdout.splitlines()
    assert what.startswith("no Ray cluster answers: ")
    assert at == f"RAY_ADDRESS={address}"
    assert hint == "start one there (`ray start --head`), or unset RAY_ADDRESS to run on this machine alone"
    assert done.stderr == ""


LISTENS = """
import sys
from aurora_m.core.cluster import on_ray
assert list(on_ray(1, len, ["ab"])) == [2]
print("there", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ray_listens_on_the_loopback_only() -> None:
    pytest.importorskip("ray")
    mark = uuid.uuid4().hex
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "AURORA_MARK": mark}
    run = subprocess.Popen(
        [sys.executable, "-c", LISTENS], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert run.stdout
        assert run.stdout.readline() == "there\n"
        found = list(listening(mark))
    finally:
        run.communicate(timeout=60)
    assert len(found) >= 3
    assert all(address.endswith("0100007F") or address == f"{1:032X}" for address in found), found


def listening(mark: str) -> Iterator[str]:
    """The addresses on which processes listen that have a mark in their environment, as the kernel writes them."""
    inodes: set[str] = set()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark.encode() in (process / "environ").read_bytes():
                inodes |= {os.readlink(handle) for handle in (process / "fd").iterdir()}
        except OSError:
            continue
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            row = line.split()
            if row[3] == "0A" and f"socket:[{row[9]}]" in inodes:
                yield row[1].partition(":")[0]


LOSES_A_NODE = """
import os, sys, time
from functools import partial
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from aurora_m.core.tasks import map_shards
from tests.core.test_cluster import slow
from tests.core.test_tasks import work_with

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = cluster.address
    found = []
    for result in map_shards(work_with(folder, 1, "ray"), slow, range(18), "squares"):
        found.append(result)
        if len(found) == 4:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
    end_s = time.monotonic() + 60
    while (alive := sum(node["Alive"] for node in ray.nodes())) == 3 and time.monotonic() < end_s:
        time.sleep(0.1)  # the cluster notices later than the tasks that were lost
    (folder / "found").write_text(f"{alive} {found}")
    ray.shutdown()
    cluster.shutdown()
"""


def slow(task: int) -> int:
    time.sleep(0.3)
    return task * task


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    program = tmp_path / "program.py"
    program.write_text(LOSES_A_NODE)
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    command = [sys.executable, str(program), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "found").read_text() == f"2 {[n * n for n in range(18)]}"
