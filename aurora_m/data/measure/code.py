"""Code signals: columns beside each shard of code that tell its language, its licence and whether people wrote it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurora_m.core.canon import JSON
from aurora_m.core.step import Artifact, Work
from aurora_m.core.table import shards, write_table
from aurora_m.core.tasks import map_shards
from aurora_m.data.columns import CODE, schema
from aurora_m.data.measure import licences
from aurora_m.data.read.metadata import PATH, REPO, field
from aurora_m.data.text import kernels
from aurora_m.data.text.compiled import compiled
from aurora_m.data.text.languages import HEADER_BYTES, PROSE, comments, language
from aurora_m.data.text.rounding import DIGITS, mean, millionths

FLAGS, SHARES = ("generated", "vendored", "minified"), ("comment_share", "alnum_share", "encoded_share")
LICENCES = pa.schema([(name, pa.string()) for name in ("repo", "folder", "file", "licence")])
LICENCE_CHARS = 65536  # of a licence file
END_CHARS = 300  # where a map is named
LINE_BYTES, WHITE = 110, 0.12  # minified: longer lines than these on average, and less white space than this
RUN_BYTES, WORD_BYTES, GAP_BYTES = 100, 32, 24  # encoded: a run; a base64 word in it; between two words, at most
CHARS, ALNUM, BYTES, WHITE_BYTES, LINES, ASCII, ENCODED, COUNTS = range(8)  # counts of a text; ALNUM: characters
LOWER, UPPER, DIGIT, OTHER = range(1, 5)  # bytes of base64, as it is and for URLs
_DECLARED = ("licence", "license")
_LANGUAGE = ("language", "programming_language", "lang")
_LICENCE_FILE = r"(?i)(^|/)(([a-z0-9.]+-)?(un)?licen[cs]es?|copying|copyright)([-._][a-z0-9.+-]*)?$"
_VENDORED = (
    r"(?i)(^|/)(node_modules|bower_components|jspm_packages|vendors?|_vendor|vendored|third[-_]?party|3rd[-_]?party"
    r"|extern|externals?|deps|godeps|site-packages|dist-packages|pods|carthage|dist|bundled|\.?venv|virtualenv)/"
)
_BUILT = (  # files that programs write, by their names
    r"(?i)((^|/)_{0,2}generated(__)?/.*|(^|/)(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|cargo\.lock|poetry\.lock|uv\.lock"
    r"|pdm\.lock|pipfile\.lock|gemfile\.lock|composer\.lock|podfile\.lock|go\.sum|flake\.lock|mix\.lock|bun\.lock)"
    r"|_pb2(_grpc)?\.pyi?|\.pb(\.gw|\.validate)?\.(go|cc|h|swift)|_pb\.(js|d\.ts)|[._]generated\.[a-z]+|\.g\.(dart|cs)"
    r"|\.designer\.(cs|vb)|\.freezed\.dart|/(moc|qrc|ui)_[a-z0-9_]+\.(cpp|h|py)|\.(js|css|mjs|ts)\.map)$"
)
_SMALL = r"(?i)[.-]min\.(js|mjs|css)$"
# In comments at a file's start. A function, too, may speak of what is generated: the words must begin a line and say
# it of this file, or begin a sentence.
_BEGIN = r"(^|\n)[^a-z0-9\n]*((warning|please|note|attention|important)\W{1,3}){0,2}"
_THIS = r"((this|file|code|source|module|header|script|class|contents?|is|was|are|has been|mostly)\W{1,3}){1,8}"
_HOW = r"(auto\W?|automatically\W|machine\W?|re)"
_GENERATED = (
    rf"(?i)({_BEGIN}{_THIS}{_HOW}?generated\W{{1,3}}(by|from|using|with|via|through|automatically|do|on|at|\n|$)"
    rf"|{_BEGIN}({_HOW}generated|(?-i:G)enerated)\W{{1,3}}"
    r"(by|from|using|with|via|automatically|file|code|source|header|do|on|at|\n|$)"
    rf"|{_BEGIN}do not (edit|modify|change)( this file| this code| by hand| directly| manually|\W*\n|\W*$)"
    rf"|(this|file|code|source|module|header) (is|was|has been) {_HOW}?generated\b"
    r"|generated\b[^\n]{0,80}\n?[^\n]{0,40}do not (edit|modify)|do not (edit|modify)[^\n]{0,80}\bgenerated\b"
    r"|^\W*generated (by|from)|(^|\s)@generated\b)"
)
_MAPPED = r"[/*][/*][#@] ?sourceMappingURL="  # at the end; or a map itself, by its start:
_MAP = r'^\W*"version"\s*:\s*3\s*,\s*"(file|sources|sourceRoot|names|mappings)"'


@dataclass(frozen=True)
class CodeFacts:
    """What a source of code is like: documents by value or with a flag, and means of shares."""

    docs: int
    licence_kind: Mapping[str, int]
    code_lang: Mapping[str, int]
    generated: int
    vendored: int
    minified: int
    comment_share: float
    alnum_share: float
    encoded_share: float


def code_signals(work: Work, *, docs: Artifact) -> CodeFacts:
    """Write `code/`, one file for each shard of docs, rows in the same order (columns: `CODE`).

    A file is known by `path` and `repo` in its meta (or StarCoder's names for them), else by its id. `code_lang` is by
    file name, `#!` line or the field `language`, against the start of the text; empty where none tells. `licence`
    (SPDX) is what the file states, else the nearest licence file above it in the same repository, else the field
    `licence` or `license`; `licence_kind` is one of `licences.KINDS`. `generated` (a program wrote it), `vendored` (it
    lies in a folder of other people's code) and `minified` are flags. Shares: `comment_share` of bytes other than white
    space that stand in comments and documentation strings, `alnum_share` of characters that are letters or digits,
    `encoded_share` of bytes in runs of `RUN_BYTES` or more of base64 or hex (Kocetkov et al. 2022, Li et al. 2023).
    """
    paths = shards(docs.path)
    rows = [row for part in map_shards(work, _licence_files, paths, "licence files") for row in part]
    there = work.scratch / "licences.parquet"  # of a large source too much to hand to each task
    write_table(there, pa.Table.from_pylist(rows, schema=LICENCES))
    counts: Counter[str] = Counter()
    for part in map_shards(work, partial(_shard, out=work.out / "code", there=there), paths, "code"):
        counts.update(part)
    return _facts(counts)


def _facts(counts: Counter[str]) -> CodeFacts:
    num = counts["docs"]

    def named(column: str) -> dict[str, int]:
        return {key.partition("=")[2]: counts[key] for key in sorted(counts) if key.startswith(f"{column}=")}

    flags, shares = [counts[name] for name in FLAGS], [mean(counts[name], num) for name in SHARES]
    return CodeFacts(num, named("licence_kind"), named("code_lang"), *flags, *shares)


def _licence_files(path: Path) -> list[dict[str, str]]:
    """What each licence file of a shard says (columns: `LICENCES`)."""
    docs = pq.read_table(path, columns=["id", "meta"])
    metas = [orjson.loads(meta) for meta in docs["meta"].to_pylist()]
    names = _paths(docs["id"].to_pylist(), metas)
    likely = np.flatnonzero(np.asarray(pc.match_substring_regex(pa.array(names, pa.string()), _LICENCE_FILE)))
    wanted = [i for i in likely.tolist() if field(metas[i], *REPO) and language(names[i], "", "") in ("", *PROSE)]
    if not wanted:
        return []
    texts = pq.read_table(path, columns=["text"])["text"].take(pa.array(wanted))
    stated = licences.stated(pc.utf8_slice_codeunits(texts, 0, LICENCE_CHARS))
    parts = [names[i].rpartition("/") for i in wanted]
    repos = [str(field(metas[i], *REPO)) for i in wanted]
    rows = zip(repos, parts, stated, strict=True)
    return [dict(zip(LICENCES.names, (repo, part[0], part[2], licence), strict=True)) for repo, part, licence in rows]


def _paths(ids: list[str], metas: list[dict[str, JSON]]) -> list[str]:
    return [str(field(meta, *PATH) or name) for name, meta in zip(ids, metas, strict=True)]


def _shard(path: Path, *, out: Path, there: Path) -> Counter[str]:
    """Write the columns of one shard; returns its counts, and of each share the sum in millionths."""
    docs = pq.read_table(path, columns=["id", "text", "meta"])
    metas = [orjson.loads(meta) for meta in docs["meta"].to_pylist()]
    names = _paths(docs["id"].to_pylist(), metas)
    columns = {"id": docs["id"], **columns_of(docs["text"], names, metas, _nearest(names, metas, there))}
    write_table(out / path.name, pa.table(columns, schema=schema(CODE)))
    counts = Counter({"docs": docs.num_rows})
    for name in ("licence_kind", "code_lang"):
        counts.update(f"{name}={value}" for value in columns[name])
    counts.update({name: int(np.sum(columns[name])) for name in FLAGS})
    counts.update({name: millionths(columns[name]) for name in SHARES})
    return counts


def columns_of(
    texts: pa.ChunkedArray, paths: list[str], metas: list[dict[str, JSON]], nearest: list[str]
) -> dict[str, Any]:
    """Everything in `CODE` but the id; `nearest` is the licence of the repository around each file, or empty."""
    starts = pc.utf8_slice_codeunits(texts, 0, HEADER_BYTES)
    known = [str(field(meta, *_LANGUAGE) or "") for meta in metas]
    langs = list(map(language, paths, known, starts.to_pylist()))
    commented, headers = comments(texts, langs)
    counts = tally(*kernels.text_buffers(texts), _alphabet(), kernels.classes())
    own = [str(field(meta, *_DECLARED) or "") for meta in metas]
    stated = list(map(_licence, licences.stated(headers), nearest, own))
    files = pa.array(paths, pa.string())
    visible, lines = np.maximum(counts[:, BYTES] - counts[:, WHITE_BYTES], 1), np.maximum(counts[:, LINES], 1)
    plain = counts[:, ASCII] - counts[:, ENCODED]  # ASCII bytes that are not encoded
    dense = (plain > LINE_BYTES * lines) & (counts[:, WHITE_BYTES] < WHITE * plain) & ~np.isin(langs, PROSE)
    shares = (
        commented / visible,
        counts[:, ALNUM] / np.maximum(counts[:, CHARS], 1),
        counts[:, ENCODED] / np.maximum(counts[:, BYTES], 1),
    )
    return {
        "code_lang": langs,
        "licence": stated,
        "licence_kind": list(map(licences.kind, stated)),
        "generated": _matches(files, _BUILT) | _matches(headers, _GENERATED) | _mapped(texts, starts),
        "vendored": _matches(files, _VENDORED),
        "minified": dense | _matches(files, _SMALL),
        **{name: np.round(share, DIGITS) for name, share in zip(SHARES, shares, strict=True)},
    }


def _licence(stated: str, nearest: str, declared: str) -> str:
    """What a file states; where it leaves open which BSD licence, the one around it."""
    if stated and not (stated == licences.BSD and "BSD-" in nearest):
        return stated
    return nearest or licences.declared(declared)


def _nearest(paths: list[str], metas: list[dict[str, JSON]], there: Path) -> list[str]:
    """The licence in the folder of each file, or in the nearest one above it, in the same repository."""
    repos = [str(field(meta, *REPO) or "") for meta in metas]
    wanted = pa.array(sorted(set(repos)), pa.string())
    rows = pq.read_table(there, filters=pc.field("repo").isin(wanted)).to_pylist()
    files: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows:
        files.setdefault((row["repo"], row["folder"]), []).append((row["file"], row["licence"]))
    known = {folder: _of_folder(listed) for folder, listed in files.items()}
    nearest = []
    for repo, path in zip(repos, paths, strict=True):
        folder, licence = path, ""
        while known and repo and folder and not licence:
            folder = folder.rpartition("/")[0]
            licence = known.get((repo, folder), "")
        nearest.append(licence)
    return nearest


def _of_folder(files: list[tuple[str, str]]) -> str:
    """One licence of a folder's licence files: `LICENSE-MIT` beside `LICENSE-APACHE` leaves the choice.

    A `copyright` file, which lists all parts of a package, counts where there is no other.
    """
    stating = [(file, licence) for file, licence in files if licence]
    stating = [pair for pair in stating if not pair[0].lower().startswith("copyright")] or stating
    choice = all("-" in file and licences.kind(licence) == "permissive" for file, licence in stating)
    return licences.joined((licence for _, licence in stating), either=choice)


def _matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    return np.asarray(pc.match_substring_regex(texts, pattern), np.bool_)


def _mapped(texts: pa.ChunkedArray, starts: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Whether a text names, at its end, the map from it to what people wrote; or is such a map."""
    return _matches(pc.utf8_slice_codeunits(texts, -END_CHARS, None), _MAPPED) | _matches(starts, _MAP)


@cache
def _alphabet() -> NDArray[np.uint8]:
    """Which kind of base64 each byte is; 0 for none."""
    table = np.zeros(256, np.uint8)
    for kind, chars in ((LOWER, b"az"), (UPPER, b"AZ"), (DIGIT, b"09")):
        table[chars[0] : chars[1] + 1] = kind
    table[list(b"+/=-_")] = OTHER
    return table


@compiled
def tally(data: Any, offsets: Any, alphabet: Any, classes: Any) -> Any:
    """Counts of each text [n, `COUNTS`]."""
    texts = len(offsets) - 1
    counts = np.zeros((texts, COUNTS), np.int64)
    for text in range(texts):
        i, end = offsets[text], offsets[text + 1]
        counts[text, BYTES] = end - i
        counts[text, LINES] = 1 if end > i and data[end - 1] != 10 else 0
        counts[text, ENCODED] = encoded(data, i, end, alphabet)
        while i < end:
            counts[text, CHARS] += 1
            if data[i] < 128:
                counts[text, ALNUM] += 0 < alphabet[data[i]] < OTHER
                counts[text, WHITE_BYTES] += data[i] <= 32
                counts[text, LINES] += data[i] == 10
                counts[text, ASCII] += 1
                i += 1
                continue
            point, width = kernels.decoded(data, i)
            counts[text, ALNUM] += classes[point] >= kernels.MARK
            i += width
    return counts


@compiled
def encoded(data: Any, start: Any, end: Any, alphabet: Any) -> Any:
    """Bytes in runs of base64 or hex words, or of hex escapes and numbers, `GAP_BYTES` apart at most."""
    total, first, last, kind, i = 0, start, start, 0, start
    while i < end:
        j = i
        while j < end and alphabet[data[j]] > 0:
            j += 1
        if j - i > 2 or (j > i and kind == 2):  # shorter ones, as the `b` of `b"..."`, stand between base64 words
            this = word(data, start, i, j, alphabet)
            if this == 0 or this != kind or i - last > GAP_BYTES:
                total += last - first if last - first >= RUN_BYTES else 0
                first, kind = i, this
            last = j if this > 0 else i
        i = j + 1
    return total + (last - first if last - first >= RUN_BYTES else 0)


@compiled
def word(data: Any, start: Any, i: Any, j: Any, alphabet: Any) -> Any:
    """What data[i:j] is: 1 for base64 or hex of `WORD_BYTES` or more, 2 for `0x1f` and `\\x1f`, 0 for neither."""
    lower = upper = digits = hexes = 0
    for k in range(i, j):
        kind, low = alphabet[data[k]], data[k] | 32
        lower += kind == LOWER
        upper += kind == UPPER
        digits += kind == DIGIT
        hexes += kind == DIGIT or 97 <= low <= 102
    size = j - i
    if size < 3:
        return 0
    escape = i > start and data[i - 1] == 92 and (data[i] | 32 == 120 or data[i] | 32 == 117)
    if escape and size <= 12 and hexes >= 2:
        return 2
    if data[i] == 48 and data[i + 1] | 32 == 120 and hexes == size - 1 and size <= 18:
        return 2
    if size < WORD_BYTES or digits < size // 32 + 1:
        return 0
    mixed = min(lower, upper) >= size // 10 and lower + upper + digits >= size - size // 8
    return 1 if mixed or hexes == size else 0
