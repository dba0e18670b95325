"""The tokenizer of a model's folder: its files, and proof that `transformers` reads the ids that are trained on.

These are the ids of tokenizer.json as it stands. Some classes that tokenizer_config.json may name build a tokenizer of
their own from its vocabulary, and give others.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from aurora_m.core.ends import FILE as ENDS
from aurora_m.core.ends import MORE_TEMPLATES
from aurora_m.core.errors import DataError
from aurora_m.core.faults import quiet_panics, translated, words_of
from aurora_m.model.base import json_of

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
TOKENIZER_FILES = (FILE, CONFIG, "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", ENDS)
PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")  # that read tokenizer.json as it stands
PROBE = "The release must read as it was trained: def f(x): return x. 日本語 हिन्दी Tiếng Việt suomi"
PROBES = (
    PROBE,
    "In 2023, 1,234.50 + 0x7F = ??? #tag @name don't  I'LL\tx\r\n\n    y = [\"é\", 'ß'];\n\n\n   — end…",
    "Привет, мир! 你好，世界。 안녕하세요 مرحبا بالعالم שלום สวัสดี 😀👍🏽 ﬁ ① ｆｕｌｌ",
)
LETTER = "a"  # shows what a tokenizer puts before a text
VOCABULARY = 4096  # tokens whose own text is read, at most
TOGETHER = 16  # of them in one text


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy what makes up a folder's tokenizer, chat templates too, into another folder."""
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    if (source / MORE_TEMPLATES).is_dir():
        shutil.copytree(source / MORE_TEMPLATES, target / MORE_TEMPLATES, dirs_exist_ok=True)


def read_tokenizer(folder: Path, at: str) -> Tokenizer:
    """A folder's tokenizer, which neither cuts nor pads. DataError, with `at`, if it cannot be read."""
    hint = "copy it again, or save the tokenizer again"
    with translated(f"the base's {FILE} cannot be read", at, hint), quiet_panics():
        tokenizer = Tokenizer.from_file(str(folder / FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def check_embeddings(folder: Path, rows: int, at: str) -> None:
    """DataError if a token of a folder's tokenizer has no row in the model's embeddings."""
    vocab = read_tokenizer(folder, at).get_vocab(with_added_tokens=True)
    rowless = sorted((token for token, index in vocab.items() if index >= rows), key=lambda token: vocab[token])
    if rowless:
        shown = ", ".join(f"`{token}` ({vocab[token]})" for token in rowless[:3])
        what = f"the base has {rows} rows for its tokens, and none for {len(rowless)} of its tokenizer: {shown}"
        hint = f"add rows with `model.resize_token_embeddings({max(vocab.values()) + 1})`, or take them out of {FILE}"
        raise DataError(what, at=at, hint=hint)


def fit_class(folder: Path, texts: Sequence[str], at: str, say: Callable[[str], None]) -> None:
    """See to it that `transformers` reads a folder's tokenizer with the ids of its tokenizer.json, on `texts` and more.

    Only where it does not, tokenizer_config.json gets a class that reads tokenizer.json as it stands, which is said.
    errors  DataError, with `at`, if that does not help
    """
    fault = difference(folder, texts, at)
    if not fault:
        return
    path = folder / CONFIG
    config = json_of(path, at) if path.exists() else {}
    declared = config.get("tokenizer_class")
    config.pop("auto_map", None)  # of code that is not run
    faults = []
    for name in PLAIN_CLASSES:
        path.write_text(json.dumps({**config, "tokenizer_class": name}, indent=1) + "\n", encoding="utf-8")
        faults.append(difference(folder, texts, at))
        if not faults[-1]:
            say(f"  {at}: {fault}; its `tokenizer_class`, {declared}, is now {name}, which reads {FILE} as it stands")
            return
    what = f"transformers reads the base's tokenizer as another: {faults[0]}"
    hint = f"let {CONFIG} say what {FILE} says: save both with `AutoTokenizer.from_pretrained(FOLDER).save_pretrained`"
    raise DataError(what, at=at, hint=hint)


def difference(folder: Path, texts: Sequence[str], at: str) -> str:
    """Where the ids that `transformers` reads differ from those of tokenizer.json: nothing, or the first such place."""
    plain = read_tokenizer(folder, at)
    try:
        theirs: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        found = theirs.get_vocab()
    except Exception as error:  # every class has errors of its own
        return f"transformers cannot read its tokenizer: {words_of(error)}"
    vocab = plain.get_vocab(with_added_tokens=True)
    for token in sorted({*found} - {*vocab}):
        return f"transformers gives `{token}` the id {found[token]}, and {FILE} has no such token"
    special = [token.content for token in plain.get_added_tokens_decoder().values()]
    read = [*special, *PROBES, *_vocabulary(plain), *texts]
    right = [row.ids for row in plain.encode_batch(read, add_special_tokens=False)]
    for text, ids, others in zip(read, right, theirs(read, add_special_tokens=False).input_ids, strict=True):
        if ids != others:
            n = next((n for n, (a, b) in enumerate(zip(ids, others, strict=False)) if a != b), 0)
            part = slice(max(0, n - 1), n + 2)
            return f"of `{_short(text)}` transformers reads {others[part]} where {FILE} has {ids[part]}"
    first, other = plain.encode(LETTER).ids[:1], theirs(LETTER).input_ids[:1]
    return "" if first == other else f"a text begins with {other} in transformers, and with {first} in {FILE}"


def _vocabulary(tokenizer: Tokenizer) -> Iterator[str]:
    """Texts of the tokenizer's own tokens, some of each part of the vocabulary, several together."""
    special = {*tokenizer.get_added_tokens_decoder()}
    ids = sorted({*tokenizer.get_vocab(with_added_tokens=False).values()} - special)
    some = ids[:: -(-len(ids) // VOCABULARY) or 1]
    for first in range(0, len(some), TOGETHER):
        yield tokenizer.decode(some[first : first + TOGETHER], skip_special_tokens=False)


def _short(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"
