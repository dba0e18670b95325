"""Documents that a model writes by itself: replay where what a base was trained on is not there."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from unicodedata import normalize

from tokenizers import Tokenizer

from aurora_m.core.canon import hash64
from aurora_m.core.ends import ends_of
from aurora_m.core.files import read_jsonl, write_jsonl
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import FetchFacts, write_docs
from aurora_m.model.generate import Sampling, generate
from aurora_m.model.load import device_of, load_model, positions

MOST_TOKENS = 512  # of a document
PART_DOCS = 64  # written side by side, and kept when the step is stopped


def write(work: Work, *, model: Artifact, documents: int, source: str, lang: str, seed: int) -> FetchFacts:
    """Let a model write documents as `docs/`: each from what begins a text to what ends it.

    Tokens are drawn as the model has them, at temperature 1, but for special ones, which no text holds. A document
    that is not over after `MOST_TOKENS`, or at the model's last position, is cut there. Each has random numbers of its
    own, by the seed, the source and its number. A stopped step goes on where it was, but for `PART_DOCS`.

    documents  how many to write; one without text is skipped
    After arXiv 2605.26097, where such text prevents nearly as much forgetting as the base's own data.
    """
    starts = range(0, documents, PART_DOCS)
    parts = {work.scratch / f"{first:09d}.jsonl": range(documents)[first : first + PART_DOCS] for first in starts}
    missing = {path: numbers for path, numbers in parts.items() if not path.exists()}
    if missing:
        with work.log.bar(f"write {source}", documents, "docs") as bar:
            for last in _write_parts(work, model.path, missing, hash64(f"{seed} {source}") % 2**32):
                bar.update(last)
    counts: Counter[str] = Counter()
    docs, num_bytes = write_docs(work.out, _kept(parts, source, lang, counts))
    write_jsonl(work.out / "samples.jsonl", [])  # of repairs, of which there are none
    skipped = {"empty": counts["empty"]} if counts["empty"] else {}
    return FetchFacts(docs, num_bytes, skipped, {}, counts["cut"])


def _write_parts(work: Work, folder: Path, parts: Mapping[Path, range], seed: int) -> Iterator[int]:
    """Write each part, a row {text, cut} for each number; tells how many documents there are before and after it."""
    net, tokenizer = load_model(folder, device_of(work.runtime)), Tokenizer.from_file(str(folder / "tokenizer.json"))
    ends = ends_of(folder)
    most = min(MOST_TOKENS, positions(net) - 1)
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    drawn = ({*tokenizer.get_vocab().values()} - special) | {*ends.stops}
    never = sorted({*range(net.config.vocab_size)} - drawn)
    for path, numbers in parts.items():
        yield numbers[0]
        sampling = Sampling(temperature=1.0, seed=seed, first=numbers[0], never=never)
        prompts = [[ends.start]] * len(numbers)
        rows = generate(net, prompts, max_new=most, ends=ends.stops, batch=PART_DOCS, sampling=sampling)
        texts = zip(rows, tokenizer.decode_batch(rows), strict=True)
        write_jsonl(path, ({"text": text, "cut": len(ids) == most} for ids, text in texts))
        yield numbers[-1] + 1


def _kept(parts: Mapping[Path, range], source: str, lang: str, counts: Counter[str]) -> Iterator[dict[str, str]]:
    """The documents with text, by their numbers; counts those without, and those that were cut.

    What a cut left of a character of several bytes goes.
    """
    for path, numbers in parts.items():
        for number, row in zip(numbers, read_jsonl(path), strict=True):
            text = normalize("NFC", row["text"].rstrip("\ufffd") if row["cut"] else row["text"])
            if not text.strip():
                counts["empty"] += 1
                continue
            counts["cut"] += int(row["cut"])
            yield {"id": f"{source}:{number + 1}", "text": text, "source": source, "lang": lang, "meta": "{}"}
