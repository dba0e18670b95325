"""The files of a model's folder that somebody else made: each can be read, before anything is made of it."""

from pathlib import Path

from tokenizers import Tokenizer

from aurora_m.core.ends import CONFIG, TOKENIZER
from aurora_m.core.errors import DataError
from aurora_m.core.faults import quiet_panics, translated
from aurora_m.model.base import json_of

TABLES = (CONFIG, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
PROBE = "The sun rose; 1 + 2 == 3\n\tdef f(): return {}"  # in ASCII: not every base knows every language


def check_files(folder: Path, at: str) -> None:
    """DataError, with `at`, names a file that is no JSON object, and a tokenizer that cannot spell or read a text."""
    for name in TABLES:
        if (folder / name).exists():
            json_of(folder / name, at)
    hint = "save the tokenizer again, with `tokenizer.save_pretrained(folder)`"
    with translated(f"the base's {TOKENIZER} cannot be used", at, hint), quiet_panics():
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        tokenizer.decode(tokenizer.encode(PROBE).ids)
    if not tokenizer.get_vocab_size():
        raise DataError(f"the base's {TOKENIZER} has no tokens", at=at, hint=hint)
