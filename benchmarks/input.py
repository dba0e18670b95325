"""A curation input with known faults: `python benchmarks/input.py --out DIR --corpora FOLDER --mb 100`.

Writes one JSONL file a language (en fi hi ja vi, and code), rows {id, text, url, meta}; `truth.jsonl`, one row for
each planted fault {file, id, kind, of, values}; and `input.json`, what there is of each. Sentences and paragraphs of
the corpora (any folders of JSONL with `text` and `lang`, or `language` for code) are put together anew, so that no
document repeats another but where a copy was planted. Without `--corpora` the package's sample texts and Python's
standard library are taken. The same seed, size and corpora give the same bytes.
"""

import argparse
import json
import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "aurora_m" / "sample"
LANGS = ("en", "fi", "hi", "ja", "vi")
FILES = (*LANGS, "code")
COPIES = {"exact": 0.05, "near": 0.10}  # of all documents
FAULTS = {"mojibake": 0.01, "other_language": 0.02, "pii": 0.03, "leak": 0.01}  # of the others, one each
BOILERPLATE = 0.15  # share of pages with their site's head and foot
CHANGED = (0.005, 0.03)  # share of the words of a near copy that are changed
UNIT_CHARS = range(60, 400)  # of a sentence or a run of them
DOC_BYTES = (3000, 0.7, 400, 30_000)  # median, spread (log-normal), least and most
LEAK_BYTES = 6000  # an item stands inside a long page
LAG = 150  # documents between a text and its copy, at most: a slice of the input has both
SITES = 40
# What a language's own text holds: a corpus may be half translated. Share of characters, and which.
OWN = {
    "en": (0.98, re.compile(r"[\x20-\x7e\n]")),
    "fi": (0.012, re.compile(r"[äöÄÖ]")),
    "hi": (0.6, re.compile(r"[\u0900-\u097f\s]")),
    "ja": (0.6, re.compile(r"[\u3000-\u30ff\u4e00-\u9fff]")),
    "vi": (0.1, re.compile(r"[À-ỹĐđ]")),
}
SENTENCE = re.compile(r"(?<=[.!?।])\s+|(?<=[。！？])|\n+")
BLOCK = re.compile(r"\n{2,}(?=\S)")
# A byte as Windows-1252 shows it, and as Latin-1 where that shows nothing.
MISREAD = {b: (c if (c := bytes([b]).decode("cp1252", "ignore")) else chr(b)) for b in range(256)}
ACCENTS = " “naïve” – it’s"  # so that an English row has something to misread

FRAMES = {
    "en": ("Home | News | Shop | Contact us | {}", "© 2024 {}. All rights reserved. Privacy and cookies"),
    "fi": ("Etusivu | Uutiset | Kauppa | Ota yhteyttä | {}", "© 2024 {}. Kaikki oikeudet pidätetään. Evästeet"),
    "hi": ("मुख्य पृष्ठ | समाचार | दुकान | संपर्क | {}", "© 2024 {}. सर्वाधिकार सुरक्षित। गोपनीयता नीति"),
    "ja": ("ホーム | ニュース | ショップ | お問い合わせ | {}", "© 2024 {} 無断転載を禁じます。プライバシーポリシー"),
    "vi": ("Trang chủ | Tin tức | Cửa hàng | Liên hệ | {}", "© 2024 {}. Mọi quyền được bảo lưu. Chính sách riêng tư"),
}
CARRIERS = {
    "en": {
        "email": "Send the form to {} before Friday.",
        "phone": "You can call the office at {} on weekdays.",
        "ip": "The last login came from {} in the night.",
        "card": "The order was paid with the card {} in March.",
        "iban": "Please pay the fee to the account {} this week.",
    },
    "fi": {
        "email": "Lähetä lomake osoitteeseen {} ennen perjantaita.",
        "phone": "Toimistoon voi soittaa numeroon {} arkisin.",
        "ip": "Viimeinen kirjautuminen tuli osoitteesta {} yöllä.",
        "card": "Tilaus maksettiin kortilla {} maaliskuussa.",
        "iban": "Maksakaa maksu tilille {} tällä viikolla.",
    },
    "hi": {
        "email": "फ़ॉर्म शुक्रवार से पहले {} पर भेजें।",
        "phone": "कार्यालय में {} पर फ़ोन किया जा सकता है।",
        "ip": "पिछला लॉगिन रात में {} से आया था।",
        "card": "ऑर्डर का भुगतान कार्ड {} से किया गया था।",
        "iban": "कृपया शुल्क खाता {} में जमा करें।",
    },
    "ja": {
        "email": "申込書は金曜日までに {} へ送ってください。",
        "phone": "事務所の電話番号は {} です。",
        "ip": "最後の接続は夜中に {} からありました。",
        "card": "注文はカード {} で支払われました。",
        "iban": "料金は口座 {} に振り込んでください。",
    },
    "vi": {
        "email": "Xin gửi mẫu đơn tới {} trước thứ sáu.",
        "phone": "Có thể gọi điện tới văn phòng theo số {} vào ngày thường.",
        "ip": "Lần đăng nhập cuối đến từ {} trong đêm.",
        "card": "Đơn hàng được trả bằng thẻ {} vào tháng ba.",
        "iban": "Vui lòng chuyển phí vào tài khoản {} trong tuần này.",
    },
    "code": {
        "email": "# maintainer: {}",
        "ip": 'HOST = "{}"',
        "secret": 'ACCESS_KEY = "{}"',
    },
}
PHONES = {
    "en": ("+1 212-736-####", "(212) 736-####", "+44 20 7946 ####"),
    "fi": ("+358 40 #######", "040 #######", "09 ### ####"),
    "hi": ("+91 98### #####", "098### #####", "+91-98########"),
    "ja": ("+81 3-3#12-####", "03-3#12-####", "090-3###-####"),
    "vi": ("+84 912 ### ###", "0912 ### ###", "+84 24 3### ####"),
}
NAMES = ("anna", "ravi", "kenji", "linh", "mika", "laura", "tomas", "priya", "yuki", "minh")

