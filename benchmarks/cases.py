"""Whether bases that others brought hold: `python benchmarks/cases.py [FOLDER] [--only NAME...] [--json]`.

A case is a folder with a `recipe.toml`, a base and an `expect.md` that says what is right. Each is copied, run to the
release, and judged by a rule of `RULES`. Prints a line a case (kind, right, got) and ends with 1 if one is not right,
or where a case has no rule. A case is refused rightly if it ends with an error of ours before a step has trained.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurora_m.recipe.renamed import RENAMED

HOUSE = Path(__file__).parents[1]
CASES = HOUSE.parent / "shared/cases/models"
TIMEOUT_S = 900


@dataclass(frozen=True)
class Ran:
    """A case that was run: what it said, and its store."""

    folder: Path
    exit_code: int
    text: str

    @property
    def base(self) -> Path:
        """The folder of the base as it was brought."""
        return self.folder / "base"

    @cached_property
    def made(self) -> Mapping[str, Path]:
        """The folder of each finished step."""
        refs = self.folder / "store/refs" / self.folder.name
        files = [ref for ref in refs.iterdir() if ref.is_file()] if refs.is_dir() else []
        return {ref.name: self.folder / "store/artifacts" / ref.read_text() for ref in files}

    def facts(self, step: str) -> dict[str, Any]:
        """What a finished step says of itself."""
        facts: dict[str, Any] = json.loads((self.made[step] / "manifest.json").read_text())["facts"]
        return facts

    @property
    def refused(self) -> bool:
        """Whether it ended with an error of ours before a step had trained."""
        plain = "error:" in self.text and "Traceback" not in self.text and "fault of Aurora" not in self.text
        return self.exit_code in (1, 2) and plain and "cap" not in self.made

    @property
    def got(self) -> str:
        """One line of what happened."""
        error = next((line for line in self.text.splitlines() if line.startswith("error:")), "")
        return error or ("released" if self.exit_code == 0 else f"exit code {self.exit_code}")


Rule = Callable[[Ran], bool]


def main() -> int:
    """Run the cases, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="?", type=Path, default=CASES)
    parser.add_argument("--only", nargs="+", default=[], help="names of cases")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.cases.is_dir():
        parser.error(f"there is no folder `{args.cases}`")
    folders = [path.parent for path in sorted(args.cases.glob("*/recipe.toml"))]
    wrong = 0
    for folder in folders:
        if args.only and folder.name not in args.only:
            continue
        result = judge(folder)
        wrong += not result.right
        print(json.dumps(asdict(result)) if args.json else result.line(), flush=True)
    return int(bool(wrong))


@dataclass(frozen=True)
class Result:
    """What came of a case."""

    case: str
    kind: str
    right: bool
    got: str

    def line(self) -> str:
        """One line for people."""
        return f"{self.case:28} {self.kind:34} {'right' if self.right else 'WRONG':6} {self.got}"


def judge(folder: Path) -> Result:
    """Run a copy of a case."""
    kind, rule = RULES.get(folder.name, ("no rule", lambda _: False))
    with tempfile.TemporaryDirectory() as work:
        ran = run(folder, Path(work))
        try:
            return Result(folder.name, kind, rule(ran), ran.got)
        except (
            KeyError,
            OSError,
            ValueError,
        ) as error:  # an artifact that the rule reads is not there, or cannot be read
            return Result(folder.name, kind, False, f"{ran.got}; {error!r}")


