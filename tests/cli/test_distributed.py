"""The options of runs in several processes: what is wrong is said before anything starts."""

from pathlib import Path

import pytest

from aurora_m.cli import distributed
from aurora_m.cli.main import main, parser

TINY = Path(__file__).parents[2] / "recipes/tiny.toml"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replicas", "0"], "error: `0` is too small\n  at: --replicas\n"),
        (["--tensor-parallel", "-1"], "error: `-1` is too small\n  at: --tensor-parallel\n"),
        (
            ["--precision", "fp16"],
            "error: there is no `fp16`\n  at: --precision\n\nhint: choose auto, fp32, bf16, fp8\n",
        ),
        (["--checkpoint-activations", "all"], "error: there is no `all`\n  at: --checkpoint-activations\n"),
    ],
)
def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["run", str(TINY), "--store", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.startswith(said)


def test_what_a_run_is_given() -> None:
    words = "run a.toml --replicas 2 --tensor-parallel 4 --precision bf16 --checkpoint-activations blocks --compile"
    wanted = {"replicas": 2, "tensor": 4, "precision": "bf16", "recompute": "blocks", "compile": True}
    assert distributed.runtime_fields(parser().parse_args(words.split())) == wanted
    assert distributed.runtime_fields(parser().parse_args(["chat", "tiny/release"])) == {}


def test_one_process_follows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    distributed.follow(lambda: pytest.fail("a runtime was asked for"), "cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    distributed.follow(lambda: pytest.fail("a runtime was asked for"), "cpu")