Doc = dict[str, object]
Pool = list[str]


def main() -> None:
    """Write the input and say what it holds."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--corpora", type=Path, nargs="*", default=[], help="folders of JSONL; none: the sample")
    options.add_argument("--mb", type=float, default=100, help="size of all files together, in millions of bytes")
    options.add_argument("--seed", type=int, default=7)
    args = options.parse_args()
    about = write_input(args.out, args.corpora, int(args.mb * 1e6), args.seed)
    print(json.dumps(about, indent=1))


def write_input(out: Path, corpora: list[Path], num_bytes: int, seed: int) -> dict[str, object]:
    """Write all files; `num_bytes` is their size together, of which each language has the same. Returns `input.json`.

    ValueError if a language has no text.
    """
    out.mkdir(parents=True, exist_ok=True)
    pools = units(corpora)
    files: dict[str, object] = {}
    with (out / "truth.jsonl").open("w", encoding="utf-8") as truth:
        for name in FILES:
            if not pools[name]:
                raise ValueError(f"no text in `{name}`")
            count = text_bytes = size = 0
            planted: Counter[str] = Counter()
            with (out / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                for doc, faults in documents(name, pools, num_bytes // len(FILES), seed):
                    line = json.dumps(doc, ensure_ascii=False) + "\n"
                    file.write(line)
                    count, size = count + 1, size + len(line.encode())
                    text_bytes += len(str(doc["text"]).encode())
                    for fault in faults:
                        planted[str(fault["kind"])] += 1
                        truth.write(json.dumps({"file": name, "id": doc["id"], **fault}, ensure_ascii=False) + "\n")
            sizes = {"docs": count, "bytes": size, "text_bytes": text_bytes}
            files[name] = {**sizes, "planted": dict(sorted(planted.items()))}
    about: dict[str, object] = {"seed": seed, "corpora": [path.name for path in corpora] or ["sample"], "files": files}
    (out / "input.json").write_text(json.dumps(about, indent=1) + "\n")
    return about


def units(corpora: list[Path]) -> dict[str, Pool]:
    """Sentences or runs of them in each language, and blocks of code, each once."""
    found: dict[str, dict[str, None]] = {name: {} for name in FILES}
    rows: Iterable[tuple[str, str]] = chain.from_iterable(map(_rows, corpora)) if corpora else _sample()
    for lang, text in rows:
        cut = _blocks(text) if lang == "code" else _sentences(text, lang)
        found[lang].update(dict.fromkeys(cut))
    return {name: list(pool) for name, pool in found.items()}


def _rows(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                lang = row.get("lang") or row.get("document_lang") or ("code" if "language" in row else "en")
                if lang in FILES and isinstance(row.get("text"), str):
                    yield lang, row["text"]


def _sample() -> Iterator[tuple[str, str]]:
    for lang in LANGS:
        for line in (SAMPLE / "texts" / f"{lang}.jsonl").read_text(encoding="utf-8").splitlines():
            yield lang, json.loads(line)["text"]
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        yield "code", path.read_text(encoding="utf-8", errors="ignore")


def _sentences(text: str, lang: str) -> Iterator[str]:
    """Runs of sentences, of `UNIT_CHARS`, that are in this language by their characters."""
    short = 2 if lang == "ja" else 1  # a Japanese character says about twice as much
    least, most = UNIT_CHARS.start // short, UNIT_CHARS.stop // short
    share, own = OWN[lang]
    run = ""
    for sentence in SENTENCE.split(text):
        joined = f"{run}{'' if lang == 'ja' else ' '}{sentence.strip()}".strip()
        if len(joined) < least:
            run = joined
            continue
        if len(joined) <= most and len(own.findall(joined)) >= share * len(joined):
            yield joined
        run = ""


def _blocks(text: str) -> Iterator[str]:
    for block in BLOCK.split(text):
        block = block.strip("\n")
        if 60 <= len(block) <= 3000 and max(map(len, block.split("\n"))) <= 300:
            yield block


def documents(name: str, pools: dict[str, Pool], num_bytes: int, seed: int) -> Iterator[tuple[Doc, list[Doc]]]:
    """Documents of one file with the faults planted in each, until they have `num_bytes` of JSONL."""
    rng = random.Random(f"{seed} {name}")
    walks = {lang: _walk(pool, rng) for lang, pool in sorted(pools.items())}
    items = _items(name)
    waiting: dict[int, list[tuple[str, str, Doc]]] = {}  # copies by the number of the document that they become
    originals = (1 - sum(COPIES.values())) * (1 - sum(FAULTS.values()))
    copied = {kind: share / originals for kind, share in COPIES.items()}
    size = number = 0
    while size < num_bytes:
        faults: list[Doc] = []
        if waiting.get(number):
            kind, text, about = waiting[number].pop(0)
            if waiting[number]:  # two want one place
                waiting.setdefault(number + 1, []).extend(waiting[number])
            del waiting[number]
            url = str(about.pop("url"))
            faults.append({"kind": kind, **about})
        else:
            url = f"https://site{rng.randrange(SITES)}.example/{name}/{number}"
            text, fault = _fresh(name, walks, items, rng)
            faults += fault
            if name != "code" and rng.random() < BOILERPLATE:
                lines = [line.format(url.split("/")[2]) for line in FRAMES[name]]
                text = f"{lines[0]}\n{text}\n{lines[1]}"
                faults.append({"kind": "boilerplate", "of": None, "values": lines})
            if not fault:
                _plan_copies(name, number, text, url, copied, waiting, rng, pools[name])
        meta = {"page": number, "made": "2024-05-01"}
        doc: Doc = {"id": f"{name}-{number:07}", "text": text, "url": url, "meta": meta}
        size += len(json.dumps(doc, ensure_ascii=False).encode()) + 1
        number += 1
        yield doc, faults


def _walk(pool: Pool, rng: random.Random) -> Iterator[str]:
    """All units in a drawn order, then in another: no document has one twice, if it is shorter than the pool."""
    order = list(pool)
    while True:
        rng.shuffle(order)
        yield from order


def _fresh(name: str, walks: dict[str, Iterator[str]], items: list[str], rng: random.Random) -> tuple[str, list[Doc]]:
    """A new document, and the fault in it, if any."""
    drawn, kind = rng.random(), ""
    for fault, share in FAULTS.items():
        if 0 <= drawn < share and (name != "code" or fault in ("pii", "leak")):
            kind = fault
        drawn -= share
    if kind == "other_language":
        other = rng.choice([lang for lang in LANGS if lang != name])
        return _text(other, walks, rng), [{"kind": kind, "of": None, "values": [other]}]
    parts = _parts(name, walks, rng, LEAK_BYTES if kind == "leak" else 0)
    if kind == "pii":
        label = rng.choice(sorted(CARRIERS[name]))
        value = private(label, name, rng)
        parts.insert(rng.randrange(len(parts) + 1), CARRIERS[name][label].format(value))
        return _joined(name, parts, rng), [{"kind": kind, "of": label, "values": [value]}]
    if kind == "leak":
        item = rng.choice(items)
        parts.insert(len(parts) // 2, item)
        return _joined(name, parts, rng), [{"kind": kind, "of": None, "values": [item]}]
    text = _joined(name, parts, rng)
    if kind == "mojibake":
        text += ACCENTS if name == "en" else ""
        right = max(re.findall(r"\S*[^\x00-\x7f]\S*", text), key=len)[:40]
        return misread(text), [{"kind": kind, "of": None, "values": [right]}]
    return text, []


def _text(name: str, walks: dict[str, Iterator[str]], rng: random.Random) -> str:
    return _joined(name, _parts(name, walks, rng), rng)


def _parts(name: str, walks: dict[str, Iterator[str]], rng: random.Random, least: int = 0) -> list[str]:
    median, spread, low, high = DOC_BYTES
    wanted = max(least, min(high, max(low, int(median * 2.718281828 ** rng.gauss(0, spread)))))
    parts: list[str] = []
    while wanted > 0:
        parts.append(next(walks[name]))
        wanted -= len(parts[-1].encode())
    return parts


def _joined(name: str, parts: list[str], rng: random.Random) -> str:
    if name == "code":
        return "\n\n".join(parts) + "\n"
    breaks = ("\n\n", "\n", "" if name == "ja" else " ")
    return "".join(part + (rng.choice(breaks) if at < len(parts) else "") for at, part in enumerate(parts, 1))


def _plan_copies(
    name: str, number: int, text: str, url: str, shares: dict[str, float],
    waiting: dict[int, list[tuple[str, str, Doc]]], rng: random.Random, pool: Pool,
) -> None:  # fmt: skip
    """Draw whether this document comes again, exactly or nearly, and where."""
    drawn = rng.random()
    kind = "exact" if drawn < shares["exact"] else "near" if drawn < sum(shares.values()) else ""
    if not kind:
        return
    about: Doc = {"of": f"{name}-{number:07}", "values": [], "url": f"{url}?copy"}
    if kind == "near":
        share = rng.uniform(*CHANGED)
        text = changed(text, share, name, rng, pool)
        about["values"] = [f"{share:.4f}"]
    waiting.setdefault(number + 1 + rng.randrange(LAG), []).append((kind, text, about))


def changed(text: str, share: float, lang: str, rng: random.Random, pool: Pool) -> str:
    """The text with a share of its words, one at least, replaced by others of the language; ja: pairs of characters."""
    words = list(re.finditer(r"[^\W\d_]{2}" if lang == "ja" else r"\S+", text))
    for word in sorted(rng.sample(words, max(1, round(share * len(words)))), key=lambda m: -m.start()):
        other = rng.choice(pool)
        if lang == "ja":
            at = rng.randrange(len(other) - 1)
            new = other[at : at + 2]
        else:
            new = rng.choice(other.split())
        text = text[: word.start()] + new + text[word.end() :]
    return text


def misread(text: str) -> str:
    """UTF-8 bytes read as Windows-1252."""
    return "".join(MISREAD[byte] for byte in text.encode())


def _items(name: str) -> list[str]:
    """Evaluation items of the package with their answers, long enough to be looked for."""
    path = SAMPLE / "evals" / ("code.jsonl" if name == "code" else f"choice_{name}.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if name == "code":
        return [row["prompt"] + row["solution"] for row in rows]
    texts = [f"{row['question']} {row['choices'][row['answer']]}" for row in rows]
    return [text for text in texts if len(text) >= 16 and (name == "ja" or len(text.split()) >= 7)]


def private(kind: str, lang: str, rng: random.Random) -> str:
    """A made-up but well-formed address, number or key."""
    if kind == "email":
        return f"{rng.choice(NAMES)}.{rng.choice(NAMES)}{rng.randrange(1000)}@post{rng.randrange(100)}.example.com"
    if kind == "phone":
        return "".join(str(rng.randrange(10)) if c == "#" else c for c in rng.choice(PHONES[lang]).strip())
    if kind == "ip":
        return ".".join(str(rng.randrange(a, b)) for a, b in ((80, 95), (16, 240), (16, 240), (1, 255)))
    if kind == "card":
        digits = "4" + "".join(str(rng.randrange(10)) for _ in range(14))
        digits += next(str(d) for d in range(10) if _luhn(digits + str(d)))
        return " ".join(digits[at : at + 4] for at in range(0, 16, 4))
    if kind == "iban":
        body = "".join(str(rng.randrange(10)) for _ in range(14))
        check = 98 - int(body + "1518" + "00") % 97  # FI is 15 18
        return f"FI{check:02}{body}"
    return "AKIA" + "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))


def _luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + at % 2) for at, d in enumerate(reversed(digits))]
    return sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


if __name__ == "__main__":
    main()
