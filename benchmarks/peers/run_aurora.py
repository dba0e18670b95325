"""Aurora on a curation input: prepare a recipe and a store with the tokenizer in it, then `aurora run` to token shards.

`prepare` is not measured: the tokenizer is given, as it is to the other systems. The measured command is
`python -m aurora_m run recipe.toml --to mixture.cap`, which reads the JSONL, measures, finds duplicates and
leaks, decides, rewrites, and writes token shards of every source.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).parents[2]
GOAL = "mixture.cap"  # needs the token shards of all sources; itself it only divides a budget
LANGS = ("en", "fi", "hi", "ja", "vi")
# The rules by name where this version has them, else the columns that every version has.
RULES = "gopher_repetition AND gopher_quality AND fineweb AND "
KEEP = "chars >= 200 AND lang_id = lang AND lang_prob >= 0.5 AND dup_lines <= 0.3 AND symbols <= 0.1"
CODE = "longest_line <= 1000 AND dup_lines <= 0.4"
LAST = " AND dup_of IS NULL AND contaminated_items = 0"
MASKS = ("email", "iban", "ip", "card", "phone", "secret")

SOURCE = """
[source.{name}]
uri = "file:input/{name}.jsonl"
lang = "{name}"
license = "CC0-1.0"
curate = "{curate}"
held_out = 0.01
"""
RECIPE = """name = "curation"
seed = 17

[base]
model = "file:base"
{sources}
[curate.text]
keep = "{text}"
mask = {masks}
boilerplate_pages = {boilerplate_pages}

[curate.code]
keep = "{code}"
mask = {code_masks}

[duplicates]
near = 0.7

[mixture.cap]
tokens = 1000
weights = {{ {weights} }}

[[stage]]
name = "cap"
start = "base"
mixture = "cap"
row_tokens = 100
batch_tokens = 100
peak_lr = 1e-3
end_lr = 1e-4
warmup_tokens = 100

[evals]
suites = ["en", "fi", "hi", "ja", "vi", "code"]
old = ["en"]
margins = {{ en = 0.05 }}

[release]
model = "cap"
license = "CC0-1.0"
"""


def prepare(
    folder: Path, given: Path, tokenizer: Path, text: str = "", code: str = "", boilerplate_pages: int = 0
) -> dict[str, str]:
    """Write recipe.toml, base/ and store/ with the steps `tokenizer` and `items` done, below `folder`.

    `given` is a folder of input.py; `text` and `code` are keep expressions to use instead of the usual ones; lines
    on `boilerplate_pages` pages of a site are dropped (0: none). Returns the recipe's settings that this version of
    Aurora takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _base(folder / "base", tokenizer)
    link = folder / "input"
    link.unlink(missing_ok=True)
    link.symlink_to(given.resolve())
    names = [name for name in (*LANGS, "code") if (given / f"{name}.jsonl").exists()]
    tried = [(text, code)] if text or code else [(RULES + KEEP + LAST, CODE + LAST), (KEEP + LAST, CODE + LAST)]
    said = ""
    for keep, keep_code in tried:
        for masks in (MASKS, MASKS[:-1]):
            settings = {
                "text": keep or KEEP + LAST,
                "code": keep_code or CODE + LAST,
                "boilerplate_pages": str(boilerplate_pages),
                "masks": json.dumps(list(masks)),
                "code_masks": json.dumps([kind for kind in masks if kind in ("email", "ip", "secret")]),
            }
            weights = ", ".join(f"{name} = {1 / len(names)!r}" for name in names)
            sources = "".join(SOURCE.format(name=name, curate="code" if name == "code" else "text") for name in names)
            recipe = folder / "recipe.toml"
            recipe.write_text(RECIPE.format(sources=sources, weights=weights, **settings))
            planned = _aurora("plan", recipe, folder / "store")
            if planned.returncode == 0:
                for step in ("tokenizer", "items"):
                    made = _aurora("run", recipe, folder / "store", "--to", step)
                    if made.returncode:
                        raise SystemExit(made.stderr)
                return settings
            said = planned.stderr
    raise SystemExit(said)


def _base(folder: Path, tokenizer: Path) -> None:
    """The smallest model there is, with this tokenizer: a recipe wants a base, and no step of ours reads it."""
    if (folder / "config.json").exists():
        return
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    size = Tokenizer.from_file(str(tokenizer)).get_vocab_size()
    shape: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=size, max_position_embeddings=128, **shape)).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}\n')


def _aurora(verb: str, recipe: Path, store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aurora_m", verb, str(recipe), "--store", str(store), *words]
    return subprocess.run(command, cwd=HOUSE, capture_output=True, text=True)


def command(folder: Path, store: Path, workers: int) -> list[str]:
    """What is measured."""
    where = ["--store", str(store), "--to", GOAL, "--workers", str(workers)]
    return [sys.executable, "-m", "aurora_m", "run", str(folder / "recipe.toml"), *where]


def stages(store: Path) -> dict[str, float]:
    """CPU seconds of each kind of step that a run in this store made, from the manifests."""
    seconds: Counter[str] = Counter()
    for path in sorted(store.glob("artifacts/*/manifest.json")):
        manifest = json.loads(path.read_text())
        seconds[manifest["key"]["name"].partition(".")[0]] += manifest["cpu_seconds"]
    given = ("base", "tokenizer", "items")
    return {name: round(value, 2) for name, value in seconds.most_common() if name not in given}


def outcome(store: Path) -> dict[str, Any]:
    """Documents and bytes in and out, and tokens, from the facts of the run."""
    facts = {path.name: _facts(path) for path in sorted((store / "refs" / "curation").iterdir())}
    decided = [about for name, about in facts.items() if name.startswith("decide.")]
    sharded = [about for name, about in facts.items() if name.startswith("shards.")]
    removed = {name.partition(".")[2]: about["reasons"] for name, about in facts.items() if name.startswith("decide.")}
    return {
        "docs_in": sum(about["docs_in"] for about in decided),
        "docs_out": sum(about["docs_kept"] for about in decided),
        "tokens": sum(about["tokens"] for about in sharded),
        "removed": removed,
    }


def _facts(ref: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((place(ref) / "manifest.json").read_text())["facts"]
    return facts


def place(ref: Path) -> Path:
    """The artifact's folder that a name of the store means."""
    return ref.parents[2] / "artifacts" / ref.read_text().strip().rpartition("/")[2]
