"""Dolma on a curation input: Gopher, C4 and PII taggers and its Bloom filter of paragraphs; runs in its environment.

Left out, all in Dolma's favour: language identification (its model is a download), `mix`, which applies the tags, and
`tokens` (it pins tokenizers <= 0.19.1, which cannot read a current tokenizer.json). Turning the input into the gzipped
files that Dolma wants is not counted.
"""

import argparse
import gzip
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TAGGERS = ("gopher_v2", "c4_v2", "pii_regex_with_counts_fast_v2")


def main() -> None:
    """Run the taggers, one command each so that each is timed, and the deduplication; write about.json."""
    options = argparse.ArgumentParser()
    for name in ("--input", "--out", "--tokenizer"):
        options.add_argument(name, type=Path, required=True)
    args = options.parse_args()
    given = args.out / "documents"
    given.mkdir()
    docs = 0
    for path in (p for p in sorted(args.input.glob("*.jsonl")) if p.stem != "truth"):
        with path.open(encoding="utf-8") as file, gzip.open(given / f"{path.name}.gz", "wt", 1, "utf-8") as out:
            for line in file:
                row = json.loads(line)
                about = {"source": path.stem, "added": "2024-05-01T00:00:00.000Z"}
                out.write(json.dumps({"id": row["id"], "text": row["text"], **about}) + "\n")
                docs += 1
    converted_s = sum(os.times()[:4])
    dolma = str(Path(sys.executable).parent / "dolma")
    files = f"{given}/*.gz"
    stages: dict[str, float] = {}
    for tagger in TAGGERS:
        spent(stages, tagger, [dolma, "tag", "--documents", files, "--taggers", tagger, "--processes", "1"])
    bloom = ["--bloom_filter.file", str(args.out / "bloom"), "--bloom_filter.estimated_doc_count", str(100 * docs)]
    bloom += ["--bloom_filter.desired_false_positive_rate", "0.0001", "--no-bloom_filter.read_only"]
    named = ["--dedupe.name", "bff", "--dedupe.paragraphs.attribute_name", "bff_duplicate_paragraph_spans"]
    spent(stages, "paragraphs", [dolma, "dedupe", "--documents", files, *named, *bloom, "--processes", "1"])
    shutil.rmtree(given)
    about = {
        "version": importlib.metadata.version("dolma"),
        "stages": {name: round(seconds, 2) for name, seconds in stages.items()},
        "not_counted_s": round(converted_s, 2),
        "docs_in": docs,
        "notes": ["no language id, no near duplicates, no tokens, nothing removed: less work than the others"],
    }
    (args.out / "about.json").write_text(json.dumps(about, indent=1))


def spent(stages: dict[str, float], name: str, command: list[str]) -> None:
    """Run a command and note its CPU seconds, of which about 1.4 are the start of Dolma."""
    before = sum(os.times()[2:4])
    subprocess.run(command, check=True, stdout=sys.stderr)
    stages[name] = sum(os.times()[2:4]) - before


if __name__ == "__main__":
    main()