def run(folder: Path, work: Path) -> Ran:
    """Copy a case and the texts beside it, run it with `y` on standard input, and read what it says."""
    copy = shutil.copytree(folder, work / folder.name)
    shutil.copytree(folder.parent / "texts", work / "texts")
    recipe = copy / "recipe.toml"
    recipe.write_text(renamed(recipe.read_text()))
    command = [sys.executable, "-m", "aurora_m", "run", "recipe.toml", "--to", "release"]
    done = subprocess.run(
        command,
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        input="y\n" * 99,
        text=True,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Ran(copy, done.returncode, done.stdout + done.stderr)


def renamed(recipe: str) -> str:
    """A recipe of version 0.1 with today's names of keys."""
    for names in RENAMED.values():
        for old, new in names.items():
            recipe = re.sub(rf"^{old}(\s*=)", rf"{new}\1", recipe, flags=re.M)
    return recipe


def tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """The weights in a folder's safetensors files, without the prefix that a compiled module leaves."""
    for path in sorted(folder.glob("*.safetensors")):
        for name, weight in load_file(path).items():
            yield name.replace("_orig_mod.", ""), weight


def tokenizer(folder: Path) -> Any:
    """A folder's tokenizer as a user of it reads it."""
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def vocabulary(folder: Path) -> Tokenizer:
    """A folder's tokenizer.json as it stands; a special token's name in a text is text."""
    vocab = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocab.encode_special_tokens = True
    return vocab


def shard_ids(ran: Ran, source: str) -> Any:
    """All token ids of a source's shards."""
    step = f"shards.{source}"
    return np.concatenate(
        [np.fromfile(path, ran.facts(step)["dtype"]) for path in sorted((ran.made[step] / "tokens").glob("*.bin"))]
    )


def held_out(ran: Ran, source: str) -> dict[str, str]:
    """The held-out texts of a source, by the document's id."""
    return {
        row["id"]: row["text"]
        for path in sorted((ran.made[f"rewrite.{source}"] / "held").glob("*.parquet"))
        for row in pq.read_table(path, columns=["id", "text"]).to_pylist()
    }


def score(ran: Ran, model: str, metric: str) -> float:
    """The value of a metric of the first task that has it."""
    values = {one["metric"]: one["value"] for one in reversed(ran.facts(f"score.{model}")["scores"])}
    return float(values[metric])


def is_own_base(ran: Ran) -> bool:
    own = dict(tensors(ran.base))
    return all(name in own and bool((own[name].float() == weight).all()) for name, weight in tensors(ran.made["base"]))


def keeps_dtype(ran: Ran) -> bool:
    of = [{weight.dtype for _, weight in tensors(folder)} for folder in (ran.base, ran.made["release"])]
    return of[0] == of[1]


def keeps_chat(ran: Ran) -> bool:
    base, release = tokenizer(ran.base), tokenizer(ran.made["release"])
    same_marks = base.special_tokens_map == release.special_tokens_map
    return base.chat_template is not None and base.chat_template == release.chat_template and same_marks


def leads_as_base(ran: Ran) -> bool:
    """Bits of the untrained base are those that plain transformers gives for texts that its tokenizer leads."""
    net = AutoModelForCausalLM.from_pretrained(ran.base, dtype=torch.float32)
    read, texts = tokenizer(ran.base), held_out(ran, "en")
    rows = map(json.loads, (ran.made["answer.base"] / "bits.jsonl").read_text().splitlines())
    near, short = 0, 0
    for row in (row for row in rows if row["source"] == "en"):
        ids_1T = read(texts[row["id"]], return_tensors="pt").input_ids
        if ids_1T.shape[1] > net.config.max_position_embeddings:
            continue
        with torch.inference_mode():
            nats = float(net(ids_1T, labels=ids_1T).loss) * (ids_1T.shape[1] - 1)
        short += 1
        near += abs(nats / log(2) - row["bits"]) < 1e-3 * row["bits"]
    return near == short > 0


def ends_as_declared(ran: Ran) -> bool:
    end = json.loads((ran.base / "tokenizer_config.json").read_text())["eos_token"]
    return bool(shard_ids(ran, "en")[-1] == vocabulary(ran.base).token_to_id(end))


def all_pass(ran: Ran) -> bool:
    return score(ran, "base", "pass") == 1.0


def loads(ran: Ran) -> bool:
    AutoModelForCausalLM.from_pretrained(ran.made["release"], trust_remote_code=False)
    return True


def new_rows_learn(ran: Ran) -> bool:
    before, after = dict(tensors(ran.made["extend"])), dict(tensors(ran.made["cap"]))
    name = "model.embed_tokens.weight"
    new = slice(len(dict(tensors(ran.base))[name]), None)
    return bool((before[name][new] != after[name][new]).any(dim=1).float().mean() > 0.5)


def muon_has_the_experts(ran: Ran) -> bool:
    found = re.search(r"Muon updates ([\d.]+)%", ran.text)
    return found is not None and float(found[1]) > 50


def true_rise(ran: Ran) -> bool:
    rise = ran.facts("cap")["old_rise"]["en"]
    rows = json.loads((ran.made["forgetting"] / "changes.json").read_text())["rows"]
    change = next(row["change"] for row in rows if (row["model"], row["task"], row["lang"]) == ("cap", "bpb", "en"))
    return bool(abs(rise - change) < 0.02)


def stopped_by_budget(ran: Ran) -> bool:
    return ran.exit_code == 1 and "max_old_rise" in ran.text


def gives_trained_ids(ran: Ran) -> bool:
    read, vocab = tokenizer(ran.made["release"]), vocabulary(ran.base)
    texts = ["2023", *(text for source in ("en", "fi") for text in held_out(ran, source).values())]
    return all(read(text, add_special_tokens=False).input_ids == vocab.encode(text).ids for text in texts)


def whole_ids(ran: Ran) -> bool:
    return int(shard_ids(ran, "fi").max()) <= max(vocabulary(ran.base).get_vocab().values()) and (
        ran.facts("shards.fi")["dtype"] == "uint32"
    )


def ids_have_rows(ran: Ran) -> bool:
    config = json.loads((ran.made["release"] / "config.json").read_text())
    return all(config[name] < config["vocab_size"] for name in config if name.endswith("_token_id") and config[name])


def is_refused(ran: Ran) -> bool:
    return ran.refused


def no_code_ran(ran: Ran) -> bool:
    return ran.refused and not list(ran.folder.rglob("REMOTE_CODE_RAN"))


def released(rule: Rule = lambda ran: True) -> Rule:
    """A release for which a rule holds."""
    return lambda ran: ran.exit_code == 0 and "release" in ran.made and rule(ran)


def refused_or(rule: Rule = lambda ran: True) -> Rule:
    """An error of ours before training, or a release for which a rule holds."""
    return lambda ran: ran.refused or released(rule)(ran)


RULES: Mapping[str, tuple[str, Rule]] = {
    "ckpt_adapter": ("weights of another folder", refused_or(is_own_base)),
    "ckpt_bf16": ("dtype of the release", released(keeps_dtype)),
    "ckpt_chat_jinja": ("chat template of the release", released(keeps_chat)),
    "ckpt_extra_keys": ("weights without a place", lambda ran: ran.refused or "no place" in ran.text),
    "ckpt_missing_layer": ("weights that are not there", is_refused),
    "ckpt_missing_shard": ("weights that are not there", is_refused),
    "ckpt_orig_mod": ("weights under other names", refused_or(is_own_base)),
    "ckpt_quantized": ("quantised weights", is_refused),
    "ckpt_remote_code": ("code of a folder", no_code_ran),
    "combo_best_fit_fim": ("packing and infilling", released()),
    "eval_bos_short": ("texts begin with a token", released(leads_as_base)),
    "eval_code_multiline": ("right completions are cut", released(all_pass)),
    "eval_code_sp": ("new tokens read alone", released(all_pass)),
    "eval_short_positions": ("rows longer than positions", is_refused),
    "expand_smollm3_small": ("lists of a layer each", refused_or(loads)),
    "misc_extend_lora": ("new tokens that do not learn", refused_or(new_rows_learn)),
    "misc_moe_lora": ("adapters of experts", refused_or(loads)),
    "misc_moe_muon": ("Muon and experts", refused_or(muon_has_the_experts)),
    "misc_remote_stdin": ("code of a folder", no_code_ran),
    "more_extend_budget": (
        "rise against the base as it came",
        lambda ran: stopped_by_budget(ran) or released(true_rise)(ran),
    ),
    "more_extend_budget_control": ("control", lambda ran: stopped_by_budget(ran) or released(true_rise)(ran)),
    "tok_eos_deepseek": ("declared end token", refused_or(ends_as_declared)),
    "tok_eos_leftover": ("declared end token", refused_or(ends_as_declared)),
    "tok_gpt2_class": ("ids of the release", refused_or(gives_trained_ids)),
    "tok_holes": ("ids over 65,535", refused_or(whole_ids)),
    "tok_more_than_rows": ("tokens without rows", is_refused),
    "tok_no_cjk": ("a tokenizer without every script", refused_or()),
    "tok_pad64": ("ids without rows", released(ids_have_rows)),
    "tok_unigram_unk": ("text that cannot be spelled", is_refused),
}

if __name__ == "__main__":
    sys.exit(main())
