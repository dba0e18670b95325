"""The command line: every verb, what it prints where, and how it ends."""

import gzip
import json
import math
import os
import re
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_base, tiny_tokenizer

from aurora_m.cli.main import DONE, FAILED, main
from aurora_m.core.ends import Ends, Mark, with_lead
from aurora_m.core.files import read_json
from aurora_m.core.interrupt import STOPPED
from aurora_m.core.manifest import MANIFEST
from aurora_m.core.store import Store
from aurora_m.recipe import Base, Source, dumps, load

ROOT = Path(__file__).parents[2]
TINY = ROOT / "recipes" / "tiny.toml"
VERBS = ("new", "plan", "run", "show", "diff", "chat", "which-data", "verify", "gc")
WRONG, WAITING = 2, 3
HELP_S = 0.3

Call = Callable[..., tuple[int, str, str]]


def process(*args: str | Path, **more: Any) -> "subprocess.Popen[str]":
    """Start the command line as a user would."""
    return subprocess.Popen(
        [sys.executable, "-m", "aurora_m", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **more,
    )


def told(stderr: str) -> tuple[str, str, str]:
    """What, where and hint of the one error that stands at the end of stderr."""
    assert "Traceback" not in stderr
    assert len(re.findall("^error: ", stderr, re.MULTILINE)) == 1
    found = re.search(r"^error: (.+)\n  at: (.+)\n\nhint: (.+)\n\Z", stderr, re.MULTILINE)
    assert found, stderr
    return found[1], found[2], found[3]


def write(path: Path, **changes: Any) -> None:
    """Write the tiny recipe with other values."""
    path.write_text(dumps(replace(load(TINY), **changes)))


def finnish(uri: str) -> dict[str, Source]:
    """The tiny recipe's sources, with the Finnish one from elsewhere."""
    source = load(TINY).source
    return {**source, "fi": replace(source["fi"], uri=uri)}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AURORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def aurora(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command line in this process: exit code, stdout, stderr."""

    def call(*args: str | Path) -> tuple[int, str, str]:
        code = main([str(arg) for arg in args])
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a few finished steps of the tiny recipe."""
    store = tmp_path_factory.mktemp("filled") / "store"
    for step in ("fetch.fi", "reviewed", "signals.fi"):
        assert main(["run", str(TINY), "--to", step, "--store", str(store)]) == DONE
    return store


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with random weights and 64 positions."""
    folder = tmp_path_factory.mktemp("chatty")
    return tiny_base(folder, tiny_tokenizer(folder), "gpt_bigcode").path


# --- help


def children_s() -> float:
    """Processor time of the children so far: what a busy machine does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    seconds = []
    for _ in range(5):
        before_s = children_s()
        started = process("--help")
        stdout, stderr = started.communicate(timeout=60)
        seconds.append(children_s() - before_s)
        assert (started.returncode, stderr) == (DONE, "")
    assert all(re.search(rf"^    {verb}\s+\w", stdout, re.MULTILINE) for verb in VERBS)
    code = (
        "import sys\nfrom aurora_m.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print('loaded:', *sorted({'torch', 'polars', 'pyarrow', 'numpy', 'rich', 'transformers'} & {*sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "loaded:"
    assert statistics.median(seconds) < HELP_S


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_json_store_and_debug(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == DONE
    assert {"--help", "--json", "--store", "--debug"} <= set(re.findall(r"--\w+", capsys.readouterr().out))


@pytest.mark.parametrize(
    ("args", "what"),
    [
        ([], "the following arguments are required: VERB"),
        (["pln"], "invalid choice: 'pln'"),
        (["plan"], "the following arguments are required: recipe"),
        (["plan", "a.toml", "--too", "x"], "unrecognized arguments: --too x"),
        (["run", "a.toml", "--workers", "two"], "argument --workers: invalid int value: 'two'"),
    ],
)
def test_what_cannot_be_parsed_exits_2(args: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == WRONG
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: aurora")
    assert what in err


def test_a_setting_that_cannot_be_parsed_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AURORA_WORKERS", "two")
    with pytest.raises(SystemExit) as ended:
        main(["run", str(TINY)])
    assert ended.value.code == WRONG
    assert "argument --workers: invalid int value: 'two'" in capsys.readouterr().err


# --- new


def test_new_writes_a_recipe_that_can_be_planned(aurora: Call, tmp_path: Path) -> None:
    assert aurora("new", "mine.toml") == (DONE, "wrote mine.toml; next: aurora plan mine.toml\n", "")
    recipe = load(tmp_path / "mine.toml")
    assert recipe.name == "mine"
    assert recipe.source == load(TINY).source
    assert aurora("plan", "mine.toml")[0] == DONE
    code, out, _ = aurora("new", "other.toml", "--json")
    assert (code, json.loads(out)) == (DONE, {"recipe": "other.toml"})


def test_new_overwrites_nothing(aurora: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("precious")
    code, out, err = aurora("new", "mine.toml")
    assert (code, out) == (WRONG, "")
    assert told(err) == ("there is a file already", "mine.toml", "choose another name; nothing was overwritten")
    assert (tmp_path / "mine.toml").read_text() == "precious"


def test_new_takes_any_file_name(aurora: Call, tmp_path: Path) -> None:
    assert aurora("new", 'my "first" ü.toml')[0] == DONE
    assert load(tmp_path / 'my "first" ü.toml').name == "my-first"


def test_new_in_a_folder_that_is_not_there(aurora: Call) -> None:
    code, _, err = aurora("new", "none/mine.toml")
    assert code == FAILED
    assert told(err) == (
        "no such file or directory",
        "none/mine.toml",
        "check that the path is right and that you may read and write it",
    )


# --- plan


def test_the_plan_of_a_fresh_store(aurora: Call, tmp_path: Path) -> None:
    code, out, err = aurora("plan", TINY)
    *lines, sums, following = out.splitlines()
    lines, costs = lines[:-6], lines[-6:]
    assert (code, err) == (DONE, "")
    assert costs[0] == " training, estimated on 1 x cpu at 0.0384 TFLOP/s each (40% of the peak)"
    assert [line.split()[0] for line in costs[1:]] == ["base", "cap", "cat", "safe", "together"]
    assert costs[1].endswith("  199,680 tokens  195 optimizer steps")
    assert lines[0].split() == ["run", "fetch.en", "-", "never", "run"]
    assert len({line.index(" -  ") for line in lines}) == 1
    states = [line.split()[0] for line in lines]
    assert sums == f" {states.count('run')} to run now, {states.count('wait')} wait, 0 done"
    assert following == f" next: aurora run {TINY}"
    assert not (tmp_path / "store").exists()


def test_the_plan_says_how_documents_begin_and_end_under_a_base(aurora: Call, chatty: Path, tmp_path: Path) -> None:
    tiny = load(TINY)
    (tmp_path / "mine.toml").write_text(dumps(replace(tiny, base=Base(model="file:model"), stage=tiny.stage[1:])))
    shutil.copytree(chatty, tmp_path / "model")
    config = read_json(chatty / "config.json")
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "n_positions": 512}))
    led = with_lead(read_json(chatty / "tokenizer.json"), Mark(1, "<fim_prefix>", "it"))
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(led))
    begin, end = "`<fim_prefix>` (id 1, tokenizer.json)", "`<|endoftext|>` (id 0, tokenizer_config.json)"
    code, out, err = aurora("plan", "mine.toml", "--to", "base")
    assert (code, err) == (DONE, "")
    assert out.splitlines()[1] == f" documents begin with {begin} and end with {end}"
    (row,) = json.loads(aurora("plan", "mine.toml", "--to", "base", "--json")[1])
    assert row["ends"]["lead"] == {"id": 1, "token": "<fim_prefix>", "by": "tokenizer.json"}


def test_the_plan_for_machines(aurora: Call, filled: Path) -> None:
    code, out, _ = aurora("plan", TINY, "--to", "signals.fi", "--store", filled, "--json")
    rows = json.loads(out)
    assert code == DONE
    assert [(row["step"], row["state"]) for row in rows] == [("fetch.fi", "have"), ("signals.fi", "have")]
    assert all(len(row["digest"]) == 64 for row in rows)


def test_what_training_costs_on_other_machines(aurora: Call) -> None:
    words = ("plan", TINY, "--to", "cap", "--devices", "2", "--device-kind", "mi250x", "--mfu", "0.5")
    words += ("--checkpoint-activations", "blocks")
    code, out, _ = aurora(*words, "--json")
    rows = {row["step"]: row.get("estimate") for row in json.loads(out)}
    assert code == DONE
    assert [name for name, cost in rows.items() if cost] == ["base", "cap"]
    assert rows["cap"]["flop"] == 6 * rows["cap"]["parameters"] * rows["cap"]["tokens"]
    assert rows["cap"]["seconds"] == rows["cap"]["flop"] / (2 * 383e12 * 0.5)
    assert rows["cap"]["memory"]["weights"] == rows["cap"]["parameters"] * 4 // 2
    assert rows["cap"]["memory"]["activations"] == 2 * 256 * 2 * 128 * 3
    assert " training, estimated on 2 x mi250x at 192 TFLOP/s each (50% of the peak)\n" in aurora(*words)[1]
    code, out, err = aurora("plan", TINY, "--device-kind", "h20")
    assert (code, out) == (WRONG, "")
    assert told(err) == ("there is no kind of device `h20`", "--device-kind", "did you mean `h200`?")


def test_the_command_that_comes_next_can_be_typed(
    aurora: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "a b"
    _, out, _ = aurora("plan", TINY, "--to", "fetch.fi", "--store", store)
    words = shlex.split(out.splitlines()[-1].removeprefix(" next: "))
    assert words == ["aurora", "run", str(TINY), "--to", "fetch.fi", "--store", str(store)]
    assert aurora(*words[1:])[0] == DONE
    assert aurora("plan", TINY, "--to", "fetch.fi", "--store", store)[1].endswith(
        "\n nothing to do: all 1 steps are there\n"
    )
    monkeypatch.setenv("AURORA_STORE", str(store))
    assert aurora("plan", TINY)[1].endswith(f" next: aurora run {TINY}\n")


@pytest.mark.parametrize(
    ("step", "hint"),
    [
        ("fetch.fj", "`fetch.fi`"),
        ("mixtures.cap", "did you mean `mixture.cap`"),
        ("xyzzy", f"`aurora plan {TINY}` lists the steps"),
        ("", f"`aurora plan {TINY}` lists the steps"),
    ],
)
def test_an_unknown_step(aurora: Call, step: str, hint: str) -> None:
    for verb in ("plan", "run"):
        code, out, err = aurora(verb, TINY, "--to", step)
        assert (code, out) == (WRONG, "")
        assert told(err)[:2] == (f"there is no step `{step}`", "--to")
        assert hint in told(err)[2]


def test_a_recipe_that_is_not_there(aurora: Call) -> None:
    code, _, err = aurora("plan", "none.toml")
    assert code == WRONG
    assert told(err)[0].startswith("cannot read the recipe: ")
    assert told(err)[1:] == ("none.toml", "give the path of a TOML file")


def test_a_glob_that_matches_nothing(aurora: Call, tmp_path: Path) -> None:
    write(tmp_path / "my.toml", source=finnish("file:texts/*.jsonl"))
    what = "no file matches `texts/*.jsonl`"
    code, out, err = aurora("run", "my.toml")
    assert (code, out) == (FAILED, "")
    assert told(err) == (what, str(tmp_path), "paths are relative to the folder of the recipe")
    assert not (tmp_path / "store").exists()
    code, out, _ = aurora("plan", "my.toml", "--json")
    rows = {row["step"]: (row["state"], row["why"]) for row in json.loads(out)}
    assert (code, rows["fetch.fi"], rows["fetch.en"]) == (DONE, ("wait", what), ("run", "never run"))
    assert rows["signals.fi"] == ("wait", "needs fetch.fi")


# --- run


def test_a_run_says_where_its_goal_is(aurora: Call, tmp_path: Path) -> None:
    code, out, err = aurora("run", TINY, "--to", "fetch.vi")
    [home] = (tmp_path / "store" / "artifacts").iterdir()
    assert (code, out) == (DONE, f"tiny/fetch.vi  {home.relative_to(tmp_path)}\n")
    assert [line.split(" done in ")[0] for line in err.splitlines()] == ["[1/1] fetch.vi", "      fetch.vi"]


def test_a_run_with_nothing_to_do_says_so(aurora: Call, filled: Path) -> None:
    start_s = time.process_time()
    code, out, err = aurora("run", TINY, "--to", "signals.fi", "--store", filled, "--json")
    assert time.process_time() - start_s < 2
    assert (code, err) == (DONE, "nothing to do: all 2 steps are there\n")
    made = Store(filled).named("tiny/signals.fi")
    assert json.loads(out) == {"signals.fi": {"path": str(made.path), "digest": made.digest, "facts": made.facts}}


def test_a_run_that_waits_for_people(aurora: Call, tmp_path: Path) -> None:
    review = load(TINY).review
    assert review
    write(tmp_path / "my.toml", review=replace(review, reviewers=9))
    code, out, err = aurora("run", "my.toml", "--to", "reviewed")
    assert (code, out) == (WAITING, "")
    what, at, hint = told(err)
    assert re.fullmatch(r"0 of \d+ safety rows are reviewed", what)
    assert at == "review.decisions = sample:reviews/decisions"
    assert hint.startswith("every row needs 9 reviewers")


@pytest.mark.parametrize(
    ("args", "what", "at"),
    [
        (("--workers", "0"), "`0` is too small", "--workers"),
        (("--threads", "-1"), "`-1` is too small", "--threads"),
        (("--micro-batch", "-5"), "`-5` is too small", "--micro-batch"),
        (("--device", "tpu"), "there is no device `tpu`", "--device"),
    ],
)
def test_where_a_run_cannot_happen(aurora: Call, args: tuple[str, str], what: str, at: str) -> None:
    code, _, err = aurora("run", TINY, *args)
    assert (code, told(err)[:2]) == (WRONG, (what, at))


def test_an_error_for_machines_is_one_value_on_stdout(aurora: Call) -> None:
    code, out, err = aurora("run", TINY, "--to", "fetch.fj", "--json")
    what, at, hint = told(err)
    assert code == WRONG
    assert json.loads(out) == {"error": what, "at": at, "hint": hint}


def test_a_store_that_is_a_file(aurora: Call, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    code, _, err = aurora("run", TINY, "--to", "fetch.fi")
    assert code == FAILED
    assert told(err)[:2] == ("file exists", "store")


def test_a_fault_of_ours_names_the_step(aurora: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(work: object, **params: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("aurora_m.data.read.sources.fetch", broken)
    code, out, err = aurora("run", TINY, "--to", "fetch.fi", "--json")
    assert code == FAILED
    assert told(err) == (
        "an unexpected error: ZeroDivisionError: two lines",
        "step fetch.fi",
        "this is a fault of Aurora; run again with --debug for the traceback",
    )
    assert json.loads(out)["at"] == "step fetch.fi"
    code, _, err = aurora("run", TINY, "--to", "fetch.fi", "--debug")
    assert code == FAILED
    assert err.count("Traceback (most recent call last)") == 1
    assert "in broken" in err


def test_an_error_on_a_disk_without_room_is_the_disks(aurora: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(work: object, **params: object) -> None:
        raise RuntimeError("unexpected pos 64 vs 0")  # all that torch says

    monkeypatch.setattr("aurora_m.data.read.sources.fetch", broken)
    for free_bytes, what in ((2**16, "an unexpected error: RuntimeError: "), (2**16 - 1, "the disk is full")):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free_bytes: SimpleNamespace(free=free))
        code, _, err = aurora("run", TINY, "--to", "fetch.fi")
        assert code == FAILED
        assert told(err)[0].startswith(what)
    assert told(err)[1] == "store"


def test_half_an_event_spoils_no_other(aurora: Call) -> None:
    Path("store").mkdir()
    Path("store/events.jsonl").write_text('{"at_s": 1.5, "event": "done"}\n{"at_s": 2.5, "eve')
    for _ in range(2):
        assert aurora("run", TINY, "--to", "fetch.fi")[0] == DONE
    lines = Path("store/events.jsonl").read_text().splitlines()
    assert lines.pop(1) == '{"at_s": 2.5, "eve'
    assert [json.loads(line)["event"] for line in lines] == ["done", "start", "done"]


def test_a_fault_of_ours_outside_a_step_names_the_verb(aurora: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise KeyError("x" * 999)

    monkeypatch.setattr("aurora_m.graph.build.build", broken)
    code, _, err = aurora("plan", TINY)
    assert code == FAILED
    assert told(err)[0].startswith("an unexpected error: KeyError: 'xxx")
    assert len(told(err)[0]) == 400
    assert told(err)[1] == "aurora plan"


# --- show, diff, chat, gc


def test_show_lists_names(aurora: Call, filled: Path) -> None:
    names = ["tiny/fetch.fi", "tiny/reviewed", "tiny/signals.fi"]
    assert aurora("show", "--store", filled) == (DONE, "\n".join(names) + "\n", "")
    assert json.loads(aurora("show", "--store", filled, "--json")[1]) == names
    assert aurora("show", "--store", "none") == (DONE, "", "there is nothing in none yet\n")
    assert json.loads(aurora("show", "--store", "none", "--json")[1]) == []


def test_show_prints_an_artifact(aurora: Call, filled: Path) -> None:
    home = Store(filled).named("tiny/signals.fi").path
    code, out, _ = aurora("show", "tiny/signals.fi", "--store", filled, "--up", "--rows", "1")
    assert (code, out.splitlines()[0]) == (DONE, str(home))
    assert out.splitlines()[-2] == "made from"
    assert out.splitlines()[-1].strip().startswith("fetch.fi-")
    row = json.loads(aurora("show", "tiny/signals.fi", "--store", filled, "--up", "--json")[1])
    made_from = row.pop("made_from")
    assert row == {"path": str(home), **read_json(home / MANIFEST)}
    assert [about["key"]["name"] for about in made_from] == ["fetch.fi"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("signals.fi", "did you mean `tiny/signals.fi`?"),
        ("mine/reviewed", "did you mean `tiny/reviewed`?"),
        ("tiny/revewed", "did you mean `tiny/reviewed`?"),
        ("xyzzy", "`aurora show` lists the names"),
        ("../../artifacts", "`aurora show` lists the names"),
        ("/etc/passwd", "`aurora show` lists the names"),
    ],
)
def test_show_of_an_unknown_name(aurora: Call, filled: Path, name: str, hint: str) -> None:
    code, out, err = aurora("show", name, "--store", filled)
    assert (code, out) == (FAILED, "")
    assert told(err) == (f"no artifact is named `{name}`", str(filled), hint)


def test_show_of_a_damaged_artifact(aurora: Call) -> None:
    aurora("run", TINY, "--to", "fetch.fi")
    home = Store(Path("store")).named("tiny/fetch.fi").path
    [shard] = (home / "docs").iterdir()
    shard.unlink()
    code, _, err = aurora("show", "tiny/fetch.fi")
    assert code == FAILED
    assert told(err) == (
        "a file of a finished artifact is missing or changed",
        str(shard),
        f"delete the folder `{home}`; the next run makes it again",
    )


def test_diff_of_recipes(aurora: Call, tmp_path: Path) -> None:
    seed = load(TINY).seed
    write(tmp_path / "b.toml", seed=987)
    assert aurora("diff", TINY, "b.toml") == (DONE, f"seed: {seed} -> 987\n", "")
    assert json.loads(aurora("diff", TINY, "b.toml", "--json")[1]) == [f"seed: {seed} -> 987"]
    assert aurora("diff", TINY, TINY)[1] == "no difference\n"
    assert json.loads(aurora("diff", TINY, TINY, "--json")[1]) == []


def test_diff_of_artifacts(aurora: Call, filled: Path) -> None:
    code, out, _ = aurora("diff", "tiny/fetch.fi", "tiny/signals.fi", "--store", filled)
    assert code == DONE
    assert "key.name: fetch.fi -> signals.fi" in out.splitlines()
    code, _, err = aurora("diff", TINY, "tiny/fetch.fi", "--store", filled)
    assert (code, told(err)[0]) == (WRONG, "a recipe cannot be compared with an artifact")


def test_chat_with_what_is_no_model(aurora: Call, filled: Path, tmp_path: Path) -> None:
    code, _, err = aurora("chat", "tiny/fetch.fi", "--store", filled, "--prompt", "hello")
    assert code == WRONG
    assert (told(err)[0], told(err)[2]) == (
        "`tiny/fetch.fi` is no model",
        "name a model, such as tiny/release or tiny/base",
    )
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    code, _, err = aurora("chat", "half", "--prompt", "hello")
    assert (code, told(err)[:2]) == (WRONG, ("`half` is no model", "half"))


@pytest.mark.parametrize(
    ("option", "value", "what", "hint"),
    [
        ("--max-new-tokens", "0", "`0` is too small", "write a positive number"),
        ("--max-new-tokens", "-1", "`-1` is too small", "write a positive number"),
        (
            "--max-new-tokens",
            "64",
            "64 new tokens leave no room for a prompt",
            "the model has 64 positions: write less than that",
        ),
        ("--temperature", "-0.5", "`-0.5` is no temperature", "write 0 or more"),
        ("--temperature", "nan", "`nan` is no temperature", "write 0 or more"),
    ],
)
def test_chat_with_what_cannot_be_done(
    aurora: Call, chatty: Path, option: str, value: str, what: str, hint: str
) -> None:
    code, out, err = aurora("chat", chatty, "--prompt", "hello", option, value)
    assert (code, out, told(err)) == (WRONG, "", (what, option, hint))


def test_chat_answers_with_one_token_less_than_the_positions(aurora: Call, chatty: Path) -> None:
    code, out, _ = aurora("chat", chatty, "--prompt", "hello", "--max-new-tokens", "63", "--temperature", "0", "--json")
    assert code == DONE
    assert json.loads(out).keys() == {"prompt", "answer"}


def test_verify_reads_all_and_names_each_that_is_damaged(aurora: Call) -> None:
    aurora("run", TINY, "--to", "fetch.fi")
    aurora("run", TINY, "--to", "reviewed")
    store = Store(Path("store"))
    sizes = [path.stat().st_size for home in store.homes() for path in home.rglob("*") if path.is_file()]
    read = sum(sizes) - sum((home / MANIFEST).stat().st_size for home in store.homes())
    assert json.loads(aurora("verify", "--json")[1]) == {"artifacts": 2, "bytes": read}
    assert aurora("verify")[1].endswith(": every byte is as it was made\n")
    home = store.named("tiny/fetch.fi").path
    [shard] = (home / "docs").iterdir()
    content = bytearray(shard.read_bytes())
    content[9] ^= 1
    shard.write_bytes(content)
    (store.root / "refs/tiny/reviewed").write_text("/")
    assert aurora("verify", "tiny/fetch.fi")[0] == FAILED
    code, out, err = aurora("verify")
    assert (code, out) == (FAILED, "")
    assert told(err) == (
        "2 artifacts or names are damaged, of 2 artifacts",
        f"{shard}, store/refs/tiny/reviewed",
        f"delete the folder `{home}`; the next run makes it again; run its recipe again, which writes the name anew",
    )
    told_json = json.loads(aurora("verify", "--json")[1])
    assert told_json["at"] == f"{shard}, store/refs/tiny/reviewed"


def test_gc_tells_strangers(aurora: Call) -> None:
    aurora("run", TINY, "--to", "fetch.fi")
    Path("store/artifacts/notes.txt").write_text("mine")
    assert aurora("gc")[1] == "deleted 0 folders, 0 B\nleft alone, as it is no artifact: store/artifacts/notes.txt\n"
    assert json.loads(aurora("gc", "--json")[1])["strangers"] == ["store/artifacts/notes.txt"]


def test_chat_checks_the_model_that_it_loads(aurora: Call, chatty: Path) -> None:
    store = Store(Path("store"))
    key = {"name": "base", "fn": "x", "version": 1, "params": {}, "inputs": {}}
    shutil.copytree(chatty, store.partial(key) / "out")
    made = store.commit(key, {}, {"finished": ""})
    store.point("tiny/base", made)
    assert aurora("chat", "tiny/base", "--prompt", "a", "--max-new-tokens", "1")[0] == DONE
    weights = made.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, _, err = aurora("chat", "tiny/base", "--prompt", "a", "--max-new-tokens", "1")
    assert (code, told(err)[1]) == (FAILED, str(weights))


@pytest.mark.parametrize("harm", ["a missing layer", "wrapped names", "pickled", "an adapter"])
def test_chat_with_a_folder_that_holds_another_model_than_it_says(
    aurora: Call, chatty: Path, tmp_path: Path, harm: str
) -> None:
    """A base that is not whole is never filled up with weights drawn at random, nor code run, nor a path followed."""
    folder = Path(shutil.copytree(chatty, tmp_path / "own"))
    path, talk = folder / "model.safetensors", ("--prompt", "hello", "--max-new-tokens", "4", "--temperature", "0")
    whole, weights = aurora("chat", folder, *talk), load_file(path)
    if harm == "a missing layer":
        weights = {name: weight for name, weight in weights.items() if ".1." not in name}
    if harm == "wrapped names":
        weights = {f"_orig_mod.{name}": weight for name, weight in weights.items()}
    save_file(weights, path, {"format": "pt"})
    if harm == "pickled":
        path.unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    if harm == "an adapter":
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere/else"}')
    code, out, err = aurora("chat", folder, *talk)
    if harm == "wrapped names":
        assert whole[:2] == (DONE, out)
        return
    assert (code, out) == (FAILED, "")
    words = {"a missing layer": "files lack", "pickled": "no .safetensors file", "an adapter": "holds an adapter"}
    assert words[harm] in err


def test_chat_leads_an_instruction_as_the_model_begins_a_text(
    aurora: Call, chatty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "led"
    shutil.copytree(chatty, folder)
    Ends(Mark(0, "<|endoftext|>", "it"), Mark(9, "<s>", "it"), (Mark(8, "<t>", "it"),)).write(folder)
    seen: list[Any] = []

    def speak(model: Any, prompts: list[list[int]], *, ends: list[int], **given: Any) -> list[list[int]]:
        seen.extend([prompts[0][0], ends])
        return [prompts[0][-4:]]

    monkeypatch.setattr("aurora_m.model.generate.generate", speak)
    code, out, _ = aurora("chat", folder, "--prompt", "hello", "--max-new-tokens", "8")
    assert (code, seen) == (DONE, [9, [0, 8]])
    assert out.strip()


def test_gc_deletes_what_no_name_reaches(aurora: Call) -> None:
    aurora("run", TINY, "--to", "fetch.fi")
    assert aurora("gc") == (DONE, "deleted 0 folders, 0 B\n", "")
    Path("store/refs/tiny/fetch.fi").unlink()
    code, out, _ = aurora("gc", "--json")
    about = json.loads(out)
    assert (code, about["folders"]) == (DONE, 1)
    assert about["bytes"] > 1000
    assert list(Path("store/artifacts").iterdir()) == []


# --- as a process


def test_a_reader_that_goes_away(filled: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    args = ["show", "--store", str(filled)]
    ended = subprocess.run(
        [sys.executable, "-m", "aurora_m", *args], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (FAILED, b"")


@pytest.fixture
def slow(tmp_path: Path, blank_lines: bytes) -> Path:
    """A recipe whose source `fi` takes some seconds to read."""
    write(tmp_path / "slow.toml", source=finnish("file:slow.jsonl.gz"))
    (tmp_path / "slow.jsonl.gz").write_bytes(blank_lines)
    return tmp_path / "slow.toml"


@pytest.fixture(scope="module")
def blank_lines() -> bytes:
    """1 GB of blank lines and one document, in 1 MB of gzip."""
    blank = gzip.compress((b" " * (2**20 - 1) + b"\n") * 64)
    return blank * 16 + gzip.compress(b'{"text": "hei"}\n')


MOMENTS = (1, 10, 40, 100, 200, 400, 600, 900, 1100, None)  # imports after the handler stands; None: in the step


def test_control_c_stops_at_any_moment_and_says_how_to_go_on(aurora: Call, slow: Path) -> None:
    """Exit code 130 and one line, in the first imports too; and the run goes on from there."""
    for moment in MOMENTS:
        command = [sys.executable, "-X", "importtime", "-m", "aurora_m", "run", str(slow), "--to", "fetch.fi"]
        started = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert started.stderr
        lines = iter(started.stderr.readline, "")
        first = "aurora_m.core.interrupt\n" if moment else "[1/1] fetch.fi\n"
        assert any(line.endswith(first) for line in lines)
        for _ in range(moment or 0):
            next(lines)
        started.send_signal(signal.SIGINT)
        stdout, stderr = started.communicate(timeout=60)
        assert (started.returncode, stdout) == (STOPPED, ""), (moment, stderr)
        shown = [line for line in stderr.splitlines() if not line.startswith("import time:")]
        place = "step fetch.fi" if moment is None else "aurora( run)?|step fetch.fi"
        assert re.fullmatch(rf"stopped in ({place}); the same command goes on from here", shown[-1]), moment
        assert set(shown[:-1]) <= {"", "[1/1] fetch.fi"}, moment
    assert aurora("plan", slow, "--to", "fetch.fi")[1].splitlines()[0].endswith("  was stopped half way")
    assert aurora("run", slow, "--to", "fetch.fi")[0] == DONE
    assert Store(Path("store")).named("tiny/fetch.fi").facts["docs"] == 1


class PanicException(BaseException):
    """As a library in Rust raises it."""


def test_a_panic_is_one_error_for_people_and_for_machines(aurora: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(work: object, **params: object) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr("aurora_m.data.read.sources.fetch", broken)
    code, out, err = aurora("run", TINY, "--to", "fetch.fi", "--json")
    assert (code, told(err)[:2]) == (
        FAILED,
        ("a library gave up on what it was given: index out of bounds", "step fetch.fi"),
    )
    assert json.loads(out)["error"] == told(err)[0]


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()])
def test_what_ends_the_process_is_no_error(aurora: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def ends(*given: object) -> None:
        raise error

    monkeypatch.setattr("aurora_m.graph.build.build", ends)
    with pytest.raises(type(error)):
        aurora("plan", TINY)


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_a_model_that_is_not_finite(aurora: Call, chatty: Path, tmp_path: Path, temperature: str) -> None:
    folder = shutil.copytree(chatty, tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("ln_f.weight"))
    save_file({**weights, name: torch.full_like(weights[name], math.nan)}, folder / "model.safetensors")
    code, out, err = aurora("chat", folder, "--prompt", "hello", "--max-new-tokens", "2", "--temperature", temperature)
    assert (code, out) == (FAILED, "")
    assert told(err)[:2] == (f"the base's weight `{name}` is not finite", str(folder))


def test_a_prompt_that_is_no_text(aurora: Call, chatty: Path) -> None:
    code, out, err = aurora("chat", chatty, "--prompt", "moi \udcff", "--max-new-tokens", "2")
    assert (code, out) == (WRONG, "")
    assert told(err) == ("the prompt is not valid utf-8", "character 5", "write it in utf-8")


def test_standard_input_that_is_not_utf8(chatty: Path) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "aurora_m", "chat", str(chatty), "--max-new-tokens", "2", "--json"],
        input=b"hello\n\xff\n",
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=100,
    )
    first, second = started.stdout.splitlines()
    assert json.loads(first)["prompt"] == "hello"
    assert json.loads(second)["error"] == "the prompt is not valid utf-8"
    assert (started.returncode, told(started.stderr.decode())[1]) == (WRONG, "character 1")
