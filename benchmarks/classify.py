"""Classifiers and perplexity on real text: `python benchmarks/classify.py FOLDER [--json]`.

FOLDER holds JSON Lines files (id, text, lang, source). For every language: each source with enough documents against
the others (held-out AUC), and a model of its largest source that judges held-out documents and the same documents with
their words in disorder. Speed is CPU seconds of the shard tasks alone, kernels compiled, one core.
"""

import argparse
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aurora_m.core.facts import to_json
from aurora_m.core.log import Log
from aurora_m.core.step import Artifact, Facts, Runtime, Work
from aurora_m.core.table import read_all, write_docs
from aurora_m.data.measure.classify import classify, train_classifier
from aurora_m.data.measure.perplexity import perplexity, train_ngrams
from aurora_m.data.measure.toxic import languages, toxic

MIN_CHARS = 200  # shorter documents tell too little
MIN_DOCS = 100  # of a source that is asked for
MOST_DOCS = 3000  # of a source, so that one alone does not decide
TEST_SHARE = 5  # one of so many documents is judged for perplexity, not learned
PIECE_CHARS = 3  # of a text without spaces, as a word

Rows = list[dict[str, str]]


def read(folder: Path) -> dict[str, dict[str, Rows]]:
    """Documents by language and source."""
    found: dict[str, dict[str, Rows]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.rglob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                kept = found[row["lang"]][row["source"]]
                if len(row["text"]) >= MIN_CHARS and len(kept) < MOST_DOCS:
                    kept.append({**{key: row[key] for key in ("id", "text", "source", "lang")}, "meta": "{}"})
    return found


def disordered(text: str) -> str:
    """The same words in another order."""
    spaced = len(text.split()) > len(text) / 30
    words = text.split() if spaced else [text[i : i + PIECE_CHARS] for i in range(0, len(text), PIECE_CHARS)]
    random.Random(text[:50]).shuffle(words)
    return (" " if spaced else "").join(words)


class Bench:
    """A folder for artifacts, and the speed of steps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0

    def docs(self, rows: Rows) -> Artifact:
        """Rows as an artifact."""
        place = self._place()
        write_docs(place, rows)
        return Artifact(place, "0" * 64, {})

    def call(self, step: Callable[..., Facts], **given: Any) -> tuple[Artifact, float]:
        """Run a step; returns its artifact and its CPU seconds."""
        place = self._place()
        started_s = time.process_time()
        facts = step(Work(place, place, Runtime(store=self.folder), Log(quiet=True)), **given)
        return Artifact(place, "0" * 64, to_json(facts)), time.process_time() - started_s

    def _place(self) -> Path:
        self.made += 1
        place = self.folder / str(self.made)
        place.mkdir()
        return place


def auc(lesser: list[float], greater: list[float]) -> float:
    """How often one of the greater exceeds one of the lesser."""
    low = np.sort(lesser)
    return float(np.mean(np.searchsorted(low, greater, "left") + np.searchsorted(low, greater, "right")) / 2 / len(low))


def quality(bench: Bench, lang: str, sources: dict[str, Rows], seed: int) -> list[dict[str, Any]]:
    """Each source against the others."""
    docs = {name: bench.docs(rows) for name, rows in sources.items()}
    results = []
    for name, rows in sources.items():
        others = {other: docs[other] for other in docs if other != name}
        if len(rows) < MIN_DOCS or not others:
            continue
        sides = {"positive": {name: docs[name]}, "negative": others}
        model, train_s = bench.call(train_classifier, **sides, seed=seed, max_docs=100_000)
        bench.call(classify, docs=docs[name], models={"quality": model})
        _, apply_s = bench.call(classify, docs=docs[name], models={"quality": model})
        size = sum(len(row["text"].encode()) for row in rows)
        results.append(
            {
                "lang": lang,
                "positive": name,
                "docs": len(rows),
                "auc": model.facts["auc"],
                "accuracy": model.facts["accuracy"],
                "train_s": round(train_s, 1),
                "apply_mb_s": round(size / 1e6 / apply_s, 1),
                "apply_docs_s": round(len(rows) / apply_s),
            }
        )
    return results


def foretold(bench: Bench, lang: str, sources: dict[str, Rows], seed: int) -> dict[str, Any]:
    """Perplexity of held-out documents of the largest source, of the same in disorder, and of the other sources."""
    name = max(sources, key=lambda source: sum(len(row["text"]) for row in sources[source]))
    rows = sources[name]
    learn = bench.docs([row for i, row in enumerate(rows) if i % TEST_SHARE])
    clean = rows[::TEST_SHARE]
    model, train_s = bench.call(train_ngrams, docs={name: learn}, seed=seed, max_bytes=64 * 2**20)
    mixed = [{**row, "text": disordered(row["text"])} for row in clean]

    def judged(some: Rows) -> list[float]:
        made, _ = bench.call(perplexity, docs=bench.docs(some), model=model)
        return [value for value in read_all(made.path, "perplexity")["perplexity"].to_pylist() if value is not None]

    good, bad = judged(clean), judged(mixed)
    whole = bench.docs(rows)
    _, apply_s = bench.call(perplexity, docs=whole, model=model)
    size = sum(len(row["text"].encode()) for row in rows)
    result = {
        "lang": lang,
        "learned": name,
        "docs": len(clean),
        "clean": round(float(np.median(good)), 2),
        "disordered": round(float(np.median(bad)), 2),
        "auc": round(auc(good, bad), 4),
        "others": {
            other: round(float(np.median(judged(rows))), 2) for other, rows in sources.items() if other != name and rows
        },
        "train_s": round(train_s, 1),
        "apply_mb_s": round(size / 1e6 / apply_s, 1),
    }
    if lang in languages():
        bench.call(toxic, docs=whole, lang=lang, words="", pin="")
        made, toxic_s = bench.call(toxic, docs=whole, lang=lang, words="", pin="")
        result |= {"toxic_mb_s": round(size / 1e6 / toxic_s, 1), "toxic_mean": made.facts["toxic"]}
    return result


def main() -> None:
    """Print one table a measure, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        corpora = read(args.folder)
        classes = [row for lang in sorted(corpora) for row in quality(bench, lang, corpora[lang], args.seed)]
        grams = [foretold(bench, lang, corpora[lang], args.seed) for lang in sorted(corpora)]
    if args.json:
        print(json.dumps({"seed": args.seed, "quality": classes, "perplexity": grams}, ensure_ascii=False, indent=1))
        return
    print("lang  positive source        docs  AUC [95 %]               train s  MB/s  docs/s")
    for r in classes:
        area = f"{r['auc']['value']:.4f} [{r['auc']['low']:.3f}, {r['auc']['high']:.3f}] n={r['auc']['n']}"
        speed = f"{r['train_s']:7.1f}  {r['apply_mb_s']:5.0f}  {r['apply_docs_s']}"
        print(f"{r['lang']:4}  {r['positive']:20}  {r['docs']:5}  {area:32}  {speed}")
    print("\nlang  learned from       docs  clean  disordered  AUC     train s  MB/s  toxic MB/s, mean  other sources")
    for r in grams:
        speed = (
            f"{r['train_s']:7.1f}  {r['apply_mb_s']:4.0f}  {r.get('toxic_mb_s', 0):5.0f}  {r.get('toxic_mean', 0):.6f}"
        )
        measures = f"{r['clean']:5.2f}  {r['disordered']:10.2f}  {r['auc']:.4f}"
        print(f"{r['lang']:4}  {r['learned']:17}  {r['docs']:5}  {measures}  {speed}  {r['others']}")


if __name__ == "__main__":
    main()
