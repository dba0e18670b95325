"""How documents begin and end under a base's tokenizer: as its own files declare it, decided when the base is taken."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_m.core.errors import DataError, RecipeError, did_you_mean
from aurora_m.core.facts import from_json, to_json
from aurora_m.core.files import read_json, write_json

FILE = "ends.json"
EOS = "<|endoftext|>"  # of the tokenizers that Aurora trains
TOKENIZER, ABOUT, NAMED = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
CONFIG, GENERATION = "config.json", "generation_config.json"
TEMPLATE = "chat_template.jinja"
# Whose texts begin with the BOS token where neither `add_bos_token` nor the tokenizer's file says another thing.
LED = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer")
KEY = "base.end_token"


@dataclass(frozen=True)
class Mark:
    """A token that begins or ends a text."""

    id: int
    token: str
    by: str  # what says so: a file of the base, or the recipe

    def __str__(self) -> str:
        return f"`{self.token}` (id {self.id}, {self.by})"


@dataclass(frozen=True)
class Ends:
    """What stands before and behind a document.

    The loss is on no lead; where there is none, the end of the document before takes its place.
    """

    end: Mark  # behind a document
    lead: Mark | None = None  # before a document
    turn_ends: tuple[Mark, ...] = ()  # where a model also stops

    @property
    def start(self) -> int:
        """The id that is given before a document's first token."""
        return (self.lead or self.end).id

    @property
    def stops(self) -> list[int]:
        """The ids at which a model stops, that of a document's end first."""
        return [self.end.id, *(mark.id for mark in self.turn_ends)]

    def __str__(self) -> str:
        turns = ", ".join(map(str, self.turn_ends))
        begin = f"documents begin with {self.lead or 'no token of their own'} and end with {self.end}"
        return f"{begin}; turns end with {turns}" if turns else begin

    def write(self, folder: Path) -> None:
        """Write `ends.json`."""
        write_json(folder / FILE, to_json(self))


def ends_of(folder: Path) -> Ends:
    """How documents begin and end in a folder of a tokenizer or a model: as was decided, else as it declares."""
    if not (folder / FILE).is_file():
        return declared_ends(folder)
    with _readable(folder):
        return from_json(Ends, read_json(folder / FILE), str(folder / FILE))


def declared_ends(folder: Path, end_token: str = "") -> Ends:
    """How documents begin and end under a base, as its files declare.

    end_token  the recipe's word for what ends a document
    errors     RecipeError if that cannot be said, or a text begins with two tokens; DataError for damaged files
    """
    with _readable(folder):
        files = _Files(folder)
        if not files.declare and EOS in files.ids:  # `train_tokenizer` made it
            return Ends(Mark(files.ids[EOS], EOS, "Aurora's own"))
        lead, marks = _lead(files), _candidates(files)
        end = _document_end(files, marks, end_token)
        return Ends(end, lead, tuple(mark for mark in marks if mark.id != end.id))


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """DataError where files have another form than the one that is read here."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        what = "the base's tokenizer, or a config beside it, has another form than transformers writes"
        hint = "save the tokenizer and the model again, with `save_pretrained`"
        raise DataError(what, at=str(folder), hint=hint) from error


class _Files:
    """What the files of a folder say of its tokens; those that the model has no row for are none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer, self.about, self.named = (self._read(name) for name in (TOKENIZER, ABOUT, NAMED))
        self.config, self.generation = self._read(CONFIG), self._read(GENERATION)
        self.decided = str((self._read(FILE).get("end") or {}).get("token", ""))  # of a release of Aurora
        self.declare = any((folder / name).is_file() for name in (ABOUT, NAMED, CONFIG, GENERATION))
        added = self.tokenizer.get("added_tokens") or []
        self.special = {token["id"] for token in added if token.get("special")}
        vocab = (self.tokenizer.get("model") or {}).get("vocab") or {}
        listed = vocab if isinstance(vocab, dict) else {entry[0]: at for at, entry in enumerate(vocab)}
        rows = self.config.get("vocab_size") or (self.config.get("text_config") or {}).get("vocab_size") or 2**32
        named = {**listed, **{token["content"]: token["id"] for token in added}}
        self.ids: dict[str, int] = {t: number for t, number in named.items() if type(number) is int and number < rows}
        self.tokens = {number: token for token, number in self.ids.items()}

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"`{name}` of the base is not JSON", at=str(path), hint="copy it again") from error
        return data if isinstance(data, dict) else {}

    def name_of(self, role: str) -> str:
        """The token of a role, such as `eos_token`; empty where none is declared."""
        value = self.about.get(role) or self.named.get(role) or ""
        return str(value.get("content", "") if isinstance(value, dict) else value)

    def ids_of(self, config: Mapping[str, Any], role: str) -> list[int]:
        """The ids of a role in a config, such as `eos_token_id`, that are tokens."""
        value = config.get(role)
        if value is None and isinstance(config.get("text_config"), dict):
            value = config["text_config"].get(role)
        listed = value if isinstance(value, list) else [value]
        return [number for number in listed if type(number) is int and number in self.tokens]

    def templates(self) -> str:
        """The chat templates, as they stand."""
        path = self.folder / TEMPLATE
        found = path.read_text(encoding="utf-8") if path.is_file() else ""
        return found + json.dumps(self.about.get("chat_template") or "", ensure_ascii=False)


