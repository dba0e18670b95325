"""Data-Juicer on a curation input: repair, PII, its heuristic filters and MinHash; runs in Data-Juicer's environment.

Left out, in its favour: language id, perplexity, stop words and flagged words (their models and lists are downloads)
and tokens. One pass over all files; thresholds are its defaults, loose enough for the five languages.
Its packages are fetched when first used, so these must be installed: scipy, ftfy, regex.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

OPERATORS = """
  - fix_unicode_mapper:
  - whitespace_normalization_mapper:
  - clean_email_mapper:
  - clean_ip_mapper:
  - text_length_filter: {min_len: 200, max_len: 1000000}
  - words_num_filter: {tokenization: false, min_num: 3, max_num: 100000}
  - average_line_length_filter: {min_len: 10}
  - maximum_line_length_filter: {min_len: 10}
  - alphanumeric_filter: {tokenization: false, min_ratio: 0.25}
  - special_characters_filter: {max_ratio: 0.5}
  - character_repetition_filter: {rep_len: 10, max_ratio: 0.5}
  - word_repetition_filter: {tokenization: false, rep_len: 5, max_ratio: 0.5}
  - document_minhash_deduplicator: {tokenization: character, window_size: 5, jaccard_threshold: 0.7}
"""
CONFIG = """
project_name: curation
dataset_path: {data}
export_path: {out}/clean.jsonl
np: 1
use_cache: false
open_tracer: false
skip_op_error: false
process:{operators}"""


def main() -> None:
    """Run the chain in one command and write about.json."""
    options = argparse.ArgumentParser()
    for name in ("--input", "--out", "--tokenizer"):
        options.add_argument(name, type=Path, required=True)
    args = options.parse_args()
    data = args.out / "data.jsonl"
    docs = 0
    with data.open("w", encoding="utf-8") as file:
        for path in (p for p in sorted(args.input.glob("*.jsonl")) if p.stem != "truth"):
            for line in path.open(encoding="utf-8"):
                row = json.loads(line)
                file.write(json.dumps({"id": row["id"], "text": row["text"]}, ensure_ascii=False) + "\n")
                docs += 1
    joined_s = sum(os.times()[:4])
    config = args.out / "config.yaml"
    config.write_text(CONFIG.format(data=data, out=args.out, operators=OPERATORS))
    process = str(Path(sys.executable).parent / "dj-process")
    subprocess.run([process, "--config", str(config)], check=True, stdout=sys.stderr)
    with (args.out / "clean.jsonl").open("rb") as file:
        kept = sum(1 for _ in file)
    about = {
        "version": importlib.metadata.version("py-data-juicer"),
        "stages": {"all": round(sum(os.times()[2:4]), 2)},
        "not_counted_s": round(joined_s, 2),
        "docs_in": docs,
        "docs_out": kept,
        "notes": ["no language id, no tokens: less work than the others"],
    }
    (args.out / "about.json").write_text(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
