"""SmolLM2-135M continued on Finnish, Hindi, Japanese and Vietnamese: `python benchmarks/smollm2.py --corpora FOLDER`.

Writes the texts that recipes/smollm2.toml reads, runs it from nothing, and writes what it made of the model, and what
that took, to benchmarks/results/smollm2-<date>.json and .md. Corpora are any folders of JSONL with `text` and `lang`;
without them the package's sample texts are taken. The same corpora give the same texts.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise, zip_longest
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOUSE = HERE.parent
sys.path.insert(0, str(HERE))

from curation import machine  # noqa: E402

RECIPE = HOUSE / "recipes/smollm2.toml"
LANGS = {"en": "English", "fi": "Finnish", "hi": "Hindi", "ja": "Japanese", "vi": "Vietnamese"}
SAMPLE = HOUSE / "aurora_m/sample/texts"
LANG_BYTES = 300_000
DOC_BYTES = range(500, 1500)  # of a document: many short ones make narrower intervals than a few long ones
SENTENCE = re.compile(r"(?<=[.!?।])\s+|(?<=[。！？])\s*|\n+")
AOZORA = re.compile(r"《[^》]*》|［＃[^］]*］|｜")  # how Aozora Bunko notes readings and type
PHASES = {  # what steps are called, the first that fits
    "train": r"cap",
    "measure both models": r"answer\..*|score\..*|forgetting|items",
    "read the base": r"base|tokenizer",
    "report and release": r"report|card|release|datasheet|fertility",
    "texts, from JSONL to rows": r".*",
}

Result = dict[str, Any]


def main() -> None:
    """Write the texts, run the recipe, write the result."""
    args = options()
    result: Result = {**machine(), "texts": write_texts(RECIPE.with_suffix(""), args.corpora)}
    if args.texts_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        store = (args.store or Path(folder, "store")).resolve()
        started_s = time.monotonic()
        words = ["run", str(RECIPE), "--store", str(store), "--threads", str(args.threads)]
        path = os.pathsep.join(filter(None, (str(HOUSE), os.environ.get("PYTHONPATH"))))
        subprocess.run([sys.executable, "-m", "aurora_m", *words], check=True, env={**os.environ, "PYTHONPATH": path})
        result |= {"seconds": round(time.monotonic() - started_s, 1), "threads": args.threads or os.cpu_count()}
        result["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        result |= figures(store)
    out = HERE / "results" / f"smollm2-{result['date']}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    out.with_suffix(".md").write_text(page(result))
    print(page(result), out, sep="\n")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpora", type=Path, nargs="*", default=[], help="folders of JSONL; none: the sample")
    parser.add_argument("--texts-only", action="store_true", help="write the recipe's texts, and run nothing")
    parser.add_argument("--store", type=Path, help="keep what the run makes here")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: one a core")
    return parser.parse_args()


# --- the texts


def write_texts(out: Path, corpora: list[Path]) -> Result:
    """Write LANG.jsonl, rows {id, text}, for each language; corpora take turns. Returns what there is of each.

    ValueError if a language has no text.
    """
    out.mkdir(exist_ok=True)
    found = passages(chain.from_iterable(path.rglob("*.jsonl") for path in corpora or [SAMPLE]))
    about: Result = {}
    for lang, pools in found.items():
        if not pools:
            raise ValueError(f"no text in `{lang}`")
        chosen: dict[str, list[str]] = {}
        size = 0
        with (out / f"{lang}.jsonl").open("w", encoding="utf-8") as file:
            for corpus, text in taking_turns(pools):
                mine = chosen.setdefault(corpus, [])
                mine.append(text)
                row = {"id": f"{corpus}-{len(mine)}", "text": text}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                size += len(text.encode())
                if size >= LANG_BYTES:
                    break
        about[lang] = {"bytes": size, "docs": {corpus: len(texts) for corpus, texts in sorted(chosen.items())}}
    return about


def passages(files: Iterator[Path]) -> dict[str, dict[str, list[str]]]:
    """One passage of each document, by language and by corpus, which is a file, in the order of a hash."""
    found: dict[str, dict[str, list[str]]] = {lang: {} for lang in LANGS}
    for path in sorted(files):
        with path.open(encoding="utf-8") as file:
            for row in map(json.loads, file):
                text, lang = row.get("text"), row.get("lang") or path.stem
                part = passage(text) if lang in LANGS and isinstance(text, str) else ""
                if part:
                    found[lang].setdefault(path.stem, []).append(part)
    for pools in found.values():
        for texts in pools.values():
            texts.sort(key=lambda text: hashlib.sha256(text.encode()).digest())
    return found


def passage(text: str) -> str:
    """Whole sentences out of the middle of a document, since its head and foot are often no prose; "" if too few."""
    text = AOZORA.sub("", text)
    ends = [0, *(match.end() for match in SENTENCE.finditer(text)), len(text)]
    sentences = [text[start:end] for start, end in pairwise(ends) if start < end]
    before = max(0, len(text.encode()) - DOC_BYTES.stop) // 2
    taken, size = "", 0
    for sentence in sentences:
        num_bytes = len(sentence.encode())
        if before > 0:
            before -= num_bytes
        elif size + num_bytes > DOC_BYTES.stop:
            break
        else:
            taken, size = taken + sentence, size + num_bytes
    return taken.strip() if size >= DOC_BYTES.start else ""


def taking_turns(pools: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """The texts of all corpora, one of each in turn while it has some."""
    for texts in zip_longest(*pools.values()):
        yield from ((name, text) for name, text in zip(pools, texts, strict=True) if text is not None)


# --- the result


def figures(store: Path) -> Result:
    """What the artifacts of a run say: changes of bits per byte, training, and the seconds of each phase."""
    made = {}
    for path in sorted(store.glob("artifacts/*/manifest.json")):
        manifest = json.loads(path.read_text())
        made[manifest["key"]["name"]] = (path.parent, manifest)
    changes = json.loads((made["forgetting"][0] / "changes.json").read_text())["rows"]
    seconds = dict.fromkeys(PHASES, 0.0)
    for name, (_, manifest) in made.items():
        seconds[next(phase for phase, named in PHASES.items() if re.fullmatch(named, name))] += manifest["seconds"]
    facts = made["cap"][1]["facts"]
    return {
        "seed": made["cap"][1]["key"]["params"]["seed"],
        "training": {key: facts[key] for key in ("tokens", "opt_steps", "flop", "read") if key in facts},
        "changes": [change for change in changes if change["task"] == "bpb"],
        "phase_seconds": {phase: round(spent, 1) for phase, spent in seconds.items()},
    }


def page(result: Result) -> str:
    """The result as it stands in the documentation."""
    texts = result["texts"]
    corpora = "; ".join(f"{LANGS[lang]}: {', '.join(about['docs'])}" for lang, about in texts.items())
    lines = [
        "| language | before | after | change | documents | verdict |",
        "|---|---|---|---|---|---|",
        *(_row(change) for change in sorted(result["changes"], key=lambda c: _order(c["lang"]))),
        "",
        "| phase | seconds |",
        "|---|---|",
        *(f"| {phase} | {spent:.0f} |" for phase, spent in result["phase_seconds"].items()),
        f"| all, from the command to its end | {result['seconds']:.0f} |",
        "",
        f"{result['training']['tokens']} tokens learned from, seed {result['seed']}, {result['threads']} threads on "
        f"{result['cores']} cores ({result['cpu']}), load {result['load_start'][0]:.1f} at the start, peak memory "
        f"{result['peak_memory_bytes'] / 1e9:.1f} GB, {result['date']}. Texts: {corpora}; Python's standard library.",
    ]
    return "\n".join(lines) + "\n"


def _row(change: Mapping[str, Any]) -> str:
    span = ", ".join(f"{100 * change[key]:+.1f}" for key in ("low", "high"))
    cells = [
        LANGS.get(change["lang"], change["lang"]),
        f"{change['before']:.3f}",
        f"{change['after']:.3f}",
        f"{100 * change['change']:+.1f} % [{span}]",
        str(change["n"]),
        str(change["verdict"]),
    ]
    return f"| {' | '.join(cells)} |"


def _order(lang: str) -> int:
    return ["en", "code", *LANGS].index(lang)


if __name__ == "__main__":
    main()
