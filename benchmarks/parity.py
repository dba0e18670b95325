"""Decisions of the Gopher, C4 and FineWeb rules beside those of DataTrove's own filters, rule by rule, on English text.

    python benchmarks/parity.py FOLDER_OR_FILE... --peer VENV/bin/python [--docs 3000] [--json FILE]

Reads JSON Lines with `text` (plain or .gz), cuts them into documents, damages a part of them from a seed as the web
does (menus, repeats, symbols, lists), and lets both decide. Exits 1 if a rule agrees on less than 99 % of them.
"""

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from aurora_m.data.measure.signals import measures
from aurora_m.data.select import rules

LEAST = 0.99
SEED = 20240201
DOC_CHARS = (300, 6000)
EXAMPLES = 3

# Rule: DataTrove's filter and what it is called with (all else off), and Aurora's clauses, by rule and columns.
OFF_QUALITY = dict.fromkeys(
    ("min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio",
     "max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words")
)  # fmt: skip
OFF_REPEATS: dict[str, object] = {
    **dict.fromkeys(("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac")),
    "top_n_grams": [], "dup_n_grams": [],
}  # fmt: skip
OFF_FINEWEB = {"line_punct_thr": 0, "short_line_thr": 9, "char_duplicates_ratio": 9, "new_line_ratio": 9}
TOP, DUP = {2: 0.2, 3: 0.18, 4: 0.16}, {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
QUALITY, REPETITION, C4, FINEWEB = (
    "GopherQualityFilter", "GopherRepetitionFilter", "C4QualityFilter", "FineWebQualityFilter",
)  # fmt: skip
RULES: dict[str, tuple[str, dict[str, object], str, tuple[str, ...]]] = {
    "gopher words": (
        QUALITY, OFF_QUALITY | {"min_doc_words": 50, "max_doc_words": 100000}, "gopher_quality", ("words",)),
    "gopher mean word length": (
        QUALITY, OFF_QUALITY | {"min_avg_word_length": 3, "max_avg_word_length": 10}, "gopher_quality",
        ("mean_word_chars",)),
    "gopher symbols": (
        QUALITY, OFF_QUALITY | {"max_symbol_word_ratio": 0.1}, "gopher_quality", ("hashes", "ellipses")),
    "gopher bullets": (QUALITY, OFF_QUALITY | {"max_bullet_lines_ratio": 0.9}, "gopher_quality", ("bullet_lines",)),
    "gopher ellipsis lines": (
        QUALITY, OFF_QUALITY | {"max_ellipsis_lines_ratio": 0.3}, "gopher_quality", ("ellipsis_lines",)),
    "gopher alphabetic words": (
        QUALITY, OFF_QUALITY | {"max_non_alpha_words_ratio": 0.8}, "gopher_quality", ("alpha_words",)),
    "gopher stop words": (QUALITY, OFF_QUALITY | {"min_stop_words": 2}, "gopher_quality", ("stop_kinds",)),
    "gopher quality": (QUALITY, {}, "gopher_quality", ()),
    "gopher lines": (REPETITION, OFF_REPEATS | {"dup_line_frac": 0.3}, "gopher_repetition", ("dup_lines",)),
    "gopher line characters": (
        REPETITION, OFF_REPEATS | {"dup_line_char_frac": 0.2}, "gopher_repetition", ("dup_line_chars",)),
    "gopher paragraphs": (REPETITION, OFF_REPEATS | {"dup_para_frac": 0.3}, "gopher_repetition", ("dup_paras",)),
    "gopher paragraph characters": (
        REPETITION, OFF_REPEATS | {"dup_para_char_frac": 0.2}, "gopher_repetition", ("dup_para_chars",)),
    **{f"gopher top {n}-gram": (
        REPETITION, OFF_REPEATS | {"top_n_grams": [(n, share)]}, "gopher_repetition", (f"top_{n}gram",))
        for n, share in TOP.items()},
    **{f"gopher {n}-grams": (
        REPETITION, OFF_REPEATS | {"dup_n_grams": [(n, share)]}, "gopher_repetition", (f"dup_{n}grams",))
        for n, share in DUP.items()},
    "gopher repetition": (REPETITION, {}, "gopher_repetition", ()),
    "c4 (5 sentences)": (C4, {"min_num_sentences": 5}, "c4_sentences >= 5 AND lorem_lines = 0 AND curly_lines = 0", ()),
    "c4 (3 sentences)": (C4, {"min_num_sentences": 3}, "c4", ()),
    "c4 lorem ipsum": (
        C4, {"min_num_sentences": -1, "filter_curly_bracket": False}, "c4", ("lorem_lines",)),
    "c4 curly brackets": (
        C4, {"min_num_sentences": -1, "filter_lorem_ipsum": False}, "c4", ("curly_lines",)),
    "fineweb line ends": (FINEWEB, OFF_FINEWEB | {"line_punct_thr": 0.12}, "fineweb", ("ended_lines",)),
    "fineweb short lines": (FINEWEB, OFF_FINEWEB | {"short_line_thr": 0.67}, "fineweb", ("short_lines",)),
    "fineweb repeated lines": (
        FINEWEB, OFF_FINEWEB | {"char_duplicates_ratio": 0.01}, "fineweb", ("dup_line_chars",)),
    "fineweb lists": (FINEWEB, OFF_FINEWEB | {"new_line_ratio": 0.3}, "fineweb", ("newlines",)),
    "fineweb": (FINEWEB, {}, "fineweb", ()),
}  # fmt: skip

PEER = """
import json, sys
from datatrove.data import Document
from datatrove.pipeline import filters
calls, docs, out = sys.argv[1:]
made = {name: getattr(filters, kind)(**args) for name, (kind, args) in json.load(open(calls)).items()}
with open(out, "w") as file:
    for line in open(docs):
        text = json.loads(line)
        row = {}
        for name, rule in made.items():
            try:
                kept = rule.filter(Document(text=text, id=""))
            except ZeroDivisionError:  # no word or no line: DataTrove counts an error and drops the document
                kept = False
            row[name] = kept is True or (isinstance(kept, tuple) and bool(kept[0]))
        print(json.dumps(row), file=file)
"""


def main() -> int:
    """Compare and print; the number of the exit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--peer", required=True, help="python of an environment with datatrove[processing] and spacy")
    parser.add_argument("--docs", type=int, default=3000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    texts = documents(args.paths, args.docs)
    theirs = peer_decisions(texts, args.peer)
    rows = compare(texts, theirs, decisions(texts))
    for row in rows:
        print("{rule:28} {docs:6} docs {datatrove:6} {aurora:6} removed  {agreement:7.2%}".format(**row))
        for example in row["differ"] if row["agreement"] < 1 else ():
            print("    ", json.dumps(example, ensure_ascii=False))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    worst = min(row["agreement"] for row in rows)
    print(f"{len(rows)} rules, the least agreement is {worst:.2%}, {LEAST:.0%} is needed")
    return int(worst < LEAST)


def compare(texts: list[str], theirs: list[dict[str, bool]], ours: dict[str, list[bool]]) -> list[dict[str, Any]]:
    """One row for each rule: removed by each, agreement, and some documents on which they differ."""
    rows: list[dict[str, Any]] = []
    for name in RULES:
        pairs = [(kept[name], mine) for kept, mine in zip(theirs, ours[name], strict=True)]
        differ = [i for i, (a, b) in enumerate(pairs) if a != b]
        rows.append({
            "rule": name, "docs": len(texts), "datatrove": sum(not a for a, _ in pairs),
            "aurora": sum(not b for _, b in pairs), "agreement": 1 - len(differ) / len(texts),
            "differ": [
                {"datatrove": "keeps" if pairs[i][0] else "removes", "text": texts[i][:160]} for i in differ[:EXAMPLES]
            ],
        })  # fmt: skip
    return rows


def decisions(texts: list[str]) -> dict[str, list[bool]]:
    """What Aurora's English rules keep."""
    found = measures(pa.chunked_array([pa.array(texts, pa.large_string())]), "en")
    frame = pl.DataFrame({name: np.asarray(column) for name, column in found.items()})
    kept = {}
    for name, (_, _, rule, columns) in RULES.items():
        clauses = rules.expand(rule, "en").split(" AND ")
        used = [clause for clause in clauses if not columns or clause.split()[0] in columns]
        assert used, f"no clause of {rule} is about {columns}"
        kept[name] = frame.select(pl.sql_expr(" AND ".join(used)).alias("kept"))["kept"].to_list()
    return kept


def peer_decisions(texts: list[str], python: str) -> list[dict[str, bool]]:
    """What DataTrove's filters keep, from its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        calls, docs, out = (Path(folder, name) for name in ("calls.json", "docs.jsonl", "out.jsonl"))
        calls.write_text(json.dumps({name: (kind, args) for name, (kind, args, _, _) in RULES.items()}))
        docs.write_text("".join(json.dumps(text) + "\n" for text in texts))
        subprocess.run([python, "-c", PEER, calls, docs, out], check=True)
        return [json.loads(line) for line in out.read_text().splitlines()]


def documents(paths: list[Path], count: int) -> list[str]:
    """Documents of some hundred to some thousand characters, the first half as they are, the others damaged."""
    draw = random.Random(SEED)
    parts = [part for text in texts_of(paths) for part in cut(text, draw)]
    draw.shuffle(parts)
    chosen = [parts[i % len(parts)] for i in range(count)]
    as_is = [i < len(parts) and i % 2 == 0 for i in range(count)]
    return [text if same else draw.choice(DAMAGES)(text, draw) for text, same in zip(chosen, as_is, strict=True)]


def texts_of(paths: list[Path]) -> Iterator[str]:
    """The texts of all files, in order."""
    for path in sorted(file for top in paths for file in ([top] if top.is_file() else top.rglob("*.jsonl*"))):
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if isinstance(row.get("text"), str) and row["text"].strip():
                    yield row["text"]


def cut(text: str, draw: random.Random) -> Iterator[str]:
    """Cut a long text at line ends."""
    lines = text.splitlines(keepends=True)
    size, part = draw.randint(*DOC_CHARS), ""
    for line in lines:
        part += line
        if len(part) >= size:
            yield part.strip("\n")
            size, part = draw.randint(*DOC_CHARS), ""
    if len(part.strip()) > 20:
        yield part.strip("\n")


def _menu(text: str, draw: random.Random) -> str:
    names = ["Home", "About us", "Contact", "Log in", "Products & Services", "News", "Search...", "Privacy policy"]
    head, body = draw.sample(names, 5), text[: draw.randint(50, 2000)]
    return "\n".join([*head, body, *draw.choices(names, k=draw.randint(3, 40))])


def _repeat_lines(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(draw.randint(1, 3 + len(lines) // 2)):
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(lines))
    return "\n".join(lines)


def _repeat_words(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    for _ in range(draw.randint(1, 30)):
        at, size = draw.randrange(len(words)), draw.randint(1, 12)
        words[at:at] = words[at : at + size] * draw.randint(1, 4)
    return " ".join(words)


def _symbols(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    some = ["#", "...", "…", "|", "--", "12", "3.50", "{x}", "&", "*", "=>", "lorem ipsum", "2024-01-02"]
    rate = draw.choice([0.02, 0.1, 0.25])
    return " ".join(word + (" " + draw.choice(some) if draw.random() < rate else "") for word in words)


def _bullets(text: str, draw: random.Random) -> str:
    mark, end = draw.choice(["- ", "• ", "* ", ""]), draw.choice(["", "...", "…", "!", ";"])
    return "\n".join(mark + line[: draw.randint(10, 80)] + end for line in text.split("\n") if line.strip())


def _short(text: str, draw: random.Random) -> str:
    words = text.split()
    lines = [" ".join(words[i : i + 4]) for i in range(0, len(words), draw.randint(2, 8))]
    return "\n".join(lines)[: draw.randint(60, 1500)]


def _paragraphs(text: str, draw: random.Random) -> str:
    parts = text.split("\n\n") if "\n\n" in text else text.split("\n")
    return "\n\n".join(parts + draw.choices(parts, k=draw.randint(1, len(parts))))


DAMAGES: list[Callable[[str, random.Random], str]] = [
    _menu, _repeat_lines, _repeat_words, _symbols, _bullets, _short, _paragraphs,
]  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