def _candidates(files: _Files) -> list[Mark]:
    """The declared ends, each once; ids that mean no mark, as a config has them that was never set, go.

    What tokenizer_config.json names stays, special or not; padding that is called so ends nothing beside another.
    """
    name = files.name_of("eos_token")
    found = {ABOUT: [files.ids[name]] if name in files.ids else []}
    found |= {CONFIG: files.ids_of(files.config, "eos_token_id")}
    found |= {GENERATION: files.ids_of(files.generation, "eos_token_id")}
    marks: dict[int, Mark] = {}
    for file, numbers in found.items():
        for number in numbers:
            marks.setdefault(number, Mark(number, files.tokens[number], file))
    meant = [mark for mark in marks.values() if mark.id in files.special or mark.by == ABOUT] or [*marks.values()]
    padding = files.name_of("pad_token")
    return [mark for mark in meant if mark.token != padding or "pad" not in padding.lower()] or meant


def _document_end(files: _Files, marks: Sequence[Mark], end_token: str) -> Mark:
    """What the recipe says, or a release of Aurora; of the declared ends the one that the chat template does not write,
    or else the tokenizer's own.

    RecipeError if there is none, or if tokenizer and model name different ones and no template tells them apart.
    """
    if end_token:
        if end_token not in files.ids:
            some = [files.tokens[number] for number in sorted(files.special) if number in files.tokens]
            listed = ", ".join(f"`{token}`" for token in some[:9])
            hint = did_you_mean(end_token, some, f"its special tokens are {listed}" if some else "name one of its own")
            raise RecipeError(f"the base's tokenizer has no token `{end_token}`", at=KEY, hint=hint)
        return Mark(files.ids[end_token], end_token, "the recipe")
    if files.decided in files.ids:
        mark = Mark(files.ids[files.decided], files.decided, FILE)
        return next((other for other in marks if other.id == mark.id), mark)
    if not marks:
        name = files.name_of("eos_token")
        what = "the base does not declare which token ends a document"
        what += f": it has no token `{name}`" if name else ""
        hint = 'name one of its tokens in the recipe: [base] end_token = "..."'
        raise RecipeError(what, at=KEY, hint=hint)
    template = files.templates()
    found = [mark for mark in marks if mark.token not in template] or marks
    if len(found) == 1:
        return found[0]
    models = {*files.ids_of(files.config, "eos_token_id"), *files.ids_of(files.generation, "eos_token_id")}
    if found[0].by == ABOUT and found[0].id in models:
        return found[0]
    what = f"the base declares several ends: {', '.join(map(str, found))}"
    words = " or ".join(json.dumps(mark.token, ensure_ascii=False) for mark in found)
    raise RecipeError(what, at=KEY, hint=f"say which one ends a document: [base] end_token = {words}")


def _lead(files: _Files) -> Mark | None:
    """What the base's own tokenizer puts before a text. RecipeError if that is more than one token."""
    before = template_lead(files.tokenizer)
    if before:
        if len(before) > 1:
            named = ", ".join(f"`{files.tokens.get(number, number)}`" for number in before)
            what, hint = f"the base begins its texts with {len(before)} tokens: {named}", "choose another base"
            raise RecipeError(what, at="base.model", hint=f"Aurora can lead them with one: {hint}")
        if before[0] not in files.tokens:
            what, hint = (
                f"the base begins its texts with the id {before[0]}, which it has no token for",
                "save it again",
            )
            raise RecipeError(what, at="base.model", hint=f"its tokenizer and its model do not belong together: {hint}")
        return Mark(before[0], files.tokens[before[0]], TOKENIZER)
    flag = files.about.get("add_bos_token")
    kind = str(files.about.get("tokenizer_class", "")).removesuffix("Fast")
    if not (kind in LED and before is None if flag is None else flag):
        return None
    name = files.name_of("bos_token")
    numbers = [files.ids[name]] if name in files.ids else files.ids_of(files.config, "bos_token_id")
    return Mark(numbers[0], files.tokens[numbers[0]], ABOUT) if numbers else None


def template_lead(tokenizer: Mapping[str, Any]) -> list[int] | None:
    """The ids that a tokenizer.json itself puts before a text; None where it has no template for texts."""
    for part in _processors(tokenizer):
        if part["type"] in ("BertProcessing", "RobertaProcessing"):
            return [part["cls"][1]]
        if part["type"] == "TemplateProcessing":
            found: list[int] = []
            for piece in part["single"]:
                if "Sequence" in piece:
                    break
                found += part["special_tokens"][piece["SpecialToken"]["id"]]["ids"]
            return found
    return None


def _processors(tokenizer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    part = tokenizer.get("post_processor") or {}
    yield from part["processors"] if part.get("type") == "Sequence" else [part] if part else []


def with_lead(tokenizer: Mapping[str, Any], lead: Mark) -> dict[str, Any]:
    """A tokenizer.json that puts a token before each text itself, as only a config beside it said till now."""
    mark, text = {"SpecialToken": {"id": lead.token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    special = {lead.token: {"id": lead.token, "ids": [lead.id], "tokens": [lead.token]}}
    parts = [*_processors(tokenizer)]
    if template_lead(tokenizer) is None:
        pair = [mark, text, {"Sequence": {"id": "B", "type_id": 1}}]
        parts.append({"type": "TemplateProcessing", "single": [mark, text], "pair": pair, "special_tokens": special})
    else:
        at = next(at for at, part in enumerate(parts) if part["type"] == "TemplateProcessing")
        old = parts[at]
        longer = {key: [mark, *old[key]] for key in ("single", "pair")}
        parts[at] = {**old, **longer, "special_tokens": {**old["special_tokens"], **special}}
    made = parts[0] if len(parts) == 1 else {"type": "Sequence", "processors": parts}
    return {**tokenizer, "post_processor": made}
