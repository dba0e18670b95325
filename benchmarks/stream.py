"""Speed of the stream: rows a second that one core reads: `python benchmarks/stream.py [--megatokens 20] [--json]`.

Made on the spot: two sources of random tokens, in documents of log-normal length (median 330 tokens), and a mixture of
them. For each length of rows and each packing it reads the first rows of the stream, in order, as training does, once
to bring the files into memory, then against the processor's clock, the best of some passes; `infilled` has the middles
of half of the documents of one source filled in. `pack` counts documents a second of best fit, with its files written.

A training step that reads R rows and takes S seconds waits R / (rows a second) / S of its time for its data.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from aurora_m.core.facts import to_json
from aurora_m.core.log import Log
from aurora_m.core.step import Artifact, Runtime, Work
from aurora_m.tokens.mixture import mix
from aurora_m.tokens.packing import pack
from aurora_m.tokens.shards import ShardFacts, Shards
from aurora_m.tokens.stream import Stream

VOCAB, END = 49152, 0
MARKS = (1, 2, 3)
PASSES = 5


def make_shards(folder: Path, tokens: int, seed: int, files: int = 8) -> Artifact:
    """A source of random documents."""
    random = np.random.default_rng(seed)
    (folder / "tokens").mkdir(parents=True)
    docs = 0
    for number in range(files):
        lengths = random.lognormal(5.8, 1.1, tokens // files // 300).astype(np.int64) + 2
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        text = random.integers(4, VOCAB, offsets[-1]).astype(np.uint16)
        text[offsets[1:] - 1] = END
        text.tofile(folder / f"tokens/{number:05d}.bin")
        offsets.tofile(folder / f"tokens/{number:05d}.idx")
        docs += len(lengths)
    shards = Shards(folder, "uint16")
    return Artifact(folder, "", to_json(ShardFacts(len(shards), docs, 4 * len(shards), 4.0, "uint16", 0)))


def make_mixture(folder: Path, shards: dict[str, Artifact], row_tokens: int, packing: str, fim: float) -> Artifact:
    """Half of each source."""
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    work = Work(folder / "out", folder / "scratch", Runtime(folder), Log(quiet=True))
    size: dict[str, Any] = {"tokens": int(sum(s.read(ShardFacts).tokens for s in shards.values()) * 0.9)}
    asked: dict[str, Any] = {"shares": dict.fromkeys(shards, 0.5), "unit": "tokens", "max_epochs": 4.0}
    how: dict[str, Any] = {"row_tokens": row_tokens, "packing": packing, "fim": {"a": fim} if fim else {}}
    return Artifact(work.out, "", to_json(mix(work, shards=shards, name="m", **size, **asked, **how)))


def rate(stream: Stream) -> float:
    """Rows a second, in the best of some passes."""
    rows = min(len(stream), 20_000)
    for index in range(rows):  # once for the page cache
        stream[index]
    best = 0.0
    for _ in range(PASSES):
        began = time.process_time()
        for index in range(rows):
            stream[index]
        best = max(best, rows / (time.process_time() - began))
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megatokens", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shards = {name: make_shards(folder / name, args.megatokens * 500_000, seed) for seed, name in enumerate("ab")}
        for row_tokens in (256, 2048):
            began = time.process_time()
            pack(Shards.of(shards["a"]), row_tokens, False, folder / f"pack{row_tokens}")
            packed_s = time.process_time() - began
            for packing in ("concat", "best_fit"):
                for fim in (0.0, 0.5):
                    mixture = make_mixture(folder / f"{row_tokens}{packing}{fim}", shards, row_tokens, packing, fim)
                    speed = rate(Stream(mixture, shards, 17, MARKS))
                    about = {"row_tokens": row_tokens, "packing": packing, "infilled": fim, "rows_a_s": round(speed)}
                    found.append({**about, "tokens_a_s": round(speed * row_tokens)})
            docs = Shards.of(shards["a"]).num_docs
            found.append({"row_tokens": row_tokens, "pack_docs_a_s": round(docs / packed_s)})
    for row in found:
        print(json.dumps(row) if args.json else "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
